"""Music of the studio, measured: it loops without a seam, and tempo, key and score are as asked."""

from __future__ import annotations

import io
import math
from typing import Any

import mido
import numpy as np
import pytest
from tests.support.hearing import RATE, chroma, read_wav, rms, seam, tempo_fits

from lightfast.sdk import Artifact, GenerationRequest, ProviderError
from lightfast.sdk.testing import FakeBench, complete_settings
from lightfast_providers.studio import lightfast_providers
from lightfast_providers.studio.composing import STYLES
from lightfast_providers.studio.music import KEYS, SCALES


async def composed(prompt: str, seed: int = 3, model: str = "music", **settings: Any) -> list[Artifact]:
    (provider,) = lightfast_providers({})
    found = next(each for each in provider.models() if each.name == model)
    order = GenerationRequest(model, "audio", prompt, complete_settings(found, settings), seed)
    return [step async for step in provider.generate(order, FakeBench()) if isinstance(step, Artifact)]


@pytest.mark.parametrize("style", sorted(STYLES))
async def test_a_loop_joins_without_a_click(style: str) -> None:
    sound, _ = await composed(f"a {style} loop", style=style, bars=2)
    channels, rate = read_wav(sound.content)
    assert rate == RATE
    for channel in channels:
        assert seam(channel) <= 1.0
        # Nothing fades at its ends: the last tenth of a second is as loud as what comes before it, or an accent later.
        assert rms(channel[-RATE // 4 :]) > 0.1 * rms(channel)


async def test_what_rings_at_the_end_is_heard_at_the_beginning() -> None:
    """Two rounds of a loop are as one: the beginning holds the tails of the end, as a room would."""
    (sound,) = await composed("bells in C major", model="audio", bars=1, tempo=120.0)
    once = read_wav(sound.content)[0][0]
    assert once.size == 2 * RATE
    assert rms(once[:2000]) > 0.05 * rms(once)


async def test_a_sound_that_is_no_loop_ends_in_silence() -> None:
    (sound,) = await composed("bells in C major", model="audio", duration=2.0)
    once = read_wav(sound.content)[0][0]
    assert abs(once[-1]) < 0.001
    assert abs(once[0]) < 0.02


@pytest.mark.parametrize("tempo", [90.0, 128.0, 150.0])
async def test_the_tempo_is_as_asked(tempo: float) -> None:
    sound, score = await composed("drums", style="techno", bars=4, tempo=tempo)
    channels, _ = read_wav(sound.content)
    assert channels.shape[1] == round(4 * 240 / tempo * RATE)
    assert tempo_fits(channels.mean(axis=0), tempo) > 1.2
    file = mido.MidiFile(file=io.BytesIO(score.content))
    (told,) = [message for message in file.tracks[0] if message.type == "set_tempo"]
    assert math.isclose(mido.tempo2bpm(told.tempo), tempo, rel_tol=1e-4)
    assert math.isclose(file.length, 4 * 240 / tempo, rel_tol=1e-3)


@pytest.mark.parametrize(("key", "scale"), [("C", "major"), ("F#", "minor"), ("Bb", "dorian")])
async def test_the_key_is_as_asked(key: str, scale: str) -> None:
    sound, score = await composed("a pad and an organ", bars=4, key=key, scale=scale, tempo=120.0)
    root = KEYS.index(key)
    wanted = {(root + step) % 12 for step in SCALES[scale]}
    share = chroma(read_wav(sound.content)[0].mean(axis=0))
    inside = sum(share[each] for each in wanted)
    elsewhere = sum(share[(each + 1) % 12] for each in wanted if (each + 1) % 12 not in wanted)
    assert inside > 0.9, share
    assert elsewhere < 0.1
    file = mido.MidiFile(file=io.BytesIO(score.content))
    notes = {message.note % 12 for track in file.tracks for message in track if message.type == "note_on"}
    assert notes <= wanted
    assert root in notes


async def test_the_score_is_what_is_played() -> None:
    sound, score = await composed("a slow melody", style="chiptune", bars=2, seed=8)
    file = mido.MidiFile(file=io.BytesIO(score.content))
    assert {track.name for track in file.tracks[1:]} == set(sound.settings["voices"])
    for track in file.tracks:
        assert sum(message.time for message in track) == 2 * 4 * 480
        sounding: set[int] = set()
        for message in track:
            if message.type == "note_on":
                sounding.add(message.note)
            elif message.type == "note_off":
                sounding.discard(message.note)
        assert not sounding
    drums = [each for track in file.tracks if track.name == "drums" for each in track if each.type == "note_on"]
    assert {each.channel for each in drums} == {9}
    # The kick on the first beat is the loudest there is in the sound around it.
    channels, _ = read_wav(sound.content)
    assert rms(channels[0][: RATE // 20]) > 0.02


async def test_the_seed_decides() -> None:
    first, again, other = [await composed("a loop", seed, style="folk", bars=1) for seed in (1, 1, 2)]
    assert [one.content for one in first] == [one.content for one in again]
    assert first[0].content != other[0].content


async def test_what_is_too_long_is_refused() -> None:
    with pytest.raises(ProviderError, match="the most is 120"):
        await composed("a loop", bars=32, tempo=40.0)


def test_the_ear_hears_a_click() -> None:
    """What measures the seam must find one where there is one."""
    steady = 0.5 * np.sin(2 * np.pi * 220 * np.arange(RATE) / RATE)
    assert seam(steady) <= 1.0
    assert seam(0.5 * np.sin(2 * np.pi * 220.4 * np.arange(RATE) / RATE)) > 5
