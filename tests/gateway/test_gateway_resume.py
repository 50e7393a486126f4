"""Jobs at a service outlast the daemon: they are taken up again, and never handed in twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.actors import Accounts, Actor, Money, Purse, down, for_ever
from tests.support.gateway import House, house
from tests.support.plugins import until

from lightfast.core.errors import Unavailable
from lightfast.gateway.calls import GenerateCall
from lightfast.gateway.operations import Operation, OperationState, decode
from lightfast.gateway.router import Gateway
from lightfast.sdk import Artifact, Job, Progress, ProviderError, TextDelta, Usage
from lightfast.storage.blobs import Provenance

FILM = Artifact("video/mp4", b"film", "film.mp4")


def maker(name: str = "a") -> Actor:
    return Actor(name, "jobs", outputs=("video",))


async def row(rooms: House, operation_id: str) -> Operation:
    ((body, state),) = await rooms.db.query(
        "SELECT body, state FROM operations WHERE operation_id = ?", (operation_id,)
    )
    found = decode(body)
    assert found.state.value == state
    return found


@asynccontextmanager
async def next_daemon(rooms: House) -> AsyncIterator[Gateway]:
    """Return a gateway as the next daemon has it, on the same store."""
    gateway = Gateway(rooms.store, rooms.blobs, rooms.db, rooms.gateway.clock, rooms.tasks)
    gateway.patience = rooms.gateway.patience
    try:
        yield gateway
    finally:
        await gateway.close()


async def stop(rooms: House, provider: Actor) -> None:
    """End the first daemon in good order; its pool and its provider go with it."""
    await rooms.gateway.close()
    await until(lambda: provider.closed > 0, "the end of the generator")


async def begun(rooms: House, provider: Actor, **fields: object) -> str:
    """Begin a generation whose job is known and then takes for ever."""
    rooms.gateway.register(provider, provider.name)
    call = GenerateCall(f"{provider.name}/one", prompt="a storm", **fields)  # type: ignore[arg-type]
    steps = rooms.gateway.generate(call, "client:test")
    operation_id = ""
    seen: list[Operation] = []

    async def look() -> None:
        seen.append(await row(rooms, operation_id))

    provider.plays(Job("job-1"), look, Progress(0.3, "working"), for_ever)
    operation_id = (await anext(steps)).operation_id
    while (await anext(steps)).kind.fraction != 0.3:  # type: ignore[union-attr]
        pass
    assert [(each.job_id, each.state) for each in seen] == [("job-1", OperationState.RUNNING)]
    rooms.left = steps  # type: ignore[attr-defined]  # else it would be collected, which is a way to cancel
    return operation_id


async def test_the_identity_is_on_the_disk_before_the_next_step_is_asked_for(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        await begun(rooms, maker(), seed=3)


async def test_a_stop_leaves_the_job_and_the_next_daemon_takes_it_up(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        purse = rooms.gateway.costs = Purse()
        rooms.gateway.sessions = Accounts("first", "second")
        source = await rooms.blobs.put(b"still", "image/png", "s.png", Provenance(origin="test"))
        first = Actor("a", "jobs", outputs=("video",))
        first._model = replace(first._model, inputs=("text", "image"))
        operation_id = await begun(rooms, first, seed=3, sources=(source.sha256,), target_path="/film", project="p")
        await stop(rooms, first)
        with pytest.raises(Unavailable, match="the daemon stopped"):
            await anext(rooms.left)  # type: ignore[attr-defined]
        assert first.cancelled == []
        assert [hold.ends for hold in purse.holds] == [[]]  # the money is held still
        left = await row(rooms, operation_id)
        assert (left.state, left.job_id, left.account) == (OperationState.RUNNING, "job-1", "first")

        async with next_daemon(rooms) as gateway:
            purse = gateway.costs = Purse()
            hold = purse.left[operation_id] = Money(purse, operation_id, "a/one", 1.0)
            accounts = gateway.sessions = Accounts("second", "first")
            await gateway.start()
            assert (await gateway.operation(operation_id)).state is OperationState.RUNNING
            (listed,), _ = await gateway.list_operations(running_only=True, project="p")
            assert listed.operation_id == operation_id
            again = Actor("a", "jobs", outputs=("video",))
            again._model = first._model
            again.plays(Progress(0.9), FILM, Usage(cost_usd=0.5))
            gateway.register(again, "a")
            await until(lambda: gateway.running == 0 and hold.ends != [], "the end of the job")
            (request,) = again.requests
            assert (request.job, request.prompt, request.seed) == ("job-1", "a storm", 3)
            assert (request.sources, request.source_types) == ((b"still",), ("image/png",))
            assert request.session.account == "first"
            assert accounts.wanted == ["first"]
            assert (hold.ends, purse.holds) == (["settled"], [])
            ended = await gateway.operation(operation_id)
            assert (ended.state, ended.cost_usd) == (OperationState.SUCCEEDED, 0.5)
            entry = rooms.store.get("/film")
            assert entry is not None
            assert entry.value == ended.assets[0]
            assert entry.origin == f"operation:{operation_id}"
            record = await rooms.blobs.get(ended.assets[0].sha256)
            assert (record.provenance.prompt, record.provenance.origin) == ("a storm", "client:test")
            assert (await row(rooms, operation_id)).state is OperationState.SUCCEEDED


async def test_a_job_that_breaks_off_is_taken_up_by_the_same_daemon(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        purse = rooms.gateway.costs = Purse()
        one = maker()
        other = maker("b")
        rooms.gateway.register(one, "a")
        rooms.gateway.register(other, "b")
        one.plays(Job("job-1"), down()).plays(Job("job-1"), FILM)
        await rooms.run("x", model="a/one", fallbacks=("a/one",))
        assert [request.job for request in one.requests] == ["", "job-1"]
        assert [hold.ends for hold in purse.holds] == [["settled"]]
        assert one.cancelled == []


async def test_a_job_that_is_lost_sight_of_is_kept_to_the_deadline(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        rooms.gateway.patience = replace(rooms.gateway.patience, longest=0.002)
        one = maker()
        rooms.gateway.register(one, "a")
        one.plays(Job("job-1"), down())
        for _ in range(20):
            one.plays(down())
        one.plays(FILM)
        await rooms.run("x", model="a/one")
        assert [request.job for request in one.requests] == ["", *["job-1"] * 21]


async def test_a_job_that_is_lost_is_given_up_for_another_model(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        purse = rooms.gateway.costs = Purse()
        one, other = maker(), maker("b")
        rooms.gateway.register(one, "a")
        rooms.gateway.register(other, "b")
        one.plays(Job("job-1"), down())
        for _ in range(20):
            one.plays(down())
        other.plays(FILM)
        await rooms.run("x", model="a/one", fallbacks=("b/one",))
        assert one.cancelled == ["default:job-1"]
        assert [request.job for request in other.requests] == [""]
        assert [hold.ends for hold in purse.holds] == [["failed"], ["settled"]]


async def test_a_job_that_has_failed_is_not_taken_up(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        purse = rooms.gateway.costs = Purse()
        one, other = maker(), maker("b")
        rooms.gateway.register(one, "a")
        rooms.gateway.register(other, "b")
        one.plays(Job("job-1"), ProviderError("the film broke"))
        other.plays(FILM)
        await rooms.run("x", model="a/one", fallbacks=("b/one",))
        assert [request.job for request in other.requests] == [""]
        assert [hold.ends for hold in purse.holds] == [["failed"], ["settled"]]


async def test_a_job_that_is_given_up_is_cancelled_at_the_service(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        purse = rooms.gateway.costs = Purse()
        rooms.gateway.sessions = Accounts("first")
        one = maker()
        operation_id = await begun(rooms, one)
        assert (await rooms.gateway.cancel(operation_id)).state is OperationState.CANCELLED
        assert one.cancelled == ["first:job-1"]
        assert [hold.ends for hold in purse.holds] == [["failed"]]
        assert (await row(rooms, operation_id)).state is OperationState.CANCELLED


async def test_a_service_that_does_not_hear_of_the_end_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightfast.gateway.attempt.CANCEL_TIMEOUT", 0.05)
    async with house(tmp_path) as rooms:
        one = maker()

        async def deaf(session: object, job: str) -> None:
            await for_ever()

        monkeypatch.setattr(one, "cancel", deaf)
        operation_id = await begun(rooms, one)
        assert (await rooms.gateway.cancel(operation_id)).state is OperationState.CANCELLED


async def leave(rooms: House, **fields: object) -> str:
    """Leave a row as a daemon that was killed does."""
    now = rooms.gateway.clock.now_ns()
    operation = Operation("op-left", OperationState.RUNNING, "a/one", "video", "a storm", 3, "client:test", now)
    operation = replace(operation, **{"job_id": "job-1", "deadline": now + 60 * 10**9, **fields})  # type: ignore[arg-type]
    await rooms.gateway.operations.save(operation)
    return operation.operation_id


async def test_the_deadline_went_by_meanwhile(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        operation_id = await leave(rooms, deadline=rooms.gateway.clock.now_ns() - 1)
        async with next_daemon(rooms) as gateway:
            await gateway.start()
            one = maker().plays(for_ever)
            gateway.register(one, "a")
            ended = await state_of(gateway, operation_id)
            assert ended.state is OperationState.FAILED
            assert "was not done after" in ended.error
            assert one.cancelled == ["default:job-1"]


async def state_of(gateway: Gateway, operation_id: str) -> Operation:
    found: list[Operation] = []

    async def look() -> bool:
        found.append(await gateway.operation(operation_id))
        return found[-1].state is not OperationState.RUNNING

    for _ in range(2000):
        if await look():
            return found[-1]
        await asyncio.sleep(0.005)
    raise AssertionError(f"it still runs: {found[-1]}")


async def test_one_without_a_job_has_failed(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        operation_id = await leave(rooms, job_id="")
        async with next_daemon(rooms) as gateway:
            await gateway.start()
            ended = await gateway.operation(operation_id)
            assert (ended.state, ended.error) == (OperationState.FAILED, "the daemon stopped")


async def test_one_whose_provider_is_away_can_be_cancelled(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        operation_id = await leave(rooms)
        async with next_daemon(rooms) as gateway:
            purse = gateway.costs = Purse()
            hold = purse.left[operation_id] = Money(purse, operation_id, "a/one", 1.0)
            await gateway.start()
            assert (await gateway.cancel(operation_id)).state is OperationState.CANCELLED
            one = maker()
            gateway.register(one, "a")
            assert (one.requests, hold.ends) == ([], ["failed"])


async def test_one_whose_provider_never_comes_fails_after_its_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightfast.gateway.resuming.SPARE", 0.01)
    async with house(tmp_path) as rooms:
        operation_id = await leave(rooms, deadline=rooms.gateway.clock.now_ns())
        async with next_daemon(rooms) as gateway:
            await gateway.start()
            ended = await state_of(gateway, operation_id)
            assert "a/one did not come back before the deadline" in ended.error


async def test_one_whose_model_is_gone_fails(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        operation_id = await leave(rooms)
        async with next_daemon(rooms) as gateway:
            await gateway.start()
            gateway.register(Actor("a", outputs=("text",)), "a")
            assert (await state_of(gateway, operation_id)).state is OperationState.FAILED


async def test_text_goes_on_where_nobody_reads(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        operation_id = await leave(rooms, output="text", target_path="/said")
        async with next_daemon(rooms) as gateway:
            one = Actor("a", "jobs").plays(*[TextDelta("word ")] * 1000)
            gateway.register(one, "a")
            await gateway.start()
            ended = await state_of(gateway, operation_id)
            assert (ended.state, ended.text) == (OperationState.SUCCEEDED, "word " * 1000)
            entry = rooms.store.get("/said")
            assert entry is not None
            assert entry.value == "word " * 1000


async def test_a_resumed_operation_can_be_cancelled(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        operation_id = await leave(rooms)
        async with next_daemon(rooms) as gateway:
            await gateway.start()
            one = maker().plays(for_ever)
            gateway.register(one, "a")
            await until(lambda: gateway.running == 1 and len(one.requests) == 1, "the job that is taken up")
            assert (await gateway.cancel(operation_id)).state is OperationState.CANCELLED
            assert one.cancelled == ["default:job-1"]


async def test_the_row_of_a_job_tells_no_key(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        operation_id = await begun(rooms, maker())
        ((body,),) = await rooms.db.query("SELECT body FROM operations WHERE operation_id = ?", (operation_id,))
        assert not {"key", "session", "secret"} & set(json.loads(body))
