"""The methods for frames of both clients, and the calls below them, against one real daemon."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Sequence

import pytest
from tests.support.mistakes import Desk

from lightfast.api.v1 import memory_pb2 as pb
from lightfast.api.v1 import memory_pb2_grpc
from lightfast.api.values import from_message
from lightfast.client import AsyncClient, Client
from lightfast.client.frames import BlockingFrameCalls, FrameCalls, frame
from lightfast.core.errors import AlreadyExists, Denied, Exhausted, InvalidArgument
from lightfast_link.value import Asset, Value

JANUARY_NS = 1_767_225_600_000_000_000


def texts(hits: Sequence[pb.SearchFramesResponse.Hit]) -> list[str]:
    return [hit.frame.text for hit in hits]


def test_both_clients_have_the_same_methods() -> None:
    public = [name for name, _ in inspect.getmembers(FrameCalls, inspect.isfunction) if name[0] != "_"]
    assert set(public) - {"call", "messages"} == {
        name for name, _ in inspect.getmembers(BlockingFrameCalls, inspect.isfunction) if name[0] != "_"
    }


def test_frames_from_appending_to_searching(desk: Desk) -> None:
    with Client(home=desk.home) as client:
        metadata: dict[str, Value] = {
            "a": 1,
            "b": 2.5,
            "c": True,
            "d": "x",
            "e": b"\x00\xff",
            "f": (1.0, 2.0),
            "g": [1, "x"],
            "h": {"deep": {"er": 1}},
            "i": Asset("", "image/png", "ab" * 32, 3),
            "j": float("inf"),
        }
        ids = client.append_frames(
            frame("alpha 🎛 東京 light", kind="idea", time_ns=JANUARY_NS + 1_999_999, metadata=metadata),
            "alpha beta",
            b"alpha\x00",
        )
        assert len(set(ids)) == 3
        got = client.get_frames([ids[2], ids[0], "0" * 16, "nonsense"])
        assert [one.frame_id for one in got.frames] == [ids[2], ids[0]]
        assert set(got.missing) == {"0" * 16, "nonsense"}
        assert got.frames[0].data == b"alpha\x00"
        found = got.frames[1]
        assert (found.text, found.kind, found.private) == ("alpha 🎛 東京 light", "idea", False)
        assert found.time.ToNanoseconds() == JANUARY_NS + 1_000_000
        assert {name: from_message(value) for name, value in found.metadata.items()} == metadata

        assert texts(list(client.search_frames("ALPHA"))) == ["alpha beta", "alpha 🎛 東京 light"]
        assert texts(list(client.search_frames("京", kinds=["idea"]))) == ["alpha 🎛 東京 light"]
        assert texts(list(client.search_frames("beta alpha", match="phrase"))) == []
        assert texts(list(client.search_frames("beta light", match="any", limit=1))) == ["alpha beta"]
        assert texts(list(client.search_frames("alpha", before_ns=JANUARY_NS + 2_000_000))) == ["alpha 🎛 東京 light"]
        assert list(client.search_frames("alpha", before_ns=JANUARY_NS + 1_000_000)) == []
        assert texts(list(client.search_frames("alpha", after_ns=JANUARY_NS + 1_000_000))) == ["alpha beta"]
        ranked = list(client.search_frames("alpha beta", match="any", relevance=True))
        assert texts(ranked)[0] == "alpha beta"
        assert ranked[0].score > ranked[1].score > 0
        bare = list(client.search_frames("alpha", ids_only=True))
        assert [hit.frame.frame_id for hit in bare] == [ids[1], ids[0]]
        assert not bare[0].frame.text


async def test_a_request_that_is_repeated_is_one(desk: Desk) -> None:
    async with AsyncClient(home=desk.home) as client:
        request_id = uuid.uuid4().hex
        first = await client.append_frames("repeated once", request_id=request_id)
        assert await client.append_frames("repeated once", request_id=request_id) == first
        assert len([hit async for hit in client.search_frames("repeated once")]) == 1
        with pytest.raises(AlreadyExists):
            await client.append_frames("something else", request_id=request_id)


async def test_what_is_refused(desk: Desk) -> None:
    async with AsyncClient(home=desk.home) as client:
        for kind in ("history", "memory", "recording"):
            with pytest.raises(InvalidArgument) as caught:
                await client.append_frames(frame("x", kind=kind))
            assert caught.value.reason == "KIND_RESERVED"
        with pytest.raises(InvalidArgument):
            await client.append_frames(pb.NewFrame(text="x", data=b"x"))
        with pytest.raises(InvalidArgument) as caught:
            await client.append_frames(*["x"] * 1001)
        assert caught.value.reason == "TOO_MANY_FRAMES"
        with pytest.raises(InvalidArgument):
            await client.append_frames("x" * ((2 << 20) + 1))
        with pytest.raises(InvalidArgument):
            await client.append_frames(frame("x", metadata={"_number": 1}))
        with pytest.raises((Denied, InvalidArgument)):
            await client.append_frames(frame("x", private=True))
        with pytest.raises(InvalidArgument):
            await client.get_frames([f"{number:016x}" for number in range(1001)])
        stub = memory_pb2_grpc.MemoryServiceStub(client.channel)
        for request in (
            pb.SearchFramesRequest(limit=10_001),
            pb.SearchFramesRequest(limit=-1),
            pb.SearchFramesRequest(ranking=pb.RANKING_FUSED),
        ):
            with pytest.raises(InvalidArgument), client.translated():
                async for _ in stub.SearchFrames(request, metadata=client.metadata):
                    pass
        assert await client.append_frames() == []


async def test_many_and_large_frames(desk: Desk) -> None:
    async with AsyncClient(home=desk.home, timeout=60) as client:
        large = ["gamma " + "x" * (1 << 20) + str(number) for number in range(3)]
        ids = [one for text in large for one in await client.append_frames(text)]
        got = await client.get_frames(ids)
        assert 1 <= len(got.frames) < 3
        assert set(got.missing) == set(ids) - {one.frame_id for one in got.frames}
        assert all(reason.startswith("large") for reason in got.missing.values())
        assert texts([hit async for hit in client.search_frames("gamma")]) == large[::-1]
        await client.append_frames(*[f"delta {number}" for number in range(1000)])
        hits = [hit async for hit in client.search_frames("delta", limit=10_000)]
        assert texts(hits) == [f"delta {number}" for number in range(999, -1, -1)]
        bare = [hit async for hit in client.search_frames("delta", limit=10_000, ids_only=True)]
        assert [hit.frame.frame_id for hit in bare] == [hit.frame.frame_id for hit in hits]
        stub = memory_pb2_grpc.MemoryServiceStub(client.channel)
        sizes, done = [], []
        async for message in stub.SearchFrames(
            pb.SearchFramesRequest(query="delta", limit=500), metadata=client.metadata
        ):
            sizes.append(len(message.hits))
            done.append(message.done)
        assert sum(sizes) == 500
        assert max(sizes) <= 32
        assert done == [False] * (len(done) - 1) + [True]


async def test_a_watcher_may_search_and_not_append(desk: Desk) -> None:
    async with AsyncClient(home=desk.home) as owner:
        from lightfast.api.v1 import admin_pb2

        await owner.append_frames("epsilon")
        issued = await owner.call(owner.admin.IssueToken, admin_pb2.IssueTokenRequest(name="eye", scopes=["watch"]))
        address = (await owner.info()).endpoints["grpc"]
    async with AsyncClient(address, token=issued.secret) as client:
        assert texts([hit async for hit in client.search_frames("epsilon")]) == ["epsilon"]
        with pytest.raises((Denied, Exhausted)):
            await client.append_frames("zeta")


def test_no_digest_of_what_private_frames_say_is_kept() -> None:
    from lightfast.wire.grpc.frames import _told

    said = pb.AppendFramesRequest(request_id="r", frames=[pb.NewFrame(text="PIN 1234", private=True, kind="note")])
    other = pb.AppendFramesRequest(request_id="r", frames=[pb.NewFrame(text="PIN 9999", private=True, kind="note")])
    assert _told(said) == _told(other)
    assert b"PIN" not in _told(said).SerializeToString()
    said.frames[0].private = other.frames[0].private = False
    assert _told(said) != _told(other)
