"""What a workflow is, as its file says: parameters, steps, triggers. Durations are in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class FileProblem(NamedTuple):
    """One thing that is wrong in a file; *line* and *column* from 1."""

    line: int
    column: int
    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.line}:{self.column}: {self.message}"


class Place(NamedTuple):
    """Where something stands in a file, from 1."""

    line: int = 1
    column: int = 1


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: *type* is of `parameters.TYPES`; without a *default* it must be given."""

    name: str
    type: str
    summary: str = ""
    default: Any = None
    required: bool = True
    choices: tuple[Any, ...] = ()
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, slots=True)
class StepForm:
    """One step of a file.

    *shape* is `plain` (it has *op*), `branch` (*condition*, *body*, *other*), `map` (*items*, *body*), `repeat`
    (*times*, *body*) or `while` (*condition*, *most*, *body*). *places* are those of its keys.
    """

    id: str
    place: Place
    shape: str = "plain"
    op: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    when: str = ""
    timeout: float = 0.0
    retries: int = 0
    on_failure: str = ""
    approve: str = ""
    condition: str = ""
    items: Any = None
    item_name: str = "item"
    parallel: int = 0
    times: Any = 0
    most: int = 10
    body: tuple[StepForm, ...] = ()
    other: tuple[StepForm, ...] = ()
    places: Mapping[str, Place] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TriggerSpec:
    """One trigger. *kind* is `path`, `beat`, `schedule`, `file` or `app`; fields of other kinds are as usual.

    *edge* is `rise` (the condition becomes true) or `change` (each change for which it is true); *rate* is how often
    it may fire within *rate_s*; *policy* what is done where *concurrent* of its runs are under way: `skip`, `queue`
    or `replace`. *every* is in beats for beats, in seconds for schedules.
    """

    name: str
    workflow: str
    kind: str
    place: Place
    parameters: Mapping[str, Any] = field(default_factory=dict)
    pattern: str = ""
    when: str = ""
    edge: str = "change"
    debounce: float = 0.0
    cooldown: float = 0.0
    rate: int = 0
    rate_s: float = 60.0
    concurrent: int = 1
    policy: str = "skip"
    every: float = 0.0
    at: float = -1.0
    cron: str = ""
    time_zone: str = ""
    missed: str = "skip"
    folder: str = ""
    glob: str = "*"
    app: str = ""
    arrives: bool = True
    disabled: str = ""

    @property
    def summary(self) -> str:
        """Say what it waits for."""
        when = f" and {self.when}" if self.when else ""
        if self.kind == "path":
            word = "becomes true" if self.edge == "rise" else "changes"
            return f"{self.pattern} {word}{when}"
        if self.kind == "beat":
            return f"beat {self.at:g}" if self.at >= 0 else f"every {self.every:g} beats"
        if self.kind == "schedule":
            zone = f" ({self.time_zone})" if self.time_zone else ""
            return f"every {self.every:g} s" if self.every else self.cron + zone
        if self.kind == "file":
            return f"a file {self.glob} appears in {self.folder}"
        return f"{self.app} {'arrives' if self.arrives else 'leaves'}"


@dataclass(frozen=True, slots=True)
class Workflow:
    """One workflow in one version; *version* are the first 12 digits of the SHA-256 of its file."""

    name: str
    summary: str
    version: str
    file: str
    text: str
    parameters: tuple[Parameter, ...] = ()
    steps: tuple[StepForm, ...] = ()
    returns: str = ""
    triggers: tuple[TriggerSpec, ...] = ()
    timeout: float = 0.0
    on_failure: str = "stop"
    example: bool = False


@dataclass(frozen=True, slots=True)
class Listed:
    """A workflow as it is listed: *workflow* the one that is used, if any; *problems* of the file as it is now."""

    name: str
    file: str
    workflow: Workflow | None
    problems: tuple[FileProblem, ...] = ()
    example: bool = False
