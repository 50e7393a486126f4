"""The numbers of the AI gateway: requests, failures, tokens, cost and time by provider and model, and the budgets."""

from __future__ import annotations

from lightfast.core.metrics import Metrics
from lightfast.gateway.cost.budgets import Purse
from lightfast.gateway.cost.costs import Costs
from lightfast.gateway.failure_log import FailureLog
from lightfast.gateway.tally import Tally

MOST_BUDGETS = 200
"""How many budgets are shown, those with the least left first."""

_MODEL = ("provider", "model")
_BUDGET = ("scope", "name", "period")


def measure_gateway(metrics: Metrics, *, tally: Tally, costs: Costs, failures: FailureLog) -> None:
    """Register every number; each is read when somebody scrapes."""
    metrics.counter("ai_attempts", "Attempts at models, by outcome.", tally.attempts, labels=(*_MODEL, "outcome"))
    metrics.counter("ai_failures", "Attempts that failed, by reason.", tally.failures, labels=(*_MODEL, "reason"))
    metrics.counter(
        "ai_tokens",
        "Tokens, by kind; cached and reasoning ones are included in input and output.",
        tally.tokens,
        labels=(*_MODEL, "kind"),
    )
    metrics.counter("ai_cost_usd", "What attempts have cost, in US dollars.", tally.cost, labels=_MODEL)
    metrics.counter("ai_saved_usd", "What was not paid: kept and shared answers.", tally.savings, labels=_MODEL)
    metrics.histogram("ai_seconds", "How long attempts took that succeeded.", tally.latency, labels=_MODEL)
    metrics.histogram("ai_first_seconds", "Time to the first text or preview.", tally.first, labels=_MODEL)
    metrics.gauge("ai_held_usd", "What is held for attempts under way.", lambda: costs.held_nano / 1e9)
    metrics.counter("ai_failures_unwritten", "Failures that are not in the table.", lambda: failures.unwritten)

    def shown(figure: str) -> dict[tuple[str, ...], float]:
        purses = sorted(costs.purses(), key=_left)[:MOST_BUDGETS]
        return {purse.key: _figure(purse, figure) / 1e9 for purse in purses}

    for figure, what in (
        ("limit", "What may be spent in the period."),
        ("spent", "What was spent in the period, where a budget has counted since the start."),
        ("held", "What is held of a budget for attempts under way."),
    ):
        metrics.gauge(f"budget_{figure}_usd", what, lambda figure=figure: shown(figure), labels=_BUDGET)  # type: ignore[misc]


def _left(purse: Purse) -> int:
    return purse.left


def _figure(purse: Purse, figure: str) -> int:
    return {"limit": purse.budget.limit, "spent": purse.spent, "held": purse.held}[figure]
