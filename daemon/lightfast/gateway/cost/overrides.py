"""Prices that somebody wrote into `[providers.NAME] prices`: a model (or a pattern), and what it costs.

    [providers.openai.prices]
    "gpt-x" = "input 1.25/M, cached 0.125/M, output 10/M"
    "my-image-*" = "image 0.04"
    "house-*" = "free"

Units are those of a plugin's `Price`; those of tokens may leave `_token` out. `/M` is for a million, `/K` for a
thousand, `/min` and `/h` for seconds. Several patterns may match a model: the longest wins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any

from lightfast.gateway.cost.rates import Rate, Tariff
from lightfast.sdk.provider import UNITS

_TERM = re.compile(r"([a-z_]+)\s+\$?([0-9]+(?:\.[0-9]+)?(?:[eE]-?[0-9]+)?)\s*(?:/\s*(M|K|min|h))?")
_PER = {"": 1, "M": 1_000_000, "K": 1000, "min": 60, "h": 3600}


def parse_prices(text: str) -> Tariff:
    """Return the tariff that a text of the settings means; raise `ValueError` saying what was expected."""
    if text.strip() == "free":
        return Tariff("settings", free=True)
    rates: dict[str, Rate] = {}
    for term in text.split(","):
        match = _TERM.fullmatch(term.strip())
        unit = "" if match is None else _unit(match[1])
        if match is None or not unit:
            raise ValueError(
                f'a price such as "input 1.25/M, output 10/M", "image 0.04" or "free", not {term.strip()!r:.60}; units'
                f" are {', '.join(UNITS)}"
            )
        rates[unit] = Rate(unit, Decimal(match[2]) / _PER[match[3] or ""], source="settings")
    return Tariff("settings", tuple(rates.values()))


def _unit(name: str) -> str:
    for known in (name, f"{name}_token"):
        if known in UNITS:
            return known
    return ""


def check_prices(value: Any) -> tuple[tuple[str, str], ...]:
    """Check the setting `prices`: a table of texts. Raises `ValueError`."""
    if isinstance(value, tuple | list) and not value:
        return ()
    if not isinstance(value, Mapping) or not all(isinstance(text, str) for text in value.values()):
        raise ValueError('a table of prices by model, such as {"gpt-x" = "input 1.25/M, output 10/M"}')
    for text in value.values():
        parse_prices(text)
    return tuple((str(model), text) for model, text in value.items())


class Overrides:
    """The prices of the settings, by provider and model."""

    def __init__(self, tables: Mapping[str, Mapping[str, str]]) -> None:
        """Take *tables*: for each provider a text for each model or pattern."""
        self._tables = {
            provider: sorted(
                ((pattern, parse_prices(text)) for pattern, text in table.items()),
                key=lambda pair: (pair[0] == pair[0].replace("*", ""), len(pair[0])),
                reverse=True,
            )
            for provider, table in tables.items()
        }

    def names(self, provider: str, model: str) -> bool:
        """Say whether the settings name a model, not by a pattern."""
        return any(pattern == model for pattern, _ in self._tables.get(provider, ()))

    def find(self, provider: str, model: str) -> Tariff | None:
        """Return what the settings say about a model."""
        for pattern, tariff in self._tables.get(provider, ()):
            if fnmatchcase(model, pattern):
                return tariff
        return None
