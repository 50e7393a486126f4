"""The memory in the database: what is written together, what survives, vectors of the background, news, old formats."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.support.children import watched
from tests.support.memory import MONDAY, CountingEmbedder, Desk, House, day, open_house, said

from lightfast.context.memory import spaces
from lightfast.context.memory.embedders import EmbedderBook
from lightfast.context.memory.ledger import EVENTS_KEPT
from lightfast.context.memory.records import FOREVER, Question
from lightfast.context.memory.spaces import Spaces
from lightfast.context.memory.vectors import VectorIndex
from lightfast.core.clock import StillClock
from lightfast.core.errors import Exhausted
from lightfast.storage.database import Database
from lightfast.storage.schema import MIGRATIONS

CRASHES = int(os.environ.get("LIGHTFAST_CRASHES", "2"))


async def counted(house: House) -> dict[str, int]:
    """Return the rows of each table, and check that they belong together."""
    tables = ("items", "wordings", "versions", "vectors", "tags")
    found = {t: (await house.db.query(f"SELECT count(*) FROM memory_{t}"))[0][0] for t in tables}
    found["words"] = (await house.db.query("SELECT count(*) FROM memory_words"))[0][0]
    found["events"] = (await house.db.query("SELECT count(*) FROM events"))[0][0]
    assert found["words"] == found["wordings"] == found["vectors"]
    for query in (
        "SELECT * FROM memory_versions v WHERE NOT EXISTS (SELECT 1 FROM memory_wordings w WHERE w.wording = v.wording)",
        "SELECT * FROM memory_wordings w WHERE NOT EXISTS (SELECT 1 FROM memory_versions v WHERE v.wording = w.wording)",
        "SELECT * FROM memory_wordings w WHERE NOT EXISTS (SELECT 1 FROM memory_items i WHERE i.item = w.item)",
    ):
        assert await house.db.query(query) == []
    return found


async def test_everything_survives_a_restart(tmp_path: Path) -> None:
    clock = StillClock(MONDAY)
    async with open_house(tmp_path, clock) as house:
        desk = Desk(house.memory, clock)
        for number in range(30):
            await desk.fact(f"fact number {number % 10} in round {number // 10}", f"k{number % 10}", tags=("t",))
        await desk.relate("a", "b", "c", metadata={"x": (1.0, 2.0)})
        before = await desk.ask("fact number 3"), await desk.memory.get("k3"), await desk.memory.memories()
        rows = await counted(house)
    async with open_house(tmp_path, clock) as house:
        desk = Desk(house.memory, clock)
        assert await counted(house) == rows
        after = await desk.ask("fact number 3"), await desk.memory.get("k3"), await desk.memory.memories()
        assert after == before
        assert before[1].versions[0].revision == 7
        await desk.fact("one more", "k3")  # its numbers go on where they were
        assert (await desk.memory.get("k3")).versions[0].version == 4


async def test_a_text_has_one_place_in_the_index_however_often_it_changes(tmp_path: Path) -> None:
    clock = StillClock(MONDAY)
    async with open_house(tmp_path, clock) as house:
        desk = Desk(house.memory, clock)
        for number in range(5):
            desk.at(day(number))
            await desk.fact("the same text", "k", confidence=number / 10)
            await desk.forget("k")
        assert (await counted(house))["wordings"] == 1
        assert len(await desk.ask("same text", valid=day(2) - 1)) == 0
        assert len(await desk.ask("same text", known=day(3) - 1)) == 0
        await desk.fact("the same text", "k", confidence=1.0)
        assert len(await desk.ask("same text")) == 1


async def test_nothing_is_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = StillClock(MONDAY)
    async with open_house(tmp_path, clock) as house:
        desk = Desk(house.memory, clock)
        await desk.fact("first", "k")
        rows, known = await counted(house), house.memory.ledger.known

        async def full(*_: object) -> None:
            raise Exhausted("the disk is full", reason="DISK_FULL")

        with monkeypatch.context() as patch:
            patch.setattr(house.db, "commit", full)
            for write in (desk.fact("second", "k"), desk.relate("a", "b", "c"), desk.forget("k")):
                with pytest.raises(Exhausted):
                    await write
        assert await counted(house) == rows
        assert house.memory.ledger.known == known
        assert await desk.texts() == ["first"]
        await desk.fact("third", "k")
        assert await desk.texts() == ["third"]
        assert len(house.memory.locks) == 0


async def test_news_for_whoever_consumes_it(tmp_path: Path) -> None:
    clock = StillClock(MONDAY)
    async with open_house(tmp_path, clock) as house:
        desk = Desk(house.memory, clock)
        one = (await desk.fact("a very secret text", "secret.key")).memory
        await desk.fact("a very secret text", "secret.key", strength=0.9)
        old = (await desk.relate("secret.key", "is", "left", exclusive=True)).relation
        desk.at(day(1))
        new = (await desk.relate("secret.key", "is", "right", exclusive=True)).relation
        await desk.forget("secret.key")
        await desk.fact("a very secret text", "secret.key", valid_from=day(-1), valid_to=MONDAY)
        events = await house.db.query("SELECT event_type, entity_type, entity_id, payload, process_time FROM events")
        assert [event[:3] for event in events] == [
            ("remembered", "memory", one.memory_id),
            ("strengthened", "memory", one.memory_id),
            ("related", "relation", old.relation_id),
            ("related", "relation", new.relation_id),
            ("contradicted", "relation", old.relation_id),
            ("forgotten", "memory", one.memory_id),
            ("remembered", "memory", one.memory_id),
        ]
        assert json.loads(events[4][3]) == {"by": new.relation_id}
        assert all("secret" not in payload and processed is None for *_, payload, processed in events)


async def test_old_news_goes(tmp_path: Path) -> None:
    clock = StillClock(MONDAY)
    async with open_house(tmp_path, clock) as house:
        unit = house.db.unit()
        unit.insert(
            "INSERT INTO events VALUES(?, 'x', 'y', 'z', '{}', 0, NULL)", ((n,) for n in (1, 2, 3, EVENTS_KEPT + 1))
        )
        await house.db.commit(unit)
        await Desk(house.memory, clock).fact("one more")
        rows = await house.db.query("SELECT event FROM events ORDER BY event")
        assert rows == [(3,), (EVENTS_KEPT + 1,), (EVENTS_KEPT + 2,)]


@pytest.mark.limit(400)
async def test_what_matches_is_found_behind_thousands_that_do_not_hold(tmp_path: Path) -> None:
    """One key with a thousand versions: all have the same words, one held then, and one holds now."""
    clock = StillClock(MONDAY)
    async with open_house(tmp_path, clock) as house:
        desk = Desk(house.memory, clock)
        for number in range(1500):
            clock.advance(60)
            await desk.fact(f"the level is at step {number}", "level")
        for number in (0, 1, 700, 1499):
            time = MONDAY + (number + 1) * 60_000_000_000
            assert await desk.texts("level step", valid=time) == [f"the level is at step {number}"]
            assert await desk.texts("level step", known=time, valid=time) == [f"the level is at step {number}"]
            (hit,) = await desk.ask("level step", valid=time)
            assert (hit.keyword_rank, hit.vector_rank) == (1, 1)


async def asked(desk: Desk, query: str) -> str:
    """Return what is found first."""
    return said((await desk.ask(query))[0].thing)


async def test_what_is_removed_while_vectors_are_loaded_stays_away_and_the_rest_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spaces, "_MOST_WASTED", -3)  # two removed of three are many
    monkeypatch.setattr(spaces, "_LOAD", 2)
    clock = StillClock(MONDAY)
    async with open_house(tmp_path, clock) as house:
        desk = Desk(house.memory, clock)
        for text in ("a red lamp", "a blue lamp", "a green lamp"):
            await desk.fact(text)
    async with open_house(tmp_path, clock) as house:
        made = Spaces(house.db, EmbedderBook())
        read = house.db.read

        async def removing(*args: Any, **more: Any) -> Any:
            found = await read(*args, **more)
            if found and found[0][0] == 1:
                await made.removed([1, 2], ["a red lamp", "a blue lamp"])
            return found

        monkeypatch.setattr(house.db, "read", removing)
        try:
            for _ in range(2):
                numbers, _ = await (await made.ask("lamp")).top(10)
                assert numbers == [3]
        finally:
            await made.close()


async def test_as_many_as_like_remember_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written is told as written, however many vectors wait to be taken in; and it is found."""
    taken: list[int] = []
    add = VectorIndex.add
    monkeypatch.setattr(spaces, "_MOST_FRESH", 64)

    def counting(index: VectorIndex, numbers: Sequence[int], vectors: Sequence[bytes]) -> None:
        taken.append(len(numbers))
        add(index, numbers, vectors)

    monkeypatch.setattr(VectorIndex, "add", counting)
    clock = StillClock(MONDAY)
    async with open_house(tmp_path, clock) as house:
        desk = Desk(house.memory, clock)
        await desk.fact("a fact that was there before")
        assert await asked(desk, "before") == "a fact that was there before"  # the vectors are loaded
        texts = [f"{number} lamps are lit" for number in range(200)]
        await asyncio.gather(*(desk.fact(text) for text in texts))
        assert 201 - sum(taken) < 64  # what waits for a question is bounded
        assert await asked(desk, "137 lamps") == "137 lamps are lit"
        assert await asked(desk, "197lamps") == "197 lamps are lit"  # by its trigrams alone
        found = await asyncio.gather(*(asked(desk, f"{number} lamps") for number in range(100, 200)))
        assert found == texts[100:]
        assert (await counted(house))["items"] == 201


async def test_vectors_of_another_embedder_come_in_the_background(tmp_path: Path) -> None:
    clock, counting = StillClock(MONDAY), CountingEmbedder()
    book = EmbedderBook("counting")
    texts = [f"number {number} of the weary" for number in range(200)]
    try:
        async with open_house(tmp_path, clock, book) as house:
            desk = Desk(house.memory, clock)
            for text in texts[:100]:
                await desk.fact(text)
            book.register(counting)  # its plugin comes later
            await settled(house)
            for text in texts[100:]:
                await desk.fact(text)
            await settled(house)
            found = await house.memory.recall(Question(query="the dreary"))
            assert found.embedder == "counting"
            assert found.hits[0].vector_rank == 1  # it rhymes
            assert (await house.memory.recall(Question(query="dreary", embedder="trigram"))).embedder == "trigram"
            assert house.memory.spaces.computed == 200
        seen = len(counting.seen)
        async with open_house(tmp_path, clock, book) as house:
            await settled(house)
            assert house.memory.spaces.computed == 0  # after a restart it goes on where it was
            found = await house.memory.recall(Question(query="the dreary"))
            assert (found.embedder, len(found.hits)) == ("counting", 20)
            assert len(counting.seen) <= seen + 1
            await Desk(house.memory, clock).fact("a new and dreary one", "new")
            await settled(house)
            found = await house.memory.recall(Question(query="a dreary one"))
            assert said(found.hits[0].thing) == "a new and dreary one"
            assert found.hits[0].vector_rank
            rows = await house.db.query("SELECT embedder, count(*) FROM memory_vectors GROUP BY 1 ORDER BY 1")
            assert rows == [("counting", 201), ("trigram", 201)]
            book.unregister(counting)
            assert (await house.memory.recall(Question(query="dreary"))).embedder == "trigram"
    finally:
        await book.close()


async def test_a_text_that_an_embedder_cannot_take_does_not_stop_the_others(tmp_path: Path) -> None:
    clock, counting = StillClock(MONDAY), CountingEmbedder()
    counting.fails = {"poison"}
    book = EmbedderBook("counting")
    book.register(counting)
    try:
        async with open_house(tmp_path, clock, book) as house:
            desk = Desk(house.memory, clock)
            for number in range(20):
                await desk.fact("poison" if number == 7 else f"food {number}")
            await settled(house)
            rows = await house.db.query("SELECT count(*) FROM memory_vectors WHERE embedder = 'counting'")
            assert rows == [(19,)]
            assert (await house.memory.recall(Question(query="poison"))).embedder == "trigram"  # it cannot be asked
            assert (await desk.texts("poison"))[0] == "poison"
    finally:
        await book.close()


async def settled(house: House) -> None:
    """Wait until the background has nothing left to do; the bound of the test ends the wait."""
    while not house.memory.spaces.settled():
        await asyncio.sleep(0.01)


async def test_a_database_of_the_first_format_gets_the_tables(tmp_path: Path) -> None:
    connection = apsw.Connection(str(tmp_path / "store.db"))
    for _ in connection.execute(MIGRATIONS[0]):
        pass
    connection.execute("PRAGMA application_id = 0x4C467374; PRAGMA user_version = 1")
    connection.close()
    clock = StillClock(MONDAY)
    async with open_house(tmp_path, clock) as house:
        await Desk(house.memory, clock).fact("hello")
        assert (await counted(house))["items"] == 1
    db = await Database.open(tmp_path / "store.db")
    try:
        assert (await db.query("PRAGMA user_version"))[0][0] == len(MIGRATIONS)
    finally:
        await db.close()


@pytest.mark.parametrize("number", range(CRASHES))
async def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path, number: int) -> None:
    rng = random.Random(number)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.memory.writer", str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    acknowledged: dict[str, Any] = {}
    try:
        assert process.stdout is not None
        with watched(process, "the writer"):
            for _ in range(rng.randint(20, 200)):
                line = process.stdout.readline()
                assert line, "the writer ended by itself"
                key, version = line.split()
                acknowledged[key] = int(version)
        time.sleep(rng.random() * 0.01)
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate(timeout=30)
        whole = [line.split() for line in rest.splitlines(keepends=True) if line.endswith("\n")]
        acknowledged |= {key: int(version) for key, version in whole}
    finally:
        process.kill()
        process.wait(30)
    async with open_house(tmp_path, StillClock(day(9999))) as house:
        await counted(house)
        for key, version in acknowledged.items():
            versions = (await house.memory.get(key)).versions
            assert versions[0].version >= version
            assert versions[0].text == f"{key} is at {versions[0].version}"
            present = [v for v in versions if v.superseded_time == FOREVER]
            assert sorted(v.version for v in present) == list(range(1, versions[0].version + 1))
