"""Our OpenAI providers against aimock: an emulator that others wrote, kept in step with the real service."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.emulators.aimock import Running, aimock
from tests.emulators.openai import PNG, SOUND

from lightfast.sdk import (
    Artifact,
    BatchAnswer,
    EmbeddingRequest,
    Finish,
    GenerationRequest,
    Job,
    Limits,
    Provider,
    ProviderError,
    Secret,
    Session,
    Step,
    TextDelta,
    Usage,
)
from lightfast.sdk.testing import FakeBench, complete_settings
from lightfast_providers.compatible.provider import Compatible
from lightfast_providers.compatible.servers import Server
from lightfast_providers.openai.provider import OpenAI

pytestmark = pytest.mark.real_app

TEXT = "The lighthouse turns, and the bay answers."
USAGE = {"prompt_tokens": 31, "completion_tokens": 11, "input_tokens": 31, "output_tokens": 11}
FIXTURES: list[dict[str, Any]] = [
    {"match": {"userMessage": "bay", "endpoint": "chat"}, "response": {"content": TEXT, "usage": USAGE}},
    {
        "match": {"userMessage": "limited"},
        "response": {
            "error": {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"},
            "status": 429,
            "retryAfter": 7,
        },
    },
    {
        "match": {"userMessage": "broke"},
        "response": {
            "error": {"message": "No money", "type": "insufficient_quota", "code": "insufficient_quota"},
            "status": 429,
        },
    },
    {"match": {"endpoint": "image"}, "response": {"image": {"b64Json": base64.b64encode(PNG).decode()}}},
    {"match": {"endpoint": "speech"}, "response": {"audio": base64.b64encode(SOUND).decode(), "format": "mp3"}},
    {"match": {"endpoint": "transcription"}, "response": {"transcription": {"text": "one two three"}}},
    {"match": {"inputText": "sea"}, "response": {"embedding": [0.25, 0.5, 0.75]}},
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with aimock(tmp_path_factory.mktemp("aimock"), FIXTURES) as running:
        yield running


@asynccontextmanager
async def opened(provider: Provider) -> AsyncIterator[Provider]:
    try:
        yield provider
    finally:
        await provider.close()


def session(server: Running) -> Session:
    return Session(key=Secret("sk-aimock-0123456789"), base_url=server.url + "/v1")


async def generated(
    provider: Provider, server: Running, model: str, output: str, prompt: str, **more: Any
) -> list[Step]:
    known = next((each for each in provider.models() if each.name == model), None) or provider.model(model)
    assert known is not None
    settings = complete_settings(known, more.pop("settings", {}))
    request = GenerationRequest(model, output, prompt, settings, 1, session=session(server), **more)
    async with opened(provider):
        return [step async for step in provider.generate(request, FakeBench())]


def text_of(steps: list[Step]) -> str:
    return "".join(step.text for step in steps if isinstance(step, TextDelta))


async def test_text_by_responses(server: Running) -> None:
    before = len(server.journal())
    steps = await generated(OpenAI(), server, "gpt-6-luna", "text", "the bay")
    assert text_of(steps) == TEXT
    (usage,) = [step for step in steps if isinstance(step, Usage)]
    assert (usage.input_tokens, usage.output_tokens, usage.requests) == (31, 11, 1)
    assert [step.reason for step in steps if isinstance(step, Finish)] == ["stop"]
    sent = [entry for entry in server.journal()[before:] if entry["path"].endswith("/responses")]
    assert len(sent) == 1


async def test_text_by_chat(server: Running) -> None:
    steps = await generated(
        Compatible(Server("aimock", models=("gpt-6-luna",))), server, "gpt-6-luna", "text", "the bay"
    )
    assert text_of(steps) == TEXT
    (usage,) = [step for step in steps if isinstance(step, Usage)]
    assert (usage.input_tokens, usage.output_tokens) == (31, 11)


@pytest.mark.parametrize(
    "provider", [OpenAI, lambda: Compatible(Server("aimock", models=("gpt-6-luna",)))], ids=["responses", "chat"]
)
async def test_a_429_is_a_limit_and_is_not_tried_again(server: Running, provider: Any) -> None:
    before = len(server.journal())
    with pytest.raises(ProviderError) as caught:
        await generated(provider(), server, "gpt-6-luna", "text", "limited")
    assert (caught.value.kind, caught.value.retry_after, caught.value.terminal) == ("limit", 7.0, False)
    assert isinstance(caught.value.limits, (Limits, type(None)))
    assert len(server.journal()) == before + 1
    with pytest.raises(ProviderError) as caught:
        await generated(provider(), server, "gpt-6-luna", "text", "broke")
    assert (caught.value.kind, caught.value.terminal) == ("limit", True)


@pytest.mark.parametrize("edit", [False, True], ids=["generate", "edit"])
async def test_a_picture(server: Running, edit: bool) -> None:
    sources = {"sources": (PNG,), "source_types": ("image/png",)} if edit else {}
    steps = await generated(OpenAI(), server, "gpt-image-2.5-flare", "image", "a picture", **sources)
    (made,) = [step for step in steps if isinstance(step, Artifact)]
    assert made.content == PNG


async def test_speech_and_its_transcription(server: Running) -> None:
    steps = await generated(OpenAI(), server, "tts-1", "audio", "one two three")
    (made,) = [step for step in steps if isinstance(step, Artifact)]
    assert made.content == SOUND
    heard = await generated(
        OpenAI(), server, "gpt-transcribe", "text", "", sources=(made.content,), source_types=("audio/mpeg",)
    )
    assert text_of(heard) == "one two three"


async def test_vectors(server: Running) -> None:
    async with opened(OpenAI()) as provider:
        request = EmbeddingRequest("text-embedding-3-small", ("the sea", "a sea"), session=session(server))
        found = await provider.embed(request, FakeBench())
    assert found.vectors == ((0.25, 0.5, 0.75), (0.25, 0.5, 0.75))


async def test_a_batch(server: Running) -> None:
    asked = [GenerationRequest("gpt-6-luna", "text", f"the bay {number}", {}, 1) for number in range(2)]
    async with opened(OpenAI(polls=(0.01, 0.05))) as provider:
        steps = [step async for step in provider.batch(asked, session(server), "", FakeBench())]
    assert isinstance(steps[0], Job)
    found = {step.index: step for step in steps if isinstance(step, BatchAnswer)}
    assert sorted(found) == [0, 1]
    # It answers every line alike, without asking the fixtures.
    assert [(bool(found[index].text), found[index].error) for index in (0, 1)] == [(True, ""), (True, "")]


async def test_the_models_are_listed(server: Running) -> None:
    async with opened(OpenAI()) as provider:
        assert "models" in (await provider.probe(session(server))).message
