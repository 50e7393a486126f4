"""Effects and speech of the studio, measured against what each is by its definition."""

from __future__ import annotations

import asyncio
import io
import math
import shutil
import signal
import sys
from typing import Any

import numpy as np
import pytest
from tests.support.hearing import RATE, level_at, pitch, read_wav, rms, sine, write_wav

from lightfast.sdk import Artifact, GenerationRequest, MissingDependency, ProviderError
from lightfast.sdk.testing import FakeBench, complete_settings
from lightfast_providers.studio import lightfast_providers, speaking
from lightfast_providers.studio.processing import WORDS


async def made(model: str, prompt: str, *sources: bytes, **settings: Any) -> Artifact:
    (provider,) = lightfast_providers({})
    found = next(each for each in provider.models() if each.name == model)
    order = GenerationRequest(model, "audio", prompt, complete_settings(found, settings), 1, tuple(sources))
    (artifact,) = [step async for step in provider.generate(order, FakeBench()) if isinstance(step, Artifact)]
    return artifact


async def effect(source: Any, prompt: str = "", **settings: Any) -> Any:
    found, rate = read_wav((await made("effects", prompt, write_wav(source), **settings)).content)
    assert rate == RATE
    return found[0]


def gain(after: Any, before: Any, hertz: float) -> float:
    """Return by how many dB a frequency was changed, away from the ends."""
    inside = slice(RATE // 4, -RATE // 4)
    return 20 * math.log10(level_at(after[inside], hertz) / level_at(before[inside], hertz))


@pytest.mark.parametrize("decibels", [-12.0, 6.0])
async def test_the_bell_of_the_equalizer(decibels: float) -> None:
    tones = {hertz: sine(hertz, 1.0, 0.1) for hertz in (60.0, 1000.0, 9000.0)}
    before = sum(tones.values(), np.zeros(RATE))
    after = await effect(before, mid_db=decibels)
    assert gain(after, before, 1000.0) == pytest.approx(decibels, abs=0.3)
    assert gain(after, before, 60.0) == pytest.approx(0, abs=0.5)
    assert gain(after, before, 9000.0) == pytest.approx(0, abs=0.5)


async def test_the_shelves_of_the_equalizer() -> None:
    before = sum((sine(hertz, 1.0, 0.05) for hertz in (40.0, 1000.0, 14_000.0)), np.zeros(RATE))
    after = await effect(before, low_db=-9.0, high_db=6.0)
    assert gain(after, before, 40.0) == pytest.approx(-9, abs=0.6)
    assert gain(after, before, 14_000.0) == pytest.approx(6, abs=0.6)
    assert gain(after, before, 1000.0) == pytest.approx(0, abs=0.8)


async def test_filters_fall_by_twelve_decibels_an_octave() -> None:
    before = sum((sine(hertz, 1.0, 0.1) for hertz in (500.0, 1000.0, 2000.0, 4000.0)), np.zeros(RATE))
    after = await effect(before, lowpass=1000.0)
    assert gain(after, before, 1000.0) == pytest.approx(-3, abs=0.3)  # its corner
    # A Butterworth of second order: |H|² = 1 / (1 + (f / fc)⁴)
    for hertz in (500.0, 2000.0, 4000.0):
        assert gain(after, before, hertz) == pytest.approx(-10 * math.log10(1 + (hertz / 1000) ** 4), abs=0.5)
    after = await effect(before, highpass=1000.0)
    assert gain(after, before, 500.0) == pytest.approx(-10 * math.log10(1 + 2**4), abs=0.5)


@pytest.mark.parametrize(("level", "ratio"), [(-6.0, 4.0), (-10.0, 2.0), (-40.0, 4.0)])
async def test_the_compressor_keeps_its_curve(level: float, ratio: float) -> None:
    before = sine(1000.0, 2.0, 10 ** (level / 20))
    after = await effect(before, threshold_db=-20.0, ratio=ratio, attack_ms=1.0, release_ms=500.0)
    expected = level if level <= -20 else -20 + (level + 20) / ratio
    assert 20 * math.log10(level_at(after[RATE:-1000], 1000.0)) == pytest.approx(expected, abs=1.0)


@pytest.mark.parametrize("factor", [0.3, 0.5, 1.5, 3.0])
async def test_what_is_stretched_keeps_its_pitch(factor: float) -> None:
    after = await effect(sine(440.0, 2.0), stretch=factor)
    assert after.size == pytest.approx(2 * RATE * factor, rel=0.02)
    assert pitch(after[after.size // 4 : -after.size // 4]) == pytest.approx(440, rel=0.003)


@pytest.mark.parametrize("half_tones", [-12.0, -3.0, 7.0, 12.0])
async def test_what_is_shifted_keeps_its_length(half_tones: float) -> None:
    after = await effect(sine(440.0, 2.0), pitch=half_tones)
    assert after.size == pytest.approx(2 * RATE, rel=0.02)
    assert pitch(after[after.size // 4 : -after.size // 4]) == pytest.approx(440 * 2 ** (half_tones / 12), rel=0.003)


@pytest.mark.parametrize("seconds", [0.8, 2.0])
async def test_the_room_falls_by_sixty_decibels_in_its_time(seconds: float) -> None:
    click = np.zeros(RATE // 10)
    click[10] = 0.9
    after = await effect(click, reverb=1.0, room_s=seconds)
    assert after.size == pytest.approx(RATE / 10 + seconds * RATE, rel=0.01)
    # Schroeder's backward integral, from -5 to -25 dB, times three.
    tail = after[200:] ** 2
    decay = 10 * np.log10(np.cumsum(tail[::-1])[::-1] / tail.sum() + 1e-12)
    start, end = np.argmax(decay < -5), np.argmax(decay < -25)
    assert 3 * (end - start) / RATE == pytest.approx(seconds, rel=0.35)


async def test_ends_levels_and_direction() -> None:
    before = np.concatenate((sine(300.0, 0.5, 0.2), sine(900.0, 0.5, 0.2)))
    after = await effect(before, reverse=True)
    assert pitch(after[: RATE // 3]) == pytest.approx(900, rel=0.01)
    assert rms(await effect(before, gain_db=-20.0)) == pytest.approx(rms(before) / 10, rel=0.01)
    assert np.abs(await effect(before, normalize=True)).max() == pytest.approx(0.89, abs=0.001)
    assert np.abs(await effect(before, gain_db=24.0)).max() <= 0.9  # nothing is clipped
    faded = await effect(before, fade_in=0.3, fade_out=0.3)
    assert rms(faded[:400]) < 0.01
    assert rms(faded[-400:]) < 0.01


async def test_words_stand_for_settings_and_numbers_win() -> None:
    before = sine(440.0, 1.0)
    assert pitch(await effect(before, "a deeper voice")) == pytest.approx(440 * 2 ** (-5 / 12), rel=0.003)
    assert pitch(await effect(before, "deeper", pitch=3.0)) == pytest.approx(440 * 2 ** (3 / 12), rel=0.003)
    for word in WORDS:
        assert (await effect(before, word)).size


async def test_mistakes_are_named() -> None:
    tone = write_wav(sine(440.0, 0.2))
    for sources, prompt, said in (
        ((), "deeper", "need one sound"),
        ((tone, tone), "deeper", "2 were given"),
        ((tone,), "nice", "nothing was asked for"),
        ((b"no sound at all",), "deeper", "no sound that can be read"),
        ((tone[:30],), "deeper", "no sound"),
    ):
        with pytest.raises(ProviderError, match=said) as caught:
            await made("effects", prompt, *sources)
        assert caught.value.kind == "invalid"


async def test_without_its_library_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependency, match=r"lightfast\[media\]"):
        await made("effects", "deeper", write_wav(sine(440.0, 0.2)))


async def test_where_nothing_can_speak_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(MissingDependency, match="apt install espeak-ng"):
        await made("speech", "hello")


_LOUD = """
import fcntl, sys
fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 1 << 20)
while True:
    sys.stdout.buffer.write(bytes(1 << 20))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the size of a pipe is set as Linux does")
async def test_a_speaker_that_is_stopped_in_mid_word_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has said and nobody reads any more must not hide its end."""
    started: list[asyncio.subprocess.Process] = []
    start = asyncio.create_subprocess_exec

    async def kept(*command: Any, **options: Any) -> asyncio.subprocess.Process:
        started.append(await start(*command, **options))
        return started[0]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", kept)
    speaks = asyncio.ensure_future(speaking._spoken([sys.executable, "-c", _LOUD], ""))
    while not started or not _is_full(started[0].stdout):
        await asyncio.sleep(0)
    speaks.cancel()
    done, _ = await asyncio.wait({speaks}, timeout=30)
    assert done, "it still waits for a process that was killed"
    assert speaks.cancelled()
    assert started[0].returncode == -signal.SIGKILL


def _is_full(stream: Any) -> bool:
    """Say whether so much waits to be read that no more is taken in."""
    return stream is not None and stream._paused


@pytest.mark.real_app
class TestSpeech:
    """The real eSpeak NG."""

    @pytest.fixture(autouse=True)
    def _program(self) -> None:
        if shutil.which("espeak-ng") is None:
            pytest.skip("eSpeak NG is not installed: apt install espeak-ng")

    async def test_it_speaks_and_the_settings_count(self) -> None:
        slow, fast = [read_wav((await made("speech", "The show begins.", speed=rate)).content) for rate in (100, 300)]
        assert slow[1] == 22_050
        assert slow[0].size > 1.5 * fast[0].size
        assert rms(slow[0][0]) > 0.01
        other = (await made("speech", "The show begins.", voice="de")).content
        assert other != (await made("speech", "The show begins.")).content

    async def test_what_it_cannot_say_is_an_error(self) -> None:
        for prompt, voice, said in (("hello", "klingonisch", "does not speak"), ("hello", "-w/tmp/x", "is none")):
            with pytest.raises(ProviderError, match=said):
                await made("speech", prompt, voice=voice)
        with pytest.raises(ProviderError, match="nothing to say"):
            await made("speech", "  ")

    async def test_its_length_is_in_the_header(self) -> None:
        content = (await made("speech", "one two three " * 200)).content
        found, rate = read_wav(content)
        assert found.shape[1] / rate > 20
        assert int.from_bytes(content[4:8], "little") == len(content) - 8

    async def test_cancelled_it_leaves_no_process(self) -> None:
        task = asyncio.ensure_future(made("speech", "one two three " * 1000, speed=80))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def test_any_sound_file_can_be_read() -> None:
    """Other formats and rates arrive as two channels at our rate."""
    from lightfast_providers.studio.hearing import codecs, read

    av = codecs()
    tone = sine(500.0, 1.0, 0.4, rate=48_000)
    for codec, suffix in (("flac", "flac"), ("libmp3lame", "mp3"), ("aac", "mp4")):
        buffer = io.BytesIO()
        with av.open(buffer, "w", format=suffix) as file:
            stream = file.add_stream(codec, rate=48_000, layout="mono")
            frame = av.AudioFrame.from_ndarray((tone * 32767).astype("<i2")[None], format="s16", layout="mono")
            frame.sample_rate = 48_000
            for packet in stream.encode(frame):
                file.mux(packet)
            for packet in stream.encode(None):
                file.mux(packet)
        channels = read(buffer.getvalue())
        assert channels.shape[0] == 2
        assert pitch(channels[0][4000:-4000].astype(float)) == pytest.approx(500, rel=0.002)
