"""Watching the context over gRPC: from where, how it resumes, who is cut, and that equal watchers share the bytes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from tests.support.grpc_daemon import refusal, refused, running

from lightfast.api.v1 import context_pb2 as pb
from lightfast.api.v1 import types_pb2
from lightfast.context.entry import Event


def setting(path: str, **value: Any) -> types_pb2.Mutation:
    return types_pb2.Mutation(set=types_pb2.Mutation.Set(path=path, value=types_pb2.Value(**value)))


def apply(*mutations: types_pb2.Mutation, **fields: Any) -> pb.ApplyRequest:
    return pb.ApplyRequest(mutations=mutations, **fields)


async def batch(call: Any) -> Any:
    async with asyncio.timeout(60):
        found = await call.read()
        assert found is not aio.EOF
        return found


async def test_watch_snapshot_live_resume(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        await stub.Apply(apply(setting("/a", int_value=1), setting("/b", int_value=2)))
        watching = stub.Watch(pb.WatchRequest(patterns=["//"], include_snapshot=True, include_previous=True))
        snapshot = await batch(watching)
        assert [event.entry.path for event in snapshot.events] == ["/a", "/b"]
        assert (snapshot.revision, snapshot.synced, snapshot.store_id) == (1, True, daemon.store.store_id)
        await stub.Apply(apply(setting("/a", int_value=3)))
        live = await batch(watching)
        assert (live.events[0].entry.value.int_value, live.events[0].previous.value.int_value) == (3, 1)
        await stub.Apply(apply(types_pb2.Mutation(move=types_pb2.Mutation.Move(to="/c", **{"from": "/a"}))))
        moved = (await batch(watching)).events[0]
        assert (moved.type, getattr(moved, "from"), moved.entry.path) == (types_pb2.EVENT_TYPE_MOVE, "/a", "/c")
        await stub.Apply(apply(types_pb2.Mutation(delete=types_pb2.Mutation.Delete(path="/c"))))
        gone = (await batch(watching)).events[0]
        assert (gone.type, gone.entry.path, gone.entry.revision) == (types_pb2.EVENT_TYPE_DELETE, "/c", 4)
        watching.cancel()
        resumed = stub.Watch(pb.WatchRequest(patterns=["//"], start_revision=1, store_id=snapshot.store_id))
        replay = await batch(resumed)
        assert [event.entry.revision for event in replay.events] == [2, 3, 4]
        assert replay.synced
        assert not replay.events[0].HasField("previous")
        resumed.cancel()


async def test_watch_from_a_compacted_revision(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        for number in range(5):
            await stub.Apply(apply(setting("/a", int_value=number)))
        compacted = await stub.Compact(pb.CompactRequest(revision=4))
        assert compacted.oldest_revision == 4
        watching = stub.Watch(pb.WatchRequest(patterns=["//"], start_revision=2))
        assert (await batch(watching)).compact_revision == 4
        with pytest.raises(aio.AioRpcError) as caught:
            await batch(watching)
        found = refusal(caught.value)
        assert (found.code, found.reason) == (grpc.StatusCode.OUT_OF_RANGE, "REVISION_COMPACTED")
        assert found.metadata["compact_revision"] == "4"
        kept = stub.Watch(pb.WatchRequest(patterns=["//"], start_revision=4))
        assert [event.entry.revision for event in (await batch(kept)).events] == [5]
        kept.cancel()


async def test_watch_of_another_store(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        for request in (
            pb.WatchRequest(patterns=["//"], start_revision=9),
            pb.WatchRequest(patterns=["//"], start_revision=0, store_id="other"),
        ):
            with pytest.raises(aio.AioRpcError) as caught:
                await batch(stub.Watch(request))
            found = refusal(caught.value)
            assert (found.code, found.reason) == (grpc.StatusCode.OUT_OF_RANGE, "STORE_CHANGED")


async def test_bookmarks(tmp_path: Path) -> None:
    async with running(tmp_path, bookmark_interval=0.02) as daemon:
        stub = await daemon.stub()
        watching = stub.Watch(pb.WatchRequest(patterns=["/quiet"]))
        assert (await batch(watching)).revision == 0
        await stub.Apply(apply(setting("/loud", int_value=1)))
        bookmark = await batch(watching)
        assert (bookmark.revision, len(bookmark.events), bookmark.synced) == (1, 0, False)
        watching.cancel()


async def test_a_reader_that_stops_is_cut_and_resumes_without_loss(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        watching = stub.Watch(pb.WatchRequest(patterns=["//"]))
        first = await batch(watching)
        text = "x" * 500_000
        written = 0
        async with asyncio.timeout(150):
            while daemon.services.bus.watchers:
                written = (await stub.Apply(apply(setting("/a", string_value=text)))).revision
        seen: list[int] = []
        last = first.revision

        async def read_on() -> None:
            nonlocal last
            while True:
                found = await batch(watching)
                seen.extend([event.entry.revision for event in found.events])
                last = found.revision

        cut = await refused(read_on())
        assert (cut.code, cut.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "WATCHER_TOO_SLOW")
        assert int(cut.metadata["revision"]) == last
        resumed = stub.Watch(pb.WatchRequest(patterns=["//"], start_revision=last))
        while last < written:
            found = await batch(resumed)
            seen += [event.entry.revision for event in found.events]
            last = found.revision
        assert seen == list(range(1, written + 1))
        resumed.cancel()


async def test_a_watcher_that_goes_away_leaves_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        calls = [stub.Watch(pb.WatchRequest(patterns=["//"])) for _ in range(20)]
        for call in calls:
            await batch(call)
        assert daemon.services.bus.watchers == 20
        for call in calls:
            call.cancel()
        async with asyncio.timeout(60):
            while daemon.services.bus.watchers or daemon.server.door.open_calls[1]:
                await asyncio.sleep(0.01)


async def test_equal_watchers_share_the_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightfast.wire.grpc import encode

    serialized = []
    original = encode._events

    def counted(events: Sequence[Event], *, previous: bool) -> bytes:
        serialized.append(events)
        return original(events, previous=previous)

    monkeypatch.setattr(encode, "_events", counted)
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        calls = [stub.Watch(pb.WatchRequest(patterns=["//"])) for _ in range(10)]
        for call in calls:
            await batch(call)
        serialized.clear()
        await stub.Apply(apply(setting("/a", int_value=1)))
        assert {(await batch(call)).revision for call in calls} == {1}
        assert len(serialized) == 1
        for call in calls:
            call.cancel()


async def test_a_hundred_watchers_over_sockets_lose_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        channels = [await daemon.channel() for _ in range(5)]
        total = 200

        async def read(number: int) -> str:
            channel = channels[number % 5]
            call = channel.unary_stream(
                "/lightfast.api.v1.ContextService/Watch",
                request_serializer=pb.WatchRequest.SerializeToString,
                response_deserializer=pb.WatchResponse.FromString,
            )(pb.WatchRequest(patterns=["//"] if number % 2 else ["/n//"]))
            seen = hashlib.sha256()
            async for found in call:
                for event in found.events:
                    seen.update(b"%d;" % event.entry.revision)
                if found.revision == total:
                    call.cancel()
                    return seen.hexdigest()
            raise AssertionError("the watch ended")

        readers = [asyncio.ensure_future(read(number)) for number in range(100)]
        async with asyncio.timeout(150):
            while daemon.services.bus.watchers < 100:
                await asyncio.sleep(0.01)
            for number in range(total // 10):
                await asyncio.gather(*(stub.Apply(apply(setting(f"/n/{i}", int_value=number))) for i in range(10)))
            found = set(await asyncio.gather(*readers))
        expected = hashlib.sha256(b"".join(b"%d;" % n for n in range(1, total + 1))).hexdigest()
        assert found == {expected}
