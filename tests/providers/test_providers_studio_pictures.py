"""Style transfer and manipulation of pictures, checked against reference pixels and measured statistics."""

from __future__ import annotations

import io
import math
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.support.watching import psnr, textured

from lightfast.sdk import Artifact, GenerationRequest, MissingDependency, ProviderError
from lightfast.sdk.testing import FakeBench, complete_settings
from lightfast_providers.studio import lightfast_providers
from lightfast_providers.studio.adjust import blended
from lightfast_providers.studio.common import MODES
from lightfast_providers.studio.style import distance


def encoded(pixels: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


async def made(model: str, *sources: bytes, **settings: Any) -> Artifact:
    (provider,) = lightfast_providers({})
    found = next(each for each in provider.models() if each.name == model)
    kinds = ("image/png",) * len(sources)
    order = GenerationRequest(model, "image", "", complete_settings(found, settings), 1, tuple(sources), kinds)
    (artifact,) = [step async for step in provider.generate(order, FakeBench()) if isinstance(step, Artifact)]
    return artifact


async def edited(pixels: Any, *others: Any, **settings: Any) -> Any:
    artifact = await made("edit", encoded(pixels), *map(encoded, others), **settings)
    return np.asarray(Image.open(io.BytesIO(artifact.content)))


def picture(rows: int = 24, columns: int = 36, seed: int = 1) -> Any:
    """Return soft random colors."""
    parts = [textured(rows, columns, seed + index) for index in range(3)]
    return (np.stack(parts, axis=2) * 255).astype(np.uint8)


async def whole(model: str, content: Any, style: Any, **settings: Any) -> tuple[Any, Artifact]:
    artifact = await made(model, encoded(content), encoded(style), **settings)
    return np.asarray(Image.open(io.BytesIO(artifact.content))), artifact


# ---- style


async def painted(prompt: str, seed: int) -> Any:
    (provider,) = lightfast_providers({})
    found = next(each for each in provider.models() if each.name == "image")
    settings = complete_settings(found, {"width": 160, "height": 120, "grain": 0.0})
    order = GenerationRequest("image", "image", prompt, settings, seed)
    (artifact,) = [step async for step in provider.generate(order, FakeBench()) if isinstance(step, Artifact)]
    return np.asarray(Image.open(io.BytesIO(artifact.content)).convert("RGB"))


async def test_statistics_move_towards_the_style() -> None:
    content = await painted("mountains at sunset", 3)
    rough = (0.5 * picture(120, 160, 40) + [90, 20, 60]).astype(np.uint8)
    for style in (rough, await painted("a green forest in the fog", 4)):
        before = distance(content, style)
        out, artifact = await whole("style", content, style, texture=1.0)
        after = distance(out, style)
        assert after[0] < 0.25 * before[0], (before, after)
        assert after[1] < 0.75 * before[1], (before, after)
        assert artifact.settings["color_distance"][1] == pytest.approx(after[0], abs=0.003)
        # What it shows stays what it is: its light is in the same order.
        grey: Any = [np.asarray(Image.fromarray(one).convert("L"), float).ravel() for one in (content, out)]
        assert abs(np.corrcoef(grey[0], grey[1])[0, 1]) > 0.7


async def test_its_strength_is_a_setting() -> None:
    content, style = await painted("mountains at sunset", 3), picture(120, 160, 40)
    far = [
        distance((await whole("style", content, style, color=amount, texture=0.0))[0], style)[0]
        for amount in (0, 0.5, 1)
    ]
    assert far[0] > far[1] > far[2]
    same, _ = await whole("style", content, style, color=0.0, texture=0.0)
    assert np.array_equal(same, content)


# ---- manipulation


async def test_crop_turn_and_mirror_are_exact() -> None:
    pixels = picture()
    cropped = await edited(pixels, crop_left=5, crop_top=3, crop_width=20, crop_height=10)
    assert np.array_equal(cropped, pixels[3:13, 5:25])
    for degrees in (90, 180, 270, -90):
        assert np.array_equal(await edited(pixels, rotate=float(degrees)), np.rot90(pixels, -degrees // 90))
    assert np.array_equal(await edited(pixels, mirror=True), pixels[:, ::-1])
    assert np.array_equal(await edited(pixels, flip=True), pixels[::-1])
    assert np.array_equal(await edited(pixels, crop_left=5, mirror=True), pixels[:, 5:][:, ::-1])  # in this order


async def test_sizes_are_as_asked_and_plain_colors_stay() -> None:
    plain = np.full((40, 60, 3), (10, 120, 240), np.uint8)
    for settings, shape in (
        ({"width": 30}, (20, 30)),
        ({"height": 80}, (80, 120)),
        ({"width": 33, "height": 44}, (44, 33)),
        ({"width": 50, "height": 50, "fit": "fill"}, (50, 50)),
        ({"upscale": 3}, (120, 180)),
    ):
        out = await edited(plain, **settings)
        assert out.shape == (*shape, 3)
        assert np.abs(out.astype(int) - (10, 120, 240)).max() <= 1
    contained = await edited(plain, width=50, height=50, fit="contain")
    assert contained.shape == (50, 50, 4)
    assert contained[0, 25, 3] == 0
    assert contained[25, 25].tolist() == [10, 120, 240, 255]


async def test_resizing_down_is_an_average() -> None:
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, ::2] = 200  # lines of one pixel: the mean is 100
    out = await edited(pixels, width=8)
    assert np.abs(out[:, 2:-2].astype(int) - 100).max() <= 3


async def test_upscaling_is_closer_than_what_is_usual() -> None:
    large = (np.stack([textured(160, 160, seed) for seed in (5, 6, 7)], axis=2) * 255).astype(np.uint8)
    large = np.asarray(Image.fromarray(large).resize((320, 320), Image.Resampling.BICUBIC))
    small = large.reshape(160, 2, 160, 2, 3).mean(axis=(1, 3)).round().astype(np.uint8)
    ours = await edited(small, upscale=2)
    usual = np.asarray(Image.fromarray(small).resize((320, 320), Image.Resampling.BICUBIC))
    assert psnr(ours, large) > psnr(usual, large) + 0.5


@pytest.mark.parametrize(
    ("settings", "formula"),
    [
        ({"brightness": 0.2}, lambda c: c + 0.2),
        ({"contrast": 0.5}, lambda c: (c - 0.5) * 1.5 + 0.5),
        ({"gamma": 2.2}, lambda c: c ** (1 / 2.2)),
        ({"invert": True}, lambda c: 1 - c),
        ({"posterize": 4}, lambda c: np.round(c * 3) / 3),
        ({"saturation": 0.0}, lambda c: np.repeat((c @ [0.2126, 0.7152, 0.0722])[..., None], 3, axis=2)),
        ({"hue": 120.0}, lambda c: c[..., [2, 0, 1]]),
        ({"temperature": 1.0}, lambda c: c * [1.2, 1.0, 0.8]),
    ],
    ids=["brightness", "contrast", "gamma", "invert", "posterize", "saturation", "hue", "temperature"],
)
async def test_light_and_color_follow_their_formulas(settings: dict[str, Any], formula: Any) -> None:
    pixels = picture()
    wanted = np.clip(formula(pixels / 255.0), 0, 1) * 255
    assert np.abs(np.asarray(await edited(pixels, **settings), float) - wanted).max() <= 1.01


async def test_a_stop_doubles_the_light() -> None:
    pixels = np.full((4, 4, 3), 100, np.uint8)
    out = await edited(pixels, exposure=1.0)
    linear = [((level / 255 + 0.055) / 1.055) ** 2.4 for level in (100, float(out[0, 0, 0]))]
    assert linear[1] == pytest.approx(2 * linear[0], rel=0.02)


async def test_a_blur_is_a_gauss() -> None:
    point = np.zeros((41, 41, 3), np.uint8)
    point[20, 20] = 255
    for sigma in (1.0, 2.5):
        out = await edited(point, blur=sigma)
        row = np.array([math.exp(-0.5 * (x / sigma) ** 2) for x in range(-20, 21)])
        wanted = np.outer(row, row) / row.sum() ** 2 * 255
        assert np.abs(out[..., 0] - wanted).max() <= 1
    edge = np.zeros((200, 200, 3), np.uint8)
    edge[:, 100:] = 200
    wide = await edited(edge, blur=20.0)  # works on a smaller picture: an error function, all the same
    wanted_row = [100 * (1 + math.erf((x - 99.5) / (20 * math.sqrt(2)))) for x in range(40, 160)]
    assert np.abs(wide[100, 40:160, 0] - np.array(wanted_row)).max() < 4


async def test_sharpening_makes_edges_steeper_and_leaves_plains() -> None:
    soft = await edited(np.repeat(np.repeat(np.array([[[60] * 3, [180] * 3]], np.uint8), 20, 1), 20, 0), blur=2.0)
    sharp = await edited(soft, sharpen=1.5)
    assert np.abs(np.diff(sharp[10, :, 0].astype(int))).max() > np.abs(np.diff(soft[10, :, 0].astype(int))).max()
    assert abs(int(sharp[10, 1, 0]) - int(soft[10, 1, 0])) <= 2


@pytest.mark.parametrize("mode", MODES)
async def test_what_is_laid_over_mixes_as_its_mode_says(mode: str) -> None:
    under, over = picture(20, 30, 1), picture(8, 10, 9)
    out = await edited(under, over, over_x=4, over_y=6, opacity=0.6, mode=mode)
    part = under[6:14, 4:14] / 255.0
    wanted = part * 0.4 + blended(part, over / 255.0, mode) * 0.6
    assert np.abs(out[6:14, 4:14] / 255.0 - wanted).max() < 0.006
    rest = out.copy()
    rest[6:14, 4:14] = under[6:14, 4:14]
    assert np.array_equal(rest, under)


async def test_what_hangs_over_the_edge_is_cut() -> None:
    under, over = picture(20, 30, 1), picture(8, 10, 9)
    out = await edited(under, over, over_x=-4, over_y=-3)
    assert np.abs(out[:5, :6].astype(int) - over[3:, 4:]).max() <= 1


async def test_masks() -> None:
    under, over = picture(20, 30, 1), picture(20, 30, 9)
    mask = np.zeros((20, 30, 3), np.uint8)
    mask[:, 15:] = 255
    out = await edited(under, over, mask, mask="over")
    assert np.array_equal(out[:, :14], under[:, :14])
    assert np.abs(out[:, 16:].astype(int) - over[:, 16:]).max() <= 1
    changed = await edited(under, mask, mask="changes", invert=True)
    assert np.array_equal(changed[:, :14], under[:, :14])
    assert np.abs(changed[:, 16:].astype(int) - (255 - under[:, 16:].astype(int))).max() <= 1


async def test_what_cannot_be_seen_gives_no_color() -> None:
    """A scaled cut-out has no dark rim: what does not cover has no color to give."""
    cut_out = np.zeros((40, 40, 4), np.uint8)
    cut_out[10:30, 10:30] = (250, 200, 20, 255)
    out = await edited(cut_out, width=17)
    seen = out[out[..., 3] > 40]
    assert np.abs(seen[:, :3].astype(int) - (250, 200, 20)).max() <= 3


async def test_mistakes_are_named() -> None:
    small = encoded(picture())
    cases: list[tuple[str, tuple[bytes, ...], dict[str, Any], str]] = [
        ("style", (small,), {}, "needs two pictures"),
        ("edit", (), {"blur": 1.0}, "0 were given"),
        ("edit", (small,), {}, "nothing was asked for"),
        ("edit", (small,), {"crop_left": 30, "crop_width": 30}, "not inside the picture of 36 × 24"),
        ("edit", (small, small), {"mask": "over"}, "3 to 3, 2 were given"),
        ("edit", (small, small), {"over_x": 99}, "nothing of what is laid over it"),
        ("edit", (b"nothing",), {"blur": 1.0}, "no picture that can be read here: its format is not known"),
        ("edit", (small,), {"width": 16_000, "height": 16_000}, "too many pixels"),
    ]
    for model, sources, settings, said in cases:
        with pytest.raises(ProviderError, match=said) as caught:
            await made(model, *sources, **settings)
        assert caught.value.kind == "invalid"


async def test_without_its_library_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingDependency, match="pip install pillow"):
        await made("edit", b"", blur=1.0)
