"""What workspaces, projects and tasks are. Times are ns since 1970; 0: none."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from lightfast.core.errors import InvalidArgument
from lightfast_link.value import Value, check_value

MOST_TITLE = 500
MOST_TEXT = 100_000
MOST_AFTER = 100
MOST_PARTS = 100
_IDENTITY = re.compile(r"[a-z0-9][a-z0-9_.-]{0,79}")


class TaskState(StrEnum):
    """How a task stands; SPLIT: its parts take its place."""

    PENDING = "PENDING"
    READY = "READY"
    IN_PROGRESS = "IN_PROGRESS"
    BLOCKED = "BLOCKED"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    SPLIT = "SPLIT"

    @property
    def told(self) -> str:
        """The state as it is told to a person."""
        return self.value.lower().replace("_", " ")


TASK_ENDED = frozenset((TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED))


@dataclass(frozen=True, slots=True)
class Workspace:
    """One workspace; *version* goes up with every change."""

    workspace_id: str = ""
    name: str = ""
    description: str = ""
    metadata: Mapping[str, Value] = field(default_factory=dict)
    create_time: int = 0
    update_time: int = 0
    version: int = 1
    archived: bool = False

    @property
    def etag(self) -> str:
        """Return what changes with every change."""
        return _etag(self.workspace_id, self.version, self.update_time)


@dataclass(frozen=True, slots=True)
class Project:
    """One project of a workspace."""

    project_id: str = ""
    workspace_id: str = ""
    name: str = ""
    description: str = ""
    metadata: Mapping[str, Value] = field(default_factory=dict)
    create_time: int = 0
    update_time: int = 0
    version: int = 1
    archived: bool = False

    @property
    def etag(self) -> str:
        """Return what changes with every change."""
        return _etag(self.project_id, self.version, self.update_time)


@dataclass(frozen=True, slots=True)
class Task:
    """One version of a task; see `WorkTask` of workspaces.proto for each field.

    *valid_from* and *valid_to* say when it is true, *update_time* when it was recorded.
    """

    task_id: str = ""
    title: str = ""
    description: str = ""
    intent_type: str = ""
    intent_source: str = ""
    business_goal: str = ""
    context_adaptations: str = ""
    parent_context: str = ""
    workspace_id: str = ""
    project_id: str = ""
    state: TaskState = TaskState.PENDING
    confidence: float = 0.0
    complexity: float = 0.0
    routing_decision: str = ""
    metadata: Mapping[str, Value] = field(default_factory=dict)
    create_time: int = 0
    update_time: int = 0
    valid_from: int = 0
    valid_to: int = 0
    version: int = 1
    parent_task_id: str = ""
    after: tuple[str, ...] = ()
    result: str = ""
    run_id: str = ""

    @property
    def etag(self) -> str:
        """Return what changes with every change."""
        return _etag(self.task_id, self.version, self.update_time)


GIVEN = frozenset(each.name for each in fields(Task)) - {"create_time", "update_time", "valid_to", "version"}
"""The fields that a caller may give."""
_TEXTS = (
    *("title", "description", "intent_type", "intent_source", "business_goal", "context_adaptations"),
    *("parent_context", "routing_decision", "result", "run_id"),
)
_SHORT = frozenset(("title", "intent_type", "intent_source", "routing_decision", "run_id"))
_ROUTES = ("", "one_shot", "split")


def changed(task: Task, given: Mapping[str, Any]) -> Task:
    """Return *task* with the *given* fields; raise `InvalidArgument` that names the wrong one."""
    unknown = sorted(set(given) - GIVEN)
    if unknown:
        raise InvalidArgument(
            f"{unknown[0]!r:.60} is no field of a task that can be given: use {', '.join(sorted(GIVEN))}",
            field=unknown[0],
        )
    found = dict(given)
    if "after" in found:
        found["after"] = tuple(dict.fromkeys(map(str, found["after"])))
        if len(found["after"]) > MOST_AFTER:
            raise InvalidArgument(f"a task waits for at most {MOST_AFTER} others", field="after")
    if "state" in found:
        try:
            found["state"] = TaskState(found["state"])
        except ValueError:
            known = ", ".join(TaskState)
            raise InvalidArgument(f"{found['state']!r:.40} is no state of a task: use {known}", field="state") from None
    new = replace(task, **found)
    for name in _TEXTS:
        text = getattr(new, name)
        most = (
            MOST_TITLE if name in ("title", "intent_type", "intent_source", "routing_decision", "run_id") else MOST_TEXT
        )
        if not isinstance(text, str) or len(text) > most:
            raise InvalidArgument(f"{name} is a text of at most {most} characters", field=name)
    if not new.title.strip():
        raise InvalidArgument("a task needs a title: say in a few words what is to be done", field="title")
    for name in ("confidence", "complexity"):
        number = getattr(new, name)
        if not (isinstance(number, int | float) and math.isfinite(number) and 0 <= number <= 1):
            raise InvalidArgument(f"{name} is from 0 to 1, not {number!r:.40}", field=name)
    if new.routing_decision not in _ROUTES:
        raise InvalidArgument(
            f"routing_decision is {new.routing_decision!r:.40}: use one_shot or split", field="routing_decision"
        )
    check_metadata(new.metadata)
    return new


def check_metadata(metadata: Mapping[str, Value]) -> None:
    """Raise `InvalidArgument` for metadata that are no values."""
    try:
        check_value(dict(metadata), "metadata")
    except ValueError as error:
        raise InvalidArgument(str(error), field="metadata", reason="VALUE_INVALID") from None


def check_identity(identity: str, name: str) -> None:
    """Raise `InvalidArgument` for an identity that was chosen badly."""
    if not _IDENTITY.fullmatch(identity):
        raise InvalidArgument(
            f"{name} is {identity!r:.80}: use small letters, digits, '-', '_' and '.', at most 80", field=name
        )


def check_name(name: str) -> None:
    """Raise `InvalidArgument` for a name that is none."""
    if not name.strip() or len(name) > MOST_TITLE or not name.isprintable():
        raise InvalidArgument(f"a name has 1 to {MOST_TITLE} printable characters", field="name")


def _etag(identity: str, version: int, time: int) -> str:
    return hashlib.blake2b(f"{identity}|{version}|{time}".encode(), digest_size=8).hexdigest()
