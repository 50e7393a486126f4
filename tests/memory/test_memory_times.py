"""The two times, versions and contradictions: the same for every implementation of the port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.memory import Desk, day, open_memory, said

from lightfast.context.memory.records import FOREVER, Kind, Memory, NewMemory
from lightfast.core.errors import NotFound

MON, TUE, WED, THU = day(0.5), day(1.5), day(2.5), day(3.5)


@pytest.fixture(params=["store", "twin", "server"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def desk(folder: Path, kind: str) -> AsyncIterator[Desk]:
    async with open_memory(folder, kind) as found:
        found.at(MON)
        yield found


async def test_what_we_knew_on_tuesday_and_what_was_true_on_tuesday(tmp_path: Path, kind: str) -> None:
    async with desk(tmp_path, kind) as found:
        await found.fact("the tempo is 120", "tempo")
        found.at(WED)
        await found.fact("the tempo is 96", "tempo", valid_from=day(1))  # since Tuesday: we learn it on Wednesday
        assert await found.texts("tempo", known=TUE, valid=TUE) == ["the tempo is 120"]
        assert await found.texts("tempo", known=TUE) == ["the tempo is 120"]  # what we would have said of today
        assert await found.texts("tempo", valid=TUE) == ["the tempo is 96"]
        assert await found.texts("tempo", valid=MON) == ["the tempo is 120"]
        assert await found.texts("tempo") == ["the tempo is 96"]
        assert await found.texts("tempo", known=day(0)) == []
        assert await found.texts("tempo", valid=day(0)) == []


async def test_the_same_two_questions_of_a_relation(tmp_path: Path, kind: str) -> None:
    async with desk(tmp_path, kind) as found:
        first = await found.relate("Ada", "works at", "the north studio", exclusive=True)
        found.at(WED)
        second = await found.relate("Ada", "works at", "the south studio", exclusive=True, valid_from=day(1))
        (closed,) = second.closed
        assert closed.relation_id == first.relation.relation_id
        assert (closed.valid_to, closed.closed_by) == (day(1), second.relation.relation_id)
        assert await found.texts("Ada", known=TUE, valid=TUE) == ["Ada works at the north studio"]
        assert await found.texts("Ada", valid=TUE) == ["Ada works at the south studio"]
        assert await found.texts("Ada", valid=MON) == ["Ada works at the north studio"]
        assert await found.texts("Ada") == ["Ada works at the south studio"]


async def test_only_exclusive_relations_contradict(tmp_path: Path, kind: str) -> None:
    async with desk(tmp_path, kind) as found:
        await found.relate("cube", "uses", "gold")
        assert (await found.relate("cube", "uses", "wood")).closed == ()
        assert (await found.relate("cone", "uses", "clay", exclusive=True)).closed == ()
        assert len(await found.texts(subjects=("cube",))) == 2
        found.at(TUE)
        done = await found.relate("cube", "uses", "glass", exclusive=True, valid_to=WED)
        assert sorted(relation.object for relation in done.closed) == ["gold", "wood"]
        assert await found.texts(subjects=("cube",)) == ["cube uses glass"]
        # What was said without an end holds again when the contradiction is over.
        assert sorted(await found.texts(subjects=("cube",), valid=THU)) == ["cube uses gold", "cube uses wood"]


async def test_a_statement_that_is_contradicted_for_all_its_time_stays_readable(tmp_path: Path, kind: str) -> None:
    async with desk(tmp_path, kind) as found:
        await found.relate("cube", "at", "left", exclusive=True)
        found.at(WED)
        (closed,) = (await found.relate("cube", "at", "right", exclusive=True, valid_from=day(0))).closed
        assert closed.valid_from == closed.valid_to == MON
        assert await found.texts("cube", valid=TUE) == ["cube at right"]
        assert await found.texts("cube", valid=TUE, known=TUE) == ["cube at left"]
        again = await found.relate("cube", "at", "left", exclusive=True)
        assert again.relation.version == 2
        assert again.relation.relation_id == closed.relation_id
        assert await found.texts("cube") == ["cube at left"]


async def test_versions_by_key(tmp_path: Path, kind: str) -> None:
    async with desk(tmp_path, kind) as found:
        one = (await found.fact("warm light", "look", tags=("light",), source="/notes", strength=0.25)).memory
        assert (one.version, one.valid_from, one.valid_to, one.record_time) == (1, MON, FOREVER, MON)
        assert (one.strength, one.confidence, one.source, one.origin) == (0.25, 1.0, "/notes", "client:test")
        found.at(TUE)
        two = (await found.fact("cold light", "look")).memory
        assert (two.version, two.memory_id, two.tags) == (2, one.memory_id, ())
        versions = (await found.memory.get("look")).versions
        assert [(v.version, v.text) for v in versions] == [(2, "cold light"), (1, "warm light"), (1, "warm light")]
        assert [(v.valid_from, v.valid_to) for v in versions] == [(TUE, FOREVER), (MON, TUE), (MON, FOREVER)]
        assert [v.superseded_time for v in versions] == [FOREVER, FOREVER, TUE]
        assert (await found.memory.get(one.memory_id)).versions == versions


async def test_the_middle_of_a_time_is_replaced(tmp_path: Path, kind: str) -> None:
    async with desk(tmp_path, kind) as found:
        await found.fact("open", "door")
        found.at(THU)
        await found.fact("shut", "door", valid_from=TUE, valid_to=WED)
        for time, text in ((MON, "open"), (TUE, "shut"), (WED - 1, "shut"), (WED, "open"), (THU, "open")):
            assert await found.texts(valid=time) == [text], time
        assert [m.text for m in (await found.memory.memories()).memories] == ["open"]


async def test_saying_the_same_again_adds_nothing(tmp_path: Path, kind: str) -> None:
    async with desk(tmp_path, kind) as found:
        one = (await found.fact("the cube is gold", tags=("look",))).memory
        found.at(TUE)
        for _ in range(3):
            again = await found.fact("the cube is gold", tags=("look",), source="elsewhere")
            assert again.memory == one  # the memory itself, by its text, without a key
            assert again.similar is None
        assert len((await found.memory.get(one.memory_id)).versions) == 1
        assert (await found.fact("the cube is gold", tags=("look",), strength=0.9)).memory.strength == 0.9
        assert (await found.fact("the cube is gold", tags=("look",))).memory.strength == 0.9
        assert len((await found.memory.get(one.memory_id)).versions) == 1
        weaker = (await found.fact("the cube is gold", tags=("look",), strength=0.1)).memory
        assert (weaker.version, weaker.strength) == (2, 0.1)
        surer = (await found.fact("the cube is gold", tags=("look",), confidence=0.5)).memory
        assert (surer.version, surer.confidence) == (3, 0.5)
        note = await found.memory.remember(NewMemory(text="the cube is gold"), origin="x")
        assert note.memory.memory_id != one.memory_id  # a note is not a fact
        assert note.memory.kind is Kind.NOTE


async def test_what_is_said_of_a_time_next_to_it_becomes_one(tmp_path: Path, kind: str) -> None:
    async with desk(tmp_path, kind) as found:
        found.at(THU)
        await found.fact("rain", "sky", valid_from=MON, valid_to=TUE, strength=0.7)
        longer = (await found.fact("rain", "sky", valid_from=TUE, valid_to=WED)).memory
        assert (longer.valid_from, longer.valid_to, longer.version, longer.strength) == (MON, WED, 2, 0.7)
        apart = (await found.fact("rain", "sky", valid_from=day(5), valid_to=day(6))).memory
        assert (apart.valid_from, apart.valid_to) == (day(5), day(6))
        assert [bool(await found.texts(valid=t)) for t in (MON, TUE, WED, day(4), day(5))] == [1, 1, 0, 0, 1]


async def test_forget_ends_and_deletes_nothing(tmp_path: Path, kind: str) -> None:
    async with desk(tmp_path, kind) as found:
        one = (await found.fact("the lamp is on", "lamp")).memory
        relation = (await found.relate("lamp", "lights", "cube")).relation
        found.at(WED)
        done = await found.forget("lamp", relation.relation_id, valid_to=TUE, reason="it broke")
        assert (done.memories, done.relations) == (1, 1)
        assert await found.texts("lamp") == []
        assert sorted(await found.texts("lamp", valid=MON)) == ["lamp lights cube", "the lamp is on"]
        assert sorted(await found.texts("lamp", known=TUE, valid=WED)) == ["lamp lights cube", "the lamp is on"]
        newest = (await found.memory.get("lamp")).versions[0]
        assert (newest.version, newest.valid_to, newest.reason) == (1, TUE, "it broke")
        assert (await found.forget("lamp")).memories == 0  # it has ended already
        assert (await found.memory.memories()).memories == ()
        (listed,) = (await found.memory.memories(include_closed=True)).memories
        assert listed.memory_id == one.memory_id
        back = (await found.fact("the lamp is on", "lamp")).memory
        assert (back.version, back.valid_from) == (2, WED)
        assert await found.texts(valid=TUE + 1) == []


async def test_forget_takes_all_or_nothing(tmp_path: Path, kind: str) -> None:
    async with desk(tmp_path, kind) as found:
        await found.fact("a", "a")
        relation = (await found.relate("x", "y", "z")).relation
        for names, reason in (
            (("a", "nobody"), "MEMORY_NOT_FOUND"),
            (("a", "relation-0000000000000000"), "RELATION_NOT_FOUND"),
        ):
            with pytest.raises(NotFound) as caught:
                await found.forget(*names)
            assert caught.value.reason == reason
        with pytest.raises(NotFound, match="no memory"):
            await found.memory.forget([relation.relation_id], origin="x")  # it is no memory
        with pytest.raises(NotFound, match="no memory"):
            await found.memory.get("nobody")
        assert len(await found.texts()) == 2


async def test_time_stands_still_and_still_there_is_an_order(tmp_path: Path, kind: str) -> None:
    async with desk(tmp_path, kind) as found:
        times = [(await found.fact(f"text {n}", "key")).memory.record_time for n in range(5)]
        assert times == sorted(set(times))
        versions = (await found.memory.get("key")).versions
        for n, time in enumerate(times):
            assert await found.texts(known=time, valid=max(time, MON)) == [f"text {n}"]
        assert versions[0].text == "text 4"


async def test_things_before_1970_and_in_the_future(tmp_path: Path, kind: str) -> None:
    async with desk(tmp_path, kind) as found:
        await found.fact("it was built", "house", valid_from=-(10**18), valid_to=0)
        await found.fact("it will be sold", "sale", valid_from=day(365))
        assert await found.texts() == []
        assert await found.texts(valid=-1) == ["it was built"]
        assert await found.texts(valid=0) == []
        assert await found.texts(valid=day(366)) == ["it will be sold"]
        assert {m.key for m in (await found.memory.memories(include_closed=True)).memories} == {"house", "sale"}


async def test_pages_show_one_state(tmp_path: Path, kind: str) -> None:
    async with desk(tmp_path, kind) as found:
        for n in range(25):
            await found.fact(f"number {n}", f"k{n}", tags=("even",) if n % 2 == 0 else ("odd", "not even"))
        first = await found.memory.memories(page_size=10)
        assert [m.key for m in first.memories] == [f"k{n}" for n in range(24, 14, -1)]
        found.at(TUE)
        await found.fact("something new", "k20")
        await found.fact("and this", "new")
        await found.forget("k3")
        seen = [m.text for m in first.memories]
        token = first.next_page_token
        while token:
            page = await found.memory.memories(page_size=10, page_token=token)
            seen += [m.text for m in page.memories]
            token = page.next_page_token
        assert seen == [f"number {n}" for n in range(24, -1, -1)]
        assert len((await found.memory.memories(tags=["even"])).memories) == 12
        assert len((await found.memory.memories(tags=["odd", "not even"])).memories) == 11
        assert (await found.memory.memories(tags=["even", "odd"])).memories == ()
        assert (await found.memory.memories(kind=Kind.NOTE)).memories == ()


async def test_relations_of_a_memory(tmp_path: Path, kind: str) -> None:
    async with desk(tmp_path, kind) as found:
        one = (await found.fact("the cube", "cube")).memory
        await found.relate("cube", "uses", "gold")
        await found.relate("/blender/objects/Cube", "is", one.memory_id)
        await found.relate("gold", "is", "dear")
        gone = (await found.relate("cube", "uses", "wood")).relation
        await found.forget(gone.relation_id)
        shown = [said(relation) for relation in (await found.memory.get("cube")).relations]
        assert sorted(shown) == [f"/blender/objects/Cube is {one.memory_id}", "cube uses gold"]
        assert all(isinstance(v, Memory) for v in (await found.memory.get("cube")).versions)
