"""The emulator of OpenAI answers as the service does: the official SDK parses it, strictly."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from tests.emulators.openai import COUNTED, HEARD, PNG, SOUND, TEXT, OpenAIEmulator


@asynccontextmanager
async def sdk() -> AsyncIterator[tuple[Any, OpenAIEmulator]]:
    async with OpenAIEmulator() as emulator:
        client = openai.AsyncOpenAI(
            api_key=emulator.key, base_url=emulator.base_url, max_retries=0, _strict_response_validation=True
        )
        try:
            yield client, emulator
        finally:
            await client.close()


async def test_responses() -> None:
    async with sdk() as (client, _):
        whole = await client.responses.create(model="gpt-6-luna", input="hi")
        assert whole.output_text == TEXT
        assert whole.usage.output_tokens_details.reasoning_tokens == 29
        events = [event async for event in await client.responses.create(model="gpt-6-luna", input="hi", stream=True)]
        assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == TEXT
        assert events[-1].response.usage.input_tokens_details.cached_tokens == 64
        assert [event.sequence_number for event in events] == list(range(len(events)))
        counted = await client.responses.input_tokens.count(model="gpt-6-luna", input="hi")
        assert counted.input_tokens == COUNTED


@pytest.mark.parametrize("fault", ["incomplete", "failed", "filtered", "error-event"])
async def test_responses_that_end_otherwise(fault: str) -> None:
    async with sdk() as (client, emulator):
        emulator.next(fault)
        events = [event async for event in await client.responses.create(model="gpt-6-luna", input="hi", stream=True)]
        last = {"filtered": "response.completed", "error-event": "error"}.get(fault, f"response.{fault}")
        assert events[-1].type == last


async def test_chat() -> None:
    async with sdk() as (client, _):
        asked: Any = {"model": "gpt-6-luna", "messages": [{"role": "user", "content": "hi"}]}
        whole = await client.chat.completions.create(**asked)
        assert whole.choices[0].message.content == TEXT
        stream = await client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == TEXT
        assert chunks[-1].usage.prompt_tokens_details.cached_tokens == 64


async def test_pictures() -> None:
    async with sdk() as (client, _):
        whole = await client.images.generate(model="gpt-image-2", prompt="a bay")
        assert base64.b64decode(whole.data[0].b64_json) == PNG
        stream = await client.images.edit(
            model="gpt-image-2", image=("a.png", PNG, "image/png"), prompt="b", stream=True, partial_images=2
        )
        kinds = [event.type async for event in stream]
        assert kinds == ["image_edit.partial_image"] * 2 + ["image_edit.completed"]


async def test_sound_and_vectors() -> None:
    async with sdk() as (client, _):
        spoken = await client.audio.speech.create(model="tts-1", voice="alloy", input="hi")
        assert spoken.content == SOUND
        heard = await client.audio.transcriptions.create(model="gpt-transcribe", file=("a.wav", b"RIFF", "audio/wav"))
        assert heard.text == HEARD
        assert heard.usage.input_token_details.audio_tokens == 72
        made = await client.embeddings.create(
            model="text-embedding-3-small", input=["a"], dimensions=2, encoding_format="float"
        )
        assert made.data[0].embedding == OpenAIEmulator.vector("a", 2)


async def test_batches_and_models() -> None:
    async with sdk() as (client, emulator):
        line = b'{"custom_id": "0", "method": "POST", "url": "/v1/responses", "body": {"model": "m", "input": "hi"}}'
        file = await client.files.create(file=("b.jsonl", line), purpose="batch")
        batch = await client.batches.create(input_file_id=file.id, endpoint="/v1/responses", completion_window="24h")
        for _ in range(emulator.polls):
            batch = await client.batches.retrieve(batch.id)
        assert batch.status == "completed"
        assert TEXT in (await client.files.content(batch.output_file_id)).text
        assert (await client.batches.cancel(batch.id)).status == "cancelling"
        assert "gpt-6-luna" in [model.id async for model in await client.models.list()]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("401", openai.AuthenticationError),
        ("403", openai.PermissionDeniedError),
        ("404", openai.NotFoundError),
        ("429", openai.RateLimitError),
        ("500", openai.InternalServerError),
        ("503", openai.InternalServerError),
        ("context", openai.BadRequestError),
        ("disconnect", openai.APIConnectionError),
    ],
)
async def test_refusals(fault: str, error: type[Exception]) -> None:
    async with sdk() as (client, emulator):
        emulator.next(fault)
        with pytest.raises(error):
            await client.models.list()
        assert len(emulator.journal) == 1
        await client.models.list()


async def test_a_key_that_is_not_its_own_is_refused() -> None:
    async with sdk() as (client, emulator):
        wrong = client.copy(api_key="sk-wrong")
        with pytest.raises(openai.AuthenticationError):
            await wrong.models.list()
        assert emulator.journal[0].headers["Authorization"] == "Bearer sk-wrong"


def test_it_serves_clients_that_block() -> None:
    with OpenAIEmulator().threaded() as emulator:
        client = openai.OpenAI(api_key=emulator.key, base_url=emulator.base_url, max_retries=0)
        assert client.responses.create(model="gpt-6-luna", input="hi").output_text == TEXT
        client.close()
