"""The contract of an embedder."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lightfast.sdk.contract import PluginMistake, check_embedder_shape
from lightfast.sdk.embedder import Embedder
from lightfast.sdk.testing.errors import ContractBroken, require

TEXTS = (
    "the kick drum is at minus six decibels",
    "kick drum level: -6 dB",
    "the lights of the second act are cold blue",
    "Straße, größer — naïve café",
    "東京の夜景 🎛️",
    "ab\u0301\u200d\ufeff",
    "a lone surrogate \ud83d in a file name",
    "x" * 5000,
    "word " * 2000,
    "\x00\x01 control",
)
EMPTY = ("", " ", "\t\n\u3000")
NEARLY = 1e-4
"""Two vectors of the same text may differ by so much in a number: sums in another order round otherwise."""


def check_embedder(embedder: Embedder, texts: Sequence[str] = TEXTS) -> None:
    """Run an embedder through its contract and close it; blocks. Raises `ContractBroken`.

    One vector for each text, of the promised length, finite, of length 1 or all zeros; the same for the same text
    whatever stands beside it; any Unicode; like texts closer than others; work after nothing, and closing twice.
    """
    try:
        check_embedder_shape(embedder)
    except PluginMistake as mistake:
        raise ContractBroken(str(mistake)) from None
    name = embedder.name
    require(len(embedder.embed([])) == 0, f"{name} made vectors of no texts")
    together = _checked(embedder, texts)
    for text, vector in zip(texts, together, strict=True):
        (alone,) = _checked(embedder, [text])
        difference = max(abs(one - other) for one, other in zip(alone, vector, strict=True))
        require(
            difference <= NEARLY,
            f"{name} made another vector of {text[:40]!r} when it stood alone (off by {difference:g}): vectors are"
            " stored, so the same text must have the same one",
        )
    for text, vector in zip(EMPTY, _checked(embedder, EMPTY), strict=True):
        require(not any(vector), f"{name} made a vector of {text!r}, which has no content: make it all zeros")
    near, far = _dot(together[0], together[1]), _dot(together[0], together[2])
    if texts is TEXTS:
        require(
            near > far,
            f"{name} holds {TEXTS[0]!r} for closer to {TEXTS[2]!r} ({far:.2f}) than {TEXTS[1]!r} ({near:.2f})",
        )
    embedder.close()
    embedder.close()


def _checked(embedder: Embedder, texts: Sequence[str]) -> list[list[float]]:
    found = [list(map(float, vector)) for vector in embedder.embed(texts)]
    require(len(found) == len(texts), f"{embedder.name} made {len(found)} vectors of {len(texts)} texts")
    for text, vector in zip(texts, found, strict=True):
        what = f"{embedder.name} made of {text[:40]!r} a vector"
        require(
            len(vector) == embedder.dimensions, f"{what} of {len(vector)} numbers: it promised {embedder.dimensions}"
        )
        length = math.sqrt(math.fsum(number * number for number in vector))
        require(math.isfinite(length), f"{what} that is not finite")
        require(length == 0.0 or abs(length - 1.0) < 1e-3, f"{what} of length {length:g}: divide it by its length")
    return found


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return math.fsum(a * b for a, b in zip(one, other, strict=True))
