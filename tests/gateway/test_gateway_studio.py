"""The studio: what the words of a prompt do to pixels and samples, and that it says what it is."""

from __future__ import annotations

import io
import itertools
import math
import shutil
import subprocess
import sys
import wave
from array import array
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageStat
from tests.support.gateway import house
from tests.support.hearing import sine, write_wav
from tests.support.watching import moving, write_film

from lightfast.gateway.calls import GenerateCall
from lightfast.sdk import Artifact, GenerationRequest, Preview, Progress, ProviderError
from lightfast.sdk.testing import FakeBench, check_provider, complete_settings
from lightfast_link.value import Asset, Value
from lightfast_providers.studio import lightfast_providers
from lightfast_providers.studio.provider import Studio
from lightfast_providers.studio.words import COLORS, MOODS, SUBJECTS, read


def studio() -> Any:
    (provider,) = lightfast_providers({})
    return provider


async def made(model: str, prompt: str, seed: int = 3, **settings: Any) -> Artifact:
    provider = studio()
    found = next(each for each in provider.models() if each.name == model)
    order = GenerationRequest(model, found.outputs[0], prompt, complete_settings(found, settings), seed)
    steps = [step async for step in provider.generate(order, FakeBench())]
    (artifact,) = [step for step in steps if isinstance(step, Artifact)]
    return artifact


async def picture(prompt: str, seed: int = 3, **settings: Any) -> Image.Image:
    artifact = await made("image", prompt, seed, **{"width": 128, "height": 96, **settings})
    return Image.open(io.BytesIO(artifact.content))


def mean(image: Image.Image, box: tuple[int, int, int, int] | None = None) -> list[float]:
    return ImageStat.Stat(image.crop(box) if box else image).mean


class Heard(Studio):
    """The studio, without speech where nothing can speak."""

    def models(self) -> Any:
        return [model for model in super().models() if model.name != "speech" or shutil.which("espeak-ng")]


async def test_it_keeps_the_contract() -> None:
    little: dict[str, Value] = {"width": 96, "height": 64}
    small: dict[str, dict[str, Value]] = {
        "image": little,
        "audio": {"duration": 0.5},
        "music": {"bars": 1, "tempo": 200.0},
        "motion": {**little, "duration": 0.4, "fps": 10.0},
        "edit": {"blur": 1.0},
        "effects": {"gain_db": -3.0},
    }
    prompts = {"image": "a red circle", "audio": "a pluck", "music": "a pluck"}
    film = write_film(moving(4, 48, 64), 10)
    picture_bytes = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(picture_bytes, "PNG")
    one = picture_bytes.getvalue()
    sources = {
        **dict.fromkeys(("interpolate", "steady", "cut"), (film,)),
        "style": (one, one),
        "edit": (one,),
        "effects": (write_wav(sine(440.0, 0.3)),),
    }
    kinds = {"interpolate": ("video/x-matroska",), "steady": ("video/x-matroska",), "cut": ("video/x-matroska",)}
    steps = await check_provider(
        Heard(), prompts=prompts, settings=small, sources=sources, source_types=kinds, most_blocked=20.0
    )
    assert set(steps) == {model.name for model in Heard().models()}
    previews = [step for step in steps["image"] if isinstance(step, Preview)]
    assert [preview.media_type for preview in previews] == ["image/jpeg", "image/jpeg"]
    fractions = [step.fraction for step in steps["image"] if isinstance(step, Progress)]
    assert fractions == sorted(fractions)
    assert len(fractions) >= 4


async def test_the_seed_decides() -> None:
    first = await made("image", "mountains at sunset", 1, width=96, height=64)
    again = await made("image", "mountains at sunset", 1, width=96, height=64)
    other = await made("image", "mountains at sunset", 2, width=96, height=64)
    assert first.content == again.content
    assert first.content != other.content


@pytest.mark.parametrize("style", ["gradient", "geometric", "field", "stripes", "radial"])
async def test_each_style_follows_the_palette(style: str) -> None:
    red, green, blue = [
        mean(await picture(color, style=style, width=160, height=160)) for color in ("red", "green", "blue")
    ]
    assert red[0] > red[1] + 25
    assert red[0] > red[2] + 25
    assert green[1] > green[0] + 10
    assert green[1] > green[2] + 10
    assert blue[2] > blue[0] + 25
    assert blue[2] > blue[1] + 15


async def test_moods_color_a_landscape() -> None:
    sunset = mean(await picture("mountains at sunset"))
    winter = mean(await picture("mountains in winter"))
    night = mean(await picture("mountains at night"))
    assert sunset[0] > sunset[2]
    assert winter[2] > winter[0]
    assert sum(night) < sum(winter) / 2


async def test_shapes_stand_where_they_are_asked_for_in_their_color() -> None:
    image = await picture("a yellow square on blue", width=200, height=200, grain=0.0)
    middle, corner = mean(image, (85, 85, 115, 115)), mean(image, (0, 150, 25, 200))
    assert middle[0] > 150
    assert middle[1] > 150
    assert middle[2] < 120
    assert corner[2] > corner[0] + 20


async def test_a_landscape_is_light_above_and_dark_below() -> None:
    image = await picture("hills in summer")
    above, below = mean(image, (0, 40, 128, 55)), mean(image, (0, 85, 128, 96))
    assert sum(above) > sum(below) + 100


@pytest.mark.parametrize("subject", sorted(set(SUBJECTS.values())))
async def test_each_subject_is_drawn(subject: str) -> None:
    word = next(word for word, found in SUBJECTS.items() if found == subject and " " not in word)
    drawn = await picture(f"teal {word}", grain=0.0)
    plain = await picture("teal zzz", grain=0.0, style="gradient")
    assert drawn.size == (128, 96)
    assert drawn.tobytes() != plain.tobytes()
    assert len(set(drawn.convert("L").tobytes())) > 20


@pytest.mark.parametrize("size", [(64, 64), (2048, 64), (64, 2048), (1025, 700)])
async def test_sizes(size: tuple[int, int]) -> None:
    image = await picture("city at night with stars and moon over waves", width=size[0], height=size[1])
    assert image.size == size


async def test_the_picture_says_what_it_is() -> None:
    artifact = await made("image", "ein Kreis, größer", 5, width=64, height=64)
    assert artifact.settings["generator"] == "studio (procedural, no learned model)"
    image = Image.open(io.BytesIO(artifact.content))
    assert image.info["Software"] == "studio (procedural, no learned model)"
    assert image.info["Description"] == "ein Kreis, größer"
    assert "seed 5" in image.info["Comment"]
    for model in studio().models():
        assert model.procedural
        assert "no learned model" in model.description


def test_the_tables_are_sound() -> None:
    for text in COLORS.values():
        assert len(bytes.fromhex(text)) == 3
    for word, text in MOODS.items():
        tones = [sum(bytes.fromhex(tone)) for tone in text.split()]
        assert len(tones) == 5, word


def test_words_are_understood() -> None:
    found = read("Three red circles and a blue sphere on a black background, calm")
    assert found.subjects == ("circle", "sphere")
    assert found.count("circle") == 3
    assert found.count("sphere") == 1
    assert found.colors_of("circle") == ("red",)
    assert found.colors_of("sphere") == ("blue",)
    assert found.ground == ("black",)
    assert found.moods == ("calm",)
    assert read("berries, mountains and stars").subjects == ("mountains", "stars")


# ---- sound


def samples(content: bytes) -> tuple[wave._wave_params, array[int], array[int]]:
    with wave.open(io.BytesIO(content)) as file:
        frames = array("h", file.readframes(file.getnframes()))
        return file.getparams(), frames[0::2], frames[1::2]


SOUNDS = [
    "a warm pad",
    "techno drums and bass at 128 bpm",
    "harp pluck",
    "dark drone with wind",
    "bells",
    "organ lead",
    "fast square arpeggio",
    "something",
]


@pytest.mark.parametrize("prompt", SOUNDS)
async def test_a_sound_is_whole_and_clean(prompt: str) -> None:
    artifact = await made("audio", prompt, duration=1.2)
    params, left, right = samples(artifact.content)
    assert (params.nchannels, params.sampwidth, params.framerate) == (2, 2, 44_100)
    assert params.nframes == round(1.2 * 44_100)
    for channel in (left, right):
        assert abs(channel[0]) <= 40
        assert abs(channel[-1]) <= 40
        assert max(map(abs, channel[:20])) < 3000
        assert max(map(abs, channel[-20:])) < 1500
        assert abs(sum(channel) / len(channel)) < 150
    peak = max(*map(abs, left), *map(abs, right))
    assert peak == pytest.approx(0.89 * 32767, abs=2)
    loudness = math.sqrt(sum(value * value for value in left) / len(left))
    assert loudness > 500


async def test_a_sound_by_seed_tempo_and_bars() -> None:
    one = await made("audio", "pluck in D minor at 120 bpm", 4, bars=1)
    assert one.content == (await made("audio", "pluck in D minor at 120 bpm", 4, bars=1)).content
    assert one.content != (await made("audio", "pluck in D minor at 120 bpm", 5, bars=1)).content
    assert (one.settings["played_key"], one.settings["played_tempo"], one.settings["seconds"]) == (
        "D minor",
        120.0,
        2.0,
    )
    params, _, _ = samples(one.content)
    assert params.nframes == 2 * 44_100
    other = await made("audio", "pluck in D minor at 120 bpm", 4, bars=1, key="F#", scale="lydian", tempo=60.0)
    assert (other.settings["played_key"], other.settings["played_tempo"], other.settings["seconds"]) == (
        "F# lydian",
        60.0,
        4.0,
    )


async def test_a_tone_has_the_pitch_of_its_note() -> None:
    from random import Random

    from lightfast_providers.studio.music import plan
    from lightfast_providers.studio.sound import RATE, tone

    score = plan("organ in A major", Random(1))
    assert score.pitch(0, 4) == pytest.approx(440.0)
    assert score.pitch(7, 4) == pytest.approx(880.0)
    wave_of = tone("saw", score.pitch(0, 4), 1.0)
    rises = sum(1 for before, after in itertools.pairwise(wave_of) if before < 0 <= after)
    assert rises == pytest.approx(440, abs=1)
    assert len(wave_of) == RATE


async def test_the_sound_says_what_it_is() -> None:
    artifact = await made("audio", "bells", 9, duration=0.5)
    assert artifact.settings["generator"] == "studio (procedural, no learned model)"
    tail = artifact.content[artifact.content.index(b"LIST") :]
    assert tail[8:12] == b"INFO"
    assert b"ICMT" in tail
    assert b"studio (procedural, no learned model)" in tail
    assert b"seed 9: bells" in tail
    assert int.from_bytes(artifact.content[4:8], "little") == len(artifact.content) - 8


async def test_a_tempo_that_cannot_be_played_says_so() -> None:
    with pytest.raises(ProviderError, match="the tempo is 20: use 40 to 220"):
        await made("audio", "pluck", tempo=20.0)
    with pytest.raises(ProviderError, match="are 192 s: the most is 120"):
        await made("audio", "pluck", tempo=40.0, bars=32)


# ---- in the house


async def test_it_works_through_the_gateway(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        rooms.gateway.register(studio(), "studio")
        call = GenerateCall(
            output="image",
            model="studio/image",
            prompt="a red circle",
            settings={"width": 64, "height": 64},
            seed=1,
            target_path="/art/circle",
        )
        steps = [step async for step in rooms.gateway.generate(call, "client:test")]
        (asset,) = [step.kind for step in steps if isinstance(step.kind, Asset)]
        record = await rooms.blobs.get(asset.sha256)
        assert (record.media_type, record.name, record.provenance.generator) == (
            "image/png",
            "a-red-circle.png",
            "studio/image",
        )
        assert "procedural, no learned model" in record.provenance.settings


def test_importing_it_loads_no_pillow() -> None:
    code = "import lightfast_providers.studio, sys; sys.exit('PIL' in sys.modules or 'wave' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=150).returncode == 0
