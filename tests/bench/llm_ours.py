"""Asks the bench's AI service through the whole gateway, in one process, and tells what that took.

`python -m tests.bench.llm_ours chat|responses URL`: chat through the provider `compatible`, responses through `openai`.
Its input is that of `llm_bare`; the gateway always streams, whether the caller wants the answer at once or not.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from tests.bench.llm_bare import MODEL, Ask, work
from tests.support.ai_house import ai_house

from lightfast.core import log
from lightfast.gateway.calls import GenerateCall
from lightfast.gateway.router import Gateway
from lightfast.sdk import Provider, TextDelta


def provider_of(kind: str, url: str) -> Provider:
    """Return the provider that asks."""
    if kind == "responses":
        from lightfast_providers.openai.provider import OpenAI

        return OpenAI()
    from lightfast_providers.compatible.provider import Compatible
    from lightfast_providers.compatible.servers import servers_of

    return next(Compatible(each) for each in servers_of({"servers": {"bench": url}}) if each.name == "bench")


def asker(gateway: Gateway, model: str, cache: str) -> Ask:
    """Return what asks the gateway, with answers kept or not."""

    async def ask(prompt: str, stream: bool) -> int:
        del stream
        count = 0
        call = GenerateCall(model, "text", prompt, cache=cache, price_consent=True)
        async for step in gateway.generate(call, "bench"):
            if isinstance(step.kind, TextDelta):
                count += step.kind.text.count("word ")  # pieces that wait are joined
        return count

    return ask


async def run(kind: str, url: str) -> None:
    """Work with a store in a temporary folder."""
    provider = provider_of(kind, url)
    table = {"base_urls": (url,), "keys": ("env:BENCH_KEY",), "requests_per_minute": 1e9, "tokens_per_minute": 1e12}
    with tempfile.TemporaryDirectory() as folder:
        async with ai_house(Path(folder), [provider], {provider.name: table}) as house:
            name = f"{provider.name}/{MODEL}"
            await work(asker(house.gateway, name, "off"), asker(house.gateway, name, "exact"))


if __name__ == "__main__":
    os.environ["BENCH_KEY"] = "sk-bench-0123456789"
    log.configure("error", "json")
    asyncio.run(run(sys.argv[1], sys.argv[2]))
