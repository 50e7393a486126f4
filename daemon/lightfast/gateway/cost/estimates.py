"""What an attempt will cost: likely, and at most.

The bound takes the dearest rate that a part of the request could be paid by: everything written to the service's cache,
everything sound or pictures where the model takes those; what sources take is bounded in `sources`. The answer is at
most `most_output_tokens` long, else what the model answers at most, else its whole window. Pictures count as many as
the settings say (`count`, `n` …), seconds of sound or film as long as they say, else as long as the model can make
them. What nobody can bound has no bound.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from lightfast.gateway.calls import ModelRecord
from lightfast.gateway.cost.money import exact
from lightfast.gateway.cost.rates import Tariff
from lightfast.gateway.cost.sources import weigh
from lightfast.gateway.ports import CostEstimate, Load
from lightfast.sdk import Model

LIKELY_OUTPUT = 500
"""How many tokens an answer likely has, where no smaller bound is given."""
COUNTS = ("count", "n", "num_images", "num_outputs", "number_of_images", "samples", "batch_size")
SECONDS = ("seconds", "duration", "duration_s", "duration_seconds", "length_s", "length")
MILLISECONDS = ("music_length_ms", "duration_ms")
_NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:s|sec|seconds)?\s*")
_INPUT_MEDIA = {"audio": "audio_input_token", "image": "image_input_token", "video": "image_input_token"}


@dataclass(frozen=True, slots=True)
class Estimated(CostEstimate):
    """An estimate with the tariff it was made by, so that what is held and what is paid have the same prices."""

    tariff: Tariff = field(default_factory=lambda: Tariff("unknown"))


def estimate(tariff: Tariff, record: ModelRecord, load: Load, *, context_tokens: int, most_seconds: float) -> Estimated:
    """Return what *load* will cost by *tariff*; *context_tokens* and *most_seconds* are 0 where nobody knows."""
    model = record.model
    output = load.output or model.outputs[0]
    most_output = 0
    if output == "text" or (tariff.by_unit("output_token") and not tariff.instead):
        most_output = load.most_output_tokens or model.max_output_tokens or context_tokens
    made = _Made(tariff, load, model, most_seconds)
    likely: Decimal = Decimal(0)
    most: Decimal | None = Decimal(0) if tariff.known else None
    if tariff.rates:
        likely += _input(tariff, load, model, most=False)
        most = _plus(most, _input(tariff, load, model, most=True))
        for unit in ("character", "second", "image", "request"):
            rate = next((one for one in tariff.rates if one.unit == unit), None)
            if rate is not None:
                likely += rate.usd * made.likely(unit)
                most = _plus(most, _times(rate.usd, made.most(unit)))
    if tariff.instead:
        chosen = next((rate for rate in tariff.alternatives() if made.most(rate.unit)), tariff.alternatives()[-1])
        likely += chosen.usd * made.likely(chosen.unit)
        most = _plus(most, _times(chosen.usd, made.most(chosen.unit)))
    elif output != "embedding":
        dearest = _dearest_output(tariff, load.input_tokens, output)
        if dearest is not None:
            usual = tariff.by_unit("output_token")
            price = usual.at(load.input_tokens) if usual and output == "text" else dearest
            likely += price * (min(LIKELY_OUTPUT, most_output) if most_output else LIKELY_OUTPUT)
            most = _plus(most, _times(dearest, most_output or None))
        elif tariff.rates and all(rate.unit == "credit" for rate in tariff.rates):
            most = None  # a credit has a price, and nobody knows how many it takes
    return Estimated(
        record.name,
        float(likely),
        None if most is None else float(max(likely, most)),
        tariff.basis,
        load.input_tokens,
        most_output,
        tariff,
    )


def _plus(total: Decimal | None, more: Decimal | None) -> Decimal | None:
    return None if total is None or more is None else total + more


def _times(price: Decimal, count: float | None) -> Decimal | None:
    return None if count is None else price * exact(count)


def _input(tariff: Tariff, load: Load, model: Model, *, most: bool) -> Decimal:
    tokens = load.input_tokens + weigh(load.sources, most=most).tokens
    rate = tariff.by_unit("input_token")
    found = rate.at(tokens) if rate is not None else Decimal(0)
    if most:
        units = ["cache_write_token", *(_INPUT_MEDIA[kind] for kind in model.inputs if kind in _INPUT_MEDIA)]
        others = [one.at(tokens) for unit in units if (one := tariff.by_unit(unit)) is not None]
        found = max([found, *others])
    return found * tokens


def _dearest_output(tariff: Tariff, tokens: int, output: str) -> Decimal | None:
    units = ["output_token", "reasoning_token"]
    if output != "text":
        units += ["audio_output_token", "image_output_token"]
    return max((one.at(tokens) for unit in units if (one := tariff.by_unit(unit)) is not None), default=None)


class _Made:
    """How much of each unit a request asks for."""

    def __init__(self, tariff: Tariff, load: Load, model: Model, most_seconds: float) -> None:
        self._tariff, self._load, self._model, self._most_seconds = tariff, load, model, most_seconds

    def likely(self, unit: str) -> Decimal:
        found = self._length(most=False) if unit == "second" else self.most(unit)
        return Decimal(0) if found is None else exact(found)

    def most(self, unit: str) -> float | None:
        """Return how many there are at most; `None`: nobody knows."""
        settings = self._load.settings
        match unit:
            case "image":
                return _whole(settings, COUNTS) or 1
            case "character":
                return self._load.characters
            case "request":
                return 1
            case "second":
                return self._length(most=True)
            case _:
                return None

    def _length(self, *, most: bool) -> float | None:
        """Return the seconds of what is made, or of what is given where text is made from it."""
        settings = self._load.settings
        if (self._load.output or self._model.outputs[0]) == "text":
            return weigh(self._load.sources, most=most).seconds or None
        length = seconds_of(settings) or self._longest() or self._most_seconds
        return length * (_whole(settings, COUNTS) or 1) if length else None

    def _longest(self) -> float:
        """Return the greatest length that the schema of the model's settings lets through."""
        properties: Mapping[str, Any] = self._model.settings.get("properties", {})
        for name in (*SECONDS, *MILLISECONDS):
            rule = properties.get(name)
            if isinstance(rule, Mapping):
                choices = [_number(choice) for choice in rule.get("enum", ())]
                longest = max([*choices, _number(rule.get("maximum"))])
                if longest:
                    return longest / 1000 if name in MILLISECONDS else longest
        return 0.0


def seconds_of(settings: Mapping[str, Any]) -> float:
    """Return the length that settings ask for, in seconds; 0 where they do not say."""
    for name in SECONDS:
        if found := _number(settings.get(name)):
            return found
    for name in MILLISECONDS:
        if found := _number(settings.get(name)):
            return found / 1000
    return 0.0


def _number(value: Any) -> float:
    if isinstance(value, bool) or value is None:
        return 0.0
    if isinstance(value, int | float):
        return float(value) if value > 0 else 0.0
    match = _NUMBER.fullmatch(value) if isinstance(value, str) else None
    return float(match[1]) if match else 0.0


def _whole(settings: Mapping[str, Any], names: tuple[str, ...]) -> int:
    for name in names:
        value = settings.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return 0
