"""Cost, usage, budgets and failures: methods of GenerationService."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from lightfast.api.v1 import generation_pb2 as pb
from lightfast.core.errors import InvalidArgument, Unavailable
from lightfast.gateway.cost.allowances import BudgetState
from lightfast.gateway.cost.asking import estimates
from lightfast.gateway.cost.costs import Costs
from lightfast.gateway.cost.money import dollars
from lightfast.security.tokens import Scope
from lightfast.wire.grpc import convert
from lightfast.wire.grpc.generation_messages import get_call, put_usage
from lightfast.wire.grpc.services import ADMIN, WATCH, Caller, Services


class CostMethods:
    """Cost, usage, budgets and failures: methods of GenerationService."""

    SCOPES: ClassVar[Mapping[str, Scope | None]] = {
        "EstimateCost": WATCH,
        "GetUsage": WATCH,
        "SetBudget": ADMIN,
        "ListBudgets": WATCH,
        "ListFailures": WATCH,
    }
    ONCE: ClassVar[frozenset[str]] = frozenset(("SetBudget",))
    LOCKED: ClassVar[Mapping[str, str]] = {}

    def __init__(self, services: Services) -> None:
        self._services = services

    def _costs(self) -> Costs:
        if self._services.costs is None:
            raise Unavailable("this daemon keeps no accounts of what is used", reason="NO_COSTS")
        return self._services.costs

    async def EstimateCost(self, request: pb.EstimateCostRequest, caller: Caller) -> pb.EstimateCostResponse:
        """Say what a generation would cost, by each model that might answer."""
        gateway = self._services.gateway
        response = pb.EstimateCostResponse()
        for estimate in await estimates(gateway, get_call(request.request), caller.origin, gateway.settled):
            response.estimates.add(
                model=estimate.model,
                likely_usd=estimate.likely_usd,
                most_usd=estimate.most_usd,
                basis=estimate.basis,
                input_tokens=estimate.input_tokens,
                max_output_tokens=estimate.most_output_tokens,
            )
        return response

    async def GetUsage(self, request: pb.GetUsageRequest, caller: Caller) -> pb.GetUsageResponse:
        """Sum up what was used."""
        found = await self._costs().usage(
            request.group_by,
            after_ns=convert.get_time(request.after, "after") if request.HasField("after") else 0,
            before_ns=convert.get_time(request.before, "before") if request.HasField("before") else 0,
            project=request.project,
        )
        response = pb.GetUsageResponse()
        for one in found:
            message = response.sums.add(group=one.group, requests=one.requests, failures=one.failures)
            put_usage(message.usage, one.usage)
            message.usage.cost_usd = dollars(one.nano)
            message.usage.saved_usd = dollars(one.saved)
        return response

    async def SetBudget(self, request: pb.SetBudgetRequest, caller: Caller) -> pb.SetBudgetResponse:
        """Set, change or remove a budget."""
        if not request.HasField("budget"):
            raise InvalidArgument("which budget is to be set? Give its scope, name, limit and period", field="budget")
        wanted = request.budget
        if request.remove:
            state = await self._costs().remove_budget(wanted.scope, wanted.name, wanted.period)
        else:
            state = await self._costs().set_budget(wanted.scope, wanted.name, wanted.limit_usd, wanted.period)
        return pb.SetBudgetResponse(budget=_budget(state))

    async def ListBudgets(self, request: pb.ListBudgetsRequest, caller: Caller) -> pb.ListBudgetsResponse:
        """List the budgets."""
        return pb.ListBudgetsResponse(budgets=[_budget(state) for state in await self._costs().budgets()])

    async def ListFailures(self, request: pb.ListFailuresRequest, caller: Caller) -> pb.ListFailuresResponse:
        """List what failed lately, with the chain of causes."""
        if request.page_size < 0:
            raise InvalidArgument(f"a page of {request.page_size}: use 0 to 1000", field="page_size")
        if self._services.failures is None:
            raise Unavailable("this daemon keeps no record of failures", reason="NO_FAILURES")
        response = pb.ListFailuresResponse()
        for failed in await self._services.failures.find(
            provider=request.provider, operation_id=request.operation_id, count=request.page_size
        ):
            message = response.errors.add(
                operation_id=failed.operation_id,
                model=failed.model,
                account=failed.account,
                reason=failed.reason,
                message=failed.message,
                causes=failed.causes,
                outcome=failed.action,
            )
            convert.put_time(message.time, failed.time)
        return response


def _budget(state: BudgetState) -> pb.Budget:
    budget = state.budget
    message = pb.Budget(
        scope=budget.scope,
        name=budget.name,
        limit_usd=dollars(budget.limit),
        period=budget.period,
        spent_usd=dollars(state.spent),
        held_usd=dollars(state.held),
    )
    if state.end:
        convert.put_time(message.reset_time, state.end)
    return message
