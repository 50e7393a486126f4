"""Films: reads frames and sound from whatever the codecs here can, and writes MP4."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightfast.sdk import ProviderError
from lightfast_providers.studio.hearing import Channels, codecs
from lightfast_providers.studio.hearing import read as read_sound
from lightfast_providers.studio.sound import RATE

Frame = NDArray[np.uint8]
"""Height × width × 3, red, green, blue."""

MOST_FRAMES = 18_000
"""The most frames of a film that is worked on: five minutes at 60 a second."""
MOST_PIXELS = 3840 * 2160
_PIECE = 1024


class Film:
    """A film in memory; *fps* are frames a second, *count* is how many there are by the container's word."""

    def __init__(self, content: bytes) -> None:
        self._av = codecs()
        self._content = content
        with self._open() as file:
            if not file.streams.video:
                raise ProviderError("the source holds no film", kind="invalid")
            stream = file.streams.video[0]
            self.width, self.height = stream.codec_context.width, stream.codec_context.height
            self.fps = Fraction(stream.average_rate or stream.guessed_rate or 25).limit_denominator(1001)
            length = float(file.duration or 0) / 1e6
            self.count = int(stream.frames or round(length * self.fps)) or 1
            self.has_sound = bool(file.streams.audio)
        if self.width * self.height > MOST_PIXELS:
            raise ProviderError(
                f"the film has {self.width} × {self.height} pixels: the most is 3840 × 2160", kind="invalid"
            )
        if self.count > MOST_FRAMES:
            raise ProviderError(f"the film has {self.count} frames: the most is {MOST_FRAMES}, cut it", kind="invalid")

    def _open(self) -> Any:
        try:
            return self._av.open(io.BytesIO(self._content), metadata_errors="ignore")
        except (self._av.error.FFmpegError, ValueError) as error:
            raise ProviderError(f"the source is no film that can be read here: {error}", kind="invalid") from error

    @property
    def seconds(self) -> float:
        """How long it is."""
        return float(self.count / self.fps)

    def frames(self) -> Iterator[Frame]:
        """Yield the frames at an even rate: where the film pauses, one is repeated."""
        with self._open() as file:
            stream = file.streams.video[0]
            stream.thread_type = "AUTO"
            given = 0
            first: float | None = None
            try:
                for frame in file.decode(stream):
                    picture = frame.to_ndarray(format="rgb24")
                    now = frame.time if frame.time is not None else given / float(self.fps)
                    first = now if first is None else first
                    due = round((now - first) * float(self.fps))
                    for _ in range(max(1, min(due - given + 1, MOST_FRAMES - given))):
                        yield picture
                        given += 1
                    if given >= MOST_FRAMES:
                        raise ProviderError(f"the film has more than {MOST_FRAMES} frames: cut it", kind="invalid")
            except self._av.error.FFmpegError as error:
                raise ProviderError(f"the film breaks off after {given} frames: {error}", kind="invalid") from error
            if not self.has_sound and given < 0.8 * self.count - 2:  # with a sound it may be that which is longer
                raise ProviderError(f"the film breaks off after {given} of {self.count} frames", kind="invalid")

    def sound(self) -> Channels | None:
        """Return the sound, or `None`."""
        return read_sound(self._content) if self.has_sound else None


class Cutter:
    """Writes a film: `add` frames, then `close` it. Sizes are made even, as the codec needs them."""

    def __init__(self, width: int, height: int, fps: Fraction | float) -> None:
        self._av = codecs()
        self.width, self.height = max(2, width // 2 * 2), max(2, height // 2 * 2)
        self.fps = Fraction(fps).limit_denominator(1001)
        self.count = 0
        self._buffer = io.BytesIO()
        # Without the time of day in its header: the same request gives the same bytes.
        self._file = self._av.open(self._buffer, "w", format="mp4", options={"fflags": "+bitexact"})
        usual = "libx264" in self._av.codecs_available
        self._stream = self._file.add_stream("libx264" if usual else "mpeg4", rate=self.fps)
        self._stream.width, self._stream.height, self._stream.pix_fmt = self.width, self.height, "yuv420p"
        # Without the tree of macroblocks, whose fast code gives other bits to the same frames now and then.
        self._stream.options = {"crf": "17", "preset": "veryfast", "mbtree": "0"} if usual else {"qscale": "3"}
        self._sound: Any = None
        self._channels: Channels | None = None

    def sound(self, channels: Channels) -> None:
        """Give it a sound, before the first frame; it is cut, or filled with silence, to the length of the film."""
        self._sound = self._file.add_stream("aac", rate=RATE, layout="stereo")
        self._channels = channels

    def add(self, picture: Frame) -> None:
        """Add one frame; one of another size is scaled, its proportions are kept."""
        if self.count >= MOST_FRAMES:
            raise ProviderError(f"the film would have more than {MOST_FRAMES} frames: make it shorter", kind="invalid")
        if picture.shape[:2] != (self.height, self.width):
            picture = fitted(picture, self.width, self.height)
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts, frame.time_base = self.count, 1 / self.fps
        self.count += 1
        for packet in self._stream.encode(frame):
            self._file.mux(packet)

    def close(self) -> bytes:
        """Write the sound and the end, and return the file."""
        for packet in self._stream.encode(None):
            self._file.mux(packet)
        if self._sound is not None and self._channels is not None:
            self._write_sound(self._channels)
        self._file.close()
        return self._buffer.getvalue()

    def _write_sound(self, channels: Channels) -> None:
        count = round(self.count / self.fps * RATE)
        channels = np.pad(channels[:, :count], ((0, 0), (0, max(0, count - channels.shape[1]))))
        for start in range(0, count, _PIECE):
            piece = np.ascontiguousarray(channels[:, start : start + _PIECE], np.float32)
            frame = self._av.AudioFrame.from_ndarray(piece, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
            for packet in self._sound.encode(frame):
                self._file.mux(packet)
        for packet in self._sound.encode(None):
            self._file.mux(packet)


def fitted(picture: Frame, width: int, height: int) -> Frame:
    """Return *picture* so that it fills *width* × *height*: scaled, and cut where its proportions are others."""
    cv2 = vision()
    rows, columns = picture.shape[:2]
    scale = max(width / columns, height / rows)
    size = (max(width, round(columns * scale)), max(height, round(rows * scale)))
    scaled = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return np.asarray(scaled[top : top + height, left : left + width], np.uint8)


def vision() -> Any:
    """Return OpenCV; raise `MissingDependency` where it is not installed."""
    from lightfast.sdk import MissingDependency

    try:
        import cv2
    except ModuleNotFoundError as error:
        if error.name != "cv2":
            raise
        raise MissingDependency("OpenCV", "pip install 'lightfast[media]'") from None
    # One thread: more of them share out a picture differently each time, and take the machine from the show.
    cv2.setNumThreads(1)
    return cv2


def picture_of(content: bytes) -> Frame:
    """Return an image file as a frame; transparency lies on black. Raises `ProviderError` (invalid)."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > MOST_PIXELS * 2:
                raise ProviderError(f"the picture has {image.width} × {image.height} pixels: too many", kind="invalid")
            upright = ImageOps.exif_transpose(image)
            if upright.mode in ("RGBA", "LA", "P", "PA"):
                lay = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", lay.size, (0, 0, 0, 255)), lay)
            return np.asarray(upright.convert("RGB"))
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        why = "its format is not known" if isinstance(error, UnidentifiedImageError) else error
        raise ProviderError(f"the source is no picture that can be read here: {why}", kind="invalid") from error
