"""Sound files: reads whatever the codecs here can, and sends samples through filters."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightfast.sdk import MissingDependency, ProviderError
from lightfast_providers.studio.sound import RATE

Channels = NDArray[np.float32]
"""Two rows, left and right, at `RATE`; full scale is 1."""

LONGEST = 600
"""The longest sound that is worked on, in seconds."""


def codecs() -> Any:
    """Return PyAV; raise `MissingDependency` where it is not installed."""
    try:
        import av
    except ModuleNotFoundError as error:
        if error.name != "av":
            raise
        raise MissingDependency("PyAV", "pip install 'lightfast[media]'") from None
    return av


def read(content: bytes) -> Channels:
    """Return the first sound of a file, of any format, as two channels at `RATE`.

    Raises `ProviderError` (invalid) for what holds no sound, cannot be read, or is too long.
    """
    av = codecs()
    parts: list[Any] = []
    count = 0
    try:
        with av.open(io.BytesIO(content), metadata_errors="ignore") as file:
            if not file.streams.audio:
                raise ProviderError("the source holds no sound", kind="invalid")
            # One channel is taken as it is for both sides: the resampler would make each 3 dB softer.
            single = file.streams.audio[0].codec_context.layout.nb_channels == 1
            resampler = av.AudioResampler(format="fltp", layout="mono" if single else "stereo", rate=RATE)
            for frame in file.decode(audio=0):
                for piece in resampler.resample(frame):
                    parts.append(piece.to_ndarray())
                    count += piece.samples
                if count > LONGEST * RATE:
                    raise ProviderError(f"the source is longer than {LONGEST} s: cut it", kind="invalid")
            parts += [piece.to_ndarray() for piece in resampler.resample(None)]
    except (av.error.FFmpegError, ValueError, EOFError) as error:
        raise ProviderError(f"the source is no sound that can be read here: {error}", kind="invalid") from error
    if not parts:
        raise ProviderError("the source holds no sound", kind="invalid")
    joined = np.concatenate(parts, axis=1).astype(np.float32)
    return np.repeat(joined, 2, axis=0) if len(joined) == 1 else joined


def through(channels: Channels, filters: Sequence[tuple[str, str]]) -> Channels:
    """Return *channels* after the filters, each a name of FFmpeg's and its arguments; the length may change."""
    if not filters:
        return channels
    av = codecs()
    graph = av.filter.Graph()
    nodes = [graph.add_abuffer(sample_rate=RATE, format="fltp", layout="stereo", time_base=_base())]
    nodes += [graph.add(name, arguments) for name, arguments in filters]
    nodes += [
        graph.add("aformat", f"sample_fmts=fltp:sample_rates={RATE}:channel_layouts=stereo"),
        graph.add("abuffersink"),
    ]
    for one, two in itertools.pairwise(nodes):
        one.link_to(two)
    graph.configure()
    out: list[Any] = []
    step = 65_536
    for start in range(0, channels.shape[1], step):
        part = np.ascontiguousarray(channels[:, start : start + step])
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = RATE, start, _base()
        nodes[0].push(frame)
        out += _pulled(av, nodes[-1])
    nodes[0].push(None)
    out += _pulled(av, nodes[-1])
    return np.concatenate(out, axis=1).astype(np.float32) if out else channels[:, :0]


def _base() -> Any:
    from fractions import Fraction

    return Fraction(1, RATE)


def _pulled(av: Any, sink: Any) -> list[Any]:
    found = []
    while True:
        try:
            found.append(sink.pull().to_ndarray())
        except (av.error.BlockingIOError, av.error.EOFError):
            return found
