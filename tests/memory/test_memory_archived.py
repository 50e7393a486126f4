"""Memories in the archive: verified on the way there, found there, brought back, and gone after a purge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.support.memory import MONDAY, Desk, House, day, open_house, said

from lightfast.context.memory.purge import MemoryRoom
from lightfast.context.memory.records import Kind
from lightfast.context.upkeep.purge_target import make_target
from lightfast.core.clock import StillClock
from lightfast.core.errors import FailedPrecondition, NotFound, Unavailable
from lightfast.storage.archive.records import Frame


async def filled(house: House, desk: Desk) -> list[str]:
    """Remember a memory with three versions, a note, and two relations, one of them ended; return their ids."""
    one = (await desk.fact("the lantern is green", "lantern", tags=("prop",), metadata={"v": (1.0, 2.0)})).memory
    tie = (await desk.relate("lantern", "hangs on", "hook", exclusive=True)).relation
    desk.at(day(1))
    await desk.fact("the lantern is blue", "lantern", strength=0.25, source="/notes")
    await desk.relate("lantern", "hangs on", "nail", exclusive=True)
    desk.at(day(2))
    await desk.forget("lantern", reason="it fell")
    two = (await desk.fact("lanterns were in fashion once")).memory
    desk.at(day(3))
    return [one.memory_id, tie.relation_id, two.memory_id]


async def everything(desk: Desk) -> list[Any]:
    """Return what can be asked at some moments of both times, the tiers left out."""
    found: list[Any] = []
    for time in (day(0.5), day(1.5), day(2.5)):
        for how in ({"valid": time}, {"valid": time, "known": time}):
            found.append(sorted(await desk.texts("lantern lanterns hook nail", include_archive=True, **how)))
    versions = (await desk.memory.get("lantern")).versions
    found.append([(v.version, v.text, v.valid_from, v.valid_to, v.record_time, v.superseded_time) for v in versions])
    found.append([(v.tags, dict(v.metadata), v.strength, v.source, v.reason, v.origin) for v in versions])
    return found


async def test_there_and_back(tmp_path: Path) -> None:
    clock = StillClock(MONDAY)
    async with open_house(tmp_path, clock, with_archive=True) as house:
        desk = Desk(house.memory, clock)
        ids = await filled(house, desk)
        before = await everything(desk)
        gone = await house.memory.archived.demote([*ids, "memory-0000000000000000"])
        assert sorted(gone) == sorted(ids)
        assert await house.memory.archived.demote(ids) == []
        for table in ("memory_versions", "memory_wordings", "memory_words", "memory_vectors"):
            ((count,),) = await house.db.query(f"SELECT count(*) FROM {table}")
            assert count == 1, table  # the relation that holds stayed, as it was
        assert await everything(desk) == before
        versions = (await desk.memory.get("lantern")).versions
        assert {v.tier for v in versions} == {"archive"}
        assert await desk.texts("lantern green", valid=day(0.5)) == []
        (hit,) = await desk.ask("lantern green", valid=day(0.5), include_archive=True, kind=Kind.FACT, tags=("prop",))
        assert (said(hit.thing), hit.thing.tier, hit.keyword_rank) == ("the lantern is green", "archive", 1)
        assert await desk.texts("lantern green", valid=day(0.5), include_archive=True, tags=("no",)) == []
    async with open_house(tmp_path, clock, with_archive=True) as house:
        desk = Desk(house.memory, clock)
        assert await everything(desk) == before
        assert sorted(await house.memory.archived.restore(ids)) == sorted(ids)
        assert await house.memory.archived.restore(ids) == []
        assert await everything(desk) == before
        assert await desk.texts("lantern green", valid=day(0.5), depth=0) == [
            "the lantern is green",
            *["lantern hangs on hook"],
        ]
        assert {v.tier for v in (await desk.memory.get("lantern")).versions} == {"history"}


async def test_writing_brings_it_back(tmp_path: Path) -> None:
    clock = StillClock(MONDAY)
    async with open_house(tmp_path, clock, with_archive=True) as house:
        desk = Desk(house.memory, clock)
        ids = await filled(house, desk)
        await house.memory.archived.demote(ids)
        again = (await desk.fact("the lantern is red", "lantern")).memory
        assert (again.version, again.memory_id) == (3, ids[0])
        assert await desk.texts("lantern", valid=day(0.5), kind=Kind.FACT) == ["the lantern is green"]
        tie = (await desk.relate("lantern", "hangs on", "hook", valid_from=day(1.2), exclusive=True)).relation
        assert (tie.relation_id, tie.version) == (ids[1], 2)
        await house.memory.archived.demote([ids[0]])
        assert (await desk.forget("lantern")).memories == 1


async def test_an_archived_relation_still_yields_to_one_that_contradicts_it(tmp_path: Path) -> None:
    clock = StillClock(MONDAY)
    async with open_house(tmp_path, clock, with_archive=True) as house:
        desk = Desk(house.memory, clock)
        ids = await filled(house, desk)
        assert await house.memory.archived.demote([ids[1]]) == [ids[1]]
        (closed,) = (
            await desk.relate("lantern", "hangs on", "rope", exclusive=True, valid_from=day(0.5), valid_to=day(1))
        ).closed
        assert (closed.relation_id, closed.valid_to) == (ids[1], day(0.5))
        assert await desk.texts(subjects=("lantern",), valid=day(0.7), depth=1) == ["the lantern is green"] * 0 + [
            "lantern hangs on rope"
        ]


async def test_what_does_not_read_back_is_not_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = StillClock(MONDAY)
    async with open_house(tmp_path, clock, with_archive=True) as house:
        desk = Desk(house.memory, clock)
        ids = await filled(house, desk)
        before = await everything(desk)
        archive = house.archive
        assert archive is not None
        real = archive.get

        async def flipped(frame_ids: Sequence[str]) -> dict[str, Frame]:
            found = await real(frame_ids)
            return {
                name: Frame(f.frame_id, f.number, "other", f.kind, f.time_ms, f.metadata) for name, f in found.items()
            }

        with monkeypatch.context() as patch:
            patch.setattr(archive, "get", flipped)
            with pytest.raises(Unavailable, match="nothing was moved"):
                await house.memory.archived.demote(ids)
        assert await everything(desk) == before
        assert {v.tier for v in (await desk.memory.get("lantern")).versions} == {"history"}


async def test_without_an_archive(tmp_path: Path) -> None:
    clock = StillClock(MONDAY)
    async with open_house(tmp_path, clock) as house:
        desk = Desk(house.memory, clock)
        ids = await filled(house, desk)
        with pytest.raises(FailedPrecondition, match="switched off"):
            await house.memory.archived.demote(ids)
        assert await desk.texts("lantern", include_archive=True)


async def test_a_frame_that_is_gone_is_named(tmp_path: Path) -> None:
    clock = StillClock(MONDAY)
    async with open_house(tmp_path, clock, with_archive=True) as house:
        desk = Desk(house.memory, clock)
        ids = await filled(house, desk)
        await house.memory.archived.demote(ids)
        assert house.archive is not None
        frames = await house.memory.archived.frames_of([ids[0]])
        assert len(frames) == 1
        await house.archive.remove(frames, reason="a test")
        with pytest.raises(Unavailable) as caught:
            await desk.memory.get("lantern")
        assert caught.value.metadata["frame_id"] == frames[0]


@pytest.mark.parametrize("where", ["history", "archive"])
@pytest.mark.parametrize("by", ["name", "text"])
async def test_a_purge_leaves_no_byte(tmp_path: Path, where: str, by: str) -> None:
    clock, secret = StillClock(MONDAY), "xylophonequartz"
    async with open_house(tmp_path, clock, with_archive=True) as house:
        desk = Desk(house.memory, clock)
        await desk.fact("what stays", "stays")
        one = (await desk.fact(f"a {secret} on the stage", "secret", tags=(f"{secret}tag",))).memory
        await desk.fact("something harmless", "secret", metadata={"note": f"no {secret}"})
        tie = (await desk.relate("secret", "is by", "stays")).relation
        await desk.fact(f"{secret} again" if by == "text" else "again", "other")
        clock.advance(60)
        await desk.forget("secret", tie.relation_id)
        room = MemoryRoom(house.memory, house.db)
        if where == "archive":
            assert len(await house.memory.archived.demote([one.memory_id, tie.relation_id])) == 2
            await house.memory.archived.restore([one.memory_id])  # so that a frame is there that nothing points to
            await house.memory.archived.demote([one.memory_id])
        target = make_target(memories=["secret"]) if by == "name" else make_target(text=secret)
        items = [item async for batch in room.find(target) for item in batch]
        named = {one.memory_id, tie.relation_id} if by == "name" else {one.memory_id}
        assert named <= set(items)
        assert len(items) == len(set(items)) == 2
        assert await room.erase(items, "purge-1") == 2
        assert await room.erase(items, "purge-1") == 0
        assert await room.remaining(target) == []
        assert [item async for batch in room.find(make_target(text=secret)) for item in batch] == []
        assert await desk.texts(secret, valid=day(0), include_archive=True) == []
        assert (await desk.texts("stays"))[0] == "what stays"
        ((text,),) = await house.db.query("SELECT group_concat(entity_id) FROM events")
        assert one.memory_id not in text
        with pytest.raises(NotFound, match="no memory"):
            _ = [item async for batch in room.find(make_target(memories=["secret"])) for item in batch]
        # The database's own scrubbing (another room's) writes the file anew; here that is done by hand.
    connection = apsw.Connection(str(tmp_path / "store.db"))
    list(connection.execute("VACUUM"))
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    connection.close()
    for file in sorted(path for path in tmp_path.rglob("*") if path.is_file()):
        assert secret.encode() not in file.read_bytes().lower(), file


async def test_relations_of_a_purged_path_go_with_it(tmp_path: Path) -> None:
    clock = StillClock(MONDAY)
    async with open_house(tmp_path, clock) as house:
        desk = Desk(house.memory, clock)
        gone = (await desk.relate("/blender/objects/Cube", "uses", "gold")).relation
        await desk.relate("/blender/scene", "is", "dark")
        room = MemoryRoom(house.memory, house.db)
        found = [item async for batch in room.find(make_target(patterns=["/blender/objects//"])) for item in batch]
        assert found == [gone.relation_id]
