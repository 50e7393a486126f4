"""What was seen of each model: how long it takes, how often it fails."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

WEIGHT = 0.2
"""What the newest attempt counts in a moving average: new = old + WEIGHT * (seen - old)."""
MOST_MODELS = 4096
"""Beyond so many, the one that was used least lately is forgotten."""


@dataclass(slots=True)
class Seen:
    """Moving averages, in seconds; *failing* is the share of attempts that failed, from 0 to 1."""

    first: float = 0.0
    total: float = 0.0
    failing: float = 0.0
    works: int = 0
    failures: int = 0


class SeenModels:
    """What was seen of each model since the daemon started."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, Seen] = OrderedDict()

    def worked(self, model: str, first: float, total: float) -> None:
        """Take in an attempt that worked; *first* 0 where nothing came before the end."""
        seen = self._of(model)
        first = first if 0 < first < total else total
        weight = WEIGHT if seen.works else 1.0
        seen.first += weight * (first - seen.first)
        seen.total += weight * (total - seen.total)
        seen.failing -= WEIGHT * seen.failing
        seen.works += 1

    def failed(self, model: str) -> None:
        """Take in one that failed, by the service's fault."""
        seen = self._of(model)
        seen.failing += WEIGHT * (1.0 - seen.failing)
        seen.failures += 1

    def get(self, model: str) -> Seen | None:
        """Return what was seen of *model*; `None`: nothing."""
        return self._held.get(model)

    def items(self) -> list[tuple[str, Seen]]:
        """Return what was seen, by model."""
        return list(self._held.items())

    def latency(self, model: str) -> float:
        """Return what an answer takes, in seconds: to its first part and to its end, equally; infinite if unseen."""
        seen = self._held.get(model)
        return (seen.first + seen.total) / 2 if seen is not None and seen.works else math.inf

    def failing(self, model: str) -> float:
        """Return the share of attempts that failed."""
        seen = self._held.get(model)
        return seen.failing if seen is not None else 0.0

    def forget(self, provider: str) -> None:
        """Let go of the models of a provider that leaves."""
        for name in [name for name in self._held if name.startswith(provider + "/")]:
            del self._held[name]

    def _of(self, model: str) -> Seen:
        seen = self._held.get(model)
        if seen is None:
            seen = self._held[model] = Seen()
            if len(self._held) > MOST_MODELS:
                self._held.popitem(last=False)
        self._held.move_to_end(model)
        return seen
