"""What an image, a sound or a film is like: size, format, length. Runs in a thread, and reads headers, not contents.

RIFF/WAVE is read after the Multimedia Programming Interface 1.0 of IBM and Microsoft, FLAC after RFC 9639 section 8.2,
MP4 and QuickTime after ISO/IEC 14496-12 (boxes `mvhd`, `tkhd`, `mdhd` versions 0 and 1). Images are Pillow's.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

MOST_FRAMES = 1000
"""Of so many frames of an animation the durations are added up; of a longer one none is told."""
_MOST_BOXES = 10_000


class Facts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a medium; 0 and the empty text stand for what is not.

    *width* and *height* are in pixels, *duration_ms* in milliseconds, *sample_rate* in samples a second. *mode* is
    Pillow's name of the pixels (`RGB`, `L`, `RGBA`…), *problem* why nothing could be told.
    """

    format: str = ""
    width: int = 0
    height: int = 0
    mode: str = ""
    frames: int = 0
    duration_ms: int = 0
    channels: int = 0
    sample_rate: int = 0
    problem: str = ""


def is_medium(media_type: str) -> bool:
    """Say whether there is something to find out about assets of *media_type*."""
    return media_type.startswith(("image/", "audio/", "video/"))


def probe(path: Path, media_type: str) -> Facts | None:
    """Return what the file at *path* is like; `None` where nobody here knows its format."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
            file.seek(0)
            if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
                return _wave(file)
            if head[:4] == b"fLaC":
                return _flac(file)
            if head[4:8] in {b"ftyp", b"moov", b"mdat", b"free", b"wide"}:
                return _film(file, path.stat().st_size, audio=media_type.startswith("audio/"))
        return _image(path) if media_type.startswith("image/") else None
    except Exception as error:  # noqa: BLE001  # anybody may have made it, and Pillow raises whatever it meets
        return Facts(problem=f"{type(error).__name__}: {error}".replace(repr(str(path)), "it")[:200])


def _image(path: Path) -> Facts:
    from PIL import Image

    try:
        with Image.open(path) as image:
            frames = int(getattr(image, "n_frames", 1))
            duration = 0.0
            if 1 < frames <= MOST_FRAMES:
                for number in range(frames):
                    image.seek(number)
                    duration += float(image.info.get("duration", 0) or 0)
                image.seek(0)
            return Facts(
                image.format or "", image.width, image.height, image.mode, frames if frames > 1 else 0, round(duration)
            )
    except Image.DecompressionBombError as error:
        return Facts(problem=str(error)[:200])


def _wave(file: BinaryIO) -> Facts:
    file.seek(12)
    rate = channels = per_second = 0
    while len(head := file.read(8)) == 8:
        name, size = head[:4], struct.unpack("<I", head[4:])[0]
        if name == b"fmt ":
            _, channels, rate, per_second = struct.unpack("<HHII", file.read(12))
            file.seek(size - 12 + (size & 1), 1)
        elif name == b"data":
            begin = file.tell()
            size = min(size, file.seek(0, 2) - begin)  # who streams does not know the length beforehand
            length = round(size * 1000 / per_second) if per_second else 0
            return Facts("WAV", channels=channels, sample_rate=rate, duration_ms=length)
        else:
            file.seek(size + (size & 1), 1)
    return Facts(problem="the file has no data chunk")


def _flac(file: BinaryIO) -> Facts:
    file.seek(8 + 10)  # the marker, the header of the first block, and four sizes
    bits = int.from_bytes(file.read(8), "big")
    rate, channels, samples = bits >> 44, ((bits >> 41) & 7) + 1, bits & ((1 << 36) - 1)
    return Facts("FLAC", channels=channels, sample_rate=rate, duration_ms=round(samples * 1000 / rate) if rate else 0)


def _film(file: BinaryIO, end: int, *, audio: bool) -> Facts:
    duration = width = height = 0
    for name, begin, stop in _boxes(file, 0, end):
        if name != b"moov":
            continue
        for inner, start, until in _boxes(file, begin, stop):
            if inner == b"mvhd":
                scale, length = _times(file, start)
                duration = round(length * 1000 / scale) if scale else 0
            elif inner == b"trak":
                for part, at, _ in _boxes(file, start, until):
                    if part == b"tkhd":
                        file.seek(at)
                        file.seek(at + (88 if file.read(1) == b"\x01" else 76))
                        wide, high = struct.unpack(">II", file.read(8))  # 16.16 fixed point
                        if (wide >> 16) * (high >> 16) > width * height:
                            width, height = wide >> 16, high >> 16
        return Facts("M4A" if audio else "MP4", width, height, duration_ms=duration)
    return Facts(problem="the file has no moov box")


def _times(file: BinaryIO, at: int) -> tuple[int, int]:
    file.seek(at)
    if file.read(4)[0] == 1:
        file.seek(16, 1)
        scale, length = struct.unpack(">IQ", file.read(12))
    else:
        file.seek(8, 1)
        scale, length = struct.unpack(">II", file.read(8))
    return scale, length


def _boxes(file: BinaryIO, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, begin and end of the content of each box between *at* and *end*."""
    for _ in range(_MOST_BOXES):
        if at + 8 > end:
            return
        file.seek(at)
        size, name = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1:
            size, head = struct.unpack(">Q", file.read(8))[0], 16
        stop = end if size == 0 else at + size
        if stop > end or stop < at + head:
            raise ValueError(f"the box {name!r} does not fit into the file")
        yield name, at + head, stop
        at = stop
