"""TransportService over real sockets."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.support.desk import bounded
from tests.support.grpc_daemon import refused, running

from lightfast.api.v1 import transport_pb2 as pb
from lightfast.client import AsyncClient
from lightfast.context.entry import Set


async def test_play_seek_tempo_stop(tmp_path: Path) -> None:
    async with running(tmp_path, with_transport=True) as daemon:
        stub = await daemon.stub("transport")
        found = (await stub.GetTransport(pb.GetTransportRequest())).transport
        assert (found.playing, found.tempo, found.leader, found.leading) == (False, 120.0, "internal", "internal")
        assert (found.timecode, found.frame_rate, found.frames_per_second) == ("00:00:00:00", "25", 25.0)
        for request, seconds in (
            (pb.SeekRequest(position=12.5), 12.5),
            (pb.SeekRequest(beats=60), 30.0),
            (pb.SeekRequest(frames=100), 4.0),
            (pb.SeekRequest(timecode="00:01:00:05"), 60.2),
        ):
            answer = await stub.Seek(request)
            assert answer.transport.position == pytest.approx(seconds)
            assert answer.store_id == daemon.store.store_id
        assert (await stub.SetTempo(pb.SetTempoRequest(tempo=90.0))).transport.tempo == 90.0
        begun = (await stub.Play(pb.PlayRequest(request_id="a"))).transport
        assert begun.playing
        later = (await stub.GetTransport(pb.GetTransportRequest())).transport
        assert later.position > begun.position >= 60.2
        assert later.beats > begun.beats
        assert not (await stub.Stop(pb.StopRequest())).transport.playing
        again = await stub.Play(pb.PlayRequest(request_id="a"))  # a repeat: the answer of then, and nothing done
        assert again.transport.position == begun.position
        assert not (await stub.GetTransport(pb.GetTransportRequest())).transport.playing


async def test_what_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path, with_transport=True) as daemon:
        stub = await daemon.stub("transport")
        for call in (
            stub.Seek(pb.SeekRequest()),
            stub.Seek(pb.SeekRequest(position=-1)),
            stub.Seek(pb.SeekRequest(position=float("nan"))),
            stub.Seek(pb.SeekRequest(timecode="1:2")),
            stub.SetTempo(pb.SetTempoRequest(tempo=1)),
        ):
            assert (await refused(call)).code is grpc.StatusCode.INVALID_ARGUMENT
        token = await daemon.token("watcher", "watch")
        channel = await daemon.channel("grpc")
        play: Any = channel.unary_unary(
            "/lightfast.api.v1.TransportService/Play",
            request_serializer=pb.PlayRequest.SerializeToString,
            response_deserializer=pb.PlayResponse.FromString,
        )
        denied = await refused(play(pb.PlayRequest(), metadata=(("authorization", f"Bearer {token}"),)))
        assert denied.code is grpc.StatusCode.PERMISSION_DENIED


async def test_a_watcher_sees_each_change_and_is_ended_with_the_daemon(tmp_path: Path) -> None:
    async with running(tmp_path, with_transport=True) as daemon:
        stub = await daemon.stub("transport")
        watching = stub.WatchTransport(pb.WatchTransportRequest(max_rate_hz=50))

        async def until(wanted: Any) -> pb.Transport:
            async for message in watching:
                if wanted(message.transport):
                    found: pb.Transport = message.transport
                    return found
            raise AssertionError("it ended")

        await bounded(until(lambda found: not found.playing))
        await stub.Play(pb.PlayRequest())
        first = await bounded(until(lambda found: found.playing))
        await bounded(until(lambda found: found.position > first.position + 0.05))
        await daemon.store.apply([Set("/transport/tempo", 66.0)], origin="client:other")
        await bounded(until(lambda found: found.tempo == 66.0))
        stopping = asyncio.get_running_loop().create_task(daemon.server.stop(0.2))
        with pytest.raises(grpc.aio.AioRpcError):
            await bounded(until(lambda _: False))
        await bounded(stopping)


async def test_the_client_moves_it(tmp_path: Path) -> None:
    async with running(tmp_path, with_transport=True) as daemon:
        token = await daemon.token("owner", "watch", "operate")
        async with AsyncClient(daemon.addresses["grpc"], token=token) as client:
            assert (await client.seek(3.0)).position == 3.0
            assert (await client.set_tempo(101.0)).tempo == 101.0
            assert (await client.play()).playing
            assert not (await client.stop()).playing
            assert (await client.get_transport()).tempo == 101.0
            assert (await client.call_json("TransportService.GetTransport", {}))["transport"]["tempo"] == 101.0
