"""The settings of the meta-computer. The help texts here are the documentation."""

from __future__ import annotations

from dataclasses import dataclass

from lightfast.core.config import setting


def _specialists(entries: tuple[str, ...]) -> tuple[str, ...]:
    for each in entries:
        intent_type, _, model = each.partition("=")
        if not intent_type.strip() or not model.strip():
            raise ValueError(f"{each!r:.80} is no TYPE=MODEL")
    return entries


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Programs and runs."""

    runs: int = setting(16, "How many runs may be under way; more wait.", minimum=1)
    run_hours: float = setting(
        24.0, "How long a run may take that says nothing of it, its approval not counted, in hours.", minimum=0.01
    )
    keep_runs: int = setting(
        10_000, "How many runs that have ended are kept; the oldest go at a start of the daemon.", minimum=0
    )
    context_pool: int = setting(256, "How many steps of runs may wait or read at once.", minimum=1)
    provider_pool: int = setting(16, "How many steps of runs may be at AI services at once.", minimum=1)
    application_pool: int = setting(16, "How many steps of runs may be at applications at once.", minimum=1)
    media_pool: int = setting(4, "How many steps of runs may work on media at once.", minimum=1)
    archive_pool: int = setting(4, "How many steps of runs may be at archives at once.", minimum=1)
    planner: tuple[str, ...] = setting(
        (),
        "The models or aliases that plan, one after the other as they fail; none: the offline grammar alone.",
        restart=False,
    )
    specialists: tuple[str, ...] = setting(
        (),
        "Models that plan intents of one type first, each as TYPE=MODEL, such as fix=openai/gpt-5; what the desk takes "
        "has the types find, fix, plan, change, create, or the one its line says.",
        check=_specialists,
        restart=False,
    )
    reviewer: str = setting(
        "", "The model that may refuse a plan, but change nothing in it; empty: none.", restart=False
    )
    review_required: bool = setting(
        False, "Whether a plan of which the reviewer said nothing is refused, too.", restart=False
    )
    planning_s: float = setting(
        60.0, "How long all models together may take over one plan, in seconds.", minimum=1.0, restart=False
    )
    planning_usd: float = setting(
        0.25, "What all models together may cost for one plan, in USD.", minimum=0.0, restart=False
    )
    approval_hours: float = setting(
        24.0, "How long a run waits for its approval before it is cancelled, in hours.", minimum=0.01
    )


@dataclass(frozen=True, slots=True)
class DeskSettings:
    """The front desk."""

    model: str = setting(
        "", "The model or alias that answers in words after the acknowledgement; empty: none.", restart=False
    )


@dataclass(frozen=True, slots=True)
class JobSettings:
    """The queue of durable jobs."""

    workers: int = setting(4, "How many jobs may be under way.", minimum=1)
    keep_days: float = setting(30.0, "How long jobs that have ended are kept, in days.", minimum=0.01)


@dataclass(frozen=True, slots=True)
class WorkspaceSettings:
    """Workspaces, projects and tasks."""

    mirror: str = setting(
        "", "A folder in which each of them is written as a JSON file, too, for other tools; empty: none."
    )


@dataclass(frozen=True, slots=True)
class WorkflowSettings:
    """Workflows from files."""

    folder: str = setting("", "The folder with workflows; empty: the folder workflows beside the configuration.")
    examples: bool = setting(True, "Whether the examples that ship with Lightfast can be run, too.")
