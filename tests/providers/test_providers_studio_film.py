"""Films of the studio, measured against films whose every frame is known."""

from __future__ import annotations

import io
import itertools
import sys
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from tests.support.hearing import RATE, pitch, rms, sine
from tests.support.watching import moving, number_of, numbered, psnr, read_film, textured, write_film

from lightfast.sdk import Artifact, GenerationRequest, MissingDependency, Preview, Progress, ProviderError, Step
from lightfast.sdk.testing import FakeBench, complete_settings
from lightfast_providers.studio import lightfast_providers
from lightfast_providers.studio.flow import Between
from lightfast_providers.studio.steady import flicker, light


async def steps_of(model: str, prompt: str, *sources: tuple[str, bytes], **settings: Any) -> list[Step]:
    (provider,) = lightfast_providers({})
    found = next(each for each in provider.models() if each.name == model)
    order = GenerationRequest(
        model,
        "video",
        prompt,
        complete_settings(found, settings),
        5,
        tuple(content for _, content in sources),
        tuple(kind for kind, _ in sources),
    )
    return [step async for step in provider.generate(order, FakeBench())]


async def filmed(model: str, prompt: str, *sources: tuple[str, bytes], **settings: Any) -> Artifact:
    steps = await steps_of(model, prompt, *sources, **settings)
    (artifact,) = [step for step in steps if isinstance(step, Artifact)]
    assert artifact.media_type == "video/mp4"
    return artifact


def film(content: bytes) -> tuple[str, bytes]:
    return ("video/x-matroska", content)


def still(frame: Any) -> tuple[str, bytes]:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "PNG")
    return ("image/png", buffer.getvalue())


def sound_of(content: bytes) -> Any:
    with av.open(io.BytesIO(content), "r") as file:
        return np.concatenate([frame.to_ndarray() for frame in file.decode(audio=0)], axis=1)[0]


# ---- frames in between


def test_frames_in_between_are_closer_to_the_true_ones_than_blending() -> None:
    true = moving(21, steps=0.5)
    kept = true[::2]
    better = []
    for index, (one, two) in enumerate(itertools.pairwise(kept)):
        middle = true[2 * index + 1]
        blend = ((one.astype(int) + two) // 2).astype(np.uint8)
        better.append(psnr(Between(one, two).at(0.5), middle) - psnr(blend, middle))
    assert min(better) > 1.5, better
    assert float(np.mean(better)) > 4.0, better


def test_at_its_ends_it_is_what_is_there_and_time_runs_forward() -> None:
    one, *_, two = moving(3)
    pair = Between(one, two)
    assert psnr(pair.at(0.0), one) > 34
    assert psnr(pair.at(1.0), two) > 34
    true = moving(9, steps=0.25)
    for step in (2, 4, 6):
        here = [psnr(pair.at(step / 8), frame) for frame in true]
        assert abs(int(np.argmax(here)) - step) <= 1


async def test_a_film_gets_more_frames_and_keeps_its_length_and_sound() -> None:
    source = film(write_film(moving(10), 10, sine(330.0, 1.0)))
    smooth = await filmed("interpolate", "", source, factor=3)
    frames, fps = read_film(smooth.content)
    assert (len(frames), fps) == (28, 30.0)
    assert pitch(sound_of(smooth.content)[4000:-8000].astype(float)) == pytest.approx(330, rel=0.01)
    slow, fps = read_film((await filmed("interpolate", "", source, factor=2, slow=True)).content)
    assert (len(slow), fps) == (19, 10.0)
    # What was there still is: every third frame is an original.
    for index, frame in enumerate(moving(10)):
        assert psnr(frames[3 * index], frame) > 28


async def test_nothing_lies_between_two_shots() -> None:
    other = (textured(120, 160, 9)[..., None] * [40, 250, 120]).astype(np.uint8)
    source = film(write_film([*moving(3), *([255 - other] * 3)], 10))
    made = await filmed("interpolate", "", source, factor=4)
    assert made.settings["cuts"] == 1
    frames, _ = read_film(made.content)
    for frame in frames:
        near = max(psnr(frame, each) for each in (*moving(17, steps=0.25), 255 - other))
        assert near > 24  # of one shot or the other, and no mixture


# ---- a steady light


async def test_flicker_falls_and_motion_stays() -> None:
    true = moving(24)
    chance = np.random.default_rng(4)
    shaky = [np.clip(frame * chance.uniform(0.75, 1.25), 0, 255).astype(np.uint8) for frame in true]
    made = await filmed("steady", "", film(write_film(shaky, 12)))
    frames, fps = read_film(made.content)
    assert (len(frames), fps) == (24, 12.0)
    before, after, best = (flicker([light(frame) for frame in each]) for each in (shaky, frames, true))
    assert after < 0.35 * before, (before, after, best)
    assert made.settings["flicker_before"] == pytest.approx(before, rel=0.01)
    assert made.settings["flicker_after"] == pytest.approx(after, rel=0.25)
    # It is the same film: closer to the true one, up to how bright it is as a whole, than the shaky one.
    scale = float(np.mean(true) / np.mean(frames))
    gained = [psnr(np.clip(one * scale, 0, 255).astype(np.uint8), true[i]) for i, one in enumerate(frames)]
    shaken = [psnr(one, true[i]) for i, one in enumerate(shaky)]
    assert np.mean(gained) > np.mean(shaken) + 2


async def test_what_darkens_steadily_and_what_is_cut_is_no_flicker() -> None:
    fading = [(frame * (1 - index / 40)).astype(np.uint8) for index, frame in enumerate(moving(20))]
    cut = [*moving(10), *(255 - frame for frame in moving(10))]
    assert flicker([light(frame) for frame in fading]) < 0.012
    frames, _ = read_film((await filmed("steady", "", film(write_film(cut, 12)), strength=0.0)).content)
    for index in (9, 10):  # the light of one shot does not reach the other
        assert abs(float(frames[index].mean()) - float(cut[index].mean())) < 6


# ---- camera moves


@pytest.mark.parametrize("move", ["zoom_in", "pan_left", "orbit"])
async def test_the_camera_moves_smoothly_over_a_picture(move: str) -> None:
    picture = (textured(360, 640, 3)[..., None] * [255, 200, 150]).astype(np.uint8)
    made = await filmed("motion", "", still(picture), move=move, duration=1.0, fps=20, width=160, height=90)
    frames, fps = read_film(made.content)
    assert (len(frames), fps) == (20, 20.0)
    assert frames[0].shape == (90, 160, 3)
    steps = [float(np.abs(one.astype(int) - two).mean()) for one, two in itertools.pairwise(frames)]
    assert max(steps) > 0.4  # it moves
    bends = np.abs(np.diff(steps))
    assert bends.max() < 0.6 * max(steps)  # and never with a jerk


async def test_the_prompt_says_how_and_without_a_picture_it_is_painted() -> None:
    picture = still((textured(200, 300, 3)[..., None] * [255, 200, 150]).astype(np.uint8))
    small: dict[str, Any] = {"duration": 0.4, "fps": 10, "width": 128, "height": 72}
    assert (await filmed("motion", "pan left over it", picture, **small)).settings["move"] == "pan_left"
    steps = await steps_of("motion", "red mountains at sunset", **small)
    (made,) = [step for step in steps if isinstance(step, Artifact)]
    frames, _ = read_film(made.content)
    assert len(frames) == 4
    assert frames[0][..., 0].mean() > frames[0][..., 2].mean()
    assert any(isinstance(step, Preview) for step in steps)
    fractions = [step.fraction for step in steps if isinstance(step, Progress)]
    assert fractions == sorted(fractions)


async def test_several_pictures_fade_into_each_other_and_the_seed_decides() -> None:
    red, blue = (np.full((90, 160, 3), color, np.uint8) for color in ((220, 10, 10), (10, 10, 220)))
    small: dict[str, Any] = {"duration": 2.0, "fps": 10, "width": 160, "height": 90, "crossfade": 0.6}
    made = await filmed("motion", "", still(red), still(blue), **small)
    frames, _ = read_film(made.content)
    assert len(frames) == 20
    reds = [float(frame[..., 0].mean()) for frame in frames]
    assert reds[0] > 200
    assert reds[-1] < 30
    assert sum(30 < value < 200 for value in reds) == 6
    assert all(one >= two - 2 for one, two in itertools.pairwise(reds))
    assert (await filmed("motion", "", still(red), still(blue), **small)).content == made.content


# ---- the cutting table


async def test_cuts_are_exact_to_the_frame() -> None:
    source = film(write_film(numbered(50), 25))
    made = await filmed("cut", "", source, start=0.4, end=1.2)
    assert [number_of(frame) for frame in read_film(made.content)[0]] == list(range(10, 30))
    both = await filmed("cut", "", film(write_film(numbered(8), 25)), film(write_film(numbered(8, base=100), 25)))
    assert [number_of(frame) for frame in read_film(both.content)[0]] == [*range(8), *range(100, 108)]


async def test_films_fade_into_each_other() -> None:
    black, white = ([np.full((64, 96, 3), level, np.uint8)] * 20 for level in (16, 230))
    made = await filmed("cut", "", film(write_film(black, 10)), film(write_film(white, 10)), crossfade=0.5)
    levels = [float(frame.mean()) for frame in read_film(made.content)[0]]
    assert len(levels) == 35
    assert all(level < 30 for level in levels[:15])
    assert all(level > 215 for level in levels[20:])
    assert all(one < two for one, two in itertools.pairwise(levels[14:21]))


async def test_speed_and_direction() -> None:
    source = film(write_film(numbered(40), 20, sine(440.0, 2.0)))
    fast = await filmed("cut", "", source, speed=2.0)
    assert [number_of(frame) for frame in read_film(fast.content)[0]] == list(range(1, 40, 2))
    assert pitch(sound_of(fast.content)[8000:-8000].astype(float)) == pytest.approx(440, rel=0.01)
    slow, _ = read_film((await filmed("cut", "", source, speed=0.5)).content)
    assert [number_of(frame) for frame in slow] == [index // 2 for index in range(80)]
    back, _ = read_film((await filmed("cut", "", source, reverse=True, start=0.5, end=1.0)).content)
    assert [number_of(frame) for frame in back] == list(range(19, 9, -1))


async def test_pictures_and_sounds_over_and_under_it() -> None:
    import tests.support.hearing as hearing

    green = np.zeros((10, 20, 3), np.uint8)
    green[..., 1] = 255
    grey = [np.full((120, 160, 3), 128, np.uint8)] * 20
    under = ("audio/wav", hearing.write_wav(sine(660.0, 1.5, 0.3)))
    made = await filmed(
        "cut", "", film(write_film(grey, 10)), still(green), under, overlay_x=-1.0, overlay_y=-1.0, overlay_scale=0.5
    )
    frames, _ = read_film(made.content)
    assert frames[5][10, 30][1] > 200
    assert frames[5][10, 30][0] < 60
    assert abs(int(frames[5][100, 120][1]) - 128) < 6
    heard = sound_of(made.content).astype(float)
    assert pitch(heard[4000 : RATE - 4000]) == pytest.approx(660, rel=0.01)
    assert rms(heard[round(1.6 * RATE) : round(1.9 * RATE)]) < 0.02  # silence where the sound is over
    assert heard.size == pytest.approx(2 * RATE, abs=4096)


async def test_it_fades_from_and_to_black() -> None:
    white = [np.full((64, 96, 3), 230, np.uint8)] * 30
    made = await filmed("cut", "", film(write_film(white, 10)), fade_in=0.5, fade_out=0.5)
    levels = [float(frame.mean()) for frame in read_film(made.content)[0]]
    assert levels[0] < 60
    assert levels[-1] < 60
    assert min(levels[6:24]) > 220


# ---- mistakes


async def test_mistakes_are_named() -> None:
    short = film(write_film(numbered(5), 25))
    for model, sources, settings, said in (
        ("interpolate", (), {}, "needs one film"),
        ("steady", (short, short), {}, "2 sources were given"),
        ("interpolate", (("video/mp4", b"no film"),), {}, "no film that can be read"),
        ("cut", (), {}, "no film among the sources"),
        ("cut", (short,), {"start": 3.0}, "there is nothing in a film of"),
        ("cut", (short, ("text/plain", b"x")), {}, "neither film, picture nor sound"),
        ("motion", (("image/png", b"no picture"),), {}, "no picture that can be read here: its format is not known"),
    ):
        with pytest.raises(ProviderError, match=said) as caught:
            await filmed(model, "", *sources, **settings)
        assert caught.value.kind == "invalid"


async def test_a_film_that_breaks_off_is_said_to() -> None:
    whole = write_film(moving(12), 12)
    with pytest.raises(ProviderError, match=r"breaks off|no film|no frame"):
        await filmed("steady", "", film(whole[: len(whole) // 3] + bytes(2000)))


async def test_without_its_libraries_it_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    source = film(write_film(numbered(3), 25))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependency, match=r"lightfast\[media\]"):
        await filmed("steady", "", source)
