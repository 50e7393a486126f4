"""The archive against a plain model: appends, purges, restarts, cut-off writes, packing, in any order."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy  # noqa: ICN001, F401  # the archive loads it in a thread, and Hypothesis must not find it half made
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.support import plain_frames
from tests.support.archives import NOW_MS, all_frames, finished

from lightfast.core.clock import StillClock
from lightfast.storage.archive import stock
from lightfast.storage.archive.archive import Archive
from lightfast.storage.archive.records import NewFrame, Options

CONTENT = (
    st.text(st.characters(exclude_categories=[]), max_size=30)
    | st.binary(max_size=40)
    | st.builds(lambda word, count: f"{word} and again " * count, st.sampled_from(["a", "b", "ü"]), st.integers(1, 30))
)
TIME = st.sampled_from([0, NOW_MS, NOW_MS - 86_400_000 * 40, 1, -1, (1 << 63) - 1, -(1 << 63)])
NEW = st.builds(
    NewFrame,
    CONTENT,
    st.sampled_from(["note", "log", "🎉"]),
    TIME,
    st.dictionaries(st.sampled_from(["x", "y"]), st.integers() | st.text(max_size=3), max_size=2),
    delta=st.booleans(),
)


class ArchiveMachine(RuleBasedStateMachine):
    """Each rule runs on the archive and on a list."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="lightfast-machine-"))
        self.folder = self.root / "archive"
        self.loop = asyncio.new_event_loop()
        self.clock = StillClock(NOW_MS * 1_000_000)
        self.limits = stock.MAX_TAIL_FRAMES, stock.MAX_TAIL_LENGTH
        stock.MAX_TAIL_FRAMES, stock.MAX_TAIL_LENGTH = 12, 5000
        self.model: dict[str, NewFrame] = {}
        self.gone: set[str] = set()
        self.archive: Archive

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, 120))

    @initialize()
    def begin(self) -> None:
        self.start()

    def start(self) -> None:
        self.archive = self.run(
            Archive.open(self.folder, options=Options(frames_per_chunk=4, batch_threshold=2), clock=self.clock)
        )

    def teardown(self) -> None:
        stock.MAX_TAIL_FRAMES, stock.MAX_TAIL_LENGTH = self.limits
        try:
            self.run(self.archive.close())
        finally:
            self.loop.close()
            shutil.rmtree(self.root)

    @rule(frames=st.lists(NEW, min_size=1, max_size=6))
    def append(self, frames: list[NewFrame]) -> None:
        found = self.run(self.archive.append(frames))
        assert not self.model.keys() & set(found)
        self.model |= dict(zip(found, frames, strict=True))

    @rule(frames=st.lists(st.lists(NEW, min_size=1, max_size=3), min_size=2, max_size=5))
    def append_at_once(self, frames: list[list[NewFrame]]) -> None:
        async def all_of_them() -> list[list[str]]:
            return await asyncio.gather(*[self.archive.append(one) for one in frames])

        for ids, new in zip(self.run(all_of_them()), frames, strict=True):
            self.model |= dict(zip(ids, new, strict=True))

    @rule(picks=st.sets(st.integers(0, 200), min_size=1, max_size=6))
    def purge(self, picks: set[int]) -> None:
        ids = list(self.model)
        wanted = {ids[pick % len(ids)] for pick in picks} if ids else set()
        assert self.run(self.archive.remove(sorted(wanted), reason="machine")) == len(wanted)
        for one in wanted:
            del self.model[one]
        self.gone |= wanted

    @rule(bytes_cut=st.integers(0, 400), frames=st.lists(NEW, min_size=1, max_size=3))
    def cut_off_in_a_write(self, bytes_cut: int, frames: list[NewFrame]) -> None:
        """The process dies while it appends: of the last, unacknowledged call some bytes are on the disk."""
        self.run(self.archive.close())
        before = {path: path.stat().st_size for path in (self.folder / "shards").glob("*/*/*.frames")}
        tails = [path for path in before if not path.with_suffix(".index").exists()]
        self.start()
        if len(tails) != 1:
            return
        path = tails[0]
        chunks = path.with_suffix(".chunks").read_bytes() if path.with_suffix(".chunks").exists() else b""
        self.run(self.archive.append(frames))
        self.run(self.archive.close())
        if not path.exists() or path.with_suffix(".index").exists() or path.stat().st_size == before[path]:
            # a new segment was begun, or it is a sealed one that lost its index: the frames are whole elsewhere
            self.start()
            found = self.run(all_frames(self.archive))
            self.model |= {one.frame_id: one for one in found if one.frame_id not in self.model}
            return
        whole = path.read_bytes()
        written = len(whole) - before[path]
        path.write_bytes(whole[: before[path] + bytes_cut % written])
        path.with_suffix(".chunks").write_bytes(chunks)  # what it says was durable before it said so
        self.start()

    @rule()
    def restart(self) -> None:
        self.run(self.archive.close())
        self.start()

    @rule(name=st.sampled_from([".chunks", ".index", "archive.json", "ids"]))
    def lose_what_can_be_made_again(self, name: str) -> None:
        self.run(self.archive.close())
        if name == "archive.json":
            (self.folder / name).unlink(missing_ok=True)
        elif name == "ids":
            shutil.rmtree(self.folder / name, ignore_errors=True)
        else:
            for path in (self.folder / "shards").glob(f"*/*/*{name}"):
                path.unlink()
        self.start()

    @rule()
    def pack(self) -> None:
        _, damage = self.run(finished(self.archive.migrate()))
        assert damage == []

    @rule(days=st.integers(1, 40))
    def later(self, days: int) -> None:
        self.clock.advance(days * 86_400)

    @invariant()
    def everything_is_there_in_order(self) -> None:
        frames = self.run(all_frames(self.archive))
        assert [one.frame_id for one in frames] == list(self.model)
        numbers = [one.number for one in frames]
        assert numbers == sorted(set(numbers))
        for one in frames:
            new = self.model[one.frame_id]
            assert (one.content, one.kind, one.metadata) == (new.content, new.kind, new.metadata)
            assert not new.time_ms or one.time_ms == new.time_ms
        if self.model:
            one = next(iter(self.model))
            assert self.run(self.archive.get([one, *self.gone])).keys() == {one}
            assert set(self.run(self.archive.why(sorted(self.gone)))) == self.gone

    @rule()
    def verify_and_read_independently(self) -> None:
        _, damage = self.run(finished(self.archive.verify()))
        assert [one for one in damage if not one.file.endswith(".index")] == []
        self.run(self.archive.close())  # while it is quiet it packs: then a file goes, or a frame is there twice
        if self.folder.exists():
            found = plain_frames.read_folder(self.folder)
            assert {one: plain.content for one, plain in found.items()} == {
                one: new.content for one, new in self.model.items()
            }
        self.start()


TestArchiveMachine = ArchiveMachine.TestCase
TestArchiveMachine.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
