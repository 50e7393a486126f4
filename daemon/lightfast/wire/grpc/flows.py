"""JobService, the part of workflows and triggers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from lightfast.api.v1 import jobs_pb2 as pb
from lightfast.core.errors import InvalidArgument, NotFound
from lightfast.security.tokens import Scope
from lightfast.wire.grpc import convert
from lightfast.wire.grpc.run_messages import asker_of
from lightfast.wire.grpc.services import OPERATE, WATCH, Caller, Services

if TYPE_CHECKING:
    from lightfast.engine.meta import MetaComputer
    from lightfast.engine.triggers.records import Firing, TriggerStatus
    from lightfast.engine.workflows.records import Listed

USUAL_FIRINGS = 50
MOST_FIRINGS = 1_000
MOST_PROJECT = 200


class FlowMethods:
    """Workflows and triggers: methods of `lightfast.api.v1.JobService`."""

    SCOPES: ClassVar[Mapping[str, Scope | None]] = {
        "ListWorkflows": WATCH,
        "SaveWorkflow": OPERATE,
        "RunWorkflow": OPERATE,
        "ListTriggers": WATCH,
        "ListFirings": WATCH,
    }
    ONCE: ClassVar[frozenset[str]] = frozenset()  # the runs answer for a request id themselves
    LOCKED: ClassVar[Mapping[str, str]] = {"SaveWorkflow": "a workflow edit"}

    def __init__(self, services: Services) -> None:
        self._services = services

    def _rooms(self) -> MetaComputer:
        return self._services.computer()

    async def ListWorkflows(self, request: pb.ListWorkflowsRequest, caller: Caller) -> pb.ListWorkflowsResponse:
        """List the workflows and what is wrong in files."""
        room = self._rooms().workflows
        await room.ready()
        found = [each for each in room.listed() if not request.name or each.name == request.name]
        if request.name and not found:
            room.find(request.name)  # says what there is
            raise NotFound(f"there is no workflow {request.name!r:.80}", reason="WORKFLOW_UNKNOWN", field="name")
        return pb.ListWorkflowsResponse(workflows=[_workflow(each, whole=bool(request.name)) for each in found])

    async def SaveWorkflow(self, request: pb.SaveWorkflowRequest, caller: Caller) -> pb.SaveWorkflowResponse:
        """Put a workflow into the folder, or say what is wrong with it."""
        found = await self._rooms().workflows.save(
            request.yaml,
            request.name,
            author=caller.principal.origin,
            validate_only=request.validate_only,
            replace=request.replace,
        )
        return pb.SaveWorkflowResponse(workflow=_workflow(found, whole=False))

    async def RunWorkflow(self, request: pb.RunWorkflowRequest, caller: Caller) -> pb.RunWorkflowResponse:
        """Start a workflow, or show what it would do."""
        meta = self._rooms()
        if len(request.project) > MOST_PROJECT:
            raise InvalidArgument(f"project has more than {MOST_PROJECT} characters", field="project")
        await meta.settled()
        parameters = convert.get_values(request.parameters, "parameters")
        room, asker = meta.workflows, asker_of(caller)
        if request.dry_run:
            plan = await room.rehearse(request.name, parameters, asker, project=request.project)
            from lightfast.engine.programs.text import to_yaml

            return pb.RunWorkflowResponse(version=room.find(request.name).version, yaml=to_yaml(plan.program))
        run = await room.start(request.name, parameters, asker, project=request.project, request_id=request.request_id)
        return pb.RunWorkflowResponse(run_id=run.run_id, version=str(run.details.get("version", "")))

    async def ListTriggers(self, request: pb.ListTriggersRequest, caller: Caller) -> pb.ListTriggersResponse:
        """List the triggers."""
        return pb.ListTriggersResponse(triggers=[_trigger(each) for each in await self._rooms().triggers.listed()])

    async def ListFirings(self, request: pb.ListFiringsRequest, caller: Caller) -> pb.ListFiringsResponse:
        """List why triggers fired or did not."""
        if not 0 <= request.limit <= MOST_FIRINGS:
            raise InvalidArgument(f"limit is {request.limit}: use 1 to {MOST_FIRINGS}", field="limit")
        found = await self._rooms().triggers.firings(request.trigger, request.limit or USUAL_FIRINGS)
        return pb.ListFiringsResponse(firings=[_firing(each) for each in found])


def _workflow(listed: Listed, *, whole: bool) -> pb.Workflow:
    from lightfast.engine.workflows.parameters import schema_of
    from lightfast.engine.workflows.semantics import walk

    message = pb.Workflow(name=listed.name, file=listed.file, example=listed.example)
    for each in listed.problems:
        message.problems.add(line=each.line, column=each.column, reason=each.reason, message=each.message)
    found = listed.workflow
    if found is not None:
        message.summary, message.version = found.summary, found.version
        message.parameters_schema = json.dumps(schema_of(found.parameters), ensure_ascii=False)
        message.steps.extend(each.id for each in walk(found.steps))
        message.triggers.extend(each.name for each in found.triggers)
        if whole:
            message.yaml = found.text
    return message


def _trigger(status: TriggerStatus) -> pb.Trigger:
    counts = status.counts
    message = pb.Trigger(
        name=status.name,
        workflow=status.workflow,
        kind=status.kind,
        summary=status.summary,
        fired=counts.fired,
        held_back=counts.held_back,
        disabled=status.disabled,
    )
    if counts.last_time:
        convert.put_time(message.last_time, counts.last_time)
    return message


def _firing(firing: Firing) -> pb.Firing:
    again = f" ({firing.times} times in a row)" if firing.times > 1 else ""
    message = pb.Firing(
        trigger=firing.trigger,
        fired=firing.fired,
        reason=f"{firing.code}: {firing.reason}{again}",
        run_id=firing.run_id,
        cause_revision=firing.cause,
    )
    convert.put_time(message.time, firing.time)
    return message
