"""What services for images, film and sound have in common: types of media, data URIs, jobs that are asked about."""

from __future__ import annotations

import asyncio
import base64
import binascii
import mimetypes
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes, urlsplit

from lightfast.sdk import ProviderError

T = TypeVar("T")

PATIENCE = 5
"""So many questions about a job may fail one after the other: the job itself goes on, and may be paid for."""
_BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"\xff\xf3", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
)
_ENDINGS = {
    "image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp", "image/gif": ".gif", "image/svg+xml": ".svg",
    "video/mp4": ".mp4", "video/webm": ".webm", "video/quicktime": ".mov",
    "audio/mpeg": ".mp3", "audio/wav": ".wav", "audio/ogg": ".ogg", "audio/flac": ".flac", "audio/mp4": ".m4a",
    "audio/opus": ".opus",
}  # fmt: skip
_ALIASES = {"audio/x-wav": "audio/wav", "audio/wave": "audio/wav", "audio/mp3": "audio/mpeg", "image/jpg": "image/jpeg"}


def sniffed(content: bytes) -> str:
    """Return the media type by the first bytes; empty where they are not known."""
    for beginning, kind in _BEGINNINGS:
        if content.startswith(beginning):
            return kind
    if content[:4] == b"RIFF":
        return {b"WAVE": "audio/wav", b"WEBP": "image/webp"}.get(content[8:12], "")
    if content[4:8] == b"ftyp":
        return {b"M4A ": "audio/mp4", b"qt  ": "video/quicktime", b"avif": "image/avif"}.get(content[8:12], "video/mp4")
    return ""


def media_type(content: bytes, header: str = "", name: str = "") -> str:
    """Return the media type by the header of an answer, else by the content, else by the name of the file."""
    told = header.partition(";")[0].strip().lower()
    told = _ALIASES.get(told, told)
    if told.partition("/")[0] in ("image", "video", "audio"):
        return told
    guessed = mimetypes.guess_type(urlsplit(name).path)[0] or ""
    return sniffed(content) or _ALIASES.get(guessed, guessed) or told or "application/octet-stream"


def ending(kind: str) -> str:
    """Return the usual ending of a file of a media type, with its dot."""
    return _ENDINGS.get(kind) or mimetypes.guess_extension(kind) or ".bin"


def data_uri(content: bytes, kind: str) -> str:
    """Return *content* as a `data:` URI (RFC 2397)."""
    return f"data:{kind or 'application/octet-stream'};base64,{base64.b64encode(content).decode()}"


def from_data_uri(uri: str) -> tuple[str, bytes]:
    """Return the media type and the content of a `data:` URI; raise `ProviderError` (malformed)."""
    head, comma, body = uri.partition(",")
    if not comma:
        raise ProviderError("a result is a data URI without content", kind="malformed")
    kind = head.removeprefix("data:")
    try:
        content = base64.b64decode(body, validate=True) if kind.endswith(";base64") else unquote_to_bytes(body)
    except binascii.Error:
        raise ProviderError("a result is a data URI that is no base64", kind="malformed") from None
    return kind.partition(";")[0], content


async def asked(
    ask: Callable[[], Awaitable[T]], pauses: tuple[float, float], patience: int = PATIENCE
) -> AsyncIterator[T]:
    """Yield what *ask* returns, again and again, until the caller has enough; it sets the deadline, too.

    *pauses* are the shortest and the longest wait between two questions, in seconds. A question that fails is asked
    anew, at most *patience* times in a row.
    """
    pause, longest = pauses
    failed = 0
    while True:
        wait = pause
        try:
            state = await ask()
        except ProviderError as error:
            failed += 1
            if failed > patience or not (error.retryable or error.kind == "malformed"):
                raise
            wait = max(pause, min(error.retry_after, 60.0))
        else:
            failed = 0
            yield state
        await asyncio.sleep(wait)
        pause = min(pause * 1.5, longest)


_PERCENT = re.compile(r"(\d{1,3})%\|")


def percent(logs: str) -> float:
    """Return how far it is by the last progress bar in *logs*, 0 to 1; -1 where there is none."""
    found = _PERCENT.findall(logs[-20_000:])
    return min(int(found[-1]), 100) / 100 if found else -1.0


def urls(found: Any, depth: int = 8) -> Iterator[str]:
    """Yield every http, https and data URL in what a service answered, in order."""
    if isinstance(found, str):
        if found.startswith(("http://", "https://", "data:")):
            yield found
    elif depth and isinstance(found, dict | list):
        for each in found.values() if isinstance(found, dict) else found:
            yield from urls(each, depth - 1)
