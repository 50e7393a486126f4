"""Lanes over the wire: a client may step back but not forward, what is shed says so, and signals are conflated."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import ServiceDescriptor
from grpc import aio
from PIL import Image
from tests.support.grpc_daemon import Daemon, refused, running

from lightfast.api.v1 import (
    admin_pb2,
    apps_pb2,
    assets_pb2,
    context_pb2,
    generation_pb2,
    links_pb2,
    memory_pb2,
    show_pb2,
    transport_pb2,
    types_pb2,
)
from lightfast.api.v1.context_pb2_grpc import ContextServiceStub
from lightfast.context.entry import Declaration
from lightfast.context.flow.flow import Flow
from lightfast.context.flow.pulse import Pulse
from lightfast.context.flow.records import Lane, Limits
from lightfast.wire.grpc.conflate import conflated
from lightfast.wire.grpc.interceptors import MAX_BACKGROUND_STREAMS, Door
from lightfast.wire.grpc.lanes import LANES, lane_of

BACKGROUND = (("lightfast-lane", "background"),)


def write(path: str, value: float = 1.0) -> context_pb2.ApplyRequest:
    return context_pb2.ApplyRequest(mutations=[put(path, value)])


def put(path: str, value: float) -> types_pb2.Mutation:
    return types_pb2.Mutation(set=types_pb2.Mutation.Set(path=path, value=types_pb2.Value(double_value=value)))


class Late(Pulse):
    """A pulse that says what it is told."""

    late = True

    @property
    def pressed(self) -> bool:
        return self.late


def flow_of(daemon: Daemon) -> Flow:
    return daemon.server.door.flow


async def test_calls_go_in_the_lane_of_their_method_or_a_less_urgent_one(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        flow = flow_of(daemon)

        def admitted() -> list[int]:
            return [gate.admitted for gate in flow.gates]

        await stub.Apply(write("/a"))
        assert admitted() == [1, 0, 0, 0]
        await stub.History(context_pb2.HistoryRequest(pattern="//"))
        assert admitted() == [1, 1, 0, 0]
        await stub.History(context_pb2.HistoryRequest(pattern="//", until_revision=1))
        assert admitted() == [1, 1, 0, 1]
        await stub.Apply(write("/a"), metadata=BACKGROUND)
        assert admitted() == [1, 1, 0, 2]
        await stub.History(context_pb2.HistoryRequest(pattern="//"), metadata=(("lightfast-lane", "interactive"),))
        assert admitted() == [1, 2, 0, 2]  # no call rises above its lane
        found = await refused(stub.Apply(write("/a"), metadata=(("lightfast-lane", "express"),)))
        assert (found.code, found.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["lightfast-lane"])
        assert [gate.running for gate in flow.gates] == [0, 0, 0, 0]
        assert sum(gate.latency.count for gate in flow.gates) == 5


async def test_what_is_shed_says_which_lane_and_how_long(tmp_path: Path) -> None:
    """The background waits while the loop is late, its queue is full, and what is interactive goes on."""
    async with running(tmp_path) as daemon:
        flow = flow_of(daemon)
        gate = flow.gates[Lane.BACKGROUND]
        gate.limits = Limits(running=1, share=1, waiting=4, client=2, patience=60.0)
        stub = await daemon.stub()
        held = await flow.enter(Lane.BACKGROUND, "somebody")
        calls = [asyncio.ensure_future(_call(stub, "/back")) for _ in range(2)]
        while gate.waiting < 2:
            await asyncio.sleep(0.005)
        found = await refused(stub.Apply(write("/back"), metadata=BACKGROUND))
        assert (found.code, found.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SHED")
        assert found.metadata["lane"] == "background"
        assert "background lane is full" in found.message
        assert found.retry_after is not None
        assert found.retry_after > 0
        for number in range(20):
            assert (await stub.Apply(write("/front", number))).revision == number + 1
        assert [call.done() for call in calls] == [False, False]
        held.leave()
        assert sorted(response.revision for response in await asyncio.gather(*calls)) == [21, 22]
        assert (gate.refused, gate.waiting, gate.running) == (1, 0, 0)


async def _call(stub: Any, path: str) -> Any:
    return await stub.Apply(write(path), metadata=BACKGROUND)


async def test_one_client_does_not_take_all(tmp_path: Path) -> None:
    """Many calls of one client wait; those of another are let in by turns, not after all of them."""
    async with running(tmp_path) as daemon:
        flow = flow_of(daemon)
        gate = flow.gates[Lane.INTERACTIVE]
        gate.limits = Limits(running=1, share=1, waiting=100, client=50, patience=60.0)
        held = await flow.enter(Lane.INTERACTIVE, "somebody")
        channel = await daemon.channel("grpc")
        stub = ContextServiceStub(channel)
        many, few = [
            (("authorization", f"Bearer {await daemon.token(name, 'watch', 'operate')}"),) for name in ("many", "few")
        ]
        calls = [asyncio.ensure_future(_apply(stub, f"/many/{n}", many)) for n in range(30)]
        while gate.waiting < 30:
            await asyncio.sleep(0.005)
        calls += [asyncio.ensure_future(_apply(stub, f"/few/{n}", few)) for n in range(5)]
        while gate.waiting < 35:
            await asyncio.sleep(0.005)
        held.leave()
        revisions = await asyncio.gather(*calls)
        assert max(revisions[30:]) <= 2 * 5 + 1
        assert sorted(revisions) == list(range(1, 36))


async def _apply(stub: Any, path: str, metadata: Any) -> int:
    return int((await stub.Apply(write(path), metadata=metadata)).revision)


async def test_a_call_that_is_cancelled_while_it_waits_leaves_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        flow = flow_of(daemon)
        gate = flow.gates[Lane.BACKGROUND]
        gate.limits = Limits(running=1, share=1, waiting=10, client=10, patience=60.0)
        held = await flow.enter(Lane.BACKGROUND, "somebody")
        stub = await daemon.stub()
        with pytest.raises(aio.AioRpcError) as caught:
            await stub.Apply(write("/a"), metadata=BACKGROUND, timeout=0.2)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        while gate.waiting or daemon.server.door.open_calls[0]:
            await asyncio.sleep(0.005)
        held.leave()
        assert (await stub.Apply(write("/a"), metadata=BACKGROUND)).revision == 1
        assert gate.running == 0


# ---- streams


class Steps:
    """A service whose one method goes in the background lane."""

    def __init__(self) -> None:
        self.steps = 0

    async def watch(self, request: Any, caller: Any) -> Any:
        for _ in range(3):
            self.steps += 1
            yield b"step"


async def test_background_streams_take_turns_and_are_few(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        door = Door(daemon.services.tokens, daemon.services.requests)
        gate = door.flow.gates[Lane.BACKGROUND]
        service = Steps()
        handler = door.server_stream(
            service.watch, context_pb2.WatchRequest, None, "Watch", many_requests=False, lane=Lane.BACKGROUND
        )
        written: list[bytes] = []
        await handler(b"", _Context(written))
        assert (written, gate.latency.count, gate.running) == ([b"step"] * 3, 4, 0)
        stuck = [
            asyncio.ensure_future(handler(b"", _Context(written, hang=True))) for _ in range(MAX_BACKGROUND_STREAMS)
        ]
        while door.open_calls[1] < MAX_BACKGROUND_STREAMS or len(written) < 3 + MAX_BACKGROUND_STREAMS:
            await asyncio.sleep(0.005)
        assert gate.running == 0  # who is slow to read holds nobody up
        context = _Context(written)
        with pytest.raises(RuntimeError, match=r"RESOURCE_EXHAUSTED.*background lane is full"):
            await handler(b"", context)
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)
        await handler(b"", _Context(written))


class _Context:
    """As much of a call's context as the door needs."""

    def __init__(self, written: list[bytes], *, hang: bool = False) -> None:
        self.written = written
        self.hang = hang

    async def write(self, data: bytes) -> None:
        self.written.append(data)
        if self.hang:
            await asyncio.Event().wait()

    async def abort(self, code: Any, message: str, trailers: Any) -> None:
        raise RuntimeError(f"{code.name}: {message}")


async def test_one_client_cannot_open_all_streams(tmp_path: Path) -> None:
    async with running(tmp_path, max_streams=16) as daemon:
        stub = await daemon.stub()
        watches = []
        for _ in range(14):
            watch = stub.Watch(context_pb2.WatchRequest(patterns=["//"]))
            await watch.read()
            watches.append(watch)
        found = await refused(stub.Watch(context_pb2.WatchRequest(patterns=["//"])).read())
        assert found.reason == "TOO_MANY_CALLS"
        other = ContextServiceStub(await daemon.channel("grpc"))
        bearer = (("authorization", f"Bearer {await daemon.token('ann', 'watch')}"),)
        theirs: Any = other.Watch(context_pb2.WatchRequest(patterns=["//"]), metadata=bearer)
        assert (await theirs.read()).synced
        for each in [*watches, theirs]:
            each.cancel()


# ---- signals


async def test_a_flood_of_signals_is_conflated_while_the_daemon_is_pressed(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        await daemon.store.declare([Declaration("/wave/*", signal=True)], owner="client:test")
        flow = flow_of(daemon)
        flow.pulse = Late(0.005)
        stub = await daemon.stub()

        async def flood() -> Any:
            for number in range(2000):
                yield context_pb2.PublishRequest(mutations=[put(f"/wave/{number % 4}", float(number))])

        response = await stub.Publish(flood())
        assert response.accepted + response.dropped == 2000
        assert response.dropped > 0
        assert "newer values" in response.first_drop_reason
        assert [daemon.store.get(f"/wave/{n}").value for n in range(4)] == [1996.0, 1997.0, 1998.0, 1999.0]  # type: ignore[union-attr]
        assert flow.gates[Lane.SIGNAL].refused == response.dropped
        flow.pulse.late = False
        calm = await stub.Publish(flood())
        assert (calm.accepted, calm.dropped) == (2000, 0)


async def test_conflation_keeps_the_latest_and_the_order_of_the_rest() -> None:
    flow = Flow()
    flow.pulse = Late(0.005)
    merge = types_pb2.Mutation(merge=types_pb2.Mutation.Merge(path="/m"))

    async def batches() -> Any:
        yield context_pb2.PublishRequest(mutations=[put("/a", 1.0), put("/b", 1.0)])
        yield context_pb2.PublishRequest(mutations=[merge, put("/a", 2.0)])
        yield context_pb2.PublishRequest(mutations=[merge, put("/c", 1.0)])
        yield context_pb2.PublishRequest(mutations=[put(f"/{n}", 1.0) for n in range(10_001)])  # too many: as it is
        yield context_pb2.PublishRequest(mutations=[put("/d", 1.0)])

    found = [(request, superseded) async for request, superseded in conflated(batches(), flow)]
    shown = [
        [f"{m.WhichOneof('operation')}{m.set.path or m.merge.path}" for m in request.mutations] for request, _ in found
    ]
    assert shown[0] == ["set/b", "merge/m", "set/a", "merge/m", "set/c"]
    assert found[0][1] == 1
    assert [len(paths) for paths in shown[1:]] == [10_001, 1]


# ---- processors


async def test_an_asset_shows_what_it_is_like(tmp_path: Path) -> None:
    data = io.BytesIO()
    Image.new("L", (31, 17)).save(data, "PNG")
    async with running(tmp_path, with_media=True) as daemon:
        stub = await daemon.stub("assets")

        async def parts(media_type: str, content: bytes) -> Any:
            yield assets_pb2.WriteAssetRequest(asset=assets_pb2.Asset(media_type=media_type), chunk=content)

        written = (await stub.WriteAsset(parts("image/png", data.getvalue()))).asset
        request = assets_pb2.GetAssetRequest(sha256=written.sha256)
        async with asyncio.timeout(60):
            while not (found := (await stub.GetAsset(request)).asset).media.format:
                await asyncio.sleep(0.01)
        assert found.media == assets_pb2.Media(format="PNG", width=31, height=17, mode="L")
        await stub.WriteAsset(parts("text/plain", b"words"))
        listed = (await stub.ListAssets(assets_pb2.ListAssetsRequest())).assets
        assert [asset.media.format for asset in listed] == ["", "PNG"]


# ---- the table


def test_every_lane_names_a_method_of_the_contract() -> None:
    modules = (
        admin_pb2, apps_pb2, assets_pb2, context_pb2, generation_pb2, links_pb2, memory_pb2, show_pb2, transport_pb2,
    )  # fmt: skip
    known: set[str] = set()
    for module in modules:
        service: ServiceDescriptor
        for service in module.DESCRIPTOR.services_by_name.values():
            known |= {f"{service.name}.{method.name}" for method in service.methods}
    assert set(LANES) <= known
    for name in ("Get", "List", "Apply", "Undo"):
        assert lane_of("ContextService", name) is Lane.INTERACTIVE
