"""Vectors by `/embeddings` of OpenAI's protocol."""

from __future__ import annotations

import array
import base64
from collections.abc import Mapping
from typing import Any

from lightfast.sdk import EmbeddingRequest, Embeddings, ProviderError, Usage, Workbench
from lightfast_providers._common.limits import openai_limits
from lightfast_providers._common.openai_text import count
from lightfast_providers._common.openai_wire import Wire

LARGE = 1 << 18
"""Bytes of an answer from which on it is read off the loop: a thousand vectors take a tenth of a second."""


async def embedded(wire: Wire, request: EmbeddingRequest, body: Mapping[str, Any], bench: Workbench) -> Embeddings:
    """Ask for the vectors of a request and read them."""
    content, headers = await wire.fetch(request.session, "/embeddings", body, timeout=request.timeout)

    def read() -> Embeddings:
        payload = wire.decoded(content, headers).payload
        found = vectors(payload, len(request.texts))
        return Embeddings(found, embeddings_usage(payload.get("usage")), openai_limits(headers))

    with wire.reading(request.session):
        return read() if len(content) < LARGE else await bench.run(read)


def vectors(payload: Mapping[str, Any], texts: int) -> tuple[tuple[float, ...], ...]:
    """Return the vectors of `/embeddings` in the order of their texts; numbers, or base64 of little-endian floats."""
    found: dict[int, tuple[float, ...]] = {}
    for place, item in enumerate(payload.get("data") or ()):
        vector = item.get("embedding")
        if isinstance(vector, str):
            numbers = array.array("f", base64.b64decode(vector))
            if array.array("H", [1]).tobytes() == b"\0\1":
                numbers.byteswap()
            vector = numbers
        found[int(item.get("index", place))] = tuple(float(each) for each in vector)
    if sorted(found) != list(range(texts)):
        raise ProviderError(f"{len(found)} vectors came for {texts} texts", kind="malformed")
    return tuple(found[index] for index in range(texts))


def embeddings_usage(usage: Any) -> Usage:
    """Return the usage of `/embeddings`."""
    return Usage(input_tokens=count(usage, "prompt_tokens"), requests=1)
