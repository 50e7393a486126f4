"""Workspaces, projects and tasks, for both clients."""

from __future__ import annotations

import uuid
from collections.abc import Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from lightfast.api.v1 import workspaces_pb2 as pb
from lightfast.api.v1 import workspaces_pb2_grpc
from lightfast.api.values import set_time, to_message

if TYPE_CHECKING:
    from lightfast.client.aio import AsyncClient

T = TypeVar("T")


class WorkspaceCalls:
    """Methods of `AsyncClient`."""

    channel: Any

    async def call(self, method: Any, request: Any, timeout: float | None = None) -> Any:
        """Make one unary call."""
        raise NotImplementedError

    def _desk_of_work(self) -> workspaces_pb2_grpc.WorkspaceServiceStub:
        return workspaces_pb2_grpc.WorkspaceServiceStub(self.channel)

    async def create_workspace(self, name: str, *, workspace_id: str = "", description: str = "") -> pb.Workspace:
        """Create a workspace."""
        wanted = pb.Workspace(name=name, workspace_id=workspace_id, description=description)
        request = pb.CreateWorkspaceRequest(workspace=wanted, request_id=uuid.uuid4().hex)
        return (await self.call(self._desk_of_work().CreateWorkspace, request)).workspace  # type: ignore[no-any-return]

    async def workspaces(self, *, include_archived: bool = False) -> list[pb.Workspace]:
        """Return the workspaces, ordered by name."""
        request = pb.ListWorkspacesRequest(include_archived=include_archived, page_size=1000)
        return await self._all(self._desk_of_work().ListWorkspaces, request, "workspaces", 1 << 30)

    async def create_project(
        self, workspace_id: str, name: str, *, project_id: str = "", description: str = ""
    ) -> pb.Project:
        """Create a project of a workspace."""
        wanted = pb.Project(workspace_id=workspace_id, name=name, project_id=project_id, description=description)
        request = pb.CreateProjectRequest(project=wanted, request_id=uuid.uuid4().hex)
        return (await self.call(self._desk_of_work().CreateProject, request)).project  # type: ignore[no-any-return]

    async def projects(self, workspace_id: str = "", *, include_archived: bool = False) -> list[pb.Project]:
        """Return the projects of a workspace, or of all, ordered by name."""
        request = pb.ListProjectsRequest(workspace_id=workspace_id, include_archived=include_archived, page_size=1000)
        return await self._all(self._desk_of_work().ListProjects, request, "projects", 1 << 30)

    async def create_task(self, title: str, *, request_id: str | None = None, **fields: Any) -> pb.WorkTask:
        """Create a task; *fields* are those of `WorkTask`, *metadata* plain values, *state* such as `READY`."""
        request = pb.CreateTaskRequest(request_id=uuid.uuid4().hex if request_id is None else request_id)
        _fill(request.task, {"title": title, **fields})
        return (await self.call(self._desk_of_work().CreateTask, request)).task  # type: ignore[no-any-return]

    async def task(self, task_id: str, *, at_time_ns: int = 0) -> pb.WorkTask:
        """Return a task, as it is or as it was; `NotFound` where there is none."""
        request = pb.GetTaskRequest(task_id=task_id)
        if at_time_ns:
            set_time(request.at_time, at_time_ns)
        return (await self.call(self._desk_of_work().GetTask, request)).task  # type: ignore[no-any-return]

    async def task_versions(self, task_id: str) -> list[pb.WorkTask]:
        """Return all versions of a task, the newest first."""
        request = pb.GetTaskRequest(task_id=task_id, include_versions=True)
        return list((await self.call(self._desk_of_work().GetTask, request)).versions)

    async def tasks(
        self, query: str = "", *, states: Sequence[str] = (), limit: int = 100, **where: str
    ) -> list[pb.WorkTask]:
        """Return at most *limit* tasks, the newest first, or the best matches of *query* first.

        *where* is of workspace_id, project_id, parent_task_id.
        """
        wanted = [pb.TaskState.Value(f"TASK_STATE_{state}") for state in states]
        request = pb.ListTasksRequest(query=query, states=wanted, page_size=min(limit, 1000), **where)
        return await self._all(self._desk_of_work().ListTasks, request, "tasks", limit)

    async def update_task(self, task_id: str, *, etag: str = "", **fields: Any) -> pb.WorkTask:
        """Change *fields* of a task; the former version stays on record."""
        request = pb.UpdateTaskRequest(update_fields=sorted(fields))
        request.task.task_id, request.task.etag = task_id, etag
        _fill(request.task, fields)
        return (await self.call(self._desk_of_work().UpdateTask, request)).task  # type: ignore[no-any-return]

    async def split_task(
        self, task_id: str, parts: Sequence[Mapping[str, Any]] = (), *, in_order: bool = False, reason: str = ""
    ) -> list[pb.WorkTask]:
        """Split a task into *parts*, each the fields of a task; without any the planner proposes them."""
        request = pb.SplitTaskRequest(task_id=task_id, in_order=in_order, reason=reason)
        for part in parts:
            _fill(request.parts.add(), part)
        return list((await self.call(self._desk_of_work().SplitTask, request, 120.0)).parts)

    async def _all(self, method: Any, request: Any, field: str, limit: int) -> list[Any]:
        found: list[Any] = []
        while True:
            response = await self.call(method, request)
            found += getattr(response, field)
            if not response.next_page_token or len(found) >= limit:
                return found[:limit]
            request.page_token = response.next_page_token


def _fill(message: pb.WorkTask, fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        if name == "metadata":
            for key, item in value.items():
                to_message(item, message.metadata[key])
        elif name == "after":
            message.after.extend(value)
        elif name == "state":
            message.state = pb.TaskState.Value(f"TASK_STATE_{value}")
        elif name == "valid_from":
            set_time(message.valid_from, value)
        else:
            setattr(message, name, value)


class BlockingWorkspaceCalls:
    """The same methods, blocking; see `WorkspaceCalls`."""

    aio: AsyncClient

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        raise NotImplementedError

    def create_workspace(self, name: str, **options: str) -> pb.Workspace:
        """Create a workspace."""
        return self._run(self.aio.create_workspace(name, **options))

    def workspaces(self, *, include_archived: bool = False) -> list[pb.Workspace]:
        """Return the workspaces."""
        return self._run(self.aio.workspaces(include_archived=include_archived))

    def create_project(self, workspace_id: str, name: str, **options: str) -> pb.Project:
        """Create a project of a workspace."""
        return self._run(self.aio.create_project(workspace_id, name, **options))

    def projects(self, workspace_id: str = "", *, include_archived: bool = False) -> list[pb.Project]:
        """Return the projects of a workspace, or of all."""
        return self._run(self.aio.projects(workspace_id, include_archived=include_archived))

    def create_task(self, title: str, **fields: Any) -> pb.WorkTask:
        """Create a task."""
        return self._run(self.aio.create_task(title, **fields))

    def task(self, task_id: str, *, at_time_ns: int = 0) -> pb.WorkTask:
        """Return a task, as it is or as it was."""
        return self._run(self.aio.task(task_id, at_time_ns=at_time_ns))

    def task_versions(self, task_id: str) -> list[pb.WorkTask]:
        """Return all versions of a task, the newest first."""
        return self._run(self.aio.task_versions(task_id))

    def tasks(self, query: str = "", **which: Any) -> list[pb.WorkTask]:
        """Return tasks, the newest or the best matches first."""
        return self._run(self.aio.tasks(query, **which))

    def update_task(self, task_id: str, **fields: Any) -> pb.WorkTask:
        """Change a task."""
        return self._run(self.aio.update_task(task_id, **fields))

    def split_task(self, task_id: str, parts: Sequence[Mapping[str, Any]] = (), **how: Any) -> list[pb.WorkTask]:
        """Split a task into parts."""
        return self._run(self.aio.split_task(task_id, parts, **how))
