"""Conflict policies hold on every way to a path: undo, redo, moves, and what acts by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.context.test_context_store_policies import FADER, Clock, declared, refused
from tests.support.store import open_store

from lightfast.context.entry import Declaration, Move, Precondition, Set
from lightfast.context.policies import Owners, Policy
from lightfast.core.errors import Conflict


async def test_an_undo_waits_for_the_hand_that_touches_it(tmp_path: Path) -> None:
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as house:
        await declared(house, "owner")
        await house.set((FADER, 0.1), origin="client:ann")
        revision = await house.set((FADER, 0.2), origin="client:ann")
        with pytest.raises(Conflict) as caught:
            await house.store.undo(revision=revision, origin="client:bob")
        assert (caught.value.reason, caught.value.metadata["owner"]) == ("PATH_OWNED", "client:ann")
        assert house.values()[FADER] == 0.2
        undone = await house.store.undo(revision=revision, origin="client:ann")
        assert house.values()[FADER] == 0.1, "one's own hand may take back what it did"
        with pytest.raises(Conflict):
            await house.store.redo(revision=undone.revision, origin="client:bob")
        clock.move(1.5)
        await house.store.redo(revision=undone.revision, origin="client:bob")
        assert house.values()[FADER] == 0.2
        await refused(house, "client:ann")  # who undoes has the hand on it


async def test_an_undo_knows_what_a_path_holds_and_needs_no_precondition(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await declared(house, "compare_and_set")
        here = [Precondition(FADER, absent=True)]
        revision = await house.set((FADER, 0.1), preconditions=here)
        await house.store.undo(revision=revision, origin="client:bob")
        assert FADER not in house.values()


async def test_the_hand_goes_along_with_a_move(tmp_path: Path) -> None:
    async with open_store(tmp_path, clock=Clock()) as house:
        await declared(house, "owner")
        await house.store.declare([Declaration("/free/*")], owner="client:test")
        await house.set((FADER, 0.1), ("/free/a", 1.0), origin="client:ann")
        await house.apply(Move(FADER, "/desk/other"), origin="client:ann")
        await refused(house, "client:bob", Set("/desk/other", 0.5))
        await refused(house, "client:bob", Move("/free/a", FADER))
        assert "/free/a" in house.values()


async def test_a_move_to_a_free_path_has_looked_there_already(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await declared(house, "compare_and_set")
        await house.set(("/free/a", 1.0))
        await house.apply(Move("/free/a", FADER))
        assert house.values() == {FADER: 1.0}


async def test_the_transport_acts_by_itself_and_never_becomes_the_owner(tmp_path: Path) -> None:
    async with open_store(tmp_path, clock=Clock()) as house:
        await declared(house, "owner")
        await house.set((FADER, 0.1), origin="transport")
        await house.set((FADER, 0.2), origin="client:ann")
        await refused(house, "transport")


def test_many_hands_are_not_looked_through_at_every_touch() -> None:
    class Counted(dict[str, tuple[str, int]]):
        looks = 0

        def items(self) -> object:  # type: ignore[override]
            Counted.looks += 1
            return super().items()

    owners, policy = Owners(), Policy("owner", 3600.0)
    for index in range(20_000):
        if type(owners._owners) is dict:  # it was swept, or is new
            owners._owners = Counted(owners._owners)
        owners.touch(f"/desk/{index}", policy, "client:ann", 1_000 + index, hand=False)
    assert Counted.looks < 10
    with pytest.raises(Conflict):
        owners.check("/desk/0", policy, "client:bob", (), 2_000)
