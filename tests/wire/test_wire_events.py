"""EventService: the events of the engine over gRPC, from a daemon process that is started anew in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from tests.support.daemon import Daemon, daemon

from lightfast.api.v1 import (
    context_pb2,
    desk_pb2,
    engine_pb2,
    events_pb2,
    jobs_pb2,
    jobs_pb2_grpc,
    transport_pb2,
)
from lightfast.client import AsyncClient
from lightfast.core.errors import InvalidArgument, LightfastError, OutOfRange

PROGRAM = "s1 = context.set /show/a {n}\ns2 = context.set /show/b ${{s1}}\n"


async def runs(client: AsyncClient, count: int) -> None:
    for number in range(count):
        async for message in client.run(PROGRAM.format(n=number)):
            assert message.event.run.state != engine_pb2.RUN_STATE_FAILED


async def test_nothing_is_missed_or_doubled_over_a_restart(tmp_path: Path) -> None:
    home = tmp_path / "home"
    seen: list[int] = []

    async def follow(client: AsyncClient) -> None:
        async for event in client.watch_events(after=0, kinds=("run.*", "step.*")):
            seen.append(event.sequence)

    house = Daemon(home).start()
    try:
        async with AsyncClient(home=home) as client:
            following = asyncio.ensure_future(follow(client))
            try:
                await runs(client, 3)
                async with asyncio.timeout(60):
                    while len(seen) < 3:
                        await asyncio.sleep(0.01)
                house.stop()
                house = Daemon(home).start()
                async with AsyncClient(home=home) as other:
                    await runs(other, 3)
                    every = await other.events(kinds=("run.*", "step.*"), limit=10_000)
                assert len(every) >= 6 * 3
                async with asyncio.timeout(60):
                    while not seen or seen[-1] < every[-1].sequence:
                        assert not following.done(), following.exception()
                        await asyncio.sleep(0.01)
                assert seen == [event.sequence for event in every]
            finally:
                following.cancel()
                await asyncio.wait((following,))
    finally:
        house.stop()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> object:
    with daemon(tmp_path_factory.mktemp("events") / "home") as found:
        yield found


async def test_events_are_listed_page_by_page_and_by_kind(house: Daemon) -> None:
    async with AsyncClient(home=house.home) as client:
        await runs(client, 2)
        every = await client.events(limit=1000)
        assert [event.sequence for event in every] == sorted({event.sequence for event in every})
        one_by_one: list[int] = []
        request = events_pb2.ListEventsRequest(page_size=1)
        while True:
            response = await client.call(client.event_log.ListEvents, request)
            one_by_one += [event.sequence for event in response.events]
            if not response.next_page_token:
                break
            request.page_token = response.next_page_token
        assert one_by_one == [event.sequence for event in every]
        ended = await client.events(kinds=("run.succeeded",))
        assert {event.kind for event in ended} == {"run.succeeded"}
        own = await client.events(entity_id=ended[0].entity_id)
        assert {event.entity_id for event in own} == {ended[0].entity_id}
        assert [event.sequence for event in await client.events(after=every[-2].sequence)] == [every[-1].sequence]


async def test_what_is_wrong_with_a_watch_is_said(house: Daemon) -> None:
    async with AsyncClient(home=house.home) as client:
        with pytest.raises(OutOfRange) as error:
            await anext(client.watch_events(after=1 << 40))
        assert error.value.reason == "STORE_CHANGED"
        with pytest.raises(InvalidArgument):
            await anext(client.watch_events(kinds=("No Kind",)))
        for wrong in (
            events_pb2.ListEventsRequest(page_token="x"),
            events_pb2.ListEventsRequest(page_size=-1),
            events_pb2.ListEventsRequest(after_sequence=-1),
        ):
            with pytest.raises(InvalidArgument):
                await client.call(client.event_log.ListEvents, wrong)
        top = events_pb2.ListEventsRequest(after_sequence=(1 << 63) - 1)
        assert not (await client.call(client.event_log.ListEvents, top)).events


async def test_who_follows_is_sent_away_when_the_daemon_stops(tmp_path: Path) -> None:
    """Not held up until it is cut off: a client comes back by itself."""
    house = Daemon(tmp_path / "home").start()
    try:
        async with AsyncClient(home=house.home) as client:
            run_id = ""
            async for message in client.run("s1 = wait.seconds 3000"):
                run_id = message.event.run.run_id
                if run_id:
                    break
            job = await client.submit_job("task_create", {"title": "A"})
            lines = desk_pb2.ConverseRequest(line="tc:add a cube", after_sequence=0)
            lease = context_pb2.KeepLeaseRequest(
                lease_id=(await client.call(client.context.OpenLease, context_pb2.OpenLeaseRequest())).lease_id
            )
            jobs = jobs_pb2.WatchJobsRequest(job_ids=[job.job_id])
            streams: list[tuple[Any, Any]] = [
                (client.event_log.WatchEvents, events_pb2.WatchEventsRequest()),
                (client.engine.WatchRun, engine_pb2.WatchRunRequest(run_id=run_id)),
                (jobs_pb2_grpc.JobServiceStub(client.channel).WatchJobs, jobs),
                (client.transport.WatchTransport, transport_pb2.WatchTransportRequest()),
                (client.desk.Converse, _said(lines)),
                (client.context.KeepLease, _said(lease)),
            ]
            starts = [partial(method, request, metadata=client.metadata) for method, request in streams]
            begun = [asyncio.Event() for _ in starts]
            following = [
                asyncio.ensure_future(_ended(client.messages(start), first))
                for start, first in zip(starts, begun, strict=True)
            ]
            async with asyncio.timeout(60):
                for first in begun:
                    await first.wait()
            stopped = asyncio.get_running_loop().run_in_executor(None, house.stop)
            assert await asyncio.gather(*following) == ["STOPPING"] * len(starts)
            assert await stopped == 0
    finally:
        if house.process is not None and house.process.poll() is None:
            house.stop()


async def _said(request: Message) -> AsyncIterator[Message]:
    """Send *request*, and leave the stream open."""
    yield request
    await asyncio.Event().wait()


async def _ended(messages: AsyncIterator[object], first: asyncio.Event) -> str:
    try:
        async for _ in messages:
            first.set()
    except LightfastError as error:
        return error.reason
    return "ended"
