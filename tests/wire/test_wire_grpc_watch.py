"""The promises of Watch, each through real sockets: what a client may build on."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from tests.support.grpc_daemon import Daemon, refused, running

from lightfast.api.v1 import context_pb2 as pb
from lightfast.api.v1 import types_pb2

LAST = "/last"


def setting(path: str, value: float = 1.0) -> types_pb2.Mutation:
    return types_pb2.Mutation(set=types_pb2.Mutation.Set(path=path, value=types_pb2.Value(double_value=value)))


def moving(source: str, target: str) -> types_pb2.Mutation:
    return types_pb2.Mutation(move=types_pb2.Mutation.Move(to=target, **{"from": source}))


async def write(stub: Any, *mutations: types_pb2.Mutation, **fields: Any) -> int:
    return int((await stub.Apply(pb.ApplyRequest(mutations=mutations), **fields)).revision)


async def read(call: Any, seconds: float = 60.0) -> pb.WatchResponse:
    async with asyncio.timeout(seconds):
        found = await call.read()
    assert found is not aio.EOF
    return found  # type: ignore[no-any-return]


async def read_until(call: Any, revision: int) -> list[pb.WatchResponse]:
    """Read batches up to *revision*."""
    found = [await read(call)]
    while found[-1].revision < revision:
        found.append(await read(call))
    return found


async def watching(stub: Any, *patterns: str, **fields: Any) -> Any:
    """Begin to watch, and wait until nothing more is missed."""
    call = stub.Watch(pb.WatchRequest(patterns=patterns, **fields))
    if "start_revision" not in fields:
        assert (await read(call)).synced
    return call


async def busy(daemon: Daemon, transactions: int) -> int:
    """Write transactions of one to nine events from four clients at once; return the last revision."""
    chance = random.Random(7)

    async def client(number: int) -> None:
        stub = await daemon.stub()
        for _ in range(transactions // 4):
            await write(stub, *[setting(f"/{number}/{name}", chance.random()) for name in range(chance.randint(1, 9))])

    await asyncio.gather(*[client(number) for number in range(4)])
    return await write(await daemon.stub(), setting(LAST))


def events(batches: list[pb.WatchResponse]) -> list[types_pb2.Event]:
    return [event for batch in batches for event in batch.events]


async def test_ordered_unique_and_reliable(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        # Overlapping patterns: an event goes out once all the same.
        call = await watching(await daemon.stub(), "//", "/1//", "/*/*")
        last = await busy(daemon, 80)
        batches = await read_until(call, last)
        revisions = [event.entry.revision for event in events(batches)]
        assert revisions == sorted(revisions)
        assert [batch.revision for batch in batches] == sorted({batch.revision for batch in batches})
        told = [(event.entry.revision, event.entry.path, event.entry.value.double_value) for event in events(batches)]
        kept = [
            (transaction.revision, event.entry.path, event.entry.value)
            for transaction in await daemon.store.replay(0, last, 1000)
            for event in transaction.events
        ]
        assert told == kept
        assert {batch.store_id for batch in batches} == {daemon.store.store_id}
        call.cancel()


async def test_atomic(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        live = await watching(stub, "//")
        last = await busy(daemon, 40)
        await write(stub, *[setting(f"/many/{number}") for number in range(9000)])
        replayed = await watching(await daemon.stub(), "//", start_revision=0)
        whole = {t.revision: len(t.events) for t in await daemon.store.replay(0, last, 1000)} | {last + 1: 9000}
        for call in (live, replayed):
            seen: list[int] = []
            for batch in await read_until(call, last + 1):
                inside = [event.entry.revision for event in batch.events]
                assert {revision: inside.count(revision) for revision in inside} == {
                    revision: whole[revision] for revision in inside
                }
                seen += dict.fromkeys(inside)
            assert seen == list(range(1, last + 2))
            call.cancel()


async def test_resumable_from_every_revision(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        last = await busy(daemon, 20)
        stub = await daemon.stub()
        for start in range(last + 1):
            call = await watching(stub, "//", start_revision=start, store_id=daemon.store.store_id)
            batches = await read_until(call, last)
            assert list(dict.fromkeys(event.entry.revision for event in events(batches))) == list(
                range(start + 1, last + 1)
            )
            assert [batch.synced for batch in batches] == [False] * (len(batches) - 1) + [True]
            call.cancel()


async def test_resumable_while_others_write(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        writing = asyncio.ensure_future(busy(daemon, 200))
        seen: list[int] = []
        position = 0
        while not writing.done():
            call = await watching(stub, "//", start_revision=position)
            for _ in range(3):
                reading = asyncio.ensure_future(read(call))
                await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():  # all was written, and all may have been read: nothing more need come
                    reading.cancel()
                    break
                batch = reading.result()
                seen += dict.fromkeys(event.entry.revision for event in batch.events)
                position = batch.revision
            call.cancel()
        last = await writing
        if position < last:
            call = await watching(stub, "//", start_revision=position)
            seen += dict.fromkeys(event.entry.revision for event in events(await read_until(call, last)))
            call.cancel()
        assert seen == list(range(1, last + 1))


async def test_not_resumable_says_why(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        revisions = [await write(stub, setting("/a")) for _ in range(4)]
        await stub.Compact(pb.CompactRequest(revision=3))
        dropped = stub.Watch(pb.WatchRequest(patterns=["//"], start_revision=1))
        assert (await read(dropped)).compact_revision == 3
        cut = await refused(dropped.read())
        assert (cut.code, cut.reason) == (grpc.StatusCode.OUT_OF_RANGE, "REVISION_COMPACTED")
        assert cut.metadata["compact_revision"] == "3"
        for request in ({"start_revision": revisions[-1] + 1}, {"start_revision": 3, "store_id": "store-other"}):
            found = await refused(stub.Watch(pb.WatchRequest(patterns=["//"], **request)).read())
            assert (found.code, found.reason) == (grpc.StatusCode.OUT_OF_RANGE, "STORE_CHANGED")
            assert found.metadata["store_id"] == daemon.store.store_id


async def test_bookmarks(tmp_path: Path) -> None:
    async with running(tmp_path, bookmark_interval=0.05) as daemon:
        stub = await daemon.stub()
        call = await watching(stub, "/mine//")
        last = await write(stub, setting("/others"))
        mark = await read(call)
        assert (list(mark.events), mark.revision, mark.store_id) == ([], last, daemon.store.store_id)
        await write(stub, setting("/mine/a"))
        assert [event.entry.path for event in (await read(call)).events] == ["/mine/a"]
        call.cancel()


def signals(batch: pb.WatchResponse) -> list[types_pb2.Entry]:
    return [event.entry for event in batch.events if event.entry.path == "/signal/a"]


async def test_bounded_signals_conflate_and_state_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        declared = pb.Declaration(pattern="/signal/*", entry_class=types_pb2.ENTRY_CLASS_SIGNAL)
        await stub.Declare(pb.DeclareRequest(declarations=[declared]))
        call = await watching(stub, "//", max_rate_hz=5.0)
        await write(stub, setting("/signal/a", -1.0))
        first = await read(call)
        assert [event.entry.revision for event in first.events] == [0]
        began = asyncio.get_running_loop().time()
        for number in range(50):
            await write(stub, setting("/signal/a", float(number)))
        # State is not held back by the limit.
        last = await write(stub, setting("/state"))
        state = await read_until(call, last)
        assert [event.entry.path for event in events(state) if event.entry.revision] == ["/state"]
        batches = [found for batch in state if (found := signals(batch))]
        while not batches or batches[-1][-1].value.double_value != 49.0:
            batches += [found] if (found := signals(await read(call))) else []
        # A batch has at most two of one path: what was there as its time came, and the latest since, for a slow reader.
        assert max(map(len, batches)) <= 2
        assert len(batches) <= 5.0 * (asyncio.get_running_loop().time() - began) + 2
        versions = [entry.version for batch in batches for entry in batch]
        assert versions == sorted(set(versions))
        call.cancel()


async def test_excluded_origins(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        mine = (("lightfast-session", "mine"),)
        by_session = await watching(stub, "//", exclude_origins=["local#mine"])
        by_name = await watching(stub, "//", exclude_origins=["local"])
        token = await daemon.token("ann", "operate")
        await write(stub, setting("/a"), metadata=mine)
        await write(stub, setting("/b"), metadata=(("lightfast-session", "other"),))
        last = await write(stub, setting("/c"), metadata=(("authorization", f"Bearer {token}"),))
        seen = events(await read_until(by_session, last))
        assert [(event.entry.path, event.entry.origin) for event in seen] == [
            ("/b", "local#other"),
            ("/c", "client:ann"),
        ]
        assert [event.entry.path for event in events(await read_until(by_name, last))] == ["/c"]
        by_session.cancel()
        by_name.cancel()


async def test_a_move_shows_on_both_sides_of_a_border(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        await write(stub, setting("/here/a/b"), setting("/here/a/c"))
        left, entered = await watching(stub, "/here//"), await watching(stub, "/there//")
        last = await write(stub, moving("/here/a", "/there/x"))
        for call in (left, entered, await watching(stub, "/here//", start_revision=last - 1)):
            seen = [
                (event.type, getattr(event, "from"), event.entry.path) for event in events(await read_until(call, last))
            ]
            assert seen == [
                (types_pb2.EVENT_TYPE_MOVE, "/here/a/b", "/there/x/b"),
                (types_pb2.EVENT_TYPE_MOVE, "/here/a/c", "/there/x/c"),
            ]
            call.cancel()


async def test_a_snapshot_of_many_entries_and_then_what_is_new(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        last = await write(stub, *[setting(f"/{number:04}") for number in range(3000)])
        call = stub.Watch(pb.WatchRequest(patterns=["//"], include_snapshot=True))
        await asyncio.sleep(0)
        new = await write(stub, setting("/new"))
        batches = [await read(call)]
        while not batches[-1].synced:
            batches.append(await read(call))
        paths = [event.entry.path for event in events(batches)]
        assert len(paths) == len(set(paths)) >= 3000
        assert len(batches) > 1
        assert {batch.revision for batch in batches[:-1]} == {0}
        assert batches[-1].revision in {last, new}
        if batches[-1].revision == last:
            assert [event.entry.path for event in (await read(call)).events] == ["/new"]
        call.cancel()


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.WatchRequest(), "patterns"),
        (pb.WatchRequest(patterns=["a"]), "patterns"),
        (pb.WatchRequest(patterns=["/["]), "patterns"),
        (pb.WatchRequest(patterns=["//"] + [f"/{number}" for number in range(300)]), "patterns"),
        (pb.WatchRequest(patterns=["//"], max_rate_hz=-1), "max_rate_hz"),
        (pb.WatchRequest(patterns=["//"], max_rate_hz=float("nan")), "max_rate_hz"),
        (pb.WatchRequest(patterns=["//"], start_revision=-1), "start_revision"),
        (pb.WatchRequest(patterns=["//"], exclude_origins=[str(n) for n in range(300)]), "exclude_origins"),
    ],
)
async def test_malformed_watches_name_the_field(tmp_path: Path, request_: pb.WatchRequest, field: str) -> None:
    async with running(tmp_path) as daemon:
        found = await refused((await daemon.stub()).Watch(request_).read())
        assert (found.code, found.fields) == (grpc.StatusCode.INVALID_ARGUMENT, [field])
