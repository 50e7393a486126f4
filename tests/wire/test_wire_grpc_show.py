"""ShowService over real sockets: what a lock refuses, what a panic stops, recordings from one end to the other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.support.desk import bounded, until
from tests.support.grpc_daemon import Daemon, refused, running

from lightfast.api.v1 import admin_pb2, context_pb2, generation_pb2, links_pb2, show_pb2, types_pb2
from lightfast.context.entry import Set
from lightfast.sdk import GenerationRequest, Model, Progress, Provider, Step, TextDelta, Workbench
from lightfast.wire.grpc.admin import AdminService
from lightfast.wire.grpc.context import ContextService
from lightfast.wire.grpc.links import LinkService
from lightfast.wire.grpc.show import ShowService


class Slow(Provider):
    """Writes text when it is told to."""

    name = "slow"

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.go = asyncio.Event()

    def models(self) -> list[Model]:
        return [Model("text", outputs=("text",))]

    async def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        self.began.set()
        yield Progress(0.5)
        await self.go.wait()
        yield TextDelta("done")


async def apply(daemon: Daemon, path: str, value: float) -> None:
    await daemon.store.apply([Set(path, value)], origin="client:test")


def link(**fields: Any) -> links_pb2.Link:
    return links_pb2.Link(**fields)


async def test_every_method_that_a_lock_refuses_exists_and_is_unary() -> None:
    for service in (AdminService, ContextService, LinkService):
        for name in service.LOCKED:
            method = service.DESCRIPTOR.methods_by_name[name]
            assert not method.client_streaming
            assert not method.server_streaming


async def test_a_locked_show(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        show, links, context = (await daemon.stub("show"), await daemon.stub("links"), await daemon.stub())
        admin, generation = await daemon.stub("admin"), await daemon.stub("generation")
        daemon.services.gateway.register(Slow(), "test")
        await apply(daemon, "/a", 1.0)
        made = (await links.CreateLink(links_pb2.CreateLinkRequest(link=link(source="/a", target="/b")))).link
        answer = await show.LockShow(show_pb2.LockShowRequest(reason="opening night"))
        assert (answer.show.locked, answer.show.lock_reason, answer.show.locked_by) == (True, "opening night", "local")
        assert answer.show.lock_time.seconds > 0
        edit = link(link_id=made.link_id, tolerance=0.5)
        calls = {
            "a link edit": [
                links.CreateLink(links_pb2.CreateLinkRequest(link=link(source="/c", target="/d"))),
                links.UpdateLink(links_pb2.UpdateLinkRequest(link=edit)),
                links.DeleteLink(links_pb2.DeleteLinkRequest(link_id=made.link_id)),
            ],
            "a declaration": [
                context.Declare(context_pb2.DeclareRequest(declarations=[context_pb2.Declaration(pattern="/x")]))
            ],
            "a compaction": [context.Compact(context_pb2.CompactRequest(revision=1))],
            "a reload of a plugin": [admin.ReloadPlugin(admin_pb2.ReloadPluginRequest(name="x"))],
        }
        for what, several in calls.items():
            for call in several:
                told = await refused(call)
                assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SHOW_LOCKED")
                assert told.message.startswith(f"{what} is refused: the show is locked by local since")
                assert told.metadata["locked_by"] == "local"
        request = generation_pb2.GenerateRequest(model="slow/text", output="text", prompt="x")
        with pytest.raises(grpc.aio.AioRpcError) as error:
            async for _ in generation.Generate(request):
                pass
        assert "an AI write is refused" in str(error.value.details())
        made.bypass = not made.bypass
        made.disabled = True
        await links.UpdateLink(links_pb2.UpdateLinkRequest(link=made))  # its switches are no edit
        mutation = types_pb2.Mutation(set=types_pb2.Mutation.Set(path="/a", value=types_pb2.Value(double_value=2.0)))
        await context.Apply(context_pb2.ApplyRequest(mutations=[mutation]))
        await show.UnlockShow(show_pb2.UnlockShowRequest())
        await links.DeleteLink(links_pb2.DeleteLinkRequest(link_id=made.link_id))
        assert not (await show.GetShow(show_pb2.GetShowRequest())).show.locked


async def test_a_generation_that_began_before_the_lock_is_not_placed(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        show, generation = await daemon.stub("show"), await daemon.stub("generation")
        slow = Slow()
        daemon.services.gateway.register(slow, "test")
        request = generation_pb2.GenerateRequest(model="slow/text", output="text", prompt="x", target_path="/result")

        async def run() -> str:
            try:
                async for _ in generation.Generate(request):
                    pass
            except grpc.aio.AioRpcError as error:
                return str(error.details())
            return "it was placed"

        task = asyncio.ensure_future(run())
        await bounded(slow.began.wait())
        await show.LockShow(show_pb2.LockShowRequest())
        slow.go.set()
        assert "an AI write is refused: the show is locked" in await bounded(task)
        assert daemon.store.get("/result") is None


async def test_a_panic_over_the_wire(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        show, generation = await daemon.stub("show"), await daemon.stub("generation")
        slow = Slow()
        daemon.services.gateway.register(slow, "test")
        await apply(daemon, "/a", 1.0)
        links = await daemon.stub("links")
        await links.CreateLink(links_pb2.CreateLinkRequest(link=link(source="/a", target="/b", two_way=True)))
        request = generation_pb2.GenerateRequest(model="slow/text", output="text", prompt="x")

        async def run() -> grpc.StatusCode:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                async for _ in generation.Generate(request):
                    pass
            code: grpc.StatusCode = error.value.code()
            return code

        task = asyncio.ensure_future(run())
        await bounded(slow.began.wait())
        answer = await show.Panic(show_pb2.PanicRequest(reason="smoke"))
        assert (answer.show.panic, answer.show.panic_reason, answer.cancelled_operations) == (True, "smoke", 1)
        assert {"apps", "links", "replays"} <= set(answer.show.holds)
        assert list(answer.failed) == []
        assert await bounded(task) == grpc.StatusCode.CANCELLED
        await apply(daemon, "/a", 2.0)
        await daemon.store.drain()
        entry = daemon.store.get("/b")
        assert entry is not None
        assert entry.value == 1.0
        told = await refused(_all(generation.Generate(request)))
        assert told.reason == "PANIC"
        told = await refused(_all(show.Replay(show_pb2.ReplayRequest(name="x"))))
        assert told.reason == "PANIC"
        released = await show.ReleasePanic(show_pb2.ReleasePanicRequest())
        assert not released.show.panic
        labels = [one.label for one in (await daemon.store.history("/lightfast/show")).transactions]
        assert labels[:2] == ["panic released", "panic: smoke"]


async def _all(stream: Any) -> list[Any]:
    return [message async for message in stream]


async def test_scopes(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        channel = await daemon.channel("grpc")
        from lightfast.api.v1.show_pb2_grpc import ShowServiceStub

        stub = ShowServiceStub(channel)
        watcher = (("authorization", f"Bearer {await daemon.token('eye', 'watch')}"),)
        hand = (("authorization", f"Bearer {await daemon.token('hand', 'operate')}"),)
        assert set(ShowService.SCOPES) == {method.name for method in ShowService.DESCRIPTOR.methods}
        await stub.GetShow(show_pb2.GetShowRequest(), metadata=watcher)
        calls: list[tuple[Any, Any]] = [
            (stub.LockShow, show_pb2.LockShowRequest()),
            (stub.UnlockShow, show_pb2.UnlockShowRequest()),
            (stub.Panic, show_pb2.PanicRequest()),
            (stub.ReleasePanic, show_pb2.ReleasePanicRequest()),
            (stub.StartRecording, show_pb2.StartRecordingRequest(name="x")),
        ]
        for call, request in calls:
            told = await refused(call(request, metadata=watcher))
            assert told.code == grpc.StatusCode.PERMISSION_DENIED
        answer = await stub.LockShow(show_pb2.LockShowRequest(), metadata=hand)
        assert answer.show.locked_by == "client:hand"
        other = (("authorization", f"Bearer {await daemon.token('other', 'operate')}"),)
        assert not (await stub.UnlockShow(show_pb2.UnlockShowRequest(), metadata=other)).show.locked


def _value(daemon: Daemon, path: str) -> Any:
    entry = daemon.store.get(path)
    return None if entry is None else entry.value


async def test_record_and_replay_over_the_wire(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        show = await daemon.stub("show")
        links = await daemon.stub("links")
        await apply(daemon, "/a", 0.0)
        await links.CreateLink(links_pb2.CreateLinkRequest(link=link(source="/a", target="/b", expression="x * 2")))
        await show.LockShow(show_pb2.LockShowRequest())  # recording is allowed in a locked show
        started = await show.StartRecording(show_pb2.StartRecordingRequest(name="take", patterns=["/a", "/b"]))
        assert started.recording.active
        assert (await show.GetShow(show_pb2.GetShowRequest())).recording.name == "take"
        for number in range(5):
            await apply(daemon, "/a", float(number))
            await until(lambda: _value(daemon, "/b") == 2 * _value(daemon, "/a"))
        listed = (await show.ListRecordings(show_pb2.ListRecordingsRequest())).recordings
        assert [(one.name, one.active) for one in listed] == [("take", True)]
        stopped = (await show.StopRecording(show_pb2.StopRecordingRequest())).recording
        assert (stopped.active, stopped.incomplete, stopped.reason) == (False, False, "it was stopped")
        assert stopped.transactions == 9  # the first changes nothing for the link
        parts = await _all(show.ExportRecording(show_pb2.ExportRecordingRequest(name="take")))
        lines = [json.loads(line) for line in b"".join(part.lines for part in parts).splitlines()]
        assert sum(line["record"] == "commit" for line in lines) == 9
        dry = await _all(show.Replay(show_pb2.ReplayRequest(name="take", dry_run=True)))
        assert [step.write.value.double_value for step in dry[:-1]] == [1.0, 2.0, 3.0, 4.0]
        steps = await _all(show.Replay(show_pb2.ReplayRequest(name="take", speed=float("inf"), check=True)))
        assert steps[-1].result.checked
        assert [step.difference for step in steps if step.HasField("difference")] == []
        assert steps[-1].result.differences == 0
        told = await refused(_all(show.Replay(show_pb2.ReplayRequest(name="../take"))))
        assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "NAME_INVALID")
        told = await refused(_all(show.Replay(show_pb2.ReplayRequest(name="nothing"))))
        assert told.code == grpc.StatusCode.NOT_FOUND
        await show.DeleteRecording(show_pb2.DeleteRecordingRequest(name="take"))
        assert not (await show.ListRecordings(show_pb2.ListRecordingsRequest())).recordings


async def test_a_list_of_recordings_is_paged(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        show = await daemon.stub("show")
        for name in ("c", "a", "b"):
            await show.StartRecording(show_pb2.StartRecordingRequest(name=name))
            await show.StopRecording(show_pb2.StopRecordingRequest(name=name))
        first = await show.ListRecordings(show_pb2.ListRecordingsRequest(page_size=2))
        second = await show.ListRecordings(
            show_pb2.ListRecordingsRequest(page_size=2, page_token=first.next_page_token)
        )
        assert [one.name for one in (*first.recordings, *second.recordings)] == ["a", "b", "c"]
        assert second.next_page_token == ""
