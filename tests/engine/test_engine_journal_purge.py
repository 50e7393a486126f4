"""Recordings are looked into by a purge, packed or not, and named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lightfast.context.upkeep.purge_target import make_target
from lightfast.engine.journal.form import OPENING, TAIL, TAIL_MAGIC, Kind, frame
from lightfast.engine.journal.pack import pack_file
from lightfast.engine.journal.recording_room import RecordingRoom

SECRET = "the one nobody should hear of"
HEAD = {
    "name": "one", "by": "client:test", "started": 1, "store_id": "s", "revision": 1, "patterns": ["//"],
    "declarations": [], "links": [], "mounts": [], "version": "1",
}  # fmt: skip


def write(path: Path, texts: list[str]) -> Path:
    """Write a recording in which `/a` is set to each of *texts*."""
    data = OPENING + frame([Kind.HEAD, HEAD])
    for number, text in enumerate(texts, 1):
        change = [0, "/a", text, True, False, number, "", None, ""]
        data += frame([Kind.COMMIT, number, number, number, "client:me", 0, "", "", [change]])
    totals = {"reason": "x", "incomplete": False, "transactions": len(texts), "events": 0, "samples": 0, "dropped": 0}
    last = frame([Kind.END, len(texts), totals])
    path.write_bytes(data + last + TAIL.pack(len(last) + TAIL.size, TAIL_MAGIC))
    return path


@pytest.mark.parametrize("packed", [False, True])
async def test_a_recording_that_holds_it_is_named(tmp_path: Path, packed: bool) -> None:
    holder = write(tmp_path / "holder.lfrec", [*["dull"] * 200, SECRET, *["dull"] * 200])
    other = write(tmp_path / "other.lfrec", ["dull"] * 400)
    cut = tmp_path / "cut.lfrec"
    cut.write_bytes(b"no recording, but " + SECRET.encode())
    if packed:
        for path in (holder, other):
            pack_file(path, 0.0)
    room = RecordingRoom(lambda: [(holder, False), (other, True), (cut, False), (tmp_path / "gone.lfrec", False)])

    async def named(**what: Any) -> list[str]:
        return await room.remaining(make_target(**what))

    assert await named(text=SECRET) == [
        "the recording holder: delete it with 'lightfast record delete holder'",
        "the recording cut: delete it with 'lightfast record delete cut'",
    ]
    assert await named(patterns=["/a"]) == [
        "the recording holder: delete it with 'lightfast record delete holder'",
        "the recording other: end it, then delete it with 'lightfast record delete other'",
    ]
    assert await named(patterns=["/b//"], text="never seen") == []
    assert await named(assets=["0" * 64]) == []
    assert [items async for items in room.find(make_target(text=SECRET))] == []
