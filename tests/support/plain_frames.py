"""A reader of frames written from the description alone: it shares no code with the archive."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

try:
    from compression import zstd  # type: ignore[import-not-found,unused-ignore]
except ImportError:
    from backports import zstd


@dataclass
class Plain:
    """One frame."""

    version: int
    frame_id: str
    time_ms: int
    stored: bytes
    metadata: dict[str, Any]
    offset: int
    end: int
    content: str | bytes | None = None

    @property
    def user(self) -> dict[str, Any]:
        return {name: one for name, one in self.metadata.items() if not name.startswith("_") and name != "enc"}


def read(data: bytes) -> list[Plain]:
    """Return all frames of a file; trailing zeros are room that was reserved."""
    found = []
    at = 0
    used = len(data.rstrip(b"\0"))  # the last frame may end in zeros itself
    while at < used:
        begin = at
        assert data[at : at + 2] == b"\xfe\xed", f"no magic at {at}"
        version = data[at + 2]
        (length,) = struct.unpack(">I", data[at + 3 : at + 7])
        at += 7
        frame_id = data[at : at + length].decode("utf-8")
        at += length
        (time_ms,) = struct.unpack(">q", data[at : at + 8])
        (length,) = struct.unpack(">I", data[at + 8 : at + 12])
        at += 12
        stored = data[at : at + length]
        at += length
        (length,) = struct.unpack(">I", data[at : at + 4])
        at += 4
        metadata = json.loads(data[at : at + length])
        at += length
        (checksum,) = struct.unpack(">I", data[at : at + 4])
        assert checksum == zlib.crc32(data[begin:at]), f"checksum at {begin}"
        at += 4
        found.append(Plain(version, frame_id, time_ms, stored, metadata, begin, at))
    return found


def decode(frames: list[Plain]) -> dict[str, Plain]:
    """Undo the codings of the frames of one segment; dictionaries are left out."""
    dictionaries = {
        one.metadata["_name"]: zstd.ZstdDict(one.stored) for one in frames if one.metadata.get("_kind") == "_dictionary"
    }
    by_id = {one.frame_id: one for one in frames if one.metadata.get("_kind") != "_dictionary"}

    def raw(one: Plain) -> tuple[bytes, str]:
        if one.version == 1:
            return one.stored, "utf8"
        data = one.stored
        for coding in one.metadata["enc"]:
            name, _, argument = coding.partition(":")
            if name == "zstd":
                data = zstd.decompress(data, zstd_dict=dictionaries[argument] if argument else None)
            elif name == "delta":
                base, _ = raw(by_id[argument])
                data = zstd.decompress(data, zstd_dict=zstd.ZstdDict(base, is_raw=True).as_prefix)
            else:
                return data, name
        raise AssertionError(f"no kind of content in {one.metadata['enc']}")

    for one in by_id.values():
        data, kind = raw(one)
        if kind == "raw":
            one.content = data
        elif kind != "sealed":
            one.content = data.decode("utf-8", {"utf8": "strict", "wtf8": "surrogatepass"}[kind])
    return by_id


def read_folder(archive: Path) -> dict[str, Plain]:
    """Return every frame of an archive by its id; one that is there twice is a failure."""
    found: dict[str, Plain] = {}
    for path in sorted((archive / "shards").glob("*/*/*.frames")):
        for frame_id, one in decode(read(path.read_bytes())).items():
            assert frame_id not in found, f"{frame_id} is there twice"
            found[frame_id] = one
    return found
