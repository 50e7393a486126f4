"""Splits what a request has used among those who were part of it, so that the shares add up to it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from lightfast.sdk import Usage

_INTEGERS = tuple(
    name for name, each in Usage.__dataclass_fields__.items() if each.default == 0 and each.type in {"int", int}
)
_REALS = ("seconds", "credits")
_NANO = 10**9


def split(total: int, weights: Sequence[int]) -> list[int]:
    """Return whole shares of *total* in proportion to *weights*, by largest remainder; they add up to it."""
    whole = sum(weights)
    if not whole:
        weights, whole = [1] * len(weights), len(weights)
    exact = [Fraction(total * weight, whole) for weight in weights]
    shares = [int(share) for share in exact]
    order = sorted(range(len(weights)), key=lambda at: (shares[at] - exact[at], at))
    for at in order[: total - sum(shares)]:
        shares[at] += 1
    return shares


def split_usage(usage: Usage, weights: Sequence[int]) -> list[Usage]:
    """Return the share of each; counts add up exactly, seconds, credits and dollars to nine decimals."""
    fields: list[dict[str, float]] = [{} for _ in weights]
    for name in _INTEGERS:
        for share, part in zip(fields, split(getattr(usage, name), weights), strict=True):
            share[name] = part
    reals = [(name, getattr(usage, name)) for name in _REALS]
    if usage.cost_usd is not None:
        reals.append(("cost_usd", usage.cost_usd))
    for name, value in reals:
        for share, part in zip(fields, split(round(value * _NANO), weights), strict=True):
            share[name] = part / _NANO
    return [Usage(**share) for share in fields]  # type: ignore[arg-type]  # integers where integers belong
