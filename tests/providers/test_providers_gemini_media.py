"""Gemini's pictures, speech, batches and refusals point by point."""

from __future__ import annotations

import io
import wave
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.emulators.gemini import PCM, PNG, camel
from tests.emulators.gemini import Gemini as Emulator
from tests.providers.contract import Case, Ran, batched, rig

from lightfast.sdk import Artifact, GenerationRequest, Limit, Limits, Preview, ProviderError, Usage
from lightfast_providers.gemini import Gemini
from lightfast_providers.gemini import batches as batches_of
from lightfast_providers.gemini.failures import until_midnight
from lightfast_providers.gemini.sound import shape, wav


def provider() -> Gemini:
    return Gemini(polls=(0.005, 0.005))


TEXT = GenerationRequest("gemini-3.8-flash", "text", "What is the sea?", {}, 1)
IMAGE = GenerationRequest("gemini-nano-banana-2.1", "image", "a banana", {}, 11)
SPEECH = GenerationRequest("gemini-3.8-flash-tts", "audio", "Hello.", {}, 1)
CASES = {name: Case(name, Emulator, Gemini, request=each) for name, each in (("i", IMAGE), ("s", SPEECH), ("t", TEXT))}
TO_MIDNIGHT = 19 * 3600.0
"""From 13:00 UTC in November, which is 05:00 in California."""


async def asked(case: str, emulated: dict[str, Any] | None = None, **changes: Any) -> tuple[Ran, Any]:
    async with rig(CASES[case]) as it:
        for name, value in (emulated or {}).items():
            setattr(it.emulator, name, value)
        ran = await it.run(**changes)
        return ran, camel(it.emulator.journal[-1].json)


async def failed(fault: str, case: str = "t") -> Ran:
    async with rig(CASES[case]) as it:
        return await it.fail(fault)


async def test_a_picture_from_a_picture() -> None:
    settings = {"aspect_ratio": "16:9", "image_size": "2K"}
    ran, body = await asked("i", sources=(PNG,), source_types=("image/png",), settings=settings, system="In blue.")
    assert [type(step) for step in ran.steps] == [Usage, Preview, Artifact]
    assert ran.artifacts[0].name == "image.png"
    told = body["generationConfig"]
    assert told["responseModalities"] == ["IMAGE"]
    assert told["imageConfig"] == {"aspectRatio": "16:9", "imageSize": "2K"}
    assert told["seed"] == 11
    assert "inlineData" in body["contents"][0]["parts"][0]
    assert body["systemInstruction"]["parts"][0]["text"] == "In blue."


async def test_no_picture_is_a_failure_and_one_that_policy_stops_is_filtered() -> None:
    ran = await failed("no-image", "i")
    assert "NO_IMAGE" in str(ran.failed("failed"))
    assert ran.usage == Usage(input_tokens=9, requests=1)
    assert "IMAGE_SAFETY" in str((await failed("filtered", "i")).failed("filtered"))
    assert "PROHIBITED_CONTENT" in str((await failed("blocked", "i")).failed("filtered"))


async def test_speech_is_a_wav_of_what_came() -> None:
    ran, body = await asked("s", settings={"voice": "Puck", "language": "en-GB"})
    made = ran.artifacts[0]
    with wave.open(io.BytesIO(made.content)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24_000, 1, 2)
        assert file.readframes(file.getnframes()) == PCM
    assert (made.name, made.settings["seconds"]) == ("audio.wav", 0.1)
    told = body["generationConfig"]
    voice = {"prebuiltVoiceConfig": {"voiceName": "Puck"}}
    assert told == {
        "responseModalities": ["AUDIO"],
        "speechConfig": {"voiceConfig": voice, "languageCode": "en-GB"},
    }


async def test_sound_that_has_a_header_is_left_as_it_is() -> None:
    ran, _ = await asked("s", {"sound": b"ID3\x04", "sound_type": "audio/mp3"})
    assert (ran.artifacts[0].media_type, ran.artifacts[0].content) == ("audio/mp3", b"ID3\x04")


@given(st.binary(max_size=64), st.sampled_from([8000, 16000, 24000, 48000]), st.sampled_from([1, 2]))
def test_any_samples_become_a_wav_that_reads_back(samples: bytes, rate: int, channels: int) -> None:
    content, seconds = wav(samples, f"audio/L16; codec=pcm; rate={rate}; channels={channels}")
    with wave.open(io.BytesIO(content)) as file:
        assert (file.getframerate(), file.getnchannels()) == (rate, channels)
        read = file.readframes(file.getnframes())
        assert file.getnframes() / rate == seconds
    assert samples.startswith(read)
    assert 0 <= len(samples) - len(read) < 2 * channels
    assert shape("audio/L16") == (24_000, 1)


# --- refusals ---


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("key", "auth"), ("region", "denied"), ("invalid", "invalid"), ("timeout", "timeout"), ("context", "context")],
)
async def test_what_errors_mean(fault: str, kind: str) -> None:
    error = (await failed(fault)).failed(kind)
    assert "\n" not in str(error)


async def test_a_quota_of_a_minute() -> None:
    error = (await failed("429")).failed("limit")
    assert (error.retry_after, error.terminal) == (7.0, False)
    assert error.limits == Limits((Limit("requests", 60.0, 10.0, 0.0, 7.0),))
    async with rig(CASES["t"]) as it:
        it.emulator.retry_after = -1
        bare = (await it.fail("429-plain")).failed("limit")
    assert (bare.retry_after, bare.limits, bare.terminal) == (-1.0, None, False)


async def test_a_quota_of_a_day_is_whole_at_midnight_in_california() -> None:
    error = (await failed("429-day")).failed("limit")
    assert (error.retry_after, error.terminal, error.retryable) == (TO_MIDNIGHT, True, False)
    assert error.limits == Limits((Limit("requests", 86400.0, 250.0, 0.0, TO_MIDNIGHT),))


async def test_a_quota_of_nothing_is_no_matter_of_waiting() -> None:
    error = (await failed("429-never")).failed("denied")
    assert (error.terminal, error.retryable, error.retry_after) == (True, False, -1.0)
    assert isinstance(error.limits, Limits)
    assert error.limits.limits[0].kind == "input_tokens"


@pytest.mark.parametrize(
    ("date", "hours"),
    [
        ("Fri, 20 Nov 2026 13:00:00 GMT", 19.0),
        ("Fri, 20 Nov 2026 07:59:00 GMT", 1 / 60),
        ("Wed, 15 Jul 2026 13:00:00 GMT", 18.0),  # summer
        ("Sun, 01 Nov 2026 07:00:00 GMT", 25.0),  # the day on which summer ends
        ("Sun, 08 Mar 2026 08:00:00 GMT", 23.0),  # and begins
    ],
)
def test_midnight_in_california(date: str, hours: float) -> None:
    assert until_midnight({"date": date}) == pytest.approx(hours * 3600)


# --- batches ---


async def test_each_request_of_a_batch_has_its_own_fate() -> None:
    requests = (TEXT, GenerationRequest("gemini-3.8-flash", "text", "And the shore?", {}, 2, system="Rhyme."))
    case = Case("batch", Emulator, provider, batch=requests)
    async with rig(case) as it:
        emulator: Any = it.emulator
        emulator.failing = {1: {"code": 3, "message": "too many images"}}
        ran = await it.run()
        good, bad = batched(ran.steps)
        assert good.text == "The sea is wide."
        assert good.usage == Usage(1021, 57, cached_tokens=900, reasoning_tokens=45, requests=1)
        assert (bad.error, bad.text, bad.usage) == ("too many images", "", Usage())
        made = emulator.calls(":batchGenerateContent")[0]
        assert made.path.startswith("/v1beta/")  # batches are documented there only
        second = made.json["batch"]["inputConfig"]["requests"]["requests"][1]["request"]
        assert second["systemInstruction"]["parts"][0]["text"] == "Rhyme."
        assert second["generationConfig"]["seed"] == 2


async def test_a_cancelled_batch_has_no_answers() -> None:
    case = Case("batch", Emulator, provider, batch=(TEXT,))
    async with rig(case) as it:
        emulator: Any = it.emulator
        emulator.batches["batches/1"] = {"requests": [], "model": "m", "asked": 0, "cancelled": False}
        await it.provider.cancel(it.session, "batches/1")
        steps = [step async for step in it.provider.batch([TEXT], it.session, "batches/1", None)]  # type: ignore[arg-type]
        assert batched(steps)[0].error == "the batch was cancelled"


async def test_a_batch_is_for_one_model_and_of_a_size_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = Gemini()
    case = Case("batch", Emulator, Gemini, batch=(TEXT,))
    async with rig(case) as it:
        for requests, what in (((TEXT, IMAGE), "one model"), ((TEXT, TEXT), "20 bytes")):
            monkeypatch.setattr(batches_of, "MOST_BYTES", 20)
            with pytest.raises(ProviderError, match=what) as caught:
                _ = [step async for step in provider.batch(requests, it.session, "", None)]  # type: ignore[arg-type]
            assert caught.value.kind == "invalid"
        assert not it.emulator.journal
    await provider.close()


@pytest.mark.parametrize("fault", ["disconnect", "stall"])
async def test_a_batch_whose_identity_was_lost_is_not_made_again(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches_of, "CALL_S", 2.0)
    async with rig(Case("batch", Emulator, provider, batch=(TEXT,))) as it:
        ran = await it.fail(fault)
        assert ran.error is not None
        assert ran.error.kind in {"unavailable", "timeout"}
        assert not ran.error.retryable
        await it.emulator.stop()
        assert (await it.run()).failed("unavailable").retryable  # nobody was there: nothing was made


async def test_a_question_about_a_batch_that_fails_is_asked_again() -> None:
    async with rig(Case("batch", Emulator, provider, batch=(TEXT,))) as it:
        for fault in ("500", "disconnect"):
            it.emulator.next(fault, on="/batches/")
        ran = await it.run()
        assert ran.error is None
        assert not [each.error for each in batched(ran.steps) if each.error]
