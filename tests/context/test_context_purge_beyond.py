"""What a purge cannot reach by its rooms: it is let go of where it is kept in memory, and named where it lies apart."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.support.keeping import keeping

from lightfast.app.keeping import Keeping
from lightfast.core.errors import LightfastError
from lightfast.core.ring import ErrorRing
from lightfast.gateway.failure_log import FailureLog
from lightfast.storage.archive.records import NewFrame

SECRET = 'sk-proj "Zwölf" 4711'


async def test_what_the_archive_has_set_aside_is_named(tmp_path: Path) -> None:
    """It is packed, so that no search for bytes would find anything, and no room looks into it."""
    async with keeping(tmp_path) as keep:
        await keep.set(("/a", SECRET))
        frame, other = await keep.archive.append([NewFrame("a frame to be purged"), NewFrame("another")])
        folder = tmp_path / "state" / "archive"
        aside = [folder / "incoming" / "00000007.frames", folder / "damaged" / "00000003-17.bytes"]
        for path in aside:
            path.parent.mkdir()
            path.write_bytes(b"packed")
        _, remaining = await keep.purge(text=SECRET)
        assert [str(path) in told for path, told in zip(aside, remaining, strict=True)] == [True, True]
        assert "archive migrate" in remaining[0]
        assert "delete it" in remaining[1]
        await keep.set(("/a", 1))
        _, remaining = await keep.purge(patterns=["/a"])
        assert len(remaining) == 2
        _, remaining = await keep.purge(frame_ids=[frame])
        assert remaining == ()  # a frame is looked for there by its id
        for path in aside:
            path.write_bytes(b"packed " + other.encode())
        _, remaining = await keep.purge(frame_ids=[other])
        assert [str(aside[0]) in told for told in remaining] == [True]
        assert not aside[1].exists()
        aside[1].touch()
        for path in aside:
            path.unlink()
        _, remaining = await keep.purge(text="a text that nobody ever wrote")
        assert remaining == ()


async def test_memory_is_asked_what_holds_the_text(tmp_path: Path) -> None:
    ring = ErrorRing(3)
    for number in range(3):
        ring.add({"event": f"event {number}", "logger": "test", "fields": [{"deep": SECRET if number == 1 else ""}]})
    async with keeping(tmp_path) as keep:
        keep.purger.forget_text.append(ring.forget)
        await keep.set(("/a", SECRET), ("/b", 1))
        await keep.purge(patterns=["/b"])
        assert len(ring.newest(9)) == 3
        await keep.purge(text=SECRET)
    assert [one.event for one in ring.newest(9)] == ["event 2", "event 0"]
    ring.add({"event": SECRET})
    ring.add({"event": "one more"})
    assert len(ring.newest(9)) == 3  # as many as before, and no more


async def test_failures_that_wait_in_memory_go(tmp_path: Path) -> None:
    class Full:
        def unit(self) -> Any:
            return SimpleNamespace(execute=lambda *_: None)

        def enqueue(self, unit: Any, done: Any) -> None:
            done(OSError("the disk is full"))

        async def commit(self, unit: Any) -> None:
            return

        async def query(self, *_: Any) -> list[Any]:
            return []

    failures = FailureLog(Full())
    for message in (f"it will not say {SECRET}", "busy"):
        attempt: Any = SimpleNamespace(
            error=LightfastError(message), outcome="error", time=1, operation_id="o", model="m", provider="p",
            account="", action="",
        )  # fmt: skip
        failures(attempt)
    assert len(await failures.find()) == 2
    ring = ErrorRing(9)
    ring.add({"event": SECRET})
    room: Any = SimpleNamespace(failures=failures)
    Keeping._forget_text(room, lambda value: SECRET in str(value))
    assert [one.message for one in await failures.find()] == ["busy"]


async def test_states_put_aside_and_other_memories_are_named(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    before = tmp_path / "state-before-20261120T210000000000Z"
    room: Any = SimpleNamespace(paths=SimpleNamespace(state=tmp_path / "state"), servers=("/graph",))
    (server,) = await Keeping._beyond(room)
    assert "/graph" in server
    before.mkdir()
    backup, _ = await Keeping._beyond(room)
    assert backup.startswith(f"the backup {before},")  # as any other backup: no reason to call the purge unfinished
