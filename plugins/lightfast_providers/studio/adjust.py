"""What can be done to a picture: place, light, color, sharpness, and another one laid over it.

Pictures are arrays of height × width × 4 floats from 0 to 1: red, green, blue as sRGB, and how much covers.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightfast.sdk import ProviderError

Picture = NDArray[np.float32]

MOST_PIXELS = 40_000_000
_LIGHT = np.array([0.2126, 0.7152, 0.0722], np.float32)


def read(content: bytes) -> Picture:
    """Return an image file, upright; raise `ProviderError` (invalid) for what is none, or too large."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ProviderError(
                    f"the picture has {image.width} × {image.height} pixels: the most is {MOST_PIXELS}", kind="invalid"
                )
            return np.asarray(ImageOps.exif_transpose(image).convert("RGBA"), np.float32) / np.float32(255)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        why = "its format is not known" if isinstance(error, UnidentifiedImageError) else error
        raise ProviderError(f"the source is no picture that can be read here: {why}", kind="invalid") from error


def png(picture: Picture) -> bytes:
    """Return it as PNG; without its covering where all of it covers."""
    from PIL import Image

    raw = np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8)
    image = Image.fromarray(raw if (raw[..., 3] < 255).any() else raw[..., :3])
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def placed(picture: Picture, settings: Mapping[str, Any]) -> Picture:
    """Return it cropped, scaled, turned and mirrored, in this order."""
    rows, columns = picture.shape[:2]
    left, top = settings["crop_left"], settings["crop_top"]
    wide, tall = settings["crop_width"] or columns - left, settings["crop_height"] or rows - top
    if left + wide > columns or top + tall > rows or wide <= 0 or tall <= 0:
        raise ProviderError(
            f"the crop of {wide} × {tall} at {left}, {top} is not inside the picture of {columns} × {rows}",
            kind="invalid",
        )
    out = picture[top : top + tall, left : left + wide]
    if settings["width"] or settings["height"]:
        width = settings["width"] or max(1, round(wide * settings["height"] / tall))
        height = settings["height"] or max(1, round(tall * settings["width"] / wide))
        out = sized(out, width, height, str(settings["fit"]))
    if settings["upscale"] > 1:
        out = upscaled(out, settings["upscale"])
    turn = settings["rotate"] % 360
    if turn:
        out = np.rot90(out, -round(turn / 90)) if turn % 90 == 0 else _turned(out, turn)
    out = out[:, ::-1] if settings["mirror"] else out
    return np.ascontiguousarray(out[::-1] if settings["flip"] else out)


def sized(picture: Picture, width: int, height: int, fit: str) -> Picture:
    """Return it as *width* × *height*; *fit* is stretch, fill (cut what is over) or contain (leave room)."""
    rows, columns = picture.shape[:2]
    if fit == "stretch":
        return _resized(picture, width, height)
    scale = (max if fit == "fill" else min)(width / columns, height / rows)
    inner = _resized(picture, max(1, round(columns * scale)), max(1, round(rows * scale)))
    tall, wide = inner.shape[:2]
    if fit == "fill":
        top, left = max(0, (tall - height) // 2), max(0, (wide - width) // 2)
        return _resized(inner[top : top + height, left : left + width], width, height)
    out = np.zeros((height, width, 4), np.float32)
    top, left = (height - tall) // 2, (width - wide) // 2
    out[top : top + tall, left : left + wide] = inner[:height, :width]
    return out


def _resized(picture: Picture, width: int, height: int) -> Picture:
    """Scale it with what covers as weight, so that no color comes from what cannot be seen."""
    from PIL import Image

    if picture.shape[1::-1] == (width, height):
        return picture
    if width * height > MOST_PIXELS:
        raise ProviderError(f"{width} × {height} are too many pixels: the most is {MOST_PIXELS}", kind="invalid")
    heavy = picture.copy()
    heavy[..., :3] *= heavy[..., 3:]
    bands = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(heavy[..., band])).resize((width, height), Image.Resampling.LANCZOS)
        )
        for band in range(4)
    ]
    out = np.stack(bands, axis=2)
    cover = np.clip(out[..., 3:], 0, 1)
    color = np.clip(out[..., :3] / np.maximum(out[..., 3:], 1e-4), 0, 1)
    return np.concatenate((color, cover), axis=2).astype(np.float32)


def upscaled(picture: Picture, factor: int) -> Picture:
    """Return it *factor* times as large: enlarged, then corrected until it gives the original when it is shrunk again.

    After Irani and Peleg, "Improving resolution by image registration" (1991), for a single picture.
    """
    rows, columns = picture.shape[:2]
    out = _resized(picture, columns * factor, rows * factor)
    for _ in range(6):
        small = out.reshape(rows, factor, columns, factor, 4).mean(axis=(1, 3))
        gap = np.clip((picture - small) * 0.5 + 0.5, 0, 1).astype(np.float32)
        gap[..., 3] = 1.0
        wide = _resized(gap, columns * factor, rows * factor)
        out[..., :3] = np.clip(out[..., :3] + (wide[..., :3] - 0.5) * 2, 0, 1)
    return out


def _turned(picture: Picture, degrees: float) -> Picture:
    from PIL import Image

    bands = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(picture[..., band])).rotate(
                -degrees, Image.Resampling.BICUBIC, expand=True
            )
        )
        for band in range(4)
    ]
    return np.asarray(np.clip(np.stack(bands, axis=2), 0, 1), np.float32)


def adjusted(picture: Picture, settings: Mapping[str, Any]) -> Picture:
    """Return it with other light and colors; exposure is reckoned in linear light, the rest in sRGB."""
    color: NDArray[Any] = picture[..., :3]
    if settings["exposure"]:
        color = _to_srgb(_to_linear(color) * np.float32(2 ** settings["exposure"]))
    if settings["temperature"]:
        warm = settings["temperature"] * 0.2
        color = color * np.array([1 + warm, 1.0, 1 - warm], np.float32)
    color = (color - 0.5) * np.float32(1 + settings["contrast"]) + np.float32(0.5 + settings["brightness"])
    if settings["gamma"] != 1:
        color = np.clip(color, 0, 1) ** np.float32(1 / settings["gamma"])
    if settings["hue"]:
        color = color @ _hue(settings["hue"]).T
    if settings["saturation"] != 1:
        grey = (color @ _LIGHT)[..., None]
        color = grey + (color - grey) * np.float32(settings["saturation"])
    color = np.clip(color, 0, 1)
    if settings["invert"]:
        color = 1 - color
    if settings["posterize"]:
        steps = settings["posterize"] - 1
        color = np.round(color * steps) / steps
    return np.concatenate((color, picture[..., 3:]), axis=2).astype(np.float32)


def _hue(degrees: float) -> NDArray[np.float32]:
    """Return the turn of colors around the grey axis."""
    turn = np.radians(degrees)
    cosine, sine = np.cos(turn), np.sin(turn)
    third, root = (1 - cosine) / 3, sine / np.sqrt(3)
    rows = [[cosine + third, third - root, third + root], [third + root, cosine + third, third - root]]
    return np.array([*rows, [third - root, third + root, cosine + third]], np.float32)


def _to_linear(color: Any) -> Any:
    return np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)


def _to_srgb(light: Any) -> Any:
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def sharpened(picture: Picture, blur: float, sharpen: float) -> Picture:
    """Return it blurred by a bell of *blur* pixels, then sharpened: what a bell of 1.2 takes away, added again."""
    out = blurred(picture, blur) if blur > 0 else picture
    if sharpen > 0:
        soft = blurred(out, 1.2)
        out = np.clip(out + np.float32(sharpen) * (out - soft), 0, 1)
        out[..., 3] = picture[..., 3]
    return out


def blurred(picture: Picture, sigma: float) -> Picture:
    """Return it after a Gauss of *sigma* pixels; at the edges it is mirrored. A wide one works on a smaller picture."""
    rows, columns = picture.shape[:2]
    smaller = int(sigma // 4)
    if smaller > 1 and min(rows, columns) >= 4 * smaller:
        small = _resized(picture, -(-columns // smaller), -(-rows // smaller))
        return _resized(blurred(small, sigma / smaller), columns, rows)
    radius = max(1, min(radius_of(sigma), rows, columns))
    bell = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    bell /= bell.sum()
    out: NDArray[Any] = picture.astype(np.float64)
    for axis in (0, 1):
        pad = [(0, 0)] * 3
        pad[axis] = (radius, radius)
        wide = np.pad(out, pad, mode="symmetric")
        span = out.shape[axis]
        total = np.zeros_like(out)
        for index, weight in enumerate(bell):
            total += weight * wide.take(range(index, index + span), axis=axis)
        out = total
    return np.asarray(out, np.float32)


def radius_of(sigma: float) -> int:
    """Return how far a Gauss reaches, in pixels."""
    return max(1, round(4 * sigma))


def vignetted(picture: Picture, amount: float) -> Picture:
    """Return it darker towards its corners."""
    rows, columns = picture.shape[:2]
    y, x = np.ogrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    out = picture.copy()
    out[..., :3] *= (1 - amount * np.clip((x * x + y * y) / 2, 0, 1))[..., None]
    return out


def laid(under: Picture, over: Picture, settings: Mapping[str, Any], mask: Any = None) -> Picture:
    """Return *under* with *over* on it, mixed by the mode; positions are in pixels of *under*."""
    tall, wide = under.shape[:2]
    scale = settings["over_scale"]
    if scale != 1:
        over = _resized(over, max(1, round(over.shape[1] * scale)), max(1, round(over.shape[0] * scale)))
    left, top = settings["over_x"], settings["over_y"]
    out = under.copy()
    x0, y0, x1, y1 = max(0, left), max(0, top), min(wide, left + over.shape[1]), min(tall, top + over.shape[0])
    if x0 >= x1 or y0 >= y1:
        raise ProviderError(f"at {left}, {top} nothing of what is laid over it can be seen", kind="invalid")
    part = over[y0 - top : y1 - top, x0 - left : x1 - left]
    base = out[y0:y1, x0:x1]
    cover = part[..., 3:] * np.float32(settings["opacity"])
    if mask is not None:
        cover = cover * mask[y0:y1, x0:x1, None]
    mixed = blended(base[..., :3], part[..., :3], str(settings["mode"]))
    full = cover + base[..., 3:] * (1 - cover)
    # Where nothing lies under it, its own color is seen, not the mixture.
    seen = mixed * base[..., 3:] + part[..., :3] * (1 - base[..., 3:])
    color = (seen * cover + base[..., :3] * base[..., 3:] * (1 - cover)) / np.maximum(full, 1e-6)
    out[y0:y1, x0:x1] = np.concatenate((np.clip(color, 0, 1), full), axis=2)
    return out


def blended(under: Any, over: Any, mode: str) -> Any:
    """Return the mixture of two colors, as the W3C's Compositing and Blending Level 1 defines the modes."""
    if mode == "multiply":
        return under * over
    if mode == "screen":
        return under + over - under * over
    if mode == "add":
        return np.minimum(1.0, under + over)
    if mode == "overlay":
        return np.where(under <= 0.5, 2 * under * over, 1 - 2 * (1 - under) * (1 - over))
    if mode == "darken":
        return np.minimum(under, over)
    if mode == "lighten":
        return np.maximum(under, over)
    return np.abs(under - over) if mode == "difference" else over


def mask_of(picture: Picture, width: int, height: int) -> Any:
    """Return how light a picture is, as a mask of that size; what does not cover is black."""
    return ((_resized(picture, width, height)[..., :3] @ _LIGHT) * _resized(picture, width, height)[..., 3]).astype(
        np.float32
    )
