"""Workflows and triggers, for both clients."""

from __future__ import annotations

import uuid
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from lightfast.api.v1 import jobs_pb2 as pb
from lightfast.api.v1 import jobs_pb2_grpc
from lightfast.api.values import to_message
from lightfast_link.value import Value

if TYPE_CHECKING:
    from lightfast.client.aio import AsyncClient

T = TypeVar("T")


class WorkflowCalls:
    """Methods of `AsyncClient`."""

    channel: Any

    async def call(self, method: Any, request: Any, timeout: float | None = None) -> Any:
        """Make one unary call."""
        raise NotImplementedError

    def _flows(self) -> jobs_pb2_grpc.JobServiceStub:
        return jobs_pb2_grpc.JobServiceStub(self.channel)

    async def workflows(self, name: str = "") -> list[pb.Workflow]:
        """Return the workflows, with what is wrong in their files; or one with its YAML, `NotFound` without it."""
        response = await self.call(self._flows().ListWorkflows, pb.ListWorkflowsRequest(name=name))
        return list(response.workflows)

    async def run_workflow(
        self,
        name: str,
        parameters: Mapping[str, Value] | None = None,
        *,
        project: str = "",
        dry_run: bool = False,
        request_id: str | None = None,
    ) -> pb.RunWorkflowResponse:
        """Start a workflow and return the identity of its run; with *dry_run* only show its program."""
        request = pb.RunWorkflowRequest(
            name=name,
            project=project,
            dry_run=dry_run,
            request_id=uuid.uuid4().hex if request_id is None else request_id,
        )
        for key, value in (parameters or {}).items():
            to_message(value, request.parameters[key])
        return await self.call(self._flows().RunWorkflow, request)  # type: ignore[no-any-return]

    async def save_workflow(
        self, yaml: str, name: str = "", *, validate_only: bool = False, replace: bool = False
    ) -> pb.Workflow:
        """Put a workflow into the daemon's folder; with `problems` in the answer it was not saved."""
        request = pb.SaveWorkflowRequest(name=name, yaml=yaml, validate_only=validate_only, replace=replace)
        return (await self.call(self._flows().SaveWorkflow, request)).workflow  # type: ignore[no-any-return]

    async def triggers(self) -> list[pb.Trigger]:
        """Return the triggers, and how often each fired."""
        response = await self.call(self._flows().ListTriggers, pb.ListTriggersRequest())
        return list(response.triggers)

    async def firings(self, trigger: str = "", limit: int = 50) -> list[pb.Firing]:
        """Return why triggers fired or did not, the newest first."""
        response = await self.call(self._flows().ListFirings, pb.ListFiringsRequest(trigger=trigger, limit=limit))
        return list(response.firings)


class BlockingWorkflowCalls:
    """Methods of `Client`."""

    aio: AsyncClient

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Wait for it."""
        raise NotImplementedError

    def workflows(self, name: str = "") -> list[pb.Workflow]:
        """Return the workflows, with what is wrong in their files; or one with its YAML."""
        return self._run(self.aio.workflows(name))

    def run_workflow(
        self, name: str, parameters: Mapping[str, Value] | None = None, **options: Any
    ) -> pb.RunWorkflowResponse:
        """Start a workflow and return the identity of its run; with `dry_run=True` only show its program."""
        return self._run(self.aio.run_workflow(name, parameters, **options))

    def save_workflow(self, yaml: str, name: str = "", **options: Any) -> pb.Workflow:
        """Put a workflow into the daemon's folder; with `problems` in the answer it was not saved."""
        return self._run(self.aio.save_workflow(yaml, name, **options))

    def triggers(self) -> list[pb.Trigger]:
        """Return the triggers, and how often each fired."""
        return self._run(self.aio.triggers())

    def firings(self, trigger: str = "", limit: int = 50) -> list[pb.Firing]:
        """Return why triggers fired or did not, the newest first."""
        return self._run(self.aio.firings(trigger, limit))
