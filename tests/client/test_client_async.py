"""Every method of the asynchronous client, against a real daemon."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from tests.support.mistakes import Desk
from tests.support.worker import Worker

from lightfast.api.v1 import context_pb2, types_pb2
from lightfast.client import AsyncClient, mutations
from lightfast.core.errors import (
    AlreadyExists,
    Cancelled,
    Conflict,
    InvalidArgument,
    LightfastError,
    NotFound,
    OutOfBounds,
    OutOfRange,
    Unauthenticated,
)
from lightfast_link.value import Asset, Value


def open_client(desk: Desk, **options: object) -> AsyncClient:
    return AsyncClient(home=str(desk.home), **options)  # type: ignore[arg-type]


VALUES: dict[str, Value] = {
    "bool": True,
    "int": 1 << 40,
    "double": 0.1,
    "string": "grün",
    "bytes": b"\0\xff",
    "vector": (1.0, 2.5),
    "list": [1, "two", [3.0, False]],
    "map": {"a": 1, "b": {"c": [b"x"]}},
    "asset": Asset("asset:" + "0" * 64, "image/png", "0" * 64, 3),
}


@pytest.mark.parametrize("kind", VALUES)
async def test_each_kind_of_value_comes_back(desk: Desk, kind: str) -> None:
    async with open_client(desk) as client:
        done = await client.set(f"/kinds/{kind}", VALUES[kind])
        entry = await client.get(f"/kinds/{kind}")
    value = tuple(entry.value) if kind == "vector" and isinstance(entry.value, tuple | list) else entry.value
    assert value == VALUES[kind]
    assert (entry.revision, entry.version, entry.status, entry.signal) == (done.revision, 1, "", False)
    assert done.entries[0].path == entry.path


async def test_reading_at_a_revision_and_at_a_time(desk: Desk) -> None:
    async with open_client(desk) as client:
        first = await client.set("/past/a", 1)
        second = await client.set("/past/a", 2)
        assert (await client.get("/past/a", at_revision=first.revision)).value == 1
        assert [entry.value for entry in await client.select("/past//", at_revision=first.revision)] == [1]
        when = first.entries[0].record_time
        assert [entry.value for entry in await client.select("/past//", at_time_ns=when)] == [1]
        assert [entry.value for entry in await client.select("/past//", at_time_ns=when, event_time=True)] == [1]
        assert second.revision > first.revision  # the daemon's own news may come between
        with pytest.raises(OutOfRange):
            await client.get("/past/a", at_revision=1 << 40)


async def test_a_selection_spans_pages_at_one_revision(desk: Desk) -> None:
    async with open_client(desk) as client:
        await client.set_many({f"/many/{number:05}": number for number in range(2500)})
        found = await client.select("/many/*")
        assert [entry.value for entry in found] == list(range(2500))
        assert len({entry.revision for entry in found}) == 1
        children = await client.children("/many")
        assert len(children) == 2500
        assert [child.path for child in children[:2]] == ["/many/00000", "/many/00001"]


async def test_changes_and_their_conditions(desk: Desk) -> None:
    async with open_client(desk) as client:
        first = await client.apply(
            [mutations.set_value("/change/map", {"a": 1}), mutations.merge("/change/map", {"b": 2})],
            preconditions=[mutations.is_absent("/change/map")],
            label="made",
            group="g1",
        )
        assert (await client.get("/change/map")).value == {"a": 1, "b": 2}
        await client.move("/change", "/changed")
        assert (await client.get("/changed/map")).value == {"a": 1, "b": 2}
        with pytest.raises(NotFound):
            await client.get("/change/map")
        with pytest.raises(Conflict) as caught:
            await client.apply(
                [mutations.delete("/changed/map")],
                preconditions=[mutations.at_revision("/changed/map", first.revision + 99)],
            )
        assert caught.value.reason == "PRECONDITION_FAILED"
        assert [entry.path for entry in caught.value.details] == ["/changed/map"]
        tried = await client.apply([mutations.delete("/changed/map")], validate_only=True)
        assert (await client.get("/changed/map")).value == {"a": 1, "b": 2}, tried
        condition = mutations.has_value("/changed/map", {"a": 1, "b": 2})
        await client.apply([mutations.delete("/changed/map")], preconditions=[condition])
        await client.set("/changed/x/y", 1)
        await client.delete("/changed", recursive=True)
        assert await client.select("/changed//") == []


async def test_a_repeat_is_one_write(desk: Desk) -> None:
    async with open_client(desk) as client:
        change = [mutations.set_value("/repeat", 1)]
        first = await client.apply(change, request_id="repeat-1")
        again = await client.apply(change, request_id="repeat-1")
        assert again.revision == first.revision
        with pytest.raises(AlreadyExists) as caught:
            await client.apply([mutations.set_value("/repeat", 2)], request_id="repeat-1")
        assert caught.value.reason == "REQUEST_ID_REUSED"


async def test_declared_paths_and_typed_errors(desk: Desk) -> None:
    async with open_client(desk) as client:
        declaration = context_pb2.Declaration(pattern="/declared/*", type="double", minimum=0, maximum=1)
        await client.declare(declaration)
        with pytest.raises(OutOfBounds) as caught:
            await client.set("/declared/a", 2.0)
        assert caught.value.reason == "VALUE_OUT_OF_RANGE"
        assert "/declared/a" in caught.value.message
        await client.declare(remove=["/declared/*"])
        await client.set("/declared/a", 2.0)
        with pytest.raises(InvalidArgument):
            await client.get("no slash")


async def test_history_undo_and_redo(desk: Desk) -> None:
    async with open_client(desk) as client:
        await client.set("/undo/a", 1)
        last = await client.set("/undo/a", 2, label="second", group="gesture")
        newest = (await client.history("/undo//", limit=1))[0]
        assert (newest.revision, newest.label, newest.group_id) == (last.revision, "second", "gesture")
        undone = await client.undo(group="gesture")
        assert undone.revisions == (last.revision,)
        assert (await client.get("/undo/a")).value == 1
        redone = await client.redo(revision=undone.revision)
        assert redone.revision > undone.revision
        assert (await client.get("/undo/a")).value == 2
        assert len(await client.history("/undo//")) == 4
        assert [t.revision for t in await client.history("/undo//", after=undone.revision)] == [redone.revision]
        with pytest.raises(ValueError, match="exactly one"):
            await client.undo()


async def test_signals_are_published_in_batches(desk: Desk) -> None:
    async with open_client(desk) as client:
        signal = context_pb2.Declaration(pattern="/signal/*", entry_class=types_pb2.ENTRY_CLASS_SIGNAL)
        await client.declare(signal)

        async def batches() -> AsyncIterator[Mapping[str, Value]]:
            for number in range(10):
                yield {"/signal/a": number, "/signal/b": -number}

        done = await client.publish(batches())
        assert done.accepted + done.dropped == 20  # a busy daemon takes the newest of one path, and says so
        assert done.accepted >= 2
        entry = await client.get("/signal/a")
        assert (entry.value, entry.signal) == (9, True)


async def test_what_goes_wrong_in_what_is_sent_is_raised_where_it_is_sent(desk: Desk) -> None:
    """gRPC cancels such a call, and keeps the reason to itself."""

    async def batches(last: Any) -> AsyncIterator[Mapping[str, Value]]:
        yield {"/signal/a": 1}
        yield {"/signal/a": last / 2}

    async def lines() -> AsyncIterator[str]:
        yield "hello"
        raise LookupError("no more lines")

    async with open_client(desk) as client:
        with pytest.raises(TypeError, match="unsupported operand"):
            await client.publish(batches("a text"))
        with pytest.raises(LookupError, match="no more lines"):
            await _all(client.converse(lines()))
        assert (await client.info()).pid == desk.daemon.pid


async def test_a_big_asset_comes_back(desk: Desk) -> None:
    content = os.urandom(2 << 20)
    async with open_client(desk) as client:
        asset = await client.write_asset(content, "application/octet-stream", "noise.bin")
        assert asset.sha256 == hashlib.sha256(content).hexdigest()
        assert (asset.size, asset.name) == (len(content), "noise.bin")
        assert await client.read_asset(asset.sha256) == content
        assert (await client.write_asset(content, "application/octet-stream")).sha256 == asset.sha256
        assert await client.read_asset((await client.write_asset(b"", "text/plain")).sha256) == b""
        with pytest.raises(NotFound):
            await client.read_asset("0" * 64)


async def test_applications_and_links(desk: Desk) -> None:
    with Worker(desk.home):
        async with open_client(desk) as client:
            found = {item.mount: item for item in await client.list_apps()}
            assert found["/worker"].simulator
            assert await client.invoke("/worker", "double", x=4.5) == 9.0
            with pytest.raises(LightfastError, match="it does not want to"):
                await client.invoke("/worker", "fail")
            link = await client.link("/hand/level", "/worker/level", expression="x * 2", tolerance=0.001)
            await client.set("/hand/level", 1.5)
            async with asyncio.timeout(60):
                while not (found_level := await client.select("/worker/level")) or found_level[0].reported != 3.0:
                    await asyncio.sleep(0.01)
            entry = found_level[0]
            assert (entry.value, entry.status) == (3.0, "SETTLED")
            origins = [transaction.origin for transaction in await client.history("/worker/level")]
            assert f"link:{link.link_id}" in origins


async def test_generation_and_information(desk: Desk) -> None:
    async with open_client(desk) as client:
        steps = [
            step.WhichOneof("kind")
            async for step in client.generate(
                "image", "a blue square", seed=3, target_path="/made/image", settings={"width": 64, "height": 64}
            )
        ]
        assert "asset" in steps
        placed = (await client.get("/made/image")).value
        assert isinstance(placed, Asset)
        assert (await client.read_asset(placed.sha256)).startswith(b"\x89PNG")
        info = await client.info()
        assert info.pid == desk.daemon.pid
        assert info.store_id == desk.doors["store_id"]


async def test_any_method_by_its_name(desk: Desk) -> None:
    async with open_client(desk) as client:
        await client.set("/named", 1)
        answer = await client.call_json("ContextService.Get", {"paths": ["/named"]})
        assert answer["entries"][0]["value"] == {"int_value": "1"}
        seen = [
            step async for step in client.stream_json("GenerationService.Generate", {"output": "image", "prompt": "x"})
        ]
        assert any("asset" in step for step in seen)
        async for batch in client.watch_json({"patterns": ["/named"], "include_snapshot": True}):
            assert batch["events"][0]["entry"]["path"] == "/named"
            break


async def test_a_token_over_tcp(desk: Desk) -> None:
    from pathlib import Path

    address = desk.doors["grpc"]
    token = Path(desk.doors["token_file"]).read_text().strip()
    async with AsyncClient(address, token=token) as client:
        await client.set("/tcp", 1)
        assert (await client.get("/tcp")).origin.startswith("client:")
    for wrong in ("lf_wrong", ""):
        async with AsyncClient(address, token=wrong) as client:
            with pytest.raises(Unauthenticated):
                await client.get("/tcp")


async def test_a_session_does_not_hear_itself(desk: Desk) -> None:
    async with open_client(desk, session="mine") as mine, open_client(desk, session="other") as other:
        origin = (await mine.set("/session/a", 0)).entries[0].origin
        assert origin == "local#mine"
        batches = mine.watch("/session//", exclude_origins=[origin], include_snapshot=True)
        while not (await anext(batches)).synced:
            pass
        await mine.set("/session/a", 1)
        await other.set("/session/a", 2)
        async for batch in batches:
            if batch.events:
                assert [(event.entry.value, event.entry.origin) for event in batch.events] == [(2, "local#other")]
                break


async def test_a_lease_lives_as_long_as_its_block(desk: Desk) -> None:
    async with open_client(desk) as client:
        async with client.lease(ttl=6) as lease_id:  # it is kept every two seconds, also by a busy machine
            await client.apply([mutations.set_value("/leased/a", 1)], lease_id=lease_id)
            deadline = time.monotonic() + 12.5
            while time.monotonic() < deadline:
                assert (await client.get("/leased/a")).value == 1
                await asyncio.sleep(0.1)
        with pytest.raises(NotFound):
            await client.get("/leased/a")
        with pytest.raises(NotFound) as caught:
            await client.apply([mutations.set_value("/leased/a", 1)], lease_id=lease_id)
        assert caught.value.reason == "LEASE_GONE"


async def test_a_closed_client_says_so_and_ends_its_watches(desk: Desk) -> None:
    client = open_client(desk)
    batches = client.watch("/closed//", include_snapshot=True)
    while not (await anext(batches)).synced:
        pass
    rest: asyncio.Future[list[object]] = asyncio.ensure_future(_all(batches))
    await asyncio.sleep(0)
    await client.close()
    assert await asyncio.wait_for(rest, 60) == []
    with pytest.raises(Cancelled) as caught:
        await client.get("/a")
    assert caught.value.reason == "CLIENT_CLOSED"
    with pytest.raises(Cancelled):
        await client.read_asset("0" * 64)
    assert await _all(client.watch("//")) == []


async def _all(batches: AsyncIterator[object]) -> list[object]:
    return [batch async for batch in batches]


async def test_a_cancelled_watch_is_cancelled(desk: Desk) -> None:
    async with open_client(desk) as client:
        batches = client.watch("/cancelled//", include_snapshot=True)
        while not (await anext(batches)).synced:
            pass
        task = asyncio.ensure_future(_all(batches))
        asyncio.get_running_loop().call_soon(task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
