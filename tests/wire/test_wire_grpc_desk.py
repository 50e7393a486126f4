"""DeskService over a real socket: acknowledgements, conversations, reconnecting, suggestions, scopes; and both clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from grpc import aio
from tests.support.desk_back import DeskHouse, away, desk_house
from tests.support.grpc_daemon import Daemon, refused, running

from lightfast.api.v1 import desk_pb2 as pb
from lightfast.api.v1.desk_pb2_grpc import DeskServiceStub
from lightfast.client import AsyncClient, Client
from lightfast.core.errors import InvalidArgument, OutOfRange
from lightfast.engine.desk.coded import Fault, TaskReady, parse_event


@asynccontextmanager
async def desk_daemon(folder: Path) -> AsyncIterator[tuple[Daemon, DeskHouse, Any]]:
    """Run a daemon whose front desk has stand-ins behind it."""
    (folder / "desk").mkdir()
    async with desk_house(folder / "desk") as house, running(folder) as daemon:
        rooms = SimpleNamespace(desk=house.desk, events=house.events, runs=house.runs)
        object.__setattr__(daemon.services, "meta", rooms)
        yield daemon, house, DeskServiceStub(await daemon.channel())


async def test_say_acknowledges_once_for_each_request_id(tmp_path: Path) -> None:
    async with desk_daemon(tmp_path) as (_, house, stub):
        request = pb.SayRequest(line="please add a red cube", request_id="one", project="film")
        first = await stub.Say(request)
        assert await stub.Say(request) == first
        ready = parse_event(first.line)
        assert isinstance(ready, TaskReady)
        assert (first.job, first.command) == (ready.task, "tc:Add a red cube|create|low")
        assert 0.6 < first.confidence <= 1.0
        assert first.text
        await house.told("desk.complete")
        assert len(house.jobs.jobs) == 1
        (line,) = await house.desk.lines.newest("", 10)
        assert (line.project, line.asker.via, line.client) == ("film", "desk", "local")
        reused = await refused(stub.Say(pb.SayRequest(line="tc:other", request_id="one")))
        assert (reused.code, reused.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
        bad = await refused(stub.Say(pb.SayRequest(line="tc:other", request_id="x" * 200)))
        assert bad.fields == ["request_id"]


async def test_a_bad_line_is_an_event_and_no_failed_call(tmp_path: Path) -> None:
    async with desk_daemon(tmp_path) as (_, _, stub):
        for line, code in (("", "EMPTY_LINE"), ("tc:|x", "FIELD_MISSING"), ("9;tc:a", "VERSION_UNKNOWN")):
            fault = parse_event((await stub.Say(pb.SayRequest(line=line))).line)
            assert isinstance(fault, Fault)
            assert fault.code == code


async def test_a_conversation_goes_both_ways(tmp_path: Path) -> None:
    async with desk_daemon(tmp_path) as (_, house, stub):
        call = stub.Converse()
        await call.write(pb.ConverseRequest(line="tc:add a cube", request_id="a"))
        first = await call.read()
        assert (first.request_id, first.sequence) == ("a", 0)
        while not (message := await call.read()).line.startswith("tc:"):
            assert message.sequence
        assert message.job == first.job
        assert list(message.next_steps) == ["cl:/a"]
        await call.write(pb.ConverseRequest(line="nonsense nonsense", request_id="b"))
        second = await call.read()
        assert second.request_id == "b"
        assert second.line.startswith("er:UNCLEAR")
        await call.done_writing()
        assert await call.read() == aio.EOF
        assert await call.code() is grpc.StatusCode.OK
        assert not house.desk._tasks._closed


async def test_reconnecting_misses_nothing(tmp_path: Path) -> None:
    async with desk_daemon(tmp_path) as (_, house, stub):
        call = stub.Converse()
        await call.write(pb.ConverseRequest(after_sequence=0))
        await stub.Say(pb.SayRequest(line="tc:add a cube"))
        seen = [(await call.read()).sequence for _ in range(2)]
        call.cancel()
        await stub.Say(pb.SayRequest(line="tc:add a light"))
        await house.told("desk.complete", count=2)
        newest = house.events.newest
        call = stub.Converse()
        await call.write(pb.ConverseRequest(after_sequence=seen[-1], line="hello", request_id="h"))
        while seen[-1] < newest:
            message = await call.read()
            if message.sequence:
                seen.append(message.sequence)
            else:
                assert message.request_id == "h"
        call.cancel()
        assert seen == list(range(1, newest + 1))
        call = stub.Converse()
        await call.write(pb.ConverseRequest(after_sequence=newest + 100))
        with pytest.raises(aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.OUT_OF_RANGE


async def test_the_position_is_sent_once(tmp_path: Path) -> None:
    async with desk_daemon(tmp_path) as (_, _, stub):
        call = stub.Converse()
        await call.write(pb.ConverseRequest(line="hello"))
        await call.write(pb.ConverseRequest(line="hello", after_sequence=0))
        assert (await call.read()).line == "su:desk|ready|1"
        with pytest.raises(aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_who_may_what(tmp_path: Path) -> None:
    async with desk_daemon(tmp_path) as (daemon, _, _):
        stub = DeskServiceStub(await daemon.channel("grpc"))
        secret = await daemon.token("viewer", "watch")
        metadata = (("authorization", f"Bearer {secret}"),)
        assert not (await stub.SuggestNext(pb.SuggestNextRequest(), metadata=metadata)).suggestions
        denied = await refused(stub.Say(pb.SayRequest(line="tc:a"), metadata=metadata))
        assert denied.code is grpc.StatusCode.PERMISSION_DENIED
        wrong = await refused(stub.SuggestNext(pb.SuggestNextRequest(limit=21), metadata=metadata))
        assert wrong.fields == ["limit"]


async def test_without_an_engine_it_is_not_available(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = DeskServiceStub(await daemon.channel())
        gone = await refused(stub.Say(pb.SayRequest(line="tc:a")))
        assert (gone.code, gone.reason) == (grpc.StatusCode.UNAVAILABLE, "NO_ENGINE")


async def test_100_clients_are_acknowledged_while_the_back_is_away(tmp_path: Path) -> None:
    async with desk_daemon(tmp_path) as (_, house, stub):
        house.jobs.refuses = away("the queue is full")
        said = await asyncio.gather(
            *(stub.Say(pb.SayRequest(line=f"tc:add cube {number}", request_id=str(number))) for number in range(100))
        )
        assert len({answer.job for answer in said}) == 100
        house.jobs.go()
        done = await house.told("desk.complete", count=100)
        assert {each["job"] for each in done} == {answer.job for answer in said}


async def test_both_clients_speak_with_the_desk(tmp_path: Path) -> None:
    async with desk_daemon(tmp_path) as (daemon, _, _):
        secret = await daemon.token("user", "watch", "operate")
        address = daemon.addresses["grpc"]
        async with AsyncClient(address, token=secret) as client:
            assert (await client.say("hello")).text == "Hello. What shall be done?"

            async def lines() -> AsyncIterator[str]:
                yield "tc:add a cube"
                yield "ms:k|v"

            found = [message async for message in client.converse(lines())]
            assert {each.line[:2] for each in found} == {"tr", "su", "tc"}
            assert (await client.suggest_next(2))[0].line
            with pytest.raises(OutOfRange):
                async for _ in client.converse(lines(), after=10_000):
                    pass
            with pytest.raises(InvalidArgument):
                await client.suggest_next(100)

        def blocking() -> list[str]:
            with Client(address, token=secret) as client:
                assert client.say("tc:add a light").job.startswith("task-")
                assert client.suggest_next()
                return [message.line for message in client.converse(["tc:add a cube"])]

        assert (await asyncio.to_thread(blocking))[-1].startswith("tc:task-")
