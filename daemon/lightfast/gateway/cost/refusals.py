"""Why money is not given: the errors, with the figures and with what to do."""

from __future__ import annotations

from datetime import UTC, datetime

from lightfast.core.errors import Exhausted, FailedPrecondition
from lightfast.gateway.calls import ModelRecord
from lightfast.gateway.cost.budgets import FOREVER, Purse, called
from lightfast.gateway.cost.money import dollars
from lightfast.gateway.cost.rates import Tariff

_EXAMPLES = {
    "text": "input 1.25/M, output 10/M",
    "image": "image 0.04",
    "video": "second 0.10",
    "audio": "request 0.05",
    "embedding": "input 0.02/M",
}
"""A price as it may be written, by what a model makes."""


def price_unknown(record: ModelRecord, tariff: Tariff) -> FailedPrecondition:
    """Return the error for a call that nobody can bound, without consent."""
    why = "nobody knows what it costs" if not tariff.known else "nothing bounds what it will cost"
    text = "text" in record.model.outputs
    bounded = ", or bound the answer by max_output_tokens" if tariff.known and text else ""
    example = next((_EXAMPLES[output] for output in record.model.outputs if output in _EXAMPLES), _EXAMPLES["text"])
    return FailedPrecondition(
        f"{record.name}: {why}. Consent to that (--yes-unpriced, price_consent), or write its price into"
        f' [providers.{record.provider}] prices, such as {{ "{record.model.name}" = "{example}" }}{bounded}',
        reason="PRICE_UNKNOWN",
        metadata={"model": record.name, "basis": tariff.basis},
    )


def exceeded(purse: Purse, asked: int, record: ModelRecord) -> Exhausted:
    """Return the error for a budget that has too little left."""
    made = purse.budget
    name = called(made.scope, purse.name)
    again = ""
    if purse.end != FOREVER:
        day = datetime.fromtimestamp(purse.end // 1_000_000_000, UTC).date().isoformat()
        again = f" It begins anew on {day} (UTC)."
    return Exhausted(
        f"{record.name} may cost up to {_usd(asked)}, and of the {_usd(made.limit)} that {name} may spend"
        f" ({made.period}), {_usd(max(0, purse.left))} are left ({_usd(purse.spent)} spent, {_usd(purse.held)} held)."
        f"{again} Raise it by 'lightfast budget set {name} USD --per {made.period}', or ask for less",
        reason="BUDGET_EXCEEDED",
        metadata={
            "scope": made.scope,
            "name": purse.name,
            "period": made.period,
            "limit_usd": f"{dollars(made.limit):.9f}",
            "left_usd": f"{dollars(max(0, purse.left)):.9f}",
            "asked_usd": f"{dollars(asked):.9f}",
        },
    )


def too_dear(left: int, asked: int, record: ModelRecord, most_usd: float) -> Exhausted:
    """Return the error for a call whose own bound has too little left."""
    return Exhausted(
        f"{record.name} may cost up to {_usd(asked)}, and of the {most_usd:g} $ that this call may cost at most,"
        f" {_usd(left)} are left: raise max_cost_usd, or ask for less",
        reason="BUDGET_EXCEEDED",
        metadata={"scope": "call", "left_usd": f"{dollars(left):.9f}", "asked_usd": f"{dollars(asked):.9f}"},
    )


def _usd(amount: int) -> str:
    return f"{dollars(amount):.6f}".rstrip("0").rstrip(".") + " $"
