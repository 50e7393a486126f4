"""What a program may cost: its upper bound against what the budgets have left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from lightfast.engine.programs.checked import Problem

if TYPE_CHECKING:
    from lightfast.gateway.cost.budgets import Purse
    from lightfast.gateway.ports import Payer


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one budget has left, in USD; *name* is how it is called, such as `project demo (month)`."""

    name: str
    left_usd: float


class BudgetPort(Protocol):
    """Tells what may be spent."""

    async def allowances(self, project: str, origin: str) -> list[Allowance]:
        """Return all budgets that count what a program of *project*, asked for by *origin*, costs."""


class Purses(Protocol):
    """What counts for a payer: `lightfast.gateway.cost.costs.Costs` has it."""

    async def purses_of(self, payer: Payer) -> list[Purse]:
        """Return the purses that count what *payer* pays, as they stand now."""


class CostsBudget:
    """The budgets of the gateway."""

    def __init__(self, costs: Purses) -> None:
        self._costs = costs

    async def allowances(self, project: str, origin: str) -> list[Allowance]:
        """Return what each budget has left; what is held counts as spent."""
        from lightfast.gateway.cost.budgets import called, client_of
        from lightfast.gateway.cost.money import dollars
        from lightfast.gateway.ports import Payer

        purses = await self._costs.purses_of(Payer(project=project, client=client_of(origin)))
        return [
            Allowance(f"{called(each.budget.scope, each.name)} ({each.budget.period})", max(0.0, dollars(each.left)))
            for each in purses
        ]


async def budget_problems(
    port: BudgetPort | None, cost: float | None, *, project: str, origin: str, budget_usd: float
) -> list[Problem]:
    """Return what keeps a program of this upper cost (`None`: it has none) from being paid."""
    if cost == 0:
        return []
    rooms = [] if port is None else await port.allowances(project, origin)
    if budget_usd:
        rooms = [Allowance("what this program may cost", budget_usd), *rooms]
    found = []
    for room in rooms:
        if cost is None and room.left_usd <= 0:
            told = f"nothing bounds what it costs, and of {room.name} nothing is left: raise it, or ask for less"
            found.append(Problem("BUDGET_EXCEEDED", told))
        elif cost is not None and cost > room.left_usd:
            told = (
                f"it costs up to {usd(cost)}, and of {room.name} {usd(room.left_usd)} are left:"
                " raise the budget, choose a cheaper model, or ask for less"
            )
            found.append(Problem("BUDGET_EXCEEDED", told))
    if cost is None and not found:
        if budget_usd:
            told = f"nothing bounds what it costs: it ends when {usd(budget_usd)} are spent"
        else:
            told = "nothing bounds what it costs: give the run a limit"
        found.append(Problem("COST_UNBOUNDED", told, warning=True))
    return found


def usd(amount: float) -> str:
    """Return an amount as people write it: two digits after the point, more below a cent.

    >>> usd(0.12), usd(0.0004)
    ('$0.12', '$0.0004')
    """
    return (
        f"${amount:.2f}" if amount >= 0.01 or not amount else f"${amount:.2g}" if amount >= 1e-4 else f"${amount:.6f}"
    )
