"""The caches: bounded by count, bytes and time; and no answer that is older than what was acknowledged."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightfast.core.clock import StillClock
from lightfast.storage.archive.archive import Archive
from lightfast.storage.archive.caches import Cache, Caches, Postings
from lightfast.storage.archive.records import Frame, Match, NewFrame, Options, Order, Query


def frame(number: int, content: str = "text", *, private: bool = False) -> Frame:
    return Frame(f"{number:016x}", number, content, "note", 1, {}, private)


def test_defaults_are_those_of_the_source() -> None:
    caches = Caches(Options())
    assert {name: cache.most for name, cache in caches.all().items() if isinstance(cache, Cache)} == {
        "frames": 1000,
        "chunks": 100,
        "searches": 100,
        "embeddings": 10_000,
        "patterns": 50,
    }


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 60)), max_size=60))
def test_a_cache_keeps_its_bounds_and_what_was_used_last(steps: list[tuple[int, int]]) -> None:
    cache: Cache[int, int] = Cache(4, 100)
    model: dict[int, int] = {}
    for key, size in steps:
        if size % 3 == 0:
            found = cache.get(key)
            assert found == (key if key in model else None)
            if key in model:
                model[key] = model.pop(key)
            continue
        cache.put(key, key, size)
        model.pop(key, None)
        if size * 4 <= 100:
            while len(model) >= 4 or sum(model.values()) + size > 100:
                del model[next(iter(model))]
            model[key] = size
        figures = cache.figures()
        assert figures["size"] == len(model) <= 4
        assert figures["bytes"] == sum(model.values()) <= 100


def test_a_search_is_forgotten_after_its_time() -> None:
    clock = StillClock()
    cache: Cache[str, str] = Cache(10, 1000, 300, clock)
    cache.put("a", "b", 1)
    clock.advance(299)
    assert cache.get("a") == "b"
    clock.advance(2)
    assert cache.get("a") is None
    assert (cache.hits, cache.misses) == (1, 1)


def test_what_was_read_before_something_was_forgotten_is_not_kept() -> None:
    caches = Caches(Options())
    secret = frame(1, "secret")

    def read(_: str) -> Frame:
        caches.forget({secret.frame_id})  # it is removed while it is read
        return secret

    assert caches.frame(secret.frame_id, read) is secret
    assert caches.frames.get(secret.frame_id) is None


def test_private_frames_are_never_kept() -> None:
    caches = Caches(Options())
    private = frame(1, "hidden", private=True)
    assert caches.frame(private.frame_id, lambda _: private) is private
    assert len(caches.frames) == 0


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40)), max_size=60))
def test_postings_keep_their_bound(steps: list[tuple[int, int]]) -> None:
    postings = Postings(100)
    kept: dict[bytes, object] = {}
    for word, size in steps:
        postings.put(kept, str(word).encode(), word, size)
        assert postings.figures()["bytes"] <= 100
        assert len(postings) == len(kept)
    postings.clear()
    assert not kept


def test_caches_of_many_threads_keep_their_bounds() -> None:
    cache: Cache[int, int] = Cache(50, 10_000)
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        chance = random.Random(seed)
        try:
            for _ in range(3000):
                key = chance.randrange(100)
                if chance.random() < 0.5:
                    assert cache.get(key) in (None, key)
                elif chance.random() < 0.98:
                    cache.put(key, key, chance.randrange(400))
                else:
                    cache.drop(key)
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not errors
    figures = cache.figures()
    assert figures["size"] <= 50
    assert 0 <= figures["bytes"] <= 10_000


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.integers(0, 3)),
            st.tuples(st.just("remove"), st.integers(0, 20)),
            st.tuples(st.just("search"), st.integers(0, 3)),
        ),
        max_size=25,
    )
)
def test_no_answer_is_older_than_what_was_acknowledged(steps: list[tuple[str, int]]) -> None:
    import asyncio
    import tempfile

    async def play(folder: Path) -> None:
        archive = await Archive.open(folder, clock=StillClock())
        try:
            there: list[tuple[str, int]] = []
            for step, value in steps:
                if step == "append":
                    (frame_id,) = await archive.append([NewFrame(f"word{value} all")])
                    there.append((frame_id, value))
                elif step == "remove" and there:
                    frame_id, _ = there.pop(value % len(there))
                    assert await archive.remove([frame_id], reason="test") == 1
                for text, wanted in (("all", there), (f"word{value}", [one for one in there if one[1] == value])):
                    for order in Order:
                        hits = await archive.search(Query(text, order=order, limit=100))
                        assert {hit.frame.frame_id for hit in hits} == {frame_id for frame_id, _ in wanted}
        finally:
            await archive.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder) / "archive"))


async def test_answers_come_from_the_cache_until_something_changes(tmp_path: Path) -> None:
    archive = await Archive.open(tmp_path / "archive")
    try:
        await archive.append([NewFrame(f"cube {number}") for number in range(10)])
        first = await archive.search(Query("cube"))
        before = archive.caches.figures()["searches.hits"]
        assert await archive.search(Query("cube")) == first
        assert archive.caches.figures()["searches.hits"] == before + 1
        await archive.append([NewFrame("cube 10")])
        assert len(await archive.search(Query("cube"))) == 11
    finally:
        await archive.close()


async def test_sizes_stay_flat_in_a_soak(tmp_path: Path) -> None:
    options = Options(frame_cache_size=50, search_cache_size=20, embedding_cache_size=30)
    archive = await Archive.open(tmp_path / "archive", options=options)
    try:
        chance = random.Random(3)
        figures: dict[str, float] = {}
        for round_number in range(60):
            await archive.append([NewFrame(f"w{chance.randrange(40)} w{chance.randrange(40)}") for _ in range(20)])
            for _ in range(8):
                text = f"w{chance.randrange(40)} w{chance.randrange(40)}"
                order = chance.choice(list(Order))
                await archive.search(Query(text, match=Match.ANY, order=order, limit=10))
            figures = archive.caches.figures()
            assert figures["frames.size"] <= 50, round_number
            assert figures["searches.size"] <= 20, round_number
            assert figures["embeddings.size"] <= 30
            assert all(figures[f"{name}.bytes"] <= figures[f"{name}.most_bytes"] for name in archive.caches.all())
        assert figures["frames.size"] == 50
        assert figures["searches.size"] == 20
    finally:
        await archive.close()


@pytest.mark.parametrize("name", ["frames", "chunks", "searches", "embeddings", "patterns", "postings"])
def test_every_cache_is_measured(name: str) -> None:
    figures = Caches(Options()).figures()
    assert {f"{name}.{figure}" for figure in ("size", "bytes", "most_bytes", "misses")} <= set(figures)
