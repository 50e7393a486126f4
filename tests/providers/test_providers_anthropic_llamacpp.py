"""Claude's provider against a real server of Claude's protocol: llama.cpp with a model of random weights.

What it says is noise; how it says it is not: streams, counts, ends and refusals come from a program that others wrote.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from tests.emulators.llamacpp import WINDOW, llamacpp

from lightfast.sdk import Finish, GenerationRequest, ProviderError, Secret, Session, TextDelta, Usage
from lightfast.sdk.testing import FakeBench
from lightfast_providers.anthropic import Anthropic

pytest.importorskip("xllamacpp")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with llamacpp(tmp_path_factory.mktemp("llama")) as base_url:
        yield base_url.removesuffix("/v1")


def request_to(server: str, **changes: Any) -> GenerationRequest:
    session = Session(key=Secret("sk-of-nobody-000"), base_url=server)
    request = GenerationRequest("claude-haiku-4-5", "text", "Say something.", {}, 1, system="Be.", session=session)
    return dataclasses.replace(request, max_output_tokens=12, **changes)


async def test_a_stream_and_the_count_of_its_request_agree(server: str) -> None:
    provider = Anthropic()
    usages = []
    try:
        counted = await provider.count_tokens(request_to(server))
        for _ in range(20):  # it leaves the beginning of some streams out, and with it the tokens of the request
            steps = [step async for step in provider.generate(request_to(server), FakeBench())]
            assert [step for step in steps if isinstance(step, TextDelta)]
            assert steps[-1] == Finish("length")
            (usage,) = [step for step in steps if isinstance(step, Usage)]
            assert usage.output_tokens == 12
            usages += [usage] if usage.input_tokens else []
            if len(usages) == 2:
                break
    finally:
        await provider.close()
    # What it has read from its cache, it tells apart; here it is included.
    assert [usage.input_tokens for usage in usages] == [counted, counted]
    assert 0 < usages[1].cached_tokens < counted


async def test_a_request_beyond_the_window(server: str) -> None:
    provider = Anthropic()
    try:
        with pytest.raises(ProviderError) as caught:
            _ = [step async for step in provider.generate(request_to(server, prompt="x " * 9 * WINDOW), FakeBench())]
    finally:
        await provider.close()
    assert caught.value.kind == "context"
