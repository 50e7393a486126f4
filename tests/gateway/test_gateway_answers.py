"""Answers that are kept: keys, rules, bounds, lifetime, damage and purge."""

from __future__ import annotations

import asyncio
import random
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightfast.context.upkeep.purge_target import make_target
from lightfast.core.clock import StillClock
from lightfast.gateway.cache import rows
from lightfast.gateway.cache.answers import KeptAnswers
from lightfast.gateway.cache.keys import key_of
from lightfast.gateway.cache.purge import KeptRoom
from lightfast.gateway.cache.rules import Rule, is_whole, rule
from lightfast.gateway.ports import Answers, Asked, Kept
from lightfast.sdk import Usage
from lightfast.storage.blob_removal import remove
from lightfast.storage.blobs import BlobStore, Provenance
from lightfast.storage.database import Database
from lightfast_link.value import Asset

ASKED = Asked("p/m", "text", "render the cube", "be brief", (("user", "hi"),), "", {"steps": 5}, (), None, 0)
GOLDEN = "011cb9a94a0a6f2d6c2772d304cb580b6420db40754b12e53c7a94242ad3bf74a8"
"""The key of `ASKED`, on every machine."""
KEPT = Kept("p/m", "a cube", (), Usage(3, 4, 0.25), 0.25, "stop", 7)


@dataclass
class Room:
    db: Database
    blobs: BlobStore
    clock: StillClock
    folder: Path

    def answers(self, **options: Any) -> KeptAnswers:
        return KeptAnswers(self.db, self.blobs, self.clock, **options)

    async def rows(self) -> int:
        return int((await self.db.query("SELECT count(*) FROM kept_answers"))[0][0])


@asynccontextmanager
async def room(folder: Path) -> AsyncIterator[Room]:
    clock = StillClock()
    db = await Database.open(folder / "store.db", clock=clock)
    blobs = await BlobStore.open(folder / "assets", db, 10_000_000, clock)
    try:
        yield Room(db, blobs, clock, folder)
    finally:
        await blobs.close()
        await db.close()


async def test_an_answer_is_found_again_in_memory_and_from_the_disk(tmp_path: Path) -> None:
    async with room(tmp_path) as here:
        answers: Answers = here.answers()
        assert await answers.find(ASKED, "") is None
        await answers.keep(ASKED, KEPT)
        assert await answers.find(ASKED, "") == (KEPT, "exact")
        again = here.answers()
        assert await again.find(replace(ASKED, settings={"steps": 5.0}), "") == (KEPT, "exact")
        assert len(again) == 1
        long = replace(ASKED, prompt="long " * 30_000)
        await again.keep(long, replace(KEPT, text="x" * 500_000))
        third = here.answers()
        found = await third.find(long, "exact")
        assert found is not None
        assert found[0].text == "x" * 500_000
        assert again.bytes < 20_000, "it is compressed"
        assert (third.counts.exact, third.counts.misses) == (1, 0)


CHANGES: dict[str, dict[str, Any]] = {
    "model": {"model": "p/n"},
    "output": {"output": "image"},
    "prompt": {"prompt": "render the cube "},
    "system": {"system": ""},
    "messages": {"messages": (("assistant", "hi"),)},
    "schema": {"schema": "{}"},
    "settings": {"settings": {"steps": 6}},
    "bool": {"settings": {"steps": True}},
    "names": {"settings": {"step": 5}},
    "sources": {"sources": ("a" * 64,)},
    "seed": {"seed": 0},
    "length": {"max_output_tokens": 10},
}


@pytest.mark.parametrize("name", CHANGES)
def test_whatever_an_answer_depends_on_is_in_its_key(name: str) -> None:
    assert key_of(replace(ASKED, **CHANGES[name])) != key_of(ASKED)


def test_a_key_is_the_same_everywhere_and_does_not_normalise_texts() -> None:
    assert key_of(ASKED) == GOLDEN
    one = replace(ASKED, prompt="caf\u00e9")
    assert key_of(one) != key_of(replace(one, prompt=unicodedata.normalize("NFD", "caf\u00e9")))
    assert key_of(replace(ASKED, settings={"a": 1, "b": 2})) == key_of(replace(ASKED, settings={"b": 2.0, "a": 1}))
    assert key_of(replace(ASKED, prompt="\ud800"))  # a lone surrogate is no crash


VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5), st.binary(max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=6,
)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    return bool(one == other)


@given(
    st.dictionaries(st.text(max_size=3), VALUES, max_size=3), st.dictionaries(st.text(max_size=3), VALUES, max_size=3)
)
def test_two_keys_are_equal_where_the_settings_are(one: dict[str, Any], other: dict[str, Any]) -> None:
    same = key_of(replace(ASKED, settings=one)) == key_of(replace(ASKED, settings=other))
    assert same == _same(one, other)
    backwards = dict(reversed(list(one.items())))
    assert key_of(replace(ASKED, settings=one)) == key_of(replace(ASKED, settings=backwards))


def test_what_may_be_kept_and_given_again() -> None:
    image, seeded = replace(ASKED, output="image"), replace(ASKED, output="image", seed=1)
    everything = Rule("exact", keep=True, share=True)
    assert rule(ASKED, "", "exact") == everything
    assert rule(ASKED, "", "off") == rule(ASKED, "off", "semantic") == Rule()
    assert rule(ASKED, "semantic", "off") == rule(ASKED, "", "semantic") == replace(everything, find="semantic")
    assert rule(ASKED, "refresh", "exact") == Rule(keep=True)
    assert rule(image, "", "exact") == Rule()
    assert rule(image, "exact", "off") == everything
    assert rule(image, "semantic", "off") == everything
    assert rule(seeded, "", "semantic") == everything
    assert is_whole(ASKED, KEPT)
    assert not is_whole(ASKED, replace(KEPT, text=""))
    assert not is_whole(ASKED, replace(KEPT, finish_reason="filtered"))
    assert not is_whole(ASKED, replace(KEPT, finish_reason="length"))
    assert is_whole(replace(ASKED, max_output_tokens=5), replace(KEPT, finish_reason="length"))
    assert not is_whole(ASKED, replace(KEPT, model="other/model"))


async def test_what_may_not_be_kept_is_not(tmp_path: Path) -> None:
    async with room(tmp_path) as here:
        answers = here.answers()
        await answers.keep(ASKED, KEPT, "off")
        await answers.keep(ASKED, replace(KEPT, finish_reason="filtered"))
        await answers.keep(replace(ASKED, output="image"), KEPT)
        assert await here.rows() == 0
        assert answers.key(ASKED, "off") == answers.key(ASKED, "refresh") == ""
        assert answers.key(ASKED, "") == key_of(ASKED)
        await answers.keep(ASKED, KEPT, "refresh")
        assert await answers.find(ASKED, "refresh") is None
        assert await answers.find(ASKED, "") == (KEPT, "exact")


async def test_the_same_meaning_is_found_only_where_it_is_wanted_and_all_else_is_the_same(tmp_path: Path) -> None:
    async with room(tmp_path) as here:
        answers = here.answers()
        await answers.keep(ASKED, KEPT)
        polite = replace(ASKED, prompt="Could you please RENDER the cube?".replace("RENDER", "render"))
        assert await answers.find(polite, "") is None
        assert await answers.find(polite, "semantic") == (KEPT, "semantic")
        for change in ({"system": "be long"}, {"model": "p/n"}, {"seed": 4}, {"schema": "{}"}, {"messages": ()}):
            assert await answers.find(replace(polite, **change), "semantic") is None
        assert await answers.find(replace(ASKED, prompt="don't render the cube"), "semantic") is None
        assert answers.counts.semantic == 1


async def test_the_bound_holds_and_what_was_used_last_stays(tmp_path: Path) -> None:
    async with room(tmp_path) as here:
        answers = here.answers(size=20 * (rows.ROW_BYTES + 300), front=4000)
        asked = [replace(ASKED, prompt=str(at)) for at in range(60)]
        for at, one in enumerate(asked):
            here.clock.advance(1)
            await answers.keep(one, replace(KEPT, text=str(at)))
            assert await answers.find(asked[0], "") is not None
            assert answers.bytes <= answers.size
            assert answers.front_bytes <= 4000
        ((size,),) = await here.db.query("SELECT sum(size) FROM kept_answers")
        assert size == answers.bytes
        assert await answers.find(asked[1], "") is None
        assert await answers.find(asked[59], "") is not None
        assert answers.counts.evicted == 60 - await here.rows()
        await answers.keep(replace(ASKED, prompt="huge"), replace(KEPT, text=random.randbytes(9000).hex()))
        assert await here.answers().find(replace(ASKED, prompt="huge"), "") is None
        before = answers.bytes
        await answers.keep(asked[59], KEPT, "refresh")
        assert abs(answers.bytes - before) < 20, "one that is made anew replaces the other"
        await answers.close()


async def test_many_at_once_are_written_together_within_the_bound(tmp_path: Path) -> None:
    async with room(tmp_path) as here:
        answers = here.answers(size=40 * (rows.ROW_BYTES + 300))
        for start in (0, 100):
            asked = [replace(ASKED, prompt=str(start + at % 90)) for at in range(100)]
            await asyncio.gather(*(answers.keep(one, KEPT) for one in asked))
            ((count, size),) = await here.db.query("SELECT count(*), sum(size) FROM kept_answers")
            assert size == answers.bytes <= answers.size
            assert count > 20
        await asyncio.gather(answers.keep(ASKED, KEPT), answers.find(ASKED, ""), answers.clear())
        ((count, size),) = await here.db.query("SELECT count(*), coalesce(sum(size), 0) FROM kept_answers")
        assert (size, count) in {(0, 0), (answers.bytes, 1)}


async def test_what_is_too_old_is_no_hit(tmp_path: Path) -> None:
    async with room(tmp_path) as here:
        answers = here.answers(days=1)
        await answers.keep(ASKED, KEPT)
        here.clock.advance(86_399)
        assert await answers.find(ASKED, "") is not None
        here.clock.advance(2)
        assert await answers.find(ASKED, "") is None
        assert (await here.rows(), answers.counts.expired, answers.bytes) == (0, 1, 0)
        never = here.answers(days=0)
        await never.keep(ASKED, KEPT)
        assert await never.find(ASKED, "") is None
        assert await here.rows() == 0


DAMAGE = {
    "cut": "substr(body, 1, 20)",
    "empty": "x''",
    "flipped": "CAST(substr(body, 1, 30) || 'X' || substr(body, 32) AS BLOB)",
    "kind": "CAST(x'09' || substr(body, 2) AS BLOB)",
}


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("size", [10, 5000])
async def test_a_damaged_row_is_a_miss_and_goes(tmp_path: Path, how: str, size: int) -> None:
    async with room(tmp_path) as here:
        await here.answers().keep(ASKED, replace(KEPT, text="t" * size))
        unit = here.db.unit()
        unit.execute(f"UPDATE kept_answers SET body = {DAMAGE[how]}")
        await here.db.commit(unit)
        answers = here.answers()
        assert await answers.find(ASKED, "") is None
        assert (await here.rows(), answers.counts.damaged) == (0, 1)


async def test_an_answer_whose_asset_is_gone_is_no_hit(tmp_path: Path) -> None:
    async with room(tmp_path) as here:
        record = await here.blobs.put(b"png", "image/png", "a.png", Provenance())
        kept = replace(KEPT, text="", assets=(Asset(record.uri, "image/png", record.sha256, 3),))
        asked = replace(ASKED, output="image", seed=1)
        answers = here.answers()
        await answers.keep(asked, kept)
        assert await answers.find(asked, "") == (kept, "exact")
        await remove(here.blobs, record.sha256)
        assert await answers.find(asked, "") is None
        assert (await here.rows(), answers.counts.damaged, answers.front_bytes) == (0, 1, 0)


async def test_a_purge_takes_what_names_the_text_the_path_or_the_asset(tmp_path: Path) -> None:
    async with room(tmp_path) as here:
        answers = here.answers()
        purger = KeptRoom(here.db, answers)
        changes: list[tuple[dict[str, Any], dict[str, Any]]] = [
            ({"prompt": "my hush-hush word"}, {}),
            ({"system": "hush-hush"}, {}),
            ({"messages": (("user", "so hush-hush"),)}, {}),
            ({"prompt": "b"}, {"text": "hush-hush " * 1000}),
            ({"settings": {"style": "hush-hush"}}, {}),
            ({"prompt": "what is /show/password"}, {}),
            ({"sources": ("b" * 64,)}, {}),
            ({"prompt": "innocent"}, {}),
        ]
        for asked, kept in changes:
            await answers.keep(replace(ASKED, **asked), replace(KEPT, **kept))

        async def purge(**target: Any) -> int:
            items = [item async for some in purger.find(make_target(**target)) for item in some]
            return await purger.erase(items, "purge-1")

        assert await purge(text="hush-hush") == 5
        assert len(answers) == 0, "nothing stays in memory"
        assert await purge(patterns=["/show/password"]) == 1
        assert await purge(assets=["b" * 64]) == 1
        assert await purge(text="hush-hush") == 0
        assert await purge(memories=["memory-1"]) == 0
        assert await purger.remaining(make_target(text="hush-hush")) == []
        assert await here.rows() == 1
        assert await answers.find(replace(ASKED, prompt="innocent"), "") is not None
        assert await answers.clear() == 1
        assert (await here.rows(), answers.bytes) == (0, 0)


async def test_a_disk_that_fails_costs_the_answer_not_the_generation(tmp_path: Path) -> None:
    async with room(tmp_path) as here:
        answers = here.answers()
    await answers.keep(ASKED, KEPT)  # the store is closed
    assert answers.counts.failures == 1
    assert len(answers) == 0
