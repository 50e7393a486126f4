"""ElevenLabs against its emulator, which the official SDK reads: the contract, and what only it does."""

from __future__ import annotations

import io
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from tests.emulators.elevenlabs import SOUND, VOICES
from tests.emulators.elevenlabs import ElevenLabs as Emulated
from tests.providers.contract import Case, Check, Plugin, PluginCheck, contract, plugin_contract

from lightfast.sdk import (
    Artifact,
    GenerationRequest,
    Limit,
    Limits,
    Preview,
    Progress,
    ProviderError,
    Secret,
    Session,
    Usage,
)
from lightfast.sdk.testing import FakeBench, complete_settings
from lightfast_providers.elevenlabs import ElevenLabs

PLUGIN = Plugin("lightfast_providers.elevenlabs", "elevenlabs", sdk=("elevenlabs",), install="lightfast[elevenlabs]")
BARE = "sound has no grammar that could break"
CASES = (
    Case(
        "speech",
        Emulated,
        ElevenLabs,
        request=GenerationRequest("eleven_multilingual_v2", "audio", "The sea is wide.", {}, 11),
        answer=SOUND,
        media_type="audio/mpeg",
        usage=Usage(characters=16, credits=16.0, requests=1),
        streams=True,
        limits=frozenset(("concurrency",)),
        without={"malformed_mid": BARE},
    ),
    Case(
        "transcript",
        Emulated,
        ElevenLabs,
        request=GenerationRequest("scribe_v2", "text", "", {}, 11, sources=(SOUND,), source_types=("audio/mpeg",)),
        answer="The sea is wide.",
        usage=Usage(seconds=12.5, credits=30.0, requests=1),
        streams=False,
        limits=frozenset(("concurrency",)),
    ),
)


@pytest.mark.parametrize(("check", "case"), contract(CASES))
async def test_contract(check: Check, case: Case) -> None:
    await check(case)


@pytest.mark.parametrize("check", plugin_contract(PLUGIN))
async def test_plugin(check: PluginCheck) -> None:
    await check(PLUGIN)


@asynccontextmanager
async def joined() -> AsyncIterator[tuple[Emulated, ElevenLabs]]:
    async with Emulated() as emulator:
        one = ElevenLabs()
        try:
            yield emulator, one
        finally:
            await one.close()


def ask(emulator: Emulated, one: ElevenLabs, name: str = "eleven_v3", **more: Any) -> GenerationRequest:
    model = next(each for each in one.models() if each.name == name)
    session = Session(key=Secret(emulator.key), base_url=emulator.base_url)
    settings = complete_settings(model, more.pop("settings", {}))
    return replace(GenerationRequest(name, model.outputs[0], "Rain.", settings, 11, session=session), **more)


async def drained(one: ElevenLabs, request: GenerationRequest) -> list[Any]:
    return [step async for step in one.generate(request, FakeBench())]


async def test_speech_comes_with_its_beginning_first() -> None:
    async with joined() as (emulator, one):
        steps = await drained(one, ask(emulator, one))
        assert isinstance(steps[0], Limits)
        assert steps[0].limits == (Limit("concurrency", 0.0, 5.0, 3.0),)
        (preview,) = [step for step in steps if isinstance(step, Preview)]
        assert SOUND.startswith(preview.content)
        assert [step for step in steps if isinstance(step, Progress)]


@pytest.mark.parametrize(
    ("name", "settings", "path", "expected", "usage"),
    [
        (
            "eleven_flash_v2_5",
            {"stability": 0.4, "speed": 1.1, "previous_text": "Before."},
            f"/v1/text-to-speech/{VOICES['George - warm']}/stream",
            {
                "text": "Rain.",
                "seed": 11,
                "voice_settings": {"stability": 0.4, "speed": 1.1},
                "previous_text": "Before.",
            },
            Usage(characters=5, credits=5.0, requests=1),
        ),
        (
            "eleven_text_to_sound_v2",
            {"duration": 2.5, "loop": True},
            "/v1/sound-generation",
            {"text": "Rain.", "duration_seconds": 2.5, "loop": True, "prompt_influence": 0.3},
            Usage(credits=5.0, requests=1),
        ),
        (
            "music_v1",
            {"duration": 12.0, "instrumental": True},
            "/v1/music/stream",
            {"prompt": "Rain.", "music_length_ms": 12000, "force_instrumental": True},
            Usage(seconds=12.0, credits=5.0, requests=1),
        ),
    ],
    ids=["speech", "effect", "music"],
)
async def test_what_is_sent(name: str, settings: Any, path: str, expected: dict[str, Any], usage: Usage) -> None:
    async with joined() as (emulator, one):
        steps = await drained(one, ask(emulator, one, name, settings=settings))
        (call,) = emulator.journal
        assert call.path == path
        assert call.query["output_format"] == "mp3_44100_128"
        assert {key: call.json.get(key) for key in expected} == expected
        assert call.json["model_id"] == name
        assert [step for step in steps if isinstance(step, Usage)] == [usage]
        assert [step.content for step in steps if isinstance(step, Artifact)] == [SOUND]


async def test_bare_samples_become_a_file() -> None:
    async with joined() as (emulator, one):
        emulator.sound = bytes(range(256)) * 8
        steps = await drained(one, ask(emulator, one, settings={"output_format": "pcm_22050"}))
        (artifact,) = [step for step in steps if isinstance(step, Artifact)]
        assert artifact.media_type == "audio/wav"
        with wave.open(io.BytesIO(artifact.content)) as sound:
            assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (22050, 1, 2)
            assert sound.readframes(10_000) == emulator.sound


async def test_voices_have_names() -> None:
    async with joined() as (emulator, one):
        await drained(one, ask(emulator, one, settings={"voice": "rachel"}))
        assert f"/v1/text-to-speech/{VOICES['Rachel']}/stream" in [call.path for call in emulator.journal]
        await drained(one, ask(emulator, one, settings={"voice": "George"}))
        with pytest.raises(ProviderError, match=r"no voice 'Nobody': it has George - warm, Rachel") as caught:
            await drained(one, ask(emulator, one, settings={"voice": "Nobody"}))
        assert caught.value.kind == "invalid"
        found = {model.name: model for model in await one.discover(ask(emulator, one).session)}
        assert "Rachel" in found["eleven_v3"].settings["properties"]["voice"]["description"]
        assert set(found) == {model.name for model in one.models()}


@pytest.mark.parametrize(
    ("fault", "kind", "terminal", "limit"),
    [
        ("429", "limit", False, "concurrency"),
        ("busy", "overloaded", False, ""),
        ("429-terminal", "limit", True, ""),
        ("no-voice", "invalid", False, ""),
        ("invalid", "invalid", False, ""),
        ("context", "context", False, ""),
    ],
)
async def test_its_own_refusals(fault: str, kind: str, terminal: bool, limit: str) -> None:
    """Too many at once wait for a place; a busy system is left alone for a while; a spent quota is the end."""
    async with joined() as (emulator, one):
        emulator.next(fault)
        with pytest.raises(ProviderError) as caught:
            await drained(one, ask(emulator, one))
        assert (caught.value.kind, caught.value.terminal) == (kind, terminal)
        found = caught.value.limits
        assert ([each.kind for each in found.limits] if isinstance(found, Limits) else []) == ([limit] if limit else [])


async def test_the_account_tells_its_plan() -> None:
    async with joined() as (emulator, one):
        found = await one.probe(ask(emulator, one).session)
        assert found.message == "plan creator"
        assert found.limits == Limits((), 98_800.0, "credits")


async def test_a_transcript_needs_sound() -> None:
    async with joined() as (emulator, one):
        with pytest.raises(ProviderError, match="one source of sound"):
            await drained(one, ask(emulator, one, "scribe_v1"))
        assert not emulator.journal
