"""The index against a naive scan: the same hits in the same order, whatever happens to the frames and the files."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.support.files import holding
from tests.support.frame_shelf import Shelf, naive

from lightfast.core.clock import StillClock
from lightfast.storage.archive.caches import Caches
from lightfast.storage.archive.records import Match, Options, Order, Query
from lightfast.storage.archive.search import index as index_module
from lightfast.storage.archive.search import layout, parts
from lightfast.storage.archive.search.fresh import Fresh
from lightfast.storage.archive.search.index import FrameIndex
from lightfast.storage.archive.search.search import Searches

WORDS = ["cube", "light", "warm", "Tempo", "120", "straße", "東京", "東京都", "ก็", "🎛", "naïve", "\ud800", "x" * 80]
texts = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join) | st.text(max_size=12)
JANUARY, DAY = 1_767_225_600_000, 86_400_000
times = st.sampled_from([*(JANUARY + at * DAY for at in range(9)), JANUARY + 31 * DAY, JANUARY + 40 * DAY, -5, 10**13])
kinds = st.sampled_from(["note", "idea", "memory", "history", "ärger"])
bounds = st.just(0) | times
queries = st.builds(
    Query,
    text=texts,
    match=st.sampled_from(Match),
    kinds=st.lists(kinds, max_size=2).map(tuple),
    after_ms=bounds,
    before_ms=bounds,
    limit=st.integers(0, 40),
)


@pytest.fixture(autouse=True, scope="module")
def _small() -> object:
    """Groups of four frames and spans of twelve: everything that happens at their ends happens all the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "MAX_FRAMES", 4)
        patch.setattr(parts, "SPAN", 12)
        patch.setattr(index_module, "MAX_BEHIND", 3)
        yield


class SearchMachine(RuleBasedStateMachine):
    """Appends, removes, locks, damages, starts anew, and asks in between."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.shelf = Shelf()
        self.clock = StillClock()
        self.open()

    def open(self) -> None:
        self.index = FrameIndex(self.folder / "words", Caches(Options(), self.clock), self.shelf.source)
        self.searches = Searches(self.index, clock=self.clock, is_unlocked=lambda: self.shelf.unlocked)

    def teardown(self) -> None:
        if hasattr(self, "index"):
            self.index.close()
            shutil.rmtree(self.folder)

    @rule(batch=st.lists(st.tuples(texts | st.binary(max_size=4), times, kinds), min_size=1, max_size=8))
    def append(self, batch: list[tuple[str | bytes, int, str]]) -> None:
        for content, time_ms, kind in batch:
            self.shelf.append(content, time_ms, kind)
        self.index.appended(len(batch))

    @rule()
    def write(self) -> None:
        self.index.catch_up()
        self.index.seal()

    @rule(text=texts, time_ms=times)
    def append_in_order(self, text: str, time_ms: int) -> None:
        newest = max((frame.time_ms for frame in self.shelf.frames.values()), default=time_ms)
        for number in range(5):
            self.shelf.append(text, newest + number)
        self.index.appended(5)

    @precondition(lambda self: self.shelf.unlocked)
    @rule(text=texts, time_ms=times, kind=kinds)
    def append_private(self, text: str, time_ms: int, kind: str) -> None:
        self.shelf.append(text, time_ms, kind, private=True)
        self.index.appended(1)

    @precondition(lambda self: self.shelf.frames)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        numbers = data.draw(st.lists(st.sampled_from(sorted(self.shelf.frames)), min_size=1, max_size=4, unique=True))
        ids = [self.shelf.frames[number].frame_id for number in numbers]
        self.index.removed(ids)
        for frame_id in ids:
            self.shelf.remove(frame_id)
        self.index.removed(ids)

    @rule()
    def lock(self) -> None:
        self.shelf.unlocked = False
        self.index.locked()

    @rule()
    def unlock(self) -> None:
        self.shelf.unlocked = True

    @rule(lost=st.booleans())
    def start_anew(self, lost: bool) -> None:
        self.index.close()
        if lost:
            shutil.rmtree(self.folder / "words", ignore_errors=True)
        self.open()

    @rule(pick=st.integers(0, 99), where=st.integers(0, 9999), bit=st.integers(0, 7), cut=st.booleans())
    def damage(self, pick: int, where: int, bit: int, cut: bool) -> None:
        """Flip a bit in a file, or cut it there; nothing is drawn here, for a thread writes the files."""
        self.index.close()
        files = sorted(path for path in (self.folder / "words").rglob("*.words") if path.stat().st_size)
        if files:
            path = files[pick % len(files)]
            content = bytearray(path.read_bytes())
            at = where * len(content) // 10_000
            content[at] ^= 1 << bit
            path.write_bytes(content[:at] if cut else content)
        self.open()

    @rule(query=queries)
    def search(self, query: Query) -> None:
        wanted = naive(list(self.shelf.frames.values()), query, unlocked=self.shelf.unlocked)
        source = self.shelf.source()
        found = [hit.frame for hit in self.searches.search(query, source)]
        assert [frame.number for frame in found] == [frame.number for frame in wanted[: query.limit]]
        assert self.searches.ids(query, source) == [frame.frame_id for frame in wanted[: query.limit]]

    @rule(query=queries)
    def rank(self, query: Query) -> None:
        from msgspec.structs import replace

        query = replace(query, order=Order.RELEVANCE, limit=40)
        wanted = naive(list(self.shelf.frames.values()), query, unlocked=self.shelf.unlocked)
        found = self.searches.search(query, self.shelf.source())
        assert {hit.frame.number for hit in found} <= {frame.number for frame in wanted}
        assert len(found) == min(40, len(wanted))
        assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)

    @invariant()
    def no_private_word_on_the_disk(self) -> None:
        if not hasattr(self, "shelf") or not any(frame.private for frame in self.shelf.frames.values()):
            return
        # A thread writes these files: one that is looked at may be gone.
        assert holding(self.folder / "words", [b"zzprivate"]) == []

    @precondition(lambda self: self.shelf.unlocked)
    @rule()
    def append_marked(self) -> None:
        self.shelf.append("zzprivate cube", JANUARY, private=True)
        self.index.appended(1)


TestSearch = SearchMachine.TestCase
TestSearch.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(
    frames=st.lists(st.tuples(st.integers(0, 50), st.sets(st.sampled_from([b"a", b"b", b"c"]))), max_size=60),
    wanted=st.lists(st.sampled_from([b"a", b"b", b"c", b"nowhere"]), min_size=1, unique=True),
    in_order=st.booleans(),
)
def test_open_groups_know_the_frames_with_all_words(
    frames: list[tuple[int, set[bytes]]], wanted: list[bytes], in_order: bool
) -> None:
    """Few frames are compared one by one, many by bitmaps; late ones are placed by their times."""
    fresh = Fresh()
    made = sorted(frames, key=lambda one: one[0]) if in_order else frames
    for number, (time_ms, said) in enumerate(made):
        fresh.add(layout.Row(time_ms, number, f"{number:016x}"), list(said))
        fresh.with_all(wanted)  # what it keeps of this must not be out of date later
    found = fresh.with_all(wanted)
    there = [made[row.number][1] for row in fresh.ordered()]
    assert list(found or ()) == [place for place, said in enumerate(there) if said.issuperset(wanted)]
    assert fresh.has_any(wanted) == any(said.intersection(wanted) for said in there)
