"""The provider for compatible servers against the real llama.cpp, with a model of random weights."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from tests.emulators import tinygguf
from tests.emulators.llamacpp import WINDOW, llamacpp

from lightfast.sdk import (
    EmbeddingRequest,
    Finish,
    GenerationRequest,
    Message,
    Model,
    ProviderError,
    Session,
    Step,
    TextDelta,
    Usage,
)
from lightfast.sdk.testing import FakeBench
from lightfast_providers.compatible.provider import Compatible
from lightfast_providers.compatible.servers import Server

pytest.importorskip("xllamacpp")

SCHEMA = {
    "type": "object",
    "properties": {
        "op": {"enum": ["image", "text"]},
        "n": {"type": "integer", "minimum": 0, "maximum": 9},
    },
    "required": ["op", "n"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def text_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with llamacpp(tmp_path_factory.mktemp("llama")) as base_url:
        yield base_url


@pytest.fixture(scope="module")
def vector_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with llamacpp(tmp_path_factory.mktemp("llama-vectors"), embedding=True) as base_url:
        yield base_url


async def generated(base_url: str, **changes: Any) -> list[Step]:
    provider = Compatible(Server("llama", base_url))
    asked = {"prompt": "plan", "settings": {}, "seed": 5, "max_output_tokens": 24, **changes}
    try:
        request = GenerationRequest("tiny-random.gguf", "text", session=Session(), **asked)
        return [step async for step in provider.generate(request, FakeBench())]
    finally:
        await provider.close()


def text_of(steps: list[Step]) -> str:
    return "".join(step.text for step in steps if isinstance(step, TextDelta))


async def test_it_lists_its_model_with_the_window_it_was_started_with(text_server: str) -> None:
    provider = Compatible(Server("llama", text_server))
    try:
        (model,) = await provider.discover(Session()) or ()
        assert (await provider.probe(Session())).message == "1 models, llama.cpp"
    finally:
        await provider.close()
    assert isinstance(model, Model)
    assert (model.name, model.context_tokens, model.free) == ("tiny-random.gguf", WINDOW, True)


async def test_text_comes_in_parts_with_its_usage_and_the_same_for_a_seed(text_server: str) -> None:
    steps = await generated(text_server)
    assert len([step for step in steps if isinstance(step, TextDelta)]) > 4
    (usage,) = [step for step in steps if isinstance(step, Usage)]
    assert usage.output_tokens == 24
    assert usage.input_tokens > 0
    assert [step.reason for step in steps if isinstance(step, Finish)] == ["length"]
    assert text_of(await generated(text_server)) == text_of(steps)
    assert text_of(await generated(text_server, seed=6)) != text_of(steps)


async def test_an_answer_with_a_schema_fits_it(text_server: str) -> None:
    for seed in range(4):
        steps = await generated(text_server, schema=SCHEMA, max_output_tokens=200, seed=seed)
        jsonschema_rs.validate(SCHEMA, json.loads(text_of(steps)))


async def test_a_beginning_is_continued(text_server: str) -> None:
    steps = await generated(text_server, prefix="Once upon a time")
    assert not text_of(steps).startswith("Once")
    (alone,) = [step for step in await generated(text_server) if isinstance(step, Usage)]
    (usage,) = [step for step in steps if isinstance(step, Usage)]
    assert usage.input_tokens > alone.input_tokens, "the beginning was not sent"


async def test_too_long_a_request_is_of_the_kind_context(text_server: str) -> None:
    with pytest.raises(ProviderError, match="exceeds the available context size") as caught:
        await generated(text_server, prompt="word " * WINDOW)
    assert caught.value.kind == "context"
    assert not caught.value.retryable


async def test_tokens_are_counted_as_the_server_counts_them(text_server: str) -> None:
    talk = {"prompt": "the plan", "system": "be brief", "messages": (Message("user", "hi"), Message("assistant", "ho"))}
    (usage,) = [step for step in await generated(text_server, **talk) if isinstance(step, Usage)]
    provider = Compatible(Server("llama", text_server))
    try:
        request = GenerationRequest("tiny-random.gguf", "text", settings={}, seed=1, **talk)  # type: ignore[arg-type]
        assert await provider.count_tokens(request) == usage.input_tokens
    finally:
        await provider.close()


async def test_a_cancelled_generation_frees_its_slot(text_server: str) -> None:
    provider = Compatible(Server("llama", text_server))
    request = GenerationRequest("tiny-random.gguf", "text", "go on", {}, 1)  # without a bound, to the window's end

    async def read(steps: list[Step]) -> None:
        async for step in provider.generate(request, FakeBench()):
            steps.append(step)

    try:
        for _ in range(4):  # more than there are slots
            steps: list[Step] = []
            task = asyncio.ensure_future(read(steps))
            while not steps and not task.done():
                await asyncio.sleep(0.001)
            task.cancel()
            await asyncio.wait({task})
        assert text_of(await generated(text_server))
    finally:
        await provider.close()


async def test_vectors_have_the_width_of_the_model(vector_server: str) -> None:
    provider = Compatible(Server("llama", vector_server))
    try:
        request = EmbeddingRequest("tiny-random.gguf", ("the sea", "the sea", "a wall"))
        found = await provider.embed(request, FakeBench())
    finally:
        await provider.close()
    one, same, other = found.vectors
    assert len(one) == tinygguf.WIDTH
    assert one == pytest.approx(same, abs=1e-5)
    assert one != pytest.approx(other, abs=1e-3)
    assert math.isclose(math.hypot(*one), 1.0, abs_tol=1e-3)
    assert found.usage.input_tokens > 0


async def test_a_server_without_vectors_says_so(text_server: str) -> None:
    provider = Compatible(Server("llama", text_server))
    try:
        with pytest.raises(ProviderError, match="does not support embeddings") as caught:
            await provider.embed(EmbeddingRequest("tiny-random.gguf", ("a",)), FakeBench())
    finally:
        await provider.close()
    assert caught.value.kind == "invalid"
