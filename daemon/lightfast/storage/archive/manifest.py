"""The manifest: which segments make the archive. Replacing it is what commits every change but an append.

A file of frames it does not name was left by a change that was not finished, or by one that was and had no time to
clean up. Where the manifest is lost or damaged it is made anew from the files.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from lightfast.core.checksum import crc32
from lightfast.storage.archive import files
from lightfast.storage.archive.newer import newer
from lightfast.storage.archive.segment import SegmentInfo

NAME = "archive.json"
FORMAT = 2
"""1 was the source's: a JSON file for each frame. 2: frames in segments."""


class Manifest(msgspec.Struct, frozen=True):
    """The segments in the order they were sealed in, and what comes next."""

    format: int
    archive_id: str
    next_number: int = 0
    next_segment: int = 1
    tail: str = ""
    """The open segment: `2026/11/00000007`; empty if there is none."""
    segments: list[SegmentInfo] = []
    damage: list[str] = []
    """What was missing at a start, one line each, until a repair has told of it."""
    lost: list[str] = []
    """What is lost for good, as repairs have told."""


class _Head(msgspec.Struct):
    format: int = 0


def read(folder: Path) -> Manifest | None:
    """Return the manifest, or `None` where it is missing or damaged; refuse one of a newer version."""
    try:
        data = (folder / NAME).read_bytes()
    except FileNotFoundError:
        return None
    body, _, check = data.rstrip(b"\n").rpartition(b"\n")
    try:
        if msgspec.json.decode(body, type=_Head).format > FORMAT:
            raise newer(folder)
        if int(check, 16) != crc32(body):
            return None
        return msgspec.json.decode(body, type=Manifest)
    except (msgspec.DecodeError, ValueError):
        return None


def write(folder: Path, manifest: Manifest) -> None:
    """Put *manifest* in the place of the old one, durably."""
    body = msgspec.json.encode(manifest)
    files.replace(folder / NAME, body + b"\n" + b"%08x\n" % crc32(body))
