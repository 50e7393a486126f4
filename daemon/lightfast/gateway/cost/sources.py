"""What sources (pictures, sound, film, texts) of a request take, in tokens and seconds, from their size in bytes.

Nobody opens them before the request is paid for, so the bounds are those of what services document: a picture takes at
most 10 000 tokens (likely 1000), a second of sound 32, a second of film 300 (ai.google.dev/gemini-api/docs/tokens). A
second has at least 750 bytes of sound (6 kbit/s, the least that Opus is used with) and likely 16 000, and 12 500 and
250 000 bytes of film. A byte of text is at most a token, and likely a quarter.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

IMAGE_TOKENS, LIKELY_IMAGE_TOKENS = 10_000, 1000
SOUND_TOKENS_S, FILM_TOKENS_S = 32, 300
SOUND_BYTES_S, LIKELY_SOUND_BYTES_S = 750, 16_000
FILM_BYTES_S, LIKELY_FILM_BYTES_S = 12_500, 250_000


@dataclass(frozen=True, slots=True)
class Weight:
    """Tokens and seconds."""

    tokens: int = 0
    seconds: float = 0.0


def weigh(sources: Iterable[tuple[str, int]], *, most: bool) -> Weight:
    """Return what sources of a media type and a size take: likely, or at *most*."""
    tokens, seconds = 0.0, 0.0
    for media_type, size in sources:
        kind = media_type.partition("/")[0]
        if kind == "image":
            tokens += IMAGE_TOKENS if most else LIKELY_IMAGE_TOKENS
        elif kind == "audio":
            length = size / (SOUND_BYTES_S if most else LIKELY_SOUND_BYTES_S)
            tokens, seconds = tokens + length * SOUND_TOKENS_S, seconds + length
        elif kind == "video":
            length = size / (FILM_BYTES_S if most else LIKELY_FILM_BYTES_S)
            tokens, seconds = tokens + length * FILM_TOKENS_S, seconds + length
        else:
            tokens += size if most else size / 4
    return Weight(round(tokens), seconds)
