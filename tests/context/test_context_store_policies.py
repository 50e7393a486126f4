"""Conflict policies: who may write a path that others write, too."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.store import House, open_store

from lightfast.context.entry import Declaration, Delete, Move, Precondition, Report, Set, Status
from lightfast.context.policies import OWNER_HOLD, Owners, Policy
from lightfast.core.errors import Conflict, FailedPrecondition, InvalidArgument

FADER = "/desk/fader"


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.ns = 1_800_000_000_000_000_000

    def now_ns(self) -> int:
        return self.ns

    def monotonic(self) -> float:
        return self.ns / 1e9

    def move(self, seconds: float) -> None:
        self.ns += int(seconds * 1e9)


async def declared(house: House, policy: str, *, signal: bool = False, hold: float = OWNER_HOLD) -> None:
    declaration = Declaration("/desk/*", signal=signal, policy=policy, owner_hold=hold)
    await house.store.declare([declaration], owner="client:test")


async def refused(house: House, origin: str, *mutations: object) -> Conflict:
    with pytest.raises(Conflict) as caught:
        await house.apply(*(mutations or (Set(FADER, 0.9),)), origin=origin)  # type: ignore[arg-type]
    assert caught.value.reason == "PATH_OWNED"
    return caught.value


async def test_who_touches_it_has_it_for_a_while(tmp_path: Path) -> None:
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as house:
        await declared(house, "owner", hold=2.5)
        await house.set((FADER, 0.1), origin="client:ann")
        await house.set((FADER, 0.2), origin="client:ann")
        error = await refused(house, "client:bob")
        assert error.metadata["owner"] == "client:ann"
        assert error.metadata["until"] == "2027-01-15T08:00:02.500+00:00"
        assert error.retry_after == pytest.approx(2.5)
        assert error.field == "mutations[0].path"
        for mutation in (Delete(FADER), Move(FADER, "/elsewhere")):
            await refused(house, "client:bob", mutation)
        await refused(house, "client:bob", Set("/free", 1), Set(FADER, 0.5))
        assert house.store.get("/free") is None, "all of the transaction, or nothing"
        clock.move(2.4)
        await refused(house, "client:bob")
        clock.move(0.2)
        await house.set((FADER, 0.3), origin="client:bob")
        assert (await refused(house, "client:ann")).metadata["owner"] == "client:bob"
        await house.set(("/other", 1), origin="client:ann")


async def test_a_refused_or_tried_write_does_not_touch(tmp_path: Path) -> None:
    async with open_store(tmp_path, clock=Clock()) as house:
        await declared(house, "owner")
        await house.store.apply([Set(FADER, 0.1)], origin="client:ann", validate_only=True)
        with pytest.raises(InvalidArgument):
            await house.apply(Set(FADER, 0.1), Set("no path", 1), origin="client:ann")
        await house.set((FADER, 0.2), origin="client:bob")
        assert (await refused(house, "client:ann")).metadata["owner"] == "client:bob"


async def test_a_hand_in_the_application_comes_first_and_links_last(tmp_path: Path) -> None:
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as house:
        house.store.add_mount("/desk")
        await declared(house, "owner")
        await house.set((FADER, 0.1), origin="link:7")
        await house.set((FADER, 0.2), origin="operation:run_3")
        wished = await house.set((FADER, 0.3), origin="client:ann")
        await refused(house, "link:7")
        await refused(house, "run:3")
        settled = Report(FADER, Status.SETTLED, reported=0.3, value=0.3)
        await house.apply(settled, origin="app:desk", cause=wished, trusted=True)
        await house.set((FADER, 0.4), origin="client:ann")
        hand = Report(FADER, Status.SETTLED, reported=0.8, value=0.8)
        await house.apply(hand, origin="app:desk", trusted=True)
        entry = house.store.get(FADER)
        assert entry is not None
        assert entry.value == 0.8, "what the application says is always taken"
        for origin in ("client:ann", "link:7", "job:nightly"):
            assert (await refused(house, origin)).metadata["owner"] == "app:desk"
        clock.move(OWNER_HOLD + 0.01)
        await house.set((FADER, 0.5), origin="link:7")
        await house.set((FADER, 0.6), origin="client:ann")


async def test_put_back_by_the_daemon_is_no_hand(tmp_path: Path) -> None:
    async with open_store(tmp_path, clock=Clock()) as house:
        house.store.add_mount("/desk")
        await declared(house, "owner")
        await house.set((FADER, 0.1), origin="link:1")
        await house.apply(Report(FADER, Status.PENDING, value=0.4), origin="daemon", trusted=True)
        await house.set((FADER, 0.6), origin="client:ann")


async def test_signals_have_owners_too(tmp_path: Path) -> None:
    clock = Clock()
    async with open_store(tmp_path, clock=clock) as house:
        await declared(house, "owner", signal=True)
        assert house.store.publish([Set(FADER, 0.1)], origin="client:ann").accepted == 1
        published = house.store.publish([Set(FADER, 0.2), Set("/desk/other", 0.3)], origin="client:bob")
        assert (published.accepted, published.dropped) == (1, 1)
        assert "client:ann has its hand on /desk/fader" in published.first_reason
        await refused(house, "client:bob")
        await house.apply(Report(FADER, Status.SETTLED, reported=0.7, value=0.7), origin="app:desk", trusted=True)
        assert house.store.publish([Set(FADER, 0.2)], origin="client:ann").dropped == 1
        clock.move(1.1)
        assert house.store.publish([Set(FADER, 0.2)], origin="client:bob").accepted == 1


async def test_who_writes_must_know_what_is_there(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await declared(house, "compare_and_set")

        async def unguarded(*mutations: object, **how: object) -> None:
            with pytest.raises(FailedPrecondition) as caught:
                await house.apply(*mutations, **how)  # type: ignore[arg-type]
            assert (caught.value.reason, caught.value.metadata["path"]) == ("PRECONDITION_REQUIRED", FADER)

        await unguarded(Set(FADER, 1))
        await unguarded(Set(FADER, 1), preconditions=[Precondition("/desk/other", absent=True)])
        first = await house.apply(Set(FADER, 1), preconditions=[Precondition(FADER, absent=True)])
        await unguarded(Delete(FADER))
        with pytest.raises(Conflict, match="is at revision"):
            await house.apply(Set(FADER, 2), preconditions=[Precondition(FADER, revision=first + 7)])
        await house.apply(Set(FADER, 2), preconditions=[Precondition(FADER, revision=first)])
        await house.apply(Delete(FADER), preconditions=[Precondition(FADER, value=2)])
        assert house.store.get(FADER) is None


async def test_signals_may_ask_for_it_too(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await declared(house, "compare_and_set", signal=True)
        assert "add a precondition" in house.store.publish([Set(FADER, 1)], origin="client:a").first_reason
        await house.apply(Set(FADER, 1), preconditions=[Precondition(FADER, absent=True)])
        assert house.values() == {FADER: 1}


async def test_the_policies_of_a_mount_come_over_what_is_declared(tmp_path: Path) -> None:
    async with open_store(tmp_path, clock=Clock()) as house:
        house.store.add_mount("/desk")
        await house.store.declare([Declaration("/desk/*/volume", policy="owner")], owner="app:desk")
        house.store.set_policies("/desk", {"/desk/1/*": Policy("last_writer"), "/desk//": Policy("compare_and_set")})
        await house.set(("/desk/1/volume", 0.1), origin="client:a")
        await house.set(("/desk/1/volume", 0.2), origin="client:b")
        with pytest.raises(FailedPrecondition):
            await house.set(("/desk/2/volume", 0.2), origin="client:b")
        house.store.set_policies("/desk", {})
        await house.set(("/desk/2/volume", 0.1), origin="client:a")
        with pytest.raises(Conflict):
            await house.set(("/desk/2/volume", 0.2), origin="client:b")


async def test_undo_waits_for_the_hand_and_a_restart_forgets_hands(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await declared(house, "owner", hold=3600.0)
        await house.set((FADER, 0.1), origin="client:ann")
        revision = await house.set((FADER, 0.2), origin="client:ann")
        with pytest.raises(Conflict, match="client:ann has its hand on"):
            await house.store.undo(revision=revision, origin="client:bob")
        await house.store.undo(revision=revision, origin="client:ann")
        assert house.values()[FADER] == 0.1
        await refused(house, "client:bob")
    async with open_store(tmp_path) as house:
        (declaration,) = house.store.describe("/desk/*")
        assert (declaration.policy, declaration.owner_hold) == ("owner", 3600.0)
        await house.set((FADER, 0.3), origin="client:bob")


@pytest.mark.parametrize(
    ("declaration", "text"),
    [
        (Declaration("/a", policy="mine"), "'mine' is no conflict policy: use last_writer, owner, compare_and_set"),
        (Declaration("/a", policy="owner", owner_hold=0.0), "more than 0 and at most 3600 s, not 0"),
        (Declaration("/a", policy="owner", owner_hold=1e9), "at most 3600 s"),
    ],
)
async def test_a_policy_that_makes_no_sense_is_refused(tmp_path: Path, declaration: Declaration, text: str) -> None:
    async with open_store(tmp_path) as house:
        with pytest.raises(InvalidArgument) as caught:
            await house.store.declare([declaration], owner="client:test")
        assert text in caught.value.message


def test_owners_are_forgotten_in_time() -> None:
    owners, policy = Owners(), Policy("owner", 1.0)
    for number in range(10_000):
        owners.touch(f"/p/{number}", policy, "client:a", number * 1_000_000, hand=False)
    assert len(owners._owners) < 6000
    with pytest.raises(Conflict):
        owners.check("/p/9999", policy, "client:b", (), 9999 * 1_000_000)
