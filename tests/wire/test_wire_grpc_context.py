"""ContextService over real sockets, on a real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio
from tests.support.grpc_daemon import refusal, running

from lightfast.api.v1 import context_pb2 as pb
from lightfast.api.v1 import types_pb2


def setting(path: str, **value: Any) -> types_pb2.Mutation:
    return types_pb2.Mutation(set=types_pb2.Mutation.Set(path=path, value=types_pb2.Value(**value)))


def apply(*mutations: types_pb2.Mutation, **fields: Any) -> pb.ApplyRequest:
    return pb.ApplyRequest(mutations=mutations, **fields)


def signals(pattern: str) -> pb.DeclareRequest:
    declaration = pb.Declaration(pattern=pattern, entry_class=types_pb2.ENTRY_CLASS_SIGNAL, type="double")
    return pb.DeclareRequest(declarations=[declaration])


async def batch(call: Any) -> Any:
    async with asyncio.timeout(60):
        found = await call.read()
        assert found is not aio.EOF
        return found


VALUES: list[dict[str, Any]] = [
    {"bool_value": True},
    {"int_value": -(1 << 63)},
    {"double_value": 0.1},
    {"string_value": "ü"},
    {"string_value": ""},
    {"bytes_value": b"\x00\xff"},
    {"vector_value": types_pb2.Vector(values=[1.0, 2.0])},
    {"vector_value": types_pb2.Vector()},
    {"list_value": types_pb2.List(values=[types_pb2.Value(int_value=1), types_pb2.Value(string_value="a")])},
    {"list_value": types_pb2.List()},
    {"map_value": types_pb2.Map(fields={"x": types_pb2.Value(double_value=1.0)})},
    {"map_value": types_pb2.Map()},
    {"asset_value": types_pb2.AssetRef(uri="asset:1", media_type="image/png", sha256="a" * 64, size=3)},
]


async def test_every_kind_of_value_comes_back(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        await stub.Apply(apply(*[setting(f"/v/{n:02}", **value) for n, value in enumerate(VALUES)]))
        response = await stub.Get(pb.GetRequest(pattern="/v//"))
        assert [entry.value for entry in response.entries] == [types_pb2.Value(**value) for value in VALUES]


async def test_apply_then_get(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        event_time = Timestamp(seconds=1_700_000_000, nanos=5)
        mutation = setting("/a/x", double_value=1.5)
        mutation.set.event_time.CopyFrom(event_time)
        metadata = (("lightfast-session", "abc123"),)
        applied = await stub.Apply(apply(mutation, label="first"), metadata=metadata)
        assert (applied.revision, applied.store_id) == (1, daemon.store.store_id)
        (entry,) = applied.entries
        assert (entry.path, entry.revision, entry.version, entry.origin) == ("/a/x", 1, 1, "local#abc123")
        assert entry.event_time == event_time
        assert entry.record_time.seconds > event_time.seconds
        assert entry.entry_class == types_pb2.ENTRY_CLASS_STATE
        found = await stub.Get(pb.GetRequest(paths=["/a/x"], include_tier=True))
        assert (found.revision, found.store_id, found.oldest_revision) == (
            1,
            daemon.store.store_id,
            daemon.store.oldest_revision,
        )
        assert found.entries[0].tier == "live"
        await stub.Apply(apply(setting("/a/x", double_value=2.5)))
        past = await stub.Get(pb.GetRequest(paths=["/a/x"], at_revision=1))
        assert (past.revision, past.entries[0].value.double_value) == (1, 1.5)


async def test_pages_are_pinned_to_one_revision(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        await stub.Apply(apply(*[setting(f"/n/{n}", int_value=n) for n in range(5)]))
        first = await stub.Get(pb.GetRequest(pattern="/n/*", page_size=3))
        await stub.Apply(apply(setting("/n/4", int_value=99)))
        second = await stub.Get(pb.GetRequest(pattern="/n/*", page_size=3, page_token=first.next_page_token))
        assert [entry.value.int_value for page in (first, second) for entry in page.entries] == [0, 1, 2, 3, 4]
        assert (first.revision, second.revision, second.next_page_token) == (1, 1, "")


async def test_list_pages(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        await stub.Apply(apply(*[setting(f"/n/{n}/x%20y", int_value=n) for n in range(5)]))
        pages = [await stub.List(pb.ListRequest(path="/n", page_size=2))]
        while pages[-1].next_page_token:
            token = pages[-1].next_page_token
            pages.append(await stub.List(pb.ListRequest(path="/n", page_size=2, page_token=token)))
        assert [child.path for page in pages for child in page.children] == [f"/n/{n}" for n in range(5)]
        assert pages[0].revision == 1
        leaf = (await stub.List(pb.ListRequest(path="/n/0"))).children[0]
        assert (leaf.name, leaf.has_value, leaf.has_children) == ("x y", True, False)
        with pytest.raises(aio.AioRpcError) as caught:
            await stub.List(pb.ListRequest(path="/other", page_token=pages[0].next_page_token))
        assert refusal(caught.value).reason == "PAGE_TOKEN_INVALID"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (apply(), "mutations"),
        (apply(types_pb2.Mutation()), "mutations[0]"),
        (apply(setting("/a", int_value=1), setting("/b")), "mutations[1].set.value"),
        (
            apply(setting("/a", list_value=types_pb2.List(values=[types_pb2.Value()]))),
            "mutations[0].set.value",
        ),
        (
            apply(setting("/a", asset_value=types_pb2.AssetRef(sha256="xyz"))),
            "mutations[0].set.value",
        ),
        (
            apply(types_pb2.Mutation(merge=types_pb2.Mutation.Merge(path="/a", value=types_pb2.Value(int_value=1)))),
            "mutations[0].merge.value",
        ),
        (apply(setting("/a", int_value=1), preconditions=[types_pb2.Precondition(path="/a")]), "preconditions[0]"),
        (apply(*[setting("/a", int_value=1)] * 10_001), "mutations"),
        (apply(*[setting(f"/{n}", bytes_value=b"x" * 700_000) for n in range(3)]), "mutations"),
    ],
)
async def test_malformed_transactions_name_the_field(tmp_path: Path, request_: pb.ApplyRequest, field: str) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        with pytest.raises(aio.AioRpcError) as caught:
            await stub.Apply(request_)
        found = refusal(caught.value)
        assert (found.code, found.fields, found.domain) == (grpc.StatusCode.INVALID_ARGUMENT, [field], "lightfast")
        assert daemon.store.revision == 0


async def test_event_time_out_of_bounds(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        mutation = setting("/a", int_value=1)
        mutation.set.event_time.seconds = 1 << 60
        with pytest.raises(aio.AioRpcError) as caught:
            await stub.Apply(apply(mutation))
        assert refusal(caught.value).fields == ["mutations[0].set.event_time"]


async def test_failed_precondition_brings_the_entry(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        await stub.Apply(apply(setting("/a", int_value=1)))
        with pytest.raises(aio.AioRpcError) as caught:
            await stub.Apply(
                apply(setting("/a", int_value=2), preconditions=[types_pb2.Precondition(path="/a", revision=7)])
            )
        found = refusal(caught.value)
        assert (found.code, found.reason) == (grpc.StatusCode.ABORTED, "PRECONDITION_FAILED")
        assert [(entry.path, entry.revision, entry.value.int_value) for entry in found.entries] == [("/a", 1, 1)]


async def test_many_conflicting_entries_still_fit_the_trailer(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        paths = [f"/long/{'x' * 200}/{n}" for n in range(100)]
        await stub.Apply(apply(*[setting(path, string_value="y" * 1000) for path in paths]))
        with pytest.raises(aio.AioRpcError) as caught:
            await stub.Apply(
                apply(
                    setting("/a", int_value=2),
                    preconditions=[types_pb2.Precondition(path=path, absent=True) for path in paths],
                )
            )
        found = refusal(caught.value)
        assert found.reason == "PRECONDITION_FAILED"
        assert len(found.entries) < 100


async def test_request_id_is_honored_once(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        first = await stub.Apply(apply(setting("/a", int_value=1), request_id="r-1"))
        again = await stub.Apply(apply(setting("/a", int_value=1), request_id="r-1"))
        assert first.revision == again.revision == 1
        with pytest.raises(aio.AioRpcError) as caught:
            await stub.Apply(apply(setting("/a", int_value=2), request_id="r-1"))
        found = refusal(caught.value)
        assert (found.code, found.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
        # The same words in another method are another request.
        lease = await stub.OpenLease(pb.OpenLeaseRequest(request_id="r-1"))
        assert lease == await stub.OpenLease(pb.OpenLeaseRequest(request_id="r-1"))
        assert lease.lease_id != (await stub.OpenLease(pb.OpenLeaseRequest(request_id="r-2"))).lease_id


async def test_validate_only_changes_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        response = await stub.Apply(apply(setting("/a", int_value=1), validate_only=True, request_id="r-1"))
        assert (response.revision, response.entries[0].path) == (0, "/a")
        assert (daemon.store.revision, daemon.store.get("/a")) == (0, None)
        assert (await stub.Apply(apply(setting("/a", int_value=1), request_id="r-1"))).revision == 1


async def test_declare_describe_and_ranges(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        declaration = pb.Declaration(
            pattern="/gain",
            type="double",
            minimum=-60,
            maximum=6,
            unit="gain.db",
            access=pb.ACCESS_READ_WRITE,
            description="Loudness.",
            tolerance=0.01,
            entry_class=types_pb2.ENTRY_CLASS_STATE,
        )
        token = await daemon.token("ann", "watch", "operate")
        tcp = await daemon.channel("grpc")
        declare = tcp.unary_unary(
            "/lightfast.api.v1.ContextService/Declare",
            request_serializer=pb.DeclareRequest.SerializeToString,
            response_deserializer=pb.DeclareResponse.FromString,
        )
        await declare(pb.DeclareRequest(declarations=[declaration]), metadata=(("authorization", f"Bearer {token}"),))
        declaration.owner = "client:ann"
        assert list((await stub.Describe(pb.DescribeRequest())).declarations) == [declaration]
        with pytest.raises(aio.AioRpcError) as caught:
            await stub.Apply(apply(setting("/gain", double_value=7.0)))
        found = refusal(caught.value)
        assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "VALUE_OUT_OF_RANGE")
        assert "/gain" in found.message
        assert "6" in found.message
        await stub.Declare(pb.DeclareRequest(remove=["/gain"]))
        assert not (await stub.Describe(pb.DescribeRequest())).declarations


async def test_signals_apply_and_publish(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        await stub.Declare(signals("/fader//"))
        watching = stub.Watch(pb.WatchRequest(patterns=["/fader//"]))
        await batch(watching)
        response = await stub.Apply(apply(setting("/fader/1", double_value=0.5)))
        assert (response.revision, response.entries[0].version) == (0, 1)
        assert response.entries[0].entry_class == types_pb2.ENTRY_CLASS_SIGNAL
        seen = await batch(watching)
        assert [(event.entry.path, event.entry.revision) for event in seen.events] == [("/fader/1", 0)]

        async def batches() -> AsyncIterator[pb.PublishRequest]:
            yield pb.PublishRequest(mutations=[setting("/fader/1", double_value=0.6), setting("/no", int_value=1)])
            yield pb.PublishRequest(mutations=[setting("/fader/2", double_value=0.7)])

        published = await stub.Publish(batches())
        assert (published.accepted, published.dropped) == (2, 1)
        assert "/no" in published.first_drop_reason
        watching.cancel()


async def test_history_undo_redo(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        await stub.Apply(apply(setting("/a", int_value=1)))
        await stub.Apply(apply(setting("/a", int_value=2), label="louder", group_id="g1"))
        undone = await stub.Undo(pb.UndoRequest(group_id="g1"))
        assert (undone.revision, list(undone.undone_revisions)) == (3, [2])
        assert (await stub.Get(pb.GetRequest(paths=["/a"]))).entries[0].value.int_value == 1
        redone = await stub.Redo(pb.RedoRequest(group_id="g1"))
        assert redone.revision == 4
        assert (await stub.Get(pb.GetRequest(paths=["/a"]))).entries[0].value.int_value == 2
        history = await stub.History(pb.HistoryRequest(pattern="/a", page_size=3))
        assert [item.revision for item in history.transactions] == [4, 3, 2]
        assert history.transactions[2].label == "louder"
        assert history.transactions[2].group_id == "g1"
        assert list(history.transactions[1].undone_revisions) == [2]
        rest = await stub.History(pb.HistoryRequest(pattern="/a", page_size=3, page_token=history.next_page_token))
        assert [item.revision for item in rest.transactions] == [1]


async def test_pages_of_history_fit_a_message(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        for _ in range(12):
            await stub.Apply(apply(setting("/a", bytes_value=b"x" * 900_000)))
        request, seen = pb.HistoryRequest(pattern="//"), []
        while True:
            page = await stub.History(request)
            seen += [item.revision for item in page.transactions]
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        assert seen == list(range(12, 0, -1))


async def test_undo_of_what_others_built_on(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        await stub.Apply(apply(setting("/a", int_value=1)))
        await stub.Apply(apply(setting("/a", int_value=2)))
        dry = await stub.Undo(pb.UndoRequest(revision=1, validate_only=True))
        assert [entry.path for entry in dry.conflicts] == ["/a"]
        with pytest.raises(aio.AioRpcError) as caught:
            await stub.Undo(pb.UndoRequest(revision=1))
        found = refusal(caught.value)
        assert (found.code, found.reason) == (grpc.StatusCode.ABORTED, "UNDO_CONFLICT")
        assert [(entry.path, entry.revision) for entry in found.entries] == [("/a", 2)]
        assert daemon.store.revision == 2


async def test_leases(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        lease = await stub.OpenLease(pb.OpenLeaseRequest(ttl=Duration(seconds=30)))
        assert lease.ttl == Duration(seconds=30)
        await stub.Apply(apply(setting("/here", bool_value=True), lease_id=lease.lease_id))
        keeping = stub.KeepLease()
        await keeping.write(pb.KeepLeaseRequest(lease_id=lease.lease_id))
        kept = await keeping.read()
        assert (kept.lease_id, kept.ttl) == (lease.lease_id, Duration(seconds=30))
        closed = await stub.CloseLease(pb.CloseLeaseRequest(lease_id=lease.lease_id))
        assert closed.revision == 2
        assert daemon.store.get("/here") is None
        await keeping.write(pb.KeepLeaseRequest(lease_id=lease.lease_id))
        with pytest.raises(aio.AioRpcError) as caught:
            await keeping.read()
        found = refusal(caught.value)
        assert (found.code, found.reason) == (grpc.StatusCode.NOT_FOUND, "LEASE_GONE")


async def test_negative_page_sizes_and_no_paths(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        calls = [
            (stub.Get, pb.GetRequest(pattern="//", page_size=-1), "page_size"),
            (stub.List, pb.ListRequest(page_size=-1), "page_size"),
            (stub.History, pb.HistoryRequest(page_size=-1), "page_size"),
            (stub.Describe, pb.DescribeRequest(page_size=-1), "page_size"),
            (stub.Get, pb.GetRequest(), "paths"),
        ]
        for method, request, field in calls:
            with pytest.raises(aio.AioRpcError) as caught:
                await method(request)
            assert (caught.value.code(), refusal(caught.value).fields) == (grpc.StatusCode.INVALID_ARGUMENT, [field])
        assert (await stub.Get(pb.GetRequest(pattern="//", page_size=1 << 30))).revision == 0
