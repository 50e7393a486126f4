"""What is known of an asset, and its rows."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from lightfast.core.errors import InvalidArgument

_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,63}/[A-Za-z0-9][A-Za-z0-9.+_-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
MAX_NAME = 255
MAX_PROMPT = 100_000

COLUMNS = "sha256, media_type, size, name, create_time, provenance"


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where an asset came from; *settings* is JSON text, *sources* are SHA-256."""

    origin: str = ""
    generator: str = ""
    prompt: str = ""
    settings: str = ""
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AssetRecord:
    """One asset; *create_time* in ns since 1970, *path* is the file that holds the bytes (read only)."""

    sha256: str
    media_type: str
    size: int
    name: str
    create_time: int
    provenance: Provenance
    path: Path
    uri: str


def to_row(record: AssetRecord) -> tuple[Any, ...]:
    """Return the columns of *record*, in the order of `COLUMNS`."""
    provenance = msgspec.json.encode(asdict(record.provenance)).decode()
    return (record.sha256, record.media_type, record.size, record.name, record.create_time, provenance)


def from_row(row: tuple[Any, ...], path: Path) -> AssetRecord:
    """Return the record of a row, whose bytes are at *path*."""
    sha256, media_type, size, name, create_time, provenance = row
    known = msgspec.json.decode(provenance, type=Provenance)
    return AssetRecord(sha256, media_type, size, name, create_time, known, path, "asset:" + sha256)


def check_sha256(sha256: str, field: str = "sha256") -> str:
    """Return *sha256* if it is one: it also becomes the name of a file."""
    if not _SHA256.fullmatch(sha256):
        raise InvalidArgument(f"{sha256!r:.80} is no SHA-256: give 64 lower-case hex digits", field=field)
    return sha256


def check_description(media_type: str, name: str, provenance: Provenance) -> None:
    """Raise `InvalidArgument` for what cannot describe an asset."""
    if not _MEDIA_TYPE.fullmatch(media_type):
        raise InvalidArgument(f"{media_type!r:.80} is no media type: write it like image/png", field="asset.media_type")
    if len(name) > MAX_NAME or not name.isprintable():
        raise InvalidArgument(f"the name of an asset has at most {MAX_NAME} printable characters", field="asset.name")
    if len(provenance.prompt) > MAX_PROMPT:
        raise InvalidArgument(f"the prompt is longer than {MAX_PROMPT} characters", field="asset.provenance.prompt")
    for source in provenance.sources:
        check_sha256(source, "asset.provenance.sources")
    if provenance.settings:
        try:
            msgspec.json.decode(provenance.settings)
        except msgspec.DecodeError as error:
            raise InvalidArgument(f"the settings are not JSON: {error}", field="asset.provenance.settings") from None
