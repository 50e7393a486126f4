"""What the gateway does, in plain numbers by provider and model: what Prometheus is shown."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from lightfast.core.histogram import Histogram
from lightfast.gateway.failure_log import reason_of
from lightfast.gateway.ports import Attempt

MOST_MODELS = 200
"""How many models have numbers of their own; what comes later is counted as the model `other` of its provider."""
MOST_PROVIDERS = 50
MOST_REASONS = 50
OTHER = "other"

Labels = tuple[str, ...]
"""Provider and model, and what else tells numbers apart."""


@dataclass(slots=True)
class Figures:
    """The numbers of one model; money in nano-dollars, times in seconds."""

    attempts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """By outcome: `ok`, `error`, `cancelled`."""
    tokens: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """By kind: `input`, `output`, `cached`, `cache_write`, `reasoning`."""
    cost: int = 0
    saved: int = 0
    latency: Histogram = field(default_factory=Histogram)
    """To the end, of attempts that succeeded."""
    first: Histogram = field(default_factory=Histogram)
    """To the first text or preview, of attempts that had one."""


class Tally:
    """An `AttemptListener` that counts. Names are bounded, whatever is asked for."""

    def __init__(self) -> None:
        self._figures: dict[tuple[str, str], Figures] = {}
        self._failures: dict[tuple[str, str, str], int] = {}
        self._providers: set[str] = set()
        self._reasons: set[str] = set()

    def __call__(self, attempt: Attempt) -> None:
        """Count an attempt that is over."""
        key = self._key(attempt.provider, attempt.model)
        figures = self._figures[key]
        figures.attempts[attempt.outcome] += 1
        usage = attempt.usage
        for kind, count in (
            ("input", usage.input_tokens),
            ("output", usage.output_tokens),
            ("cached", usage.cached_tokens),
            ("cache_write", usage.cache_write_tokens),
            ("reasoning", usage.reasoning_tokens),
        ):
            if count:
                figures.tokens[kind] += count
        if attempt.paid is not None:
            figures.cost += round(attempt.paid.cost_usd * 1e9)
        if attempt.outcome == "ok":
            figures.latency.add(attempt.duration)
        if attempt.first > 0:
            figures.first.add(attempt.first)
        if attempt.error is not None and attempt.outcome == "error":
            self._fail(key, reason_of(attempt.error))

    def saved(self, model: str, nano: int, how: str) -> None:
        """Count what was not paid; *how* is in the ledger."""
        del how
        self._figures[self._key(model.partition("/")[0], model)].saved += nano

    def _key(self, provider: str, model: str) -> tuple[str, str]:
        key = (provider, model.removeprefix(f"{provider}/"))
        if key in self._figures:
            return key
        if provider not in self._providers and len(self._providers) >= MOST_PROVIDERS:
            key = (OTHER, OTHER)
        elif len(self._figures) >= MOST_MODELS:
            key = (provider, OTHER)
        if key not in self._figures:
            self._figures[key] = Figures()
            self._providers.add(key[0])
        return key

    def _fail(self, key: tuple[str, str], reason: str) -> None:
        if reason not in self._reasons:
            reason = reason if len(self._reasons) < MOST_REASONS else OTHER
            self._reasons.add(reason)
        self._failures[(*key, reason)] = self._failures.get((*key, reason), 0) + 1

    def attempts(self) -> dict[Labels, int]:
        """Return attempts by provider, model and outcome."""
        return {(*key, name): n for key, found in self._figures.items() for name, n in found.attempts.items()}

    def failures(self) -> dict[Labels, int]:
        """Return failed attempts by provider, model and reason."""
        return {(*key,): count for key, count in self._failures.items()}

    def tokens(self) -> dict[Labels, int]:
        """Return tokens by provider, model and kind."""
        return {(*key, name): n for key, found in self._figures.items() for name, n in found.tokens.items()}

    def cost(self) -> dict[Labels, float]:
        """Return US dollars by provider and model."""
        return {key: found.cost / 1e9 for key, found in self._figures.items()}

    def savings(self) -> dict[Labels, float]:
        """Return US dollars that were not paid, by provider and model."""
        return {key: found.saved / 1e9 for key, found in self._figures.items() if found.saved}

    def latency(self) -> dict[Labels, Histogram]:
        """Return how long attempts took that succeeded."""
        return {key: found.latency for key, found in self._figures.items()}

    def first(self) -> dict[Labels, Histogram]:
        """Return how long it took to the first text or preview."""
        return {key: found.first for key, found in self._figures.items()}
