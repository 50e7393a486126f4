"""What a model costs, and what a usage costs by that: nothing is counted twice.

`Usage` counts parts within totals: cached tokens, those written to a cache, and those of sound and pictures are
included in the tokens of the request; reasoning, sound and pictures in those of the answer. A part that has a rate of
its own is paid by that rate and taken out of the total; a part without one stays in it. Where the parts of a request
are together more than its total, the tokens that the service had in its cache were of sound or pictures, too: those
cost what cached ones cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from lightfast.gateway.cost.money import exact
from lightfast.sdk import Price, Usage

INPUT_PARTS = ("cached_token", "cache_write_token", "audio_input_token", "image_input_token")
OUTPUT_PARTS = ("reasoning_token", "audio_output_token", "image_output_token")
ALTERNATIVES = ("image", "character", "request", "second", "work_second")
"""The units of `Tariff.instead` in their order: the first that was counted is what is paid by."""
TOKENS = frozenset(("input_token", "output_token", *INPUT_PARTS, *OUTPUT_PARTS))
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Rate:
    """US dollars for one *unit*, of `lightfast.sdk.provider.UNITS` or `work_second`, a second of the machine.

    *tiers* are pairs of a number of input tokens and a price: a request of more tokens pays it for all of them.
    """

    unit: str
    usd: Decimal
    tiers: tuple[tuple[int, Decimal], ...] = ()
    source: str = ""
    date: str = ""

    def at(self, input_tokens: int) -> Decimal:
        """Return the price for a request of so many tokens."""
        price = self.usd
        for start, usd in self.tiers:
            if input_tokens > start:
                price = usd
        return price

    def shown(self) -> Price:
        """Return it for display."""
        return Price(self.unit, float(self.usd), self.source, self.date)


@dataclass(frozen=True, slots=True)
class Tariff:
    """The rates of one model for one kind of request; *basis* says where they are from.

    *instead* are rates by what was made (images, seconds, characters), each an alternative to the others: they count
    where the service reports neither credits nor tokens of the answer that have a rate. Where *rates* and *instead* are
    empty and it is not *free*, nobody knows.
    """

    basis: str
    rates: tuple[Rate, ...] = ()
    instead: tuple[Rate, ...] = ()
    free: bool = False

    @property
    def known(self) -> bool:
        """Whether there is a price at all."""
        return self.free or bool(self.rates) or bool(self.instead)

    def by_unit(self, unit: str) -> Rate | None:
        """Return the rate of a unit."""
        for rate in (*self.rates, *self.instead):
            if rate.unit == unit:
                return rate
        return None

    def alternatives(self) -> list[Rate]:
        """Return the rates of *instead* in the order in which they count."""
        return sorted(self.instead, key=lambda rate: ALTERNATIVES.index(rate.unit))

    def cost(self, usage: Usage) -> Decimal | None:
        """Return what *usage* costs in US dollars; `None` where nothing that has a rate was counted."""
        if self.free:
            return _ZERO
        rates = {rate.unit: rate for rate in self.rates}
        counted = counts(usage)
        total = _ZERO
        found = False
        for unit, count in _leaves(rates, counted).items():
            if count:
                total += rates[unit].at(usage.input_tokens) * exact(count)
                found = True
        answered = any(rates.get(unit) and counted[unit] for unit in ("output_token", "credit", *OUTPUT_PARTS))
        if not answered:
            for rate in self.alternatives():
                if count := counted[rate.unit]:
                    total += rate.usd * exact(count)
                    found = True
                    break
        return total if found else None


def counts(usage: Usage) -> dict[str, float]:
    """Return how many of each unit were used; those of tokens still with their parts included."""
    return {
        "input_token": usage.input_tokens,
        "output_token": usage.output_tokens,
        "cached_token": usage.cached_tokens,
        "cache_write_token": usage.cache_write_tokens,
        "reasoning_token": usage.reasoning_tokens,
        "audio_input_token": usage.audio_input_tokens,
        "audio_output_token": usage.audio_output_tokens,
        "image_input_token": usage.image_input_tokens,
        "image_output_token": usage.image_output_tokens,
        "character": usage.characters,
        "second": usage.seconds,
        "work_second": usage.seconds,
        "image": usage.images,
        "request": usage.requests,
        "credit": usage.credits,
    }


def _leaves(rates: Mapping[str, Rate], counted: Mapping[str, float]) -> dict[str, float]:
    """Return how many of each unit that has a rate are paid by it."""
    found = {unit: count for unit, count in counted.items() if unit in rates and unit not in TOKENS}
    for whole, parts in (("input_token", INPUT_PARTS), ("output_token", OUTPUT_PARTS)):
        left = counted[whole]
        for part in parts:  # the cached ones first: what is beyond the total was counted twice
            if part in rates:
                paid = min(counted[part], left)
                found[part] = paid
                left -= paid
        if whole in rates:
            found[whole] = left
    return found
