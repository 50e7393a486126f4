"""What OpenAI's provider sends, and how it reads what only this service says."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from typing import Any

import pytest
from PIL import Image
from tests.emulators.openai import PNG, TEXT, OpenAIEmulator
from tests.providers.contract import Case, rig

from lightfast.sdk import (
    BatchAnswer,
    EmbeddingRequest,
    Finish,
    GenerationRequest,
    Limit,
    Limits,
    Message,
    Preview,
    ProviderError,
    Session,
    TextDelta,
    Usage,
)
from lightfast.sdk.contract import check_models
from lightfast.sdk.testing import FakeBench
from lightfast_providers.openai.models import LISTED, LOOKED_UP, TIERS, guessed
from lightfast_providers.openai.provider import OpenAI

ASKED = GenerationRequest("gpt-6-luna", "text", "Describe the bay.", {}, 1)
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


def case(request: GenerationRequest = ASKED, **more: Any) -> Case:
    return Case("openai", OpenAIEmulator, lambda: OpenAI(polls=(0.01, 0.01)), request=request, **more)


async def test_a_conversation_is_sent_whole_and_kept_by_nobody() -> None:
    async with rig(case()) as it:
        await it.run(
            system="Be brief.",
            messages=(Message("user", "Hello"), Message("assistant", "Hi")),
            max_output_tokens=99,
            settings={"effort": "low", "verbosity": "low"},
        )
        asked = it.asked()[0].json
    assert asked == {
        "model": "gpt-6-luna",
        "input": [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hi"},
            {"role": "user", "content": "Describe the bay."},
        ],
        "instructions": "Be brief.",
        "max_output_tokens": 99,
        "reasoning": {"effort": "low"},
        "text": {"verbosity": "low"},
        "store": False,
        "stream": True,
        "stream_options": {"include_obfuscation": False},
    }


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (SCHEMA, True),
        ({**SCHEMA, "additionalProperties": True}, False),
        ({**SCHEMA, "required": []}, False),
        ({**SCHEMA, "properties": {"a": {"type": "object", "properties": {}}}}, False),
        ({"anyOf": [SCHEMA, {"type": "null"}]}, True),
    ],
    ids=["strict", "open", "optional", "inner", "any"],
)
async def test_a_schema_is_strict_where_the_service_can_keep_it(schema: dict[str, Any], strict: bool) -> None:
    async with rig(case()) as it:
        ran = await it.run(schema=schema)
        assert json.loads(ran.text) == {"title": "Bay"}
        form = it.asked()[0].json["text"]["format"]
        assert form == {"type": "json_schema", "name": "answer", "schema": schema, "strict": strict}


async def test_sources_are_sent_beside_the_prompt() -> None:
    async with rig(case()) as it:
        await it.run(sources=(PNG, b"%PDF", b"notes"), source_types=("image/png", "application/pdf", "text/plain"))
        parts = it.asked()[0].json["input"][-1]["content"]
        assert [part["type"] for part in parts] == ["input_image", "input_file", "input_text", "input_text"]
        assert base64.b64decode(parts[0]["image_url"].partition(",")[2]) == PNG
        assert parts[-1]["text"] == "Describe the bay."
        ran = await it.run(sources=(b"\0",), source_types=("video/mp4",))
        ran.failed("invalid")
        assert len(it.asked()) == 1, "what cannot be answered is not asked"


async def test_why_a_text_ended() -> None:
    async with rig(case()) as it:
        ran = await it.fail("incomplete")
        assert [step.reason for step in ran.steps if isinstance(step, Finish)] == ["length"]
        assert ran.usage.output_tokens == 53
        ran = await it.fail("filtered")
        assert [step.reason for step in ran.steps if isinstance(step, Finish)] == ["filtered"]
        assert not [step for step in ran.steps if isinstance(step, TextDelta)]
        assert (await it.fail("failed")).failed("unavailable").retryable
        assert (await it.fail("error-event")).failed("limit").retryable


async def test_limits_are_those_of_the_headers() -> None:
    async with rig(case()) as it:
        ran = await it.run()
        (told,) = [step for step in ran.steps if isinstance(step, Limits)]
        assert told.limits == (
            Limit("requests", 60.0, 500.0, 499.0, 0.12),
            Limit("tokens", 60.0, 30000.0, 29800.0, 360.0),
        )
        assert ran.steps[0] is told, "limits come before the text, so that they count at once"


async def test_a_refused_key_says_which_request_it_was() -> None:
    async with rig(case()) as it:
        error = (await it.fail("401")).failed("auth")
        assert "req_0123456789" in str(error)
        assert "***" in str(error)
        assert error.reason == "KEY_REFUSED"


async def test_organization_and_project() -> None:
    async with rig(case(options={"organization": "org-1", "project": "proj-2"})) as it:
        await it.run()
        sent = it.asked()[0].headers
        assert (sent["OpenAI-Organization"], sent["OpenAI-Project"]) == ("org-1", "proj-2")


async def test_each_account_has_its_own_client_and_connections_are_kept() -> None:
    async with rig(case()) as it:
        await it.run()
        await it.run()
        assert it.emulator.connections == 1
        other = dataclasses.replace(it.session, account="other")
        await it.run(session=other)
        assert it.emulator.connections == 2


async def test_a_picture_is_asked_for_as_set() -> None:
    settings: dict[str, Any] = {
        "size": "1536x864",
        "quality": "high",
        "output_format": "webp",
        "background": "opaque",
        "count": 3,
    }
    request = GenerationRequest("gpt-image-2.6-flare", "image", "a bay", settings, 1)
    async with rig(case(request)) as it:
        ran = await it.run()
        assert [(made.name, made.media_type) for made in ran.artifacts] == [
            ("picture.webp", "image/webp"),
            ("picture-2.webp", "image/webp"),
            ("picture-3.webp", "image/webp"),
        ]
        assert ran.usage.images == 3
        asked = it.asked()[0].json
        assert asked == {"model": "gpt-image-2.6-flare", "prompt": "a bay", "n": 3} | {
            name: settings[name] for name in ("size", "quality", "output_format", "background")
        }


async def test_previews_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    Image.effect_noise((1600, 1200), 90).save(out, "PNG")
    monkeypatch.setattr("tests.emulators.openai.PNG", out.getvalue())
    request = GenerationRequest("gpt-image-2.6-flare", "image", "a bay", {"previews": 3}, 1)
    async with rig(case(request)) as it:
        ran = await it.run()
        early = [step for step in ran.steps if isinstance(step, Preview)]
        assert len(early) == 3
        for step in early:
            assert len(step.content) < 256 * 1024
            with Image.open(io.BytesIO(step.content)) as picture:
                assert picture.size == (512, 384)
        assert ran.artifacts[0].content == out.getvalue(), "the result is not made smaller"


async def test_an_edit_sends_its_sources_as_files() -> None:
    request = GenerationRequest(
        "gpt-image-2", "image", "at night", {}, 1, (PNG, b"\xff\xd8\xff"), ("image/png", "image/jpeg")
    )
    async with rig(case(request)) as it:
        await it.run()
        (call,) = it.asked()
        assert call.path == "/v1/images/edits"
        assert call.form["prompt"] == ["at night"]
        assert call.form["image[]"] == [
            ("source-1.png", "image/png", PNG),
            ("source-2.jpg", "image/jpeg", b"\xff\xd8\xff"),
        ]


async def test_speech_that_is_no_sound_is_malformed() -> None:
    async with rig(case(GenerationRequest("tts-1", "audio", "hi", {}, 1))) as it:
        (await it.fail("content-type")).failed("malformed")


async def test_instructions_and_speed_of_speech() -> None:
    settings: dict[str, Any] = {"voice": "coral", "speed": 1.5, "instructions": "Whisper.", "format": "wav"}
    async with rig(case(GenerationRequest("gpt-4o-mini-tts", "audio", "hi", settings, 1))) as it:
        ran = await it.run()
        assert (ran.artifacts[0].media_type, ran.artifacts[0].name) == ("audio/wav", "speech.wav")
        asked = it.asked()[0].json
        assert (asked["speed"], asked["instructions"], asked["stream_format"]) == (1.5, "Whisper.", "sse")


@pytest.mark.parametrize("given", [0, 2], ids=["none", "two"])
async def test_a_transcription_takes_one_recording(given: int) -> None:
    sources = {"sources": (b"RIFF",) * given, "source_types": ("audio/wav",) * given}
    async with rig(case(GenerationRequest("gpt-transcribe", "text", "", {}, 1))) as it:
        (await it.run(**sources)).failed("invalid")
        assert not it.asked()


async def test_vectors_come_in_the_order_of_their_texts_and_as_wide_as_asked() -> None:
    one = Case("v", OpenAIEmulator, OpenAI, embedding=EmbeddingRequest("text-embedding-3-large", ("a", "bcd"), 2))
    async with rig(one) as it:
        (made,) = (await it.run()).steps
        assert made.vectors == tuple(tuple(OpenAIEmulator.vector(text, 2)) for text in ("a", "bcd"))
        assert it.asked()[0].json["dimensions"] == 2
        assert made.limits is not None


async def test_a_batch_keeps_its_usage_and_a_dead_one_says_why() -> None:
    asked = [dataclasses.replace(ASKED, prompt=text) for text in ("one", "fail")]
    async with rig(Case("b", OpenAIEmulator, lambda: OpenAI(polls=(0.01, 0.01)), batch=asked)) as it:
        ran = await it.run()
        good = next(step for step in ran.steps if isinstance(step, BatchAnswer) and not step.error)
        assert good.usage == Usage(131, 53, cached_tokens=64, cache_write_tokens=17, reasoning_tokens=29, requests=1)
        uploaded = it.emulator.calls("/files", "POST")[0].form["file"][0][2]
        first = json.loads(uploaded.splitlines()[0])
        assert (first["custom_id"], first["url"], first["body"]["model"]) == ("0", "/v1/responses", "gpt-6-luna")
        assert isinstance(it.emulator, OpenAIEmulator)
        it.emulator.batches["batch_1"] |= {"status": "failed", "output_file_id": None, "error_file_id": None}
        it.emulator.batches["batch_1"]["errors"] = {"data": [{"message": "The file is empty"}]}
        again = it.provider.batch([it.request(each) for each in asked], it.session, "batch_1", FakeBench())
        errors = [step.error async for step in again if isinstance(step, BatchAnswer)]
        assert errors == ["the batch is failed: The file is empty"] * 2


async def test_a_look_at_a_batch_that_fails_does_not_lose_it() -> None:
    async with rig(Case("b", OpenAIEmulator, lambda: OpenAI(polls=(0.01, 0.01)), batch=[ASKED])) as it:
        it.emulator.next("503", on="/batches/")
        it.emulator.next("disconnect", on="/batches/")
        ran = await it.run()
        assert ran.error is None
        assert [step.text for step in ran.steps if isinstance(step, BatchAnswer)] == [f"{TEXT} 0"]
        it.emulator.next("401", on="/batches/")
        (await it.run()).failed("auth")


async def test_discovery_takes_the_dates_of_the_service() -> None:
    async with rig(case()) as it:
        models = {model.name: model for model in await it.provider.discover(it.session) or ()}
    assert set(models) == {"gpt-6-luna", "gpt-5", "gpt-9-nova"}, "what is not known by its name is left out"
    assert models["gpt-5"].retirement_date == "2026-12-12"
    assert models["gpt-6-luna"].retirement_date == ""
    assert models["gpt-9-nova"].outputs == ("text",)


def test_the_table_keeps_the_contract_and_offers_each_alias() -> None:
    models = check_models(OpenAI())
    assert {tag for model in models if "text" in model.outputs for tag in model.tags} == {"fast", "best", "cheap"}
    assert LOOKED_UP >= "2026-11-20"
    for model in models:
        assert not model.retirement_date or model.retirement_date > LOOKED_UP, f"{model.name} is gone"
        assert "text" not in model.outputs or "transcribe" in model.capabilities or model.context_tokens >= 128_000
    for limits in TIERS.values():
        assert {kind for kind, _, _ in limits} == {"requests", "tokens"}


@pytest.mark.parametrize(
    ("name", "output", "capability"),
    [
        ("gpt-4o-2024-11-20", "text", "stream"),
        ("gpt-9-nova", "text", "stream"),
        ("gpt-image-9-flare", "image", "edit"),
        ("gpt-transcribe-2", "text", "transcribe"),
        ("text-embedding-9", "embedding", ""),
        ("ft:gpt-4o-mini-2024-07-18:house::B1", "text", "stream"),
        ("ft:gpt-realtime-2:house::B1", "", ""),
        ("ft:", "", ""),
        ("gpt-realtime-2", "", ""),
        ("sora-2", "", ""),
        ("gpt-4o-transcribe-diarize", "", ""),
    ],
)
def test_others_are_known_by_their_names(name: str, output: str, capability: str) -> None:
    model = guessed(name)
    if not output:
        assert model is None
        return
    assert model is not None
    assert (model.name, model.outputs) == (name, (output,))
    assert not capability or capability in model.capabilities
    assert not model.tags


def test_what_an_account_has_tuned_has_not_the_price_of_its_base() -> None:
    base, tuned = guessed("gpt-6.2-sol"), guessed("ft:gpt-6.2-sol:house::B1")
    assert base is not None
    assert tuned is not None
    assert base.prices
    assert (tuned.prices, tuned.context_tokens) == ((), base.context_tokens)


def test_a_model_without_reasoning_takes_a_temperature_and_one_with_it_does_not() -> None:
    settings = {model.name: model.settings["properties"] for model in LISTED if "text" in model.outputs}
    assert "temperature" in settings["gpt-4.1"]
    assert "effort" not in settings["gpt-4.1"]
    assert "temperature" not in settings["gpt-6-luna"]
    assert "none" not in settings["gpt-6.2-sol"]["effort"]["enum"]


async def test_nobody_there_is_unavailable() -> None:
    provider = OpenAI()
    try:
        with pytest.raises(ProviderError) as caught:
            await provider.probe(Session(base_url="http://127.0.0.1:9/v1"))
    finally:
        await provider.close()
    assert caught.value.kind == "unavailable"
