"""Between the messages of WorkspaceService and the records of workspaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightfast.api.v1 import workspaces_pb2 as pb
from lightfast.api.values import to_message
from lightfast.core.errors import InvalidArgument
from lightfast.engine.workspaces.records import Project, Task, TaskState, Workspace
from lightfast.wire.grpc import convert

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_STATES_OUT = {state: pb.TaskState.Value(f"TASK_STATE_{state.value}") for state in TaskState}
_STATES: dict[int, TaskState] = {number: state for state, number in _STATES_OUT.items()}
_TEXTS = (
    *("title", "description", "intent_type", "intent_source", "business_goal", "context_adaptations"),
    *("parent_context", "workspace_id", "project_id", "routing_decision", "result", "run_id"),
)
_NUMBERS = ("confidence", "complexity")
CHANGEABLE = frozenset((*_TEXTS, *_NUMBERS, "state", "metadata", "after", "valid_from"))


def get_states(numbers: Iterable[int]) -> tuple[TaskState, ...]:
    """Return the states of a request; refuse what is none."""
    return tuple(_state(number, "states") for number in numbers)


def _state(number: int, field: str) -> TaskState:
    if number not in _STATES:
        raise InvalidArgument(f"{number} is no state of a task", field=field)
    return _STATES[number]


def get_new_task(message: pb.WorkTask, field: str = "task") -> dict[str, Any]:
    """Return the fields of a new task that were given."""
    found = {name: getattr(message, name) for name in (*_TEXTS, *_NUMBERS, "task_id", "parent_task_id")}
    found = {name: value for name, value in found.items() if value}
    if message.state:
        found["state"] = _state(message.state, f"{field}.state")
    if message.metadata:
        found["metadata"] = convert.get_values(message.metadata, f"{field}.metadata")
    if message.after:
        found["after"] = tuple(message.after)
    if message.HasField("valid_from"):
        found["valid_from"] = convert.get_time(message.valid_from, f"{field}.valid_from")
    return found


def get_changes(message: pb.WorkTask, names: Sequence[str]) -> dict[str, Any]:
    """Return the fields of *names*, or all; of all, a state and a time that were not given are left as they were."""
    unknown = sorted(set(names) - CHANGEABLE)
    if unknown:
        raise InvalidArgument(
            f"{unknown[0]!r:.60} cannot be changed: use {', '.join(sorted(CHANGEABLE))}", field="update_fields"
        )
    found: dict[str, Any] = {}
    for name in names or sorted(CHANGEABLE):
        if name == "state":
            if message.state:
                found[name] = _state(message.state, "task.state")
        elif name == "metadata":
            found[name] = convert.get_values(message.metadata, "task.metadata")
        elif name == "after":
            found[name] = tuple(message.after)
        elif name == "valid_from":
            if message.HasField("valid_from"):
                found[name] = convert.get_time(message.valid_from, "task.valid_from")
        else:
            found[name] = getattr(message, name)
    return found


def put_task(task: Task) -> pb.WorkTask:
    """Return the message of a version of a task."""
    message = pb.WorkTask(
        task_id=task.task_id,
        state=_STATES_OUT[task.state],
        confidence=task.confidence,
        complexity=task.complexity,
        version=task.version,
        parent_task_id=task.parent_task_id,
        after=task.after,
        etag=task.etag,
        **{name: getattr(task, name) for name in _TEXTS},
    )
    for name, value in task.metadata.items():
        to_message(value, message.metadata[name])
    for field in ("create_time", "update_time", "valid_from", "valid_to"):
        if getattr(task, field):
            convert.put_time(getattr(message, field), getattr(task, field))
    return message


def get_workspace(message: pb.Workspace) -> Workspace:
    """Return the workspace of a request."""
    metadata = convert.get_values(message.metadata, "workspace.metadata")
    return Workspace(message.workspace_id, message.name, message.description, metadata, archived=message.archived)


def get_project(message: pb.Project) -> Project:
    """Return the project of a request."""
    metadata = convert.get_values(message.metadata, "project.metadata")
    return Project(
        message.project_id,
        message.workspace_id,
        message.name,
        message.description,
        metadata,
        archived=message.archived,
    )


def put_workspace(place: Workspace) -> pb.Workspace:
    """Return the message of a workspace."""
    message = pb.Workspace(workspace_id=place.workspace_id)
    _put_place(message, place)
    return message


def put_project(place: Project) -> pb.Project:
    """Return the message of a project."""
    message = pb.Project(project_id=place.project_id, workspace_id=place.workspace_id)
    _put_place(message, place)
    return message


def _put_place(message: Any, place: Workspace | Project) -> None:
    message.name, message.description = place.name, place.description
    message.etag, message.archived = place.etag, place.archived
    for name, value in place.metadata.items():
        to_message(value, message.metadata[name])
    convert.put_time(message.create_time, place.create_time)
    convert.put_time(message.update_time, place.update_time)
