"""Money as whole nano-dollars: sums are exact, and a token of the cheapest model is still a number."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal

NANO = 1_000_000_000
"""Nano-dollars in a dollar."""
MOST_USD = 1e9
"""The largest sum that is taken, in US dollars: nine of them still fit the 64 bits of a row."""


def exact(number: Decimal | float) -> Decimal:
    """Return *number* as it is written: 0.1 is a tenth, not the nearest double."""
    return number if isinstance(number, Decimal) else Decimal(repr(number))


def nano(usd: Decimal | float, *, up: bool = False) -> int:
    """Return US dollars in nano-dollars, rounded half up; *up*: never too little, for what is a bound."""
    scaled = exact(usd) * NANO
    return int(scaled.to_integral_value(ROUND_CEILING if up else ROUND_HALF_UP))


def dollars(amount: int) -> float:
    """Return nano-dollars in US dollars."""
    return amount / NANO
