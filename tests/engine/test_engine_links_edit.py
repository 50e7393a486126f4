"""Edits of links that meet: creates that would close a cycle together, updates, switches, renames and deletions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.engine.test_engine_links import quiet
from tests.support.desk import Desk, bounded, open_desk, until

from lightfast.context.entry import Delete, Move, Set
from lightfast.core.errors import Exhausted, FailedPrecondition, LightfastError, NotFound
from lightfast.engine.links import links
from lightfast.engine.links.links import Link
from lightfast.storage.database import Database


async def moved(desk: Desk, source: str, target: str) -> None:
    await desk.store.apply([Move(source, target)], origin="client:test")


async def kept(desk: Desk) -> list[str]:
    """Return the identities of the links that a restart would find."""
    await desk.store.drain()
    return [str(row[0]) for row in await desk.db.query("SELECT link_id FROM links", ())]


async def test_two_links_that_close_a_cycle_together_are_not_both_made(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        both = await asyncio.gather(
            desk.links.create(Link("/a", "/b", expression="x + 1")),
            desk.links.create(Link("/b", "/a", expression="x + 1")),
            desk.links.create(Link("/c", "/b")),
            return_exceptions=True,
        )
        assert [type(one) for one in both] == [Link, FailedPrecondition, FailedPrecondition]
        assert len(desk.links) == 1
        assert len(await kept(desk)) == 1


async def test_a_link_that_cannot_carry_yet_is_shown_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "CARRIED_S", 0.1)
    async with open_desk(tmp_path) as desk:
        await desk.set("/a", 1.0)
        apply, free = desk.store.apply, asyncio.Event()

        async def stuck(mutations: Sequence[Any], **more: Any) -> Any:
            await free.wait()
            return await apply(mutations, **more)

        monkeypatch.setattr(desk.store, "apply", stuck)
        made = await bounded(desk.links.create(Link("/a", "/b")))
        again = await bounded(desk.links.update(Link("", "", link_id=made.link_id, expression="x + 1")))
        assert (again.link_id, desk.store.get("/b")) == (made.link_id, None)
        free.set()
        await desk.holds("/b", 2.0)


async def test_a_link_that_could_not_be_kept_leaves_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_desk(tmp_path) as desk:

        async def full(*_: Any) -> None:
            raise Exhausted("the disk is full", reason="DISK_FULL")

        made = await desk.links.create(Link("/x", "/y"))
        with monkeypatch.context() as patch:
            patch.setattr(Database, "commit", full)
            with pytest.raises(Exhausted):
                await desk.links.create(Link("/a", "/b"))
            with pytest.raises(Exhausted):
                await desk.links.update(Link("", "", link_id=made.link_id, expression="x + 1"))
        assert len(desk.links) == 1
        assert desk.links.get(made.link_id).expression == ""
        await desk.links.create(Link("/b", "/a"))
        await desk.set("/x", 1.0)
        await desk.holds("/y", 1.0)


async def test_updates_that_meet_leave_one_link_at_work(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        link = await desk.links.create(Link("/a", "/b"))
        await asyncio.gather(
            *[
                desk.links.update(Link("", "", link_id=link.link_id, expression=f"x + {n}", max_rate_hz=1000.0))
                for n in range(1, 5)
            ]
        )
        now = desk.links.get(link.link_id)
        before = desk.store.revision
        await desk.set("/a", 10.0)
        await desk.holds("/b", 10.0 + float(now.expression[-1]))
        await quiet(desk)
        assert desk.store.revision == before + 2, "one write of the client, one of the link"
        await desk.links.delete(link.link_id)
        await desk.set("/a", 20.0)
        await quiet(desk)
        assert desk.entry("/b").value != 20.0 + float(now.expression[-1])


async def test_a_bypass_thrown_during_an_update_stays(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.set("/a", 1.0)
        link = await desk.links.create(Link("/a", "/b"))
        updating = asyncio.ensure_future(desk.links.update(Link("", "", link_id=link.link_id, expression="x + 5")))
        await asyncio.sleep(0)
        switched = await desk.links.bypass(link.link_id)
        await updating
        await quiet(desk)
        assert switched.bypass
        assert desk.links.get(link.link_id).bypass
        assert desk.entry("/b").value == 1.0, "nothing was carried after the bypass"
    async with open_desk(tmp_path) as desk:
        now = desk.links.get(link.link_id)
        assert (now.bypass, now.expression) == (True, "x + 5")


async def test_an_update_cannot_bring_a_deleted_link_back(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        link = await desk.links.create(Link("/a", "/b"))
        done = await asyncio.gather(
            desk.links.delete(link.link_id),
            desk.links.update(Link("", "", link_id=link.link_id, expression="x + 5")),
            desk.links.bypass(link.link_id),
            return_exceptions=True,
        )
        assert done[0] is None
        assert all(isinstance(one, NotFound) for one in done[1:])
        assert await kept(desk) == []
        await desk.set("/a", 1.0)
        await quiet(desk)
        assert desk.store.get("/b") is None
        assert len(desk.links) == 0


async def test_a_rename_during_a_deletion_keeps_no_row(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.set("/a", 1.0)
        link = await desk.links.create(Link("/a", "/b"))
        moving = asyncio.ensure_future(moved(desk, "/a", "/c"))
        await asyncio.sleep(0)
        await asyncio.gather(moving, desk.links.delete(link.link_id))
        await quiet(desk)
        assert await kept(desk) == []


async def test_a_rename_during_an_update_is_followed(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.store.apply([Set("/a", 1.0), Set("/gain", 2.0)], origin="client:test")
        link = await desk.links.create(Link("/a", "/b", inputs=(("gain", "/gain"),), expression="x * gain"))
        await desk.store.apply([Move("/a", "/c"), Move("/gain", "/level")], origin="client:test")
        change = Link(
            "", "", link_id=link.link_id, inputs=(("gain", "/gain"),), expression="x * gain + 1", max_rate_hz=900.0
        )
        await desk.links.update(change)
        await until(lambda: desk.links.get(link.link_id).source == "/c")
        now = desk.links.get(link.link_id)
        assert (now.source, now.inputs, now.expression) == ("/c", (("gain", "/level"),), "x * gain + 1")
        await desk.set("/c", 3.0)
        await desk.holds("/b", 7.0)
    async with open_desk(tmp_path) as desk:
        assert desk.links.get(link.link_id).inputs == (("gain", "/level"),)


async def test_a_rename_that_closes_a_cycle_stops_the_link_and_says_so(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.set("/a", 1.0)
        first = await desk.links.create(Link("/a", "/b", expression="x + 1"))
        await desk.holds("/b", 2.0)
        await desk.links.create(Link("/c", "/d", expression="x + 1"))
        await desk.set("/c", 7.0)
        await desk.holds("/d", 8.0)
        await desk.store.apply([Delete("/a"), Delete("/c")], origin="client:test")
        await moved(desk, "/d", "/a")
        await moved(desk, "/b", "/c")
        await until(lambda: "cycle" in desk.links.get(first.link_id).last_error)
        await desk.set("/a", 5.0)
        await quiet(desk)
        calm = desk.store.revision
        await asyncio.sleep(0.2)  # nothing else tells that nothing goes round
        assert desk.store.revision == calm
        shown = desk.links.get(first.link_id)
        assert (shown.source, shown.target, shown.disabled) == ("/a", "/c", True)
        assert "delete one of the links" in shown.last_error
    async with open_desk(tmp_path) as desk:
        assert desk.links.get(first.link_id).disabled


async def test_a_rate_is_a_source_too_and_closes_a_cycle(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.links.create(Link("/x", "/a", from_unit="time.beat", to_unit="time.second", tempo="/b"))
        with pytest.raises(FailedPrecondition) as caught:
            await desk.links.create(Link("/a", "/b"))
        assert caught.value.reason == "LINK_CYCLE"
        with pytest.raises(LightfastError) as itself:
            await desk.links.create(Link("/x", "/t", from_unit="time.beat", to_unit="time.second", tempo="/t"))
        assert itself.value.reason == "LINK_CYCLE"


async def test_a_panic_and_its_release_let_nothing_through_that_came_before(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.set("/a", 1.0)
        await desk.links.create(Link("/a", "/b"))
        await quiet(desk)
        for value in range(2, 40):
            done = asyncio.ensure_future(desk.set("/a", float(value)))
            for _ in range(value % 9):
                await asyncio.sleep(0)
            before = desk.entry("/b")
            desk.links.hold("panic")
            desk.links.release()
            after = desk.store.revision
            await done
            await quiet(desk)
            now = desk.entry("/b")
            assert now.revision == before.revision or now.cause > after or now.revision <= after + 1


async def test_a_glide_of_whole_numbers_writes_each_once(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.store.apply([Set("/a", 0), Set("/b", 0)], origin="client:test")
        await desk.links.create(Link("/a", "/b", smooth_s=0.1))
        seen = desk.store.revision
        await desk.set("/a", 3)
        await desk.holds("/b", 3)
        await quiet(desk)
        assert desk.store.revision - seen <= 4, "one change, and three steps"


async def test_nothing_is_started_after_the_end(tmp_path: Path) -> None:
    failures: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    try:
        async with open_desk(tmp_path) as desk:
            await desk.set("/a", 1.0)
            await desk.links.create(Link("/a", "/b", max_rate_hz=20.0))
            await desk.set("/a", 2.0)
            await desk.set("/a", 3.0)
            await desk.links.close()
            await asyncio.sleep(0.15)  # three times the pause that was running
        assert failures == []
    finally:
        asyncio.get_running_loop().set_exception_handler(None)
