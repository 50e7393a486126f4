"""A transaction of many changes lets others have their turn while it is made, and is one transaction all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.store import House, open_store

from lightfast.context import declarations as declared
from lightfast.context import drafting, undo
from lightfast.context.declarations import Declarations
from lightfast.context.draft import Draft
from lightfast.context.entry import Declaration, Delete, Precondition, Set
from lightfast.core.errors import Conflict, InvalidArgument, NotFound

MANY = 4 * drafting.SLICE


def many(value: float = 1.0) -> list[Set]:
    return [Set(f"/many/{at}", value) for at in range(MANY)]


async def begun(house: House, *mutations: Set | Delete, **how: Any) -> asyncio.Task[int]:
    """Start a large transaction, and return in the middle of it."""
    task = asyncio.create_task(house.apply(*mutations, **how))
    for _ in range(2):
        await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_others_write_while_a_large_transaction_is_made(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        large = await begun(house, *many())
        small = await house.set(("/many/7", 7.0), ("/small", True), origin="client:other")
        assert small == 1  # it came first, though it was sent later
        assert await large == 2
        transaction = house.news.transactions[1]
        assert len(transaction.events) == MANY
        entry = house.store.get("/many/7")
        assert entry is not None
        assert (entry.value, entry.version, entry.create_revision) == (1.0, 2, 1)
        assert transaction.events[7].previous is not None
        assert transaction.events[7].previous.value == 7.0
        assert await house.values_at(1) == {"/many/7": 7.0, "/small": True}


async def test_the_writes_of_one_origin_keep_their_order(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.store.declare([Declaration("/fast/x", signal=True)], owner="me")
        large = await begun(house, *many(1.0), Set("/fast/x", 1.0))
        later = [
            asyncio.create_task(house.set(("/many/7", 7.0))),
            asyncio.create_task(house.apply(*many(2.0))),
            asyncio.create_task(house.set(("/fast/x", 2.0))),
            asyncio.create_task(house.set(("/many/8", 8.0))),
        ]
        await house.set(("/other", True), origin="client:other")  # so that it is begun anew
        assert await large == 2
        assert await asyncio.gather(*later) == [3, 4, 0, 5]
        assert [house.values()[path] for path in ("/many/7", "/many/8", "/fast/x")] == [2.0, 8.0, 2.0]


async def test_who_waits_for_its_turn_may_give_up(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        large = await begun(house, *many())
        first, second = [asyncio.create_task(house.set((f"/small/{number}", number))) for number in range(2)]
        await asyncio.sleep(0)
        first.cancel()
        assert await large == 1
        assert await second == 2
        with pytest.raises(asyncio.CancelledError):
            await first
        assert house.store.get("/small/0") is None
        house.store.leases.add("lease-1")
        large = await begun(house, *many())
        leased = asyncio.create_task(house.set(("/leased", 1), lease="lease-1"))
        await asyncio.sleep(0)
        house.store.leases.discard("lease-1")
        with pytest.raises(NotFound):
            await leased
        await large


async def test_a_large_undo_brings_nothing_back_under_a_lease_that_ended_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_store(tmp_path) as house:
        house.store.leases.add("lease-1")
        await house.apply(*many(), lease="lease-1")
        await house.apply(*[Delete(each.path) for each in many()])
        take_back = undo.take_back

        def ending(draft: Draft, **how: Any) -> Iterator[None]:
            for _ in take_back(draft, **how):
                house.store.leases.discard("lease-1")
                yield

        monkeypatch.setattr(undo, "take_back", ending)
        assert (await house.store.undo(revision=2, origin="me")).revision == 3
        assert {entry.lease for entry in house.store.select("/many/*")} == {""}


async def test_what_it_depends_on_is_looked_at_again(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/stands", 1))
        large = await begun(house, *many(), preconditions=[Precondition("/stands", revision=1)])
        await house.set(("/stands", 2), origin="client:other")
        with pytest.raises(Conflict):
            await large
        house.store.leases.add("lease-1")
        leased = await begun(house, *many(), lease="lease-1")
        house.store.leases.discard("lease-1")
        with pytest.raises(NotFound):
            await leased
        mounted = await begun(house, *many())
        house.store.add_mount("/many")
        with pytest.raises(NotFound) as refused:
            await mounted
        assert refused.value.reason == "PATH_UNDECLARED"
        assert house.values() == {"/stands": 2}


async def test_a_signal_that_goes_on_meanwhile_keeps_its_newer_value(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.store.declare([Declaration("/fast/x", signal=True)], owner="me")
        house.store.publish([Set("/fast/x", 1.0)], origin="hand")
        large = asyncio.create_task(house.apply(*many(), Set("/fast/x", 5.0)))
        while not large.done():
            await asyncio.sleep(0)
            entry = house.store.get("/fast/x")
            last = entry.version if entry is not None else 0
            house.store.publish([Set("/fast/x", float(last))], origin="hand")
        await large
        entry = house.store.get("/fast/x")
        assert entry is not None
        assert (entry.origin, entry.value) == ("hand", float(entry.version - 1))


async def test_who_is_overtaken_again_and_again_comes_through(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        large = await begun(house, *many())
        others: list[asyncio.Task[int]] = []
        while not large.done():
            others.append(asyncio.create_task(house.set(("/other", len(others)), origin="client:other")))
            await asyncio.sleep(0)
        assert await large >= drafting.TRIES
        assert len(await asyncio.gather(*others)) == len(others)
        assert len(house.values()) == MANY + 1


async def test_a_large_mistake_is_named_and_changes_nothing(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        with pytest.raises(InvalidArgument) as refused:
            await house.apply(*many(), Set("/no//path", 1))
        assert refused.value.field == f"mutations[{MANY}]"
        with pytest.raises(InvalidArgument) as refused:
            await house.apply(*[Set("/a", 1)] * (drafting.MAX_MUTATIONS + 1))
        assert refused.value.reason == "TRANSACTION_TOO_LARGE"
        assert house.values() == {}
        assert house.news.transactions == []


async def test_a_large_undo_is_overtaken_and_looks_again(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.apply(*many(1.0))
        await house.apply(*many(2.0))
        undoing = asyncio.create_task(house.store.undo(revision=2, origin="me"))
        made = drafting.made

        async def overtaken(*arguments: Any, **how: Any) -> Any:
            """Let another write in while the first draft is made."""
            drafting.made = made
            asyncio.get_running_loop().call_soon(lambda: writes.append(asyncio.create_task(house.set(("/many/3", 9)))))
            return await made(*arguments, **how)

        writes: list[asyncio.Task[int]] = []
        drafting.made = overtaken
        try:
            undone = await undoing
        finally:
            drafting.made = made
        assert [await write for write in writes] == [3]
        assert [entry.path for entry in undone.conflicts] == ["/many/3"]
        assert undone.revision == 0
        done = await house.store.undo(revision=3, origin="me")
        assert done.revision == 4
        done = await house.store.undo(revision=2, origin="me")
        assert done.revision == 5
        assert set(house.values().values()) == {1.0}


def test_every_change_of_the_declarations_has_an_edition_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declared, "_CACHED_RULES", 2)
    declarations = Declarations()
    seen = {declarations.edition}
    declarations.change([Declaration("/a")], ())
    seen.add(declarations.edition)
    declarations.add_mount("/app")
    seen.add(declarations.edition)
    declarations.set_policies("/app", {})
    seen.add(declarations.edition)
    declarations.remove_mount("/app")
    seen.add(declarations.edition)
    assert len(seen) == 5
    for number in range(9):
        declarations.rule(f"/b/{number}")
    assert declarations.edition in seen  # what is worked out of them is no change
