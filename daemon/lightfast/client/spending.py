"""Cost, usage, budgets and failures, for both clients."""

from __future__ import annotations

import uuid
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from lightfast.api import values
from lightfast.api.v1 import generation_pb2

if TYPE_CHECKING:
    from lightfast.client.aio import AsyncClient

T = TypeVar("T")


class SpendingCalls:
    """Methods of `AsyncClient`; *generation* is a stub."""

    generation: Any

    async def call(self, method: Any, request: Any, timeout: float | None = None) -> Any:
        """Make one unary call."""
        raise NotImplementedError

    async def estimate_cost(
        self, prompt: str = "", *, model: str = "", output: str = "", **fields: Any
    ) -> list[generation_pb2.CostEstimate]:
        """Return what a generation would cost in US dollars, by each model that might answer, in the order of trying.

        *fields* are further ones of `GenerateRequest`. `most_usd` is unset where nobody can bound the cost.
        """
        wanted = generation_pb2.GenerateRequest(prompt=prompt, model=model, output=output, **fields)
        request = generation_pb2.EstimateCostRequest(request=wanted)
        response = await self.call(self.generation.EstimateCost, request)
        return list(response.estimates)

    async def usage(
        self,
        *group_by: str,
        after_ns: int | None = None,
        before_ns: int | None = None,
        project: str = "",
    ) -> list[generation_pb2.GetUsageResponse.UsageSum]:
        """Return what was used and paid, the most expensive first.

        Summed up by any of `provider`, `model`, `project`, `client`, `day`, `run`; times in ns since 1970.
        """
        request = generation_pb2.GetUsageRequest(group_by=group_by, project=project)
        if after_ns is not None:
            values.set_time(request.after, after_ns)
        if before_ns is not None:
            values.set_time(request.before, before_ns)
        return list((await self.call(self.generation.GetUsage, request)).sums)

    async def budgets(self) -> list[generation_pb2.Budget]:
        """Return the budgets, with what was spent and what is held."""
        response = await self.call(self.generation.ListBudgets, generation_pb2.ListBudgetsRequest())
        return list(response.budgets)

    async def set_budget(self, scope: str, name: str, limit_usd: float, period: str = "total") -> generation_pb2.Budget:
        """Set what a `project`, `client` or `run`, or `all` together, may spend in a `day`, a `month` or in `total`.

        The name `*` means each that has none of its own; `all` has no name. It needs a token with the scope admin.
        """
        budget = generation_pb2.Budget(scope=scope, name=name, limit_usd=limit_usd, period=period)
        request = generation_pb2.SetBudgetRequest(budget=budget, request_id=uuid.uuid4().hex)
        response: generation_pb2.SetBudgetResponse = await self.call(self.generation.SetBudget, request)
        return response.budget

    async def remove_budget(self, scope: str, name: str = "", period: str = "total") -> generation_pb2.Budget:
        """Let a budget go, and return what it was; `NotFound` where it was not set."""
        budget = generation_pb2.Budget(scope=scope, name=name, period=period)
        request = generation_pb2.SetBudgetRequest(budget=budget, remove=True, request_id=uuid.uuid4().hex)
        response: generation_pb2.SetBudgetResponse = await self.call(self.generation.SetBudget, request)
        return response.budget

    async def failures(
        self, *, provider: str = "", operation_id: str = "", limit: int = 0
    ) -> list[generation_pb2.Failure]:
        """Return the attempts that failed lately, the newest first, with the chain of causes."""
        request = generation_pb2.ListFailuresRequest(provider=provider, operation_id=operation_id, page_size=limit)
        return list((await self.call(self.generation.ListFailures, request)).errors)


class BlockingSpendingCalls:
    """The same methods, blocking; see `SpendingCalls`."""

    aio: AsyncClient

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        raise NotImplementedError

    def estimate_cost(self, prompt: str = "", **fields: Any) -> list[generation_pb2.CostEstimate]:
        """Return what a generation would cost in US dollars, by each model that might answer."""
        return self._run(self.aio.estimate_cost(prompt, **fields))

    def usage(self, *group_by: str, **what: Any) -> Sequence[generation_pb2.GetUsageResponse.UsageSum]:
        """Return what was used and paid, the most expensive first."""
        return self._run(self.aio.usage(*group_by, **what))

    def budgets(self) -> list[generation_pb2.Budget]:
        """Return the budgets, with what was spent and what is held."""
        return self._run(self.aio.budgets())

    def set_budget(self, scope: str, name: str, limit_usd: float, period: str = "total") -> generation_pb2.Budget:
        """Set what a `project`, `client` or `run`, or `all` together, may spend in a `day`, a `month` or in `total`."""
        return self._run(self.aio.set_budget(scope, name, limit_usd, period))

    def remove_budget(self, scope: str, name: str = "", period: str = "total") -> generation_pb2.Budget:
        """Let a budget go, and return what it was; `NotFound` where it was not set."""
        return self._run(self.aio.remove_budget(scope, name, period))

    def failures(self, **which: Any) -> list[generation_pb2.Failure]:
        """Return the attempts that failed lately, the newest first, with the chain of causes."""
        return self._run(self.aio.failures(**which))
