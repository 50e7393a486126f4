"""Prices by what is made: pictures, seconds, characters, credits; from `media_prices.toml`, which says where from."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from lightfast.gateway.cost.money import exact
from lightfast.gateway.cost.rates import Rate

FILE = Path(__file__).with_name("media_prices.toml")
_SIZE = re.compile(r"(\d{2,5})\s*[x:*]\s*(\d{2,5})")
_NAMED = {
    "square": 0.26,
    "square_hd": 1.05,
    "portrait_4_3": 0.79,
    "portrait_16_9": 0.59,
    "landscape_4_3": 0.79,
    "landscape_16_9": 0.59,
}
"""Megapixels of the sizes that fal has names for (docs.fal.ai, `image_size`), rounded up."""


@dataclass(frozen=True, slots=True)
class MediaPrice:
    """One line of the file; *when* are settings that it is for, *most_seconds* how long a result can be."""

    provider: str
    models: tuple[str, ...]
    unit: str
    usd: Decimal
    source: str
    date: str
    when: tuple[tuple[str, str], ...] = ()
    most_seconds: float = 0.0

    def about(self, provider: str, model: str) -> bool:
        """Say whether it is for a model of a provider."""
        return self.provider == provider and any(fnmatchcase(model, pattern) for pattern in self.models)

    def rate(self, settings: Mapping[str, Any]) -> Rate:
        """Return it as a rate for a request; one for a megapixel becomes that of a picture."""
        if self.unit != "megapixel":
            return Rate(self.unit, self.usd, source=self.source, date=self.date)
        return Rate("image", self.usd * megapixels(settings), source=self.source, date=self.date)


def read(file: Path = FILE) -> tuple[MediaPrice, ...]:
    """Read the lines of the file."""
    import tomllib

    data = tomllib.loads(file.read_text(encoding="utf-8"))
    sources = data["sources"]
    return tuple(
        MediaPrice(
            line["provider"],
            tuple(line["models"]),
            line["unit"],
            exact(line["usd"]),
            sources[line["source"]],
            line["date"],
            tuple(sorted((key, str(value).lower()) for key, value in line.get("when", {}).items())),
            line.get("most_seconds", 0.0),
        )
        for line in data["table"]["prices"]
    )


def find(lines: Sequence[MediaPrice], provider: str, model: str) -> tuple[MediaPrice, ...]:
    """Return the lines about a model; of those for the same unit and settings the last."""
    found = {(line.unit, line.when): line for line in lines if line.about(provider, model)}
    return tuple(found.values())


def rates(lines: Sequence[MediaPrice], settings: Mapping[str, Any]) -> tuple[Rate, ...]:
    """Return one rate for each unit: of the lines that may be meant the most exact one, else the dearest."""
    given = {key: str(value).lower() for key, value in settings.items()}
    chosen: dict[str, tuple[int, Rate]] = {}
    for line in lines:
        if any(key in given and given[key] != value for key, value in line.when):
            continue
        met = sum(key in given for key, _ in line.when)
        rate = line.rate(settings)
        kept = chosen.get(rate.unit)
        if kept is None or (met, rate.usd) > (kept[0], kept[1].usd):
            chosen[rate.unit] = (met, rate)
    for line in lines:  # none is for these very settings (another size, say): the dearest is a bound
        rate = line.rate(settings)
        if rate.unit not in chosen or (chosen[rate.unit][0] < 0 and rate.usd > chosen[rate.unit][1].usd):
            chosen[rate.unit] = (-1, rate)
    return tuple(replace(rate) for _, rate in chosen.values())


def most_seconds(lines: Sequence[MediaPrice]) -> float:
    """Return how long a result of the model can be, in seconds; 0 where that is not known."""
    return max((line.most_seconds for line in lines), default=0.0)


def megapixels(settings: Mapping[str, Any]) -> int:
    """Return how many megapixels, begun ones included, a picture of these settings has; 1 where they do not say."""
    width, height = settings.get("width"), settings.get("height")
    if isinstance(width, int | float) and isinstance(height, int | float):
        return max(1, math.ceil(width * height / 1e6))
    for key in ("size", "image_size", "resolution"):
        value = settings.get(key)
        if isinstance(value, Mapping):
            return megapixels(value)
        if isinstance(value, str):
            if match := _SIZE.search(value):
                return max(1, math.ceil(int(match[1]) * int(match[2]) / 1e6))
            if value in _NAMED:
                return max(1, math.ceil(_NAMED[value]))
    return 1
