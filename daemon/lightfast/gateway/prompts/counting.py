"""How many tokens a request takes: the estimate, corrected by what services have counted, or a service's own count.

The correction of a model is the highest of the last `SAMPLES` ratios between the count of its service and the plain
estimate. The highest, not the mean: what is counted decides whether a request fits and what is held of a budget, so it
must not lean low. It goes below 1 only when `SURE` requests were seen.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import OrderedDict, deque
from collections.abc import Sequence

from lightfast.core.tokens import Estimate, TokenCounter
from lightfast.gateway.ports import Attempt
from lightfast.sdk import GenerationRequest, Message, Usage

SAMPLES = 64
SURE = 20
LEAST_TOKENS = 100
"""Smaller requests teach nothing: the words around them weigh more than they do."""
LOWEST, HIGHEST = 0.5, 4.0
"""What a correction can be."""
MOST_MODELS = 1024
MOST_COUNTS = 1024
"""So many exact counts are remembered."""
PER_REQUEST = 16
"""What a service adds around a request, in tokens: the beginning of the answer, and roles."""
PER_MESSAGE = 8
"""What it adds around each turn."""
_PLAIN = Estimate()


class Corrected:
    """The estimate times a factor; implements `core.tokens.TokenCounter`."""

    __slots__ = ("factor", "name")

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor
        self.name = Estimate.name if factor == 1.0 else f"{Estimate.name} x {factor:.2f}"

    def count(self, text: str) -> int:
        """Return how many tokens *text* takes, leaning high."""
        return math.ceil(_PLAIN.count(text) * self.factor)


class Counters:
    """Who counts for which model; `learn` takes in what services have counted."""

    def __init__(self) -> None:
        self._ratios: OrderedDict[str, deque[float]] = OrderedDict()
        self._exact: OrderedDict[str, int] = OrderedDict()

    def counter(self, model: str) -> TokenCounter:
        """Return who counts for `provider/model` offline; for one that nobody knows, the plain estimate."""
        return Corrected(self.factor(model))

    def factor(self, model: str) -> float:
        """Return the correction of a model."""
        ratios = self._ratios.get(model)
        if not ratios:
            return 1.0
        highest = max(ratios)
        lowest = LOWEST if len(ratios) >= SURE else 1.0
        return min(HIGHEST, max(lowest, highest))

    def models(self) -> list[str]:
        """Return the models that something was learned of."""
        return list(self._ratios)

    def learn(self, attempt: Attempt) -> None:
        """Take in an attempt that is over: what was estimated, and what its service has counted."""
        used = _text_tokens(attempt.usage)
        if attempt.outcome != "ok" or attempt.estimate < LEAST_TOKENS or used <= 0:
            return
        ratios = self._ratios.get(attempt.model)
        if ratios is None:
            ratios = self._ratios[attempt.model] = deque(maxlen=SAMPLES)
            if len(self._ratios) > MOST_MODELS:
                self._ratios.popitem(last=False)
        self._ratios.move_to_end(attempt.model)
        ratios.append(used / attempt.estimate)

    def known(self, key: str) -> int | None:
        """Return an exact count that was made before."""
        return self._exact.get(key)

    def remember(self, key: str, tokens: int) -> None:
        """Keep an exact count."""
        self._exact[key] = tokens
        if len(self._exact) > MOST_COUNTS:
            self._exact.popitem(last=False)


def estimate(
    counter: TokenCounter, prompt: str, system: str = "", messages: Sequence[Message] = (), schema: str = ""
) -> int:
    """Return what a request takes, with what a service adds around it."""
    total = PER_REQUEST + counter.count(prompt)
    if system:
        total += PER_MESSAGE + counter.count(system)
    if schema:
        total += PER_MESSAGE + counter.count(schema)
    return total + sum(PER_MESSAGE + counter.count(message.text) for message in messages)


def key_of(provider: str, request: GenerationRequest) -> str:
    """Return a digest of all of a request that its tokens depend on; the account and its key are not in it."""
    parts = [
        provider,
        request.model,
        request.prompt,
        request.system,
        [[message.role, message.text] for message in request.messages],
        dict(request.schema) if request.schema is not None else None,
        [hashlib.sha256(source).hexdigest() for source in request.sources],
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode("utf-8", "surrogatepass")).hexdigest()


def _text_tokens(usage: Usage) -> int:
    return usage.input_tokens - usage.image_input_tokens - usage.audio_input_tokens
