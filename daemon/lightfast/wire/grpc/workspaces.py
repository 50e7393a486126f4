"""WorkspaceService: what is to be done, where, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from google.protobuf.descriptor import ServiceDescriptor

from lightfast.api.v1 import workspaces_pb2 as pb
from lightfast.core.errors import FailedPrecondition
from lightfast.engine.meta import MetaComputer
from lightfast.engine.ports import Asker
from lightfast.engine.workspaces.workspaces import Workspaces
from lightfast.security.tokens import Scope
from lightfast.wire.grpc import convert
from lightfast.wire.grpc.run_messages import asker_of
from lightfast.wire.grpc.services import OPERATE, WATCH, Caller, Services
from lightfast.wire.grpc.workspace_messages import (
    get_changes,
    get_new_task,
    get_project,
    get_states,
    get_workspace,
    put_project,
    put_task,
    put_workspace,
)

_FEWEST = 2


class WorkspaceService:
    """The methods of `lightfast.api.v1.WorkspaceService`."""

    DESCRIPTOR: ClassVar[ServiceDescriptor] = pb.DESCRIPTOR.services_by_name["WorkspaceService"]
    SCOPES: ClassVar[Mapping[str, Scope | None]] = {
        **dict.fromkeys(("GetWorkspace", "ListWorkspaces", "GetProject", "ListProjects"), WATCH),
        **dict.fromkeys(("CreateWorkspace", "UpdateWorkspace", "CreateProject", "UpdateProject"), OPERATE),
        **dict.fromkeys(("GetTask", "ListTasks"), WATCH),
        **dict.fromkeys(("CreateTask", "UpdateTask", "SplitTask"), OPERATE),
    }
    ONCE: ClassVar[frozenset[str]] = frozenset({"CreateWorkspace", "CreateProject"})
    LOCKED: ClassVar[Mapping[str, str]] = {}

    def __init__(self, services: Services) -> None:
        self._services = services

    @property
    def _meta(self) -> MetaComputer:
        return self._services.computer("this daemon runs without workspaces", "WORKSPACES_MISSING")

    @property
    def _room(self) -> Workspaces:
        return self._meta.workspaces

    async def CreateWorkspace(self, request: pb.CreateWorkspaceRequest, caller: Caller) -> pb.CreateWorkspaceResponse:
        """Create a workspace."""
        made = await self._room.create_workspace(get_workspace(request.workspace))
        return pb.CreateWorkspaceResponse(workspace=put_workspace(made))

    async def GetWorkspace(self, request: pb.GetWorkspaceRequest, caller: Caller) -> pb.GetWorkspaceResponse:
        """Get a workspace."""
        return pb.GetWorkspaceResponse(workspace=put_workspace(await self._room.workspace(request.workspace_id)))

    async def ListWorkspaces(self, request: pb.ListWorkspacesRequest, caller: Caller) -> pb.ListWorkspacesResponse:
        """List workspaces."""
        found, token = await self._room.workspaces(
            size=request.page_size, token=request.page_token, include_archived=request.include_archived
        )
        return pb.ListWorkspacesResponse(workspaces=[put_workspace(each) for each in found], next_page_token=token)

    async def UpdateWorkspace(self, request: pb.UpdateWorkspaceRequest, caller: Caller) -> pb.UpdateWorkspaceResponse:
        """Update a workspace."""
        wanted = get_workspace(request.workspace)
        made = await self._room.update_workspace(wanted, tuple(request.update_fields), etag=request.workspace.etag)
        return pb.UpdateWorkspaceResponse(workspace=put_workspace(made))

    async def CreateProject(self, request: pb.CreateProjectRequest, caller: Caller) -> pb.CreateProjectResponse:
        """Create a project."""
        return pb.CreateProjectResponse(
            project=put_project(await self._room.create_project(get_project(request.project)))
        )

    async def GetProject(self, request: pb.GetProjectRequest, caller: Caller) -> pb.GetProjectResponse:
        """Get a project."""
        return pb.GetProjectResponse(project=put_project(await self._room.project(request.project_id)))

    async def ListProjects(self, request: pb.ListProjectsRequest, caller: Caller) -> pb.ListProjectsResponse:
        """List projects."""
        found, token = await self._room.projects(
            request.workspace_id,
            size=request.page_size,
            token=request.page_token,
            include_archived=request.include_archived,
        )
        return pb.ListProjectsResponse(projects=[put_project(each) for each in found], next_page_token=token)

    async def UpdateProject(self, request: pb.UpdateProjectRequest, caller: Caller) -> pb.UpdateProjectResponse:
        """Update a project."""
        wanted = get_project(request.project)
        made = await self._room.update_project(wanted, tuple(request.update_fields), etag=request.project.etag)
        return pb.UpdateProjectResponse(project=put_project(made))

    async def CreateTask(self, request: pb.CreateTaskRequest, caller: Caller) -> pb.CreateTaskResponse:
        """Create a task; its request id is kept in the same unit of work."""
        made = await self._room.create_task(get_new_task(request.task), asker_of(caller), request_id=request.request_id)
        return pb.CreateTaskResponse(task=put_task(made))

    async def GetTask(self, request: pb.GetTaskRequest, caller: Caller) -> pb.GetTaskResponse:
        """Get a task, now or as it was."""
        at_time = convert.get_time(request.at_time, "at_time") if request.HasField("at_time") else 0
        response = pb.GetTaskResponse(task=put_task(await self._room.get_task(request.task_id, at_time=at_time)))
        if request.include_versions:
            response.versions.extend([put_task(each) for each in await self._room.tasks.versions(request.task_id)])
        return response

    async def ListTasks(self, request: pb.ListTasksRequest, caller: Caller) -> pb.ListTasksResponse:
        """List or search tasks."""
        found, token = await self._room.tasks.page(
            workspace_id=request.workspace_id,
            project_id=request.project_id,
            states=get_states(request.states),
            query=request.query,
            parent_task_id=request.parent_task_id,
            size=request.page_size,
            token=request.page_token,
        )
        return pb.ListTasksResponse(tasks=[put_task(each) for each in found], next_page_token=token)

    async def UpdateTask(self, request: pb.UpdateTaskRequest, caller: Caller) -> pb.UpdateTaskResponse:
        """Update a task."""
        made = await self._room.update_task(
            request.task.task_id,
            get_changes(request.task, tuple(request.update_fields)),
            asker_of(caller),
            etag=request.task.etag,
        )
        return pb.UpdateTaskResponse(task=put_task(made))

    async def SplitTask(self, request: pb.SplitTaskRequest, caller: Caller) -> pb.SplitTaskResponse:
        """Split a task; without parts, into the instructions that the planner finds for it."""
        asker = asker_of(caller)
        parts: list[dict[str, Any]] = [
            get_new_task(part, f"parts[{place}]") for place, part in enumerate(request.parts)
        ]
        confidence = request.confidence
        in_order = request.in_order
        if not parts:
            parts, planned = await self._proposed(request.task_id, asker)
            confidence, in_order = confidence or planned, True
        task, made = await self._room.split_task(
            request.task_id, parts, asker, in_order=in_order, reason=request.reason, confidence=confidence
        )
        return pb.SplitTaskResponse(task=put_task(task), parts=[put_task(part) for part in made])

    async def _proposed(self, task_id: str, asker: Asker) -> tuple[list[dict[str, Any]], float]:
        """Return the parts that the planner proposes, one for each instruction, and how sure it is."""
        task = await self._room.get_task(task_id)
        plan = await self._meta.planner.plan(task.description or task.title, asker)
        instructions = plan.program.instructions
        if len(instructions) < _FEWEST:
            why = plan.message or f"its plan has {len(instructions)} instructions"
            raise FailedPrecondition(
                f"the planner finds no parts for {task_id}: {why}. Name the parts", reason="NO_PARTS", field="parts"
            )
        found = [{"title": _title(each.op, each.arguments), "routing_decision": "one_shot"} for each in instructions]
        return found, plan.confidence


def _title(operation: str, arguments: Mapping[str, Any]) -> str:
    told = ", ".join(f"{name} {value}" for name, value in arguments.items() if isinstance(value, str | int | float))
    return f"{operation}: {told}"[:200] if told else operation
