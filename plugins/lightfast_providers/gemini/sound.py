"""Raw sound, as Gemini's models speak it, made into WAV."""

from __future__ import annotations

import re
import struct

_NUMBER = re.compile(r"\b(rate|channels)\s*=\s*(\d+)", re.IGNORECASE)
_USUAL = {"rate": 24_000, "channels": 1}
WIDTH = 2
"""Bytes of one sample."""


def is_raw(media_type: str) -> bool:
    """Say whether it is samples without a header (`audio/L16`, `audio/pcm`)."""
    return media_type.partition(";")[0].strip().lower() in {"audio/l16", "audio/pcm"}


def shape(media_type: str) -> tuple[int, int]:
    """Return samples a second and channels, such as of `audio/L16;codec=pcm;rate=24000`."""
    found = {name.lower(): int(text) for name, text in _NUMBER.findall(media_type)}
    rate, channels = ({**_USUAL, **found}[name] for name in ("rate", "channels"))
    return (rate, channels) if rate and channels else (_USUAL["rate"], _USUAL["channels"])


def wav(samples: bytes, media_type: str) -> tuple[bytes, float]:
    """Return a WAV file of 16-bit samples and its length in seconds.

    The header is that of RIFF with a `fmt ` chunk of 16 bytes, PCM (format 1). The samples are little-endian: whatever
    RFC 2586 says of L16, that is what the service sends.
    """
    rate, channels = shape(media_type)
    frame = WIDTH * channels
    samples = samples[: len(samples) // frame * frame]
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + len(samples), b"WAVE", b"fmt ", 16, 1, channels, rate,
                       rate * frame, frame, 8 * WIDTH)  # fmt: skip
    return head + struct.pack("<4sI", b"data", len(samples)) + samples, len(samples) / frame / rate
