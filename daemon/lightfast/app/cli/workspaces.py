"""workspaces, projects, tasks: what is to be done, where, and why."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import typer

from lightfast.app.cli import times
from lightfast.app.cli.past import moment
from lightfast.app.cli.session import CURRENT, say, table
from lightfast.app.cli.states import wanted, word
from lightfast.app.cli.times import local

workspaces = typer.Typer(no_args_is_help=True, help="Workspaces: lightfast workspaces create NAME.")
projects = typer.Typer(no_args_is_help=True, help="Projects of a workspace: lightfast projects create WORKSPACE NAME.")
tasks = typer.Typer(no_args_is_help=True, help="Tasks with all their versions: lightfast tasks create TITLE.")
_TIMEOUT = 120.0
_STATES = ("PENDING", "READY", "IN_PROGRESS", "BLOCKED", "DONE", "FAILED", "CANCELLED", "SPLIT")
TaskId = Annotated[str, typer.Argument(help="The identity of a task.")]
Archived = Annotated[bool, typer.Option("--archived", help="Those that are put away, too.")]


@workspaces.command("create")
def create_workspace(
    name: Annotated[str, typer.Argument(help="Its name.")],
    identity: Annotated[str, typer.Option("--id", help="An identity of your own.")] = "",
    description: Annotated[str, typer.Option(help="What it is.")] = "",
) -> None:
    """Create a workspace."""
    wanted = {"name": name, "workspace_id": identity, "description": description}
    fields = {"workspace": wanted, "request_id": uuid.uuid4().hex}
    CURRENT.call(
        "WorkspaceService.CreateWorkspace", fields, lambda found: say(f"made {found['workspace']['workspace_id']}")
    )


@workspaces.command("list")
def list_workspaces(archived: Archived = False) -> None:
    """List the workspaces."""
    fields = {"include_archived": archived, "page_size": 1000}
    CURRENT.call(
        "WorkspaceService.ListWorkspaces", fields, lambda found: _places(found.get("workspaces", []), "workspace")
    )


@workspaces.command("archive")
def archive_workspace(
    workspace_id: str, back: Annotated[bool, typer.Option("--back", help="Take it out.")] = False
) -> None:
    """Put a workspace away."""
    fields = {"workspace": {"workspace_id": workspace_id, "archived": not back}, "update_fields": ["archived"]}
    CURRENT.call("WorkspaceService.UpdateWorkspace", fields, lambda _: say("back" if back else "put away"))


@projects.command("create")
def create_project(
    workspace_id: Annotated[str, typer.Argument(help="The workspace.")],
    name: Annotated[str, typer.Argument(help="Its name.")],
    identity: Annotated[str, typer.Option("--id", help="An identity of your own.")] = "",
    description: Annotated[str, typer.Option(help="What it is.")] = "",
) -> None:
    """Create a project."""
    wanted = {"workspace_id": workspace_id, "name": name, "project_id": identity, "description": description}
    fields = {"project": wanted, "request_id": uuid.uuid4().hex}
    CURRENT.call("WorkspaceService.CreateProject", fields, lambda found: say(f"made {found['project']['project_id']}"))


@projects.command("list")
def list_projects(
    workspace_id: Annotated[str, typer.Argument(help="Only of this workspace.")] = "", archived: Archived = False
) -> None:
    """List projects."""
    fields = {"workspace_id": workspace_id, "include_archived": archived, "page_size": 1000}
    CURRENT.call("WorkspaceService.ListProjects", fields, lambda found: _places(found.get("projects", []), "project"))


@projects.command("archive")
def archive_project(
    project_id: str, back: Annotated[bool, typer.Option("--back", help="Take it out.")] = False
) -> None:
    """Put a project away."""
    fields = {"project": {"project_id": project_id, "archived": not back}, "update_fields": ["archived"]}
    CURRENT.call("WorkspaceService.UpdateProject", fields, lambda _: say("back" if back else "put away"))


@tasks.command("create")
def create_task(
    title: Annotated[str, typer.Argument(help="What is to be done, in a few words.")],
    description: Annotated[str, typer.Option(help="The same at length.")] = "",
    workspace: Annotated[str, typer.Option(help="The workspace.")] = "",
    project: Annotated[str, typer.Option(help="The project.")] = "",
    intent: Annotated[str, typer.Option(help="create, change, find, fix, plan, or a word of your own.")] = "",
    goal: Annotated[str, typer.Option(help="What it is good for.")] = "",
    after: Annotated[list[str] | None, typer.Option(help="A task that must be done first; may be repeated.")] = None,
) -> None:
    """Create a task."""
    task = {
        "title": title,
        "description": description,
        "workspace_id": workspace,
        "project_id": project,
        "intent_type": intent,
        "intent_source": "cli",
        "business_goal": goal,
        "after": after or [],
    }
    fields = {"task": task, "request_id": uuid.uuid4().hex}
    CURRENT.call("WorkspaceService.CreateTask", fields, lambda found: say(_line(found["task"])))


@tasks.command("list")
def list_tasks(
    query: Annotated[str, typer.Argument(help="Words to find in title, description, intent or goal.")] = "",
    state: Annotated[list[str] | None, typer.Option(help="Such as ready; may be repeated.")] = None,
    workspace: Annotated[str, typer.Option(help="Only of this workspace.")] = "",
    project: Annotated[str, typer.Option(help="Only of this project.")] = "",
    parent: Annotated[str, typer.Option(help="Only parts of this task.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The most.")] = 50,
) -> None:
    """List tasks, the newest first, or the best matches first."""
    fields = {
        "query": query,
        "states": wanted(state, _STATES, "TASK"),
        "workspace_id": workspace,
        "project_id": project,
        "parent_task_id": parent,
        "page_size": limit,
    }
    CURRENT.call("WorkspaceService.ListTasks", fields, lambda found: _listed(found.get("tasks", [])))


@tasks.command("show")
def show_task(
    task_id: TaskId,
    at: Annotated[str, typer.Option("--at", help=f"As it was then: {times.UNDERSTOOD}.")] = "",
    versions: Annotated[bool, typer.Option("--versions", help="All its versions.")] = False,
) -> None:
    """Show a task, as it is or as it was."""
    fields: dict[str, Any] = {"task_id": task_id, "include_versions": versions}
    if at:
        fields["at_time"] = times.stamp(moment(at))

    def render(found: dict[str, Any]) -> None:
        _shown(found["task"])
        for each in found.get("versions", []):
            say(f"version {each['version']} of {local(each.get('update_time', ''))}: {_state(each)}, {each['title']}")

    CURRENT.call("WorkspaceService.GetTask", fields, render)


@tasks.command("update")
def update_task(
    task_id: TaskId,
    state: Annotated[str, typer.Option(help="ready, in-progress, done, failed, cancelled …")] = "",
    title: Annotated[str, typer.Option(help="Another title.")] = "",
    description: Annotated[str, typer.Option(help="Another description.")] = "",
    result: Annotated[str, typer.Option(help="What came out.")] = "",
    etag: Annotated[str, typer.Option(help="Only if it still has this etag.")] = "",
) -> None:
    """Change a task; the former version stays on record."""
    given = {"title": title, "description": description, "result": result}
    task = {name: text for name, text in given.items() if text}
    if state:
        (task["state"],) = wanted([state], _STATES, "TASK")
    if not task:
        raise typer.BadParameter("say what is to change: --state, --title, --description or --result")
    fields = {"task": {**task, "task_id": task_id, "etag": etag}, "update_fields": sorted(task)}
    CURRENT.call("WorkspaceService.UpdateTask", fields, lambda found: say(_line(found["task"])))


@tasks.command("split")
def split_task(
    task_id: TaskId,
    parts: Annotated[
        list[str] | None, typer.Argument(help="The titles of its parts; the planner's by default.")
    ] = None,
    in_order: Annotated[bool, typer.Option("--in-order", help="Each waits for the one before.")] = False,
    reason: Annotated[str, typer.Option(help="Why.")] = "",
) -> None:
    """Split a task into parts."""
    fields = {
        "task_id": task_id,
        "parts": [{"title": title} for title in parts or []],
        "in_order": in_order,
        "reason": reason,
    }
    CURRENT.call("WorkspaceService.SplitTask", fields, lambda found: _listed(found.get("parts", [])), timeout=_TIMEOUT)


def _places(found: list[dict[str, Any]], kind: str) -> None:
    table(
        (kind.upper(), "NAME", "CHANGED", ""),
        (
            (each[f"{kind}_id"], each["name"], local(each.get("update_time", "")), each.get("description", ""))
            for each in found
        ),
        f"No {kind}s yet: lightfast {kind}s create {'WORKSPACE ' if kind == 'project' else ''}NAME",
    )


def _listed(found: list[dict[str, Any]]) -> None:
    table(
        ("TASK", "STATE", "TITLE", "AFTER", "CHANGED"),
        (
            (
                each["task_id"],
                _state(each),
                each.get("title", ""),
                " ".join(each.get("after", [])),
                local(each.get("update_time", "")),
            )
            for each in found
        ),
        "No tasks: lightfast tasks create TITLE",
    )


def _line(task: dict[str, Any]) -> str:
    return f"{task['task_id']}  {_state(task)}  {task.get('title', '')}"


def _shown(task: dict[str, Any]) -> None:
    say(_line(task))
    say(f"version {task['version']} of {local(task.get('update_time', ''))}; etag {task.get('etag', '')}")
    for name in (
        "description",
        "intent_type",
        "intent_source",
        "business_goal",
        "workspace_id",
        "project_id",
        "parent_task_id",
        "routing_decision",
        "confidence",
        "complexity",
        "run_id",
        "result",
    ):
        if task.get(name):
            say(f"{name.replace('_', ' ')}: {task[name]}")
    if task.get("after"):
        say(f"after {', '.join(task['after'])}")


def _state(task: dict[str, Any]) -> str:
    return word(task.get("state"), "TASK")
