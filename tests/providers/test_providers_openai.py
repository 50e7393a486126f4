"""OpenAI's provider against its emulator: the contract, case by case."""

from __future__ import annotations

from typing import Any

import pytest
from tests.emulators.openai import COUNTED, HEARD, PNG, SOUND, TEXT, OpenAIEmulator
from tests.providers.contract import Case, Plugin, contract, plugin_contract

from lightfast.sdk import EmbeddingRequest, GenerationRequest, Usage
from lightfast_providers.openai.provider import OpenAI

PLUGIN = Plugin("lightfast_providers.openai", "openai", sdk=("openai",), install="lightfast[openai]")
LIMITS = frozenset(("requests", "tokens"))
SCHEMA = {
    "type": "object",
    "properties": {"title": {"type": "string"}},
    "required": ["title"],
    "additionalProperties": False,
}
TEXT_USAGE = Usage(
    input_tokens=131, output_tokens=53, cached_tokens=64, cache_write_tokens=17, reasoning_tokens=29, requests=1
)
IMAGE_USAGE = Usage(
    input_tokens=211, output_tokens=1056, image_input_tokens=194, image_output_tokens=1056, images=1, requests=1
)


def provider() -> OpenAI:
    return OpenAI(polls=(0.01, 0.01))


def case(name: str, *, request: GenerationRequest | None = None, **more: Any) -> Case:
    return Case(name, OpenAIEmulator, provider, request=request, limits=LIMITS, **more)


WAV = b"RIFF\x24\0\0\0WAVEfmt "
CASES = (
    case(
        "text",
        request=GenerationRequest("gpt-6-luna", "text", "Describe the bay.", {"effort": "low"}, 1, system="Be brief."),
        answer=TEXT,
        usage=TEXT_USAGE,
        path="/responses",
        tokens=COUNTED,
    ),
    case(
        "schema",
        request=GenerationRequest("gpt-6.2-sol", "text", "A title.", {}, 1, schema=SCHEMA, max_output_tokens=64),
        answer='{"title": "Bay"}',
        usage=TEXT_USAGE,
    ),
    case(
        "image",
        request=GenerationRequest("gpt-image-2.6-flare", "image", "a bay", {"quality": "low"}, 1),
        answer=PNG,
        media_type="image/png",
        usage=IMAGE_USAGE,
    ),
    case(
        "previews",
        request=GenerationRequest("gpt-image-2.6-flare", "image", "a bay", {"previews": 2}, 1),
        answer=PNG,
        streams=True,
        usage=IMAGE_USAGE,
    ),
    case(
        "edit",
        request=GenerationRequest(
            "gpt-image-2.5-sunburst", "image", "at night", {}, 1, sources=(PNG,), source_types=("image/png",)
        ),
        answer=PNG,
        usage=IMAGE_USAGE,
        path="/images/edits",
    ),
    case(
        "speech",
        request=GenerationRequest("gpt-4o-mini-tts", "audio", "one two three", {"voice": "coral"}, 1),
        answer=SOUND,
        media_type="audio/mpeg",
        usage=Usage(input_tokens=19, output_tokens=307, audio_output_tokens=307, characters=13, requests=1),
        streams=True,
        without={"filtered": "the service speaks whatever it is given"},
    ),
    case(
        "tts",
        request=GenerationRequest("tts-1", "audio", "one two three", {}, 1),
        answer=SOUND,
        usage=Usage(characters=13, requests=1),
        without={
            "filtered": "the service speaks whatever it is given",
            "malformed": "sound has no form to break: see test_speech_that_is_no_sound",
        },
    ),
    case(
        "transcription",
        request=GenerationRequest(
            "gpt-transcribe", "text", "numbers", {}, 1, sources=(WAV,), source_types=("audio/wav",)
        ),
        answer=HEARD,
        streams=False,
        usage=Usage(input_tokens=83, output_tokens=13, audio_input_tokens=72, requests=1),
        without={"filtered": "the service writes down whatever it hears"},
    ),
    case(
        "embedding",
        embedding=EmbeddingRequest("text-embedding-3-small", ("a", "bc", "def")),
        vectors=tuple(tuple(OpenAIEmulator.vector(text)) for text in ("a", "bc", "def")),
        usage=Usage(input_tokens=23, requests=1),
    ),
    Case(
        "batch",
        OpenAIEmulator,
        provider,
        batch=[
            GenerationRequest("gpt-6-luna", "text", "one", {}, 1),
            GenerationRequest("gpt-6-luna", "text", "fail", {}, 1),
            GenerationRequest("gpt-6-luna", "text", "three", {}, 1),
        ],
        batch_answers=((f"{TEXT} 0", ""), ("", "context_length_exceeded"), (f"{TEXT} 2", "")),
        path="/batches",
    ),
)


@pytest.mark.parametrize(("check", "case"), contract(CASES))
async def test_contract(check: Any, case: Case) -> None:
    await check(case)


@pytest.mark.parametrize("check", plugin_contract(PLUGIN))
async def test_plugin(check: Any) -> None:
    await check(PLUGIN)
