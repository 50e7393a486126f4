"""What a plugin says it used, made fit to be reckoned with: it may be anything."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import structlog

from lightfast.gateway.cost.money import MOST_USD
from lightfast.sdk import Usage

log = structlog.get_logger("lightfast.gateway.cost")

MOST_COUNT = 10**15
"""The largest count that is taken; a thousand of them still fit the 64 bits of a row."""
_COUNTS = tuple(field.name for field in fields(Usage) if field.name != "cost_usd")
_PARTS = frozenset(("seconds", "credits"))


def sane(usage: Usage, model: str) -> Usage:
    """Return *usage* with every number finite, from 0 to a bound, and whole where it counts; what is not is logged."""
    wrong: dict[str, Any] = {}
    cost: Any = usage.cost_usd  # all of it is from a plugin
    if cost is not None and not _fits(cost, MOST_USD):
        wrong["cost_usd"] = None
    for name in _COUNTS:
        value: Any = getattr(usage, name)
        if value.__class__ is int and 0 <= value <= MOST_COUNT:
            continue
        if not _fits(value, MOST_COUNT):
            wrong[name] = 0
        elif name not in _PARTS and not isinstance(value, int):
            wrong[name] = int(value)
    if not wrong:
        return usage
    said = ", ".join(f"{name} {getattr(usage, name)!r:.40}" for name in wrong)
    log.warning("a service says that it used what cannot be", model=model, usage=said)
    return replace(usage, **wrong)


def _fits(value: Any, most: float) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return math.isfinite(value) and 0 <= value <= most
