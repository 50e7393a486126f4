"""EngineService, the half that runs programs."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from lightfast.api.v1 import engine_pb2 as pb
from lightfast.core.errors import FailedPrecondition, InvalidArgument
from lightfast.engine.ports import Asker
from lightfast.engine.programs.checked import Checked, Plan
from lightfast.engine.runs.records import Run, RunAsk
from lightfast.security.tokens import Scope
from lightfast.wire.grpc.convert import get_duration
from lightfast.wire.grpc.run_messages import asker_of, put_event, put_list, put_run, put_step, resolution, run_states
from lightfast.wire.grpc.services import OPERATE, WATCH, Caller, Services

if TYPE_CHECKING:
    from lightfast.engine.meta import MetaComputer


T = TypeVar("T", bound=Any)
SETTLE_S = 15.0
"""How long a program waits for the plugins after the start of the daemon."""


class RunMethods:
    """Methods of `lightfast.api.v1.EngineService`.

    `Approve` needs no more than the scope watch to get in: the runs say themselves what an approver lacks.
    """

    SCOPES: ClassVar[Mapping[str, Scope | None]] = {
        "Run": OPERATE,
        "WatchRun": WATCH,
        "GetRun": WATCH,
        "ListRuns": WATCH,
        "PauseRun": OPERATE,
        "ResumeRun": OPERATE,
        "CancelRun": OPERATE,
        "Approve": WATCH,
        "ResolveStep": OPERATE,
        "RollbackRun": OPERATE,
    }
    ONCE: ClassVar[frozenset[str]] = frozenset()
    LOCKED: ClassVar[Mapping[str, str]] = {}

    def __init__(self, services: Services) -> None:
        self._services = services

    def _meta(self) -> MetaComputer:
        return self._services.computer()

    async def Run(self, request: pb.RunRequest, caller: Caller) -> AsyncGenerator[pb.RunResponse, None]:
        """Run a program or an intent, and follow it."""
        from lightfast.wire.grpc.program_messages import plan_message

        meta, asker = self._meta(), asker_of(caller)
        with suppress(TimeoutError):  # in the first moments a program may name what is still being loaded
            async with asyncio.timeout(SETTLE_S):
                await meta.settled()
        asked = _asked(request)
        if request.request_id and not request.dry_run:
            before = await meta.runs.started(asker, request.request_id, asked)
            if before is not None:
                yield pb.RunResponse(plan=plan_message(_planned(before)))
                async for response in self._followed(before.run_id):
                    yield response
                return
        plan = await self._plan(request, asker)
        if request.digest and request.digest != plan.checked.digest:
            raise FailedPrecondition(
                "the program is not the one that was shown: plan it again, and look at what it has become",
                reason="DIGEST_CHANGED",
                metadata={"digest": plan.checked.digest},
            )
        yield pb.RunResponse(plan=plan_message(plan))
        if request.dry_run:
            return
        ask = RunAsk(
            project=request.project,
            max_cost_usd=_cost(request.max_cost_usd),
            timeout=get_duration(request.timeout, "timeout"),
            compensate=request.compensate,
            request_id=request.request_id,
            asked=asked,
            intent=request.intent,
            next_steps=plan.next_steps,
        )
        run = await meta.runs.start(plan, asker, ask)
        async for response in self._followed(run.run_id):
            yield response

    async def _followed(self, run_id: str) -> AsyncGenerator[pb.RunResponse, None]:
        async with aclosing(self._meta().runs.watch(run_id, guest=True)) as events:
            async for event in events:
                response = pb.RunResponse()
                put_event(response.event, event)
                yield response

    async def _plan(self, request: pb.RunRequest, asker: Asker) -> Plan:
        planner = self._meta().planner
        what = request.WhichOneof("what")
        if what == "intent":
            return await planner.plan(
                request.intent,
                asker,
                model=request.model,
                project=request.project,
                optimize=not request.no_optimize,
            )
        if what != "program":
            raise InvalidArgument("say what to run: a program or an intent", field="what")
        from lightfast.wire.grpc.program_messages import read_program

        return await planner.prepare(
            await read_program(request.program),
            asker,
            project=request.project,
            budget_usd=_cost(request.max_cost_usd),
            optimize=not request.no_optimize,
        )

    async def WatchRun(self, request: pb.WatchRunRequest, caller: Caller) -> AsyncGenerator[pb.WatchRunResponse, None]:
        """Follow a run."""
        if request.after_sequence < 0:
            raise InvalidArgument("after_sequence is negative", field="after_sequence")
        async with aclosing(self._meta().runs.watch(request.run_id, request.after_sequence, guest=True)) as events:
            async for event in events:
                response = pb.WatchRunResponse()
                put_event(response.event, event)
                yield response

    async def GetRun(self, request: pb.GetRunRequest, caller: Caller) -> pb.GetRunResponse:
        """Show one run."""
        return _with(pb.GetRunResponse(), await self._meta().runs.get(request.run_id))

    async def ListRuns(self, request: pb.ListRunsRequest, caller: Caller) -> pb.ListRunsResponse:
        """List runs, the newest first."""
        runs, token = await self._meta().runs.page(
            states=run_states(list(request.states)), size=request.page_size, token=request.page_token
        )
        response = pb.ListRunsResponse(next_page_token=token)
        put_list(response, runs)
        return response

    async def PauseRun(self, request: pb.PauseRunRequest, caller: Caller) -> pb.PauseRunResponse:
        """Start no further step."""
        return _with(pb.PauseRunResponse(), await self._meta().runs.pause(request.run_id))

    async def ResumeRun(self, request: pb.ResumeRunRequest, caller: Caller) -> pb.ResumeRunResponse:
        """Go on."""
        return _with(pb.ResumeRunResponse(), await self._meta().runs.resume(request.run_id))

    async def CancelRun(self, request: pb.CancelRunRequest, caller: Caller) -> pb.CancelRunResponse:
        """End it."""
        return _with(pb.CancelRunResponse(), await self._meta().runs.cancel(request.run_id, request.reason))

    async def Approve(self, request: pb.ApproveRequest, caller: Caller) -> pb.ApproveResponse:
        """Approve or refuse exactly one program."""
        run = await self._meta().runs.approve(
            request.run_id, request.digest, asker_of(caller), refuse=request.refuse, comment=request.comment
        )
        return _with(pb.ApproveResponse(), run)

    async def ResolveStep(self, request: pb.ResolveStepRequest, caller: Caller) -> pb.ResolveStepResponse:
        """Say what became of a step."""
        run = await self._meta().runs.resolve(
            request.run_id, request.step_id, resolution(request.resolution), asker_of(caller)
        )
        return _with(pb.ResolveStepResponse(), run)

    async def RollbackRun(
        self, request: pb.RollbackRunRequest, caller: Caller
    ) -> AsyncGenerator[pb.RollbackRunResponse, None]:
        """Take a run back; asked again it shows what was done, so that a `request_id` adds nothing."""
        steps = self._meta().runs.rollback(request.run_id, asker_of(caller), dry_run=request.dry_run)
        async with aclosing(steps) as found:
            async for each in found:
                response = pb.RollbackRunResponse()
                if isinstance(each, Run):
                    put_run(response.run, each)
                else:
                    put_step(response.step, each)
                yield response


def _asked(request: pb.RunRequest) -> str:
    """Return a hash of what is asked for, without its request id."""
    without = pb.RunRequest()
    without.CopyFrom(request)
    without.ClearField("request_id")
    return hashlib.sha256(without.SerializeToString(deterministic=True)).hexdigest()


def _planned(run: Run) -> Plan:
    """Return the plan that a run was started with, as far as it is on record."""
    reasons = {str(number): why for number, why in enumerate(run.approval_reasons)}
    return Plan(Checked(run.program, approval_reasons=reasons, max_cost_usd=run.max_cost_usd), intent=run.intent)


def _with(response: T, run: Run) -> T:
    put_run(response.run, run)
    return response


def _cost(usd: float) -> float:
    if not usd >= 0.0 or usd == float("inf"):
        raise InvalidArgument("max_cost_usd is negative, or no number", field="max_cost_usd")
    return usd
