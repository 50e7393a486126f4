"""Random bytes at the doors of the link: they never stop them. LIGHTFAST_FUZZ_SECONDS makes it longer."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import pytest
import zmq
from tests.support.link import App, MemoryAssets, RecordingRegistry, eventually, hello, link_server, tcp_door, zmq_door
from tests.support.link_fuzz import SECONDS, SEED, message, trouble
from tests.support.link_raw import Raw

from lightfast import sdk
from lightfast_link.frame import Frame, encode, pack
from lightfast_link.messages import Change
from lightfast_link.zmq_transport import ZmqTransport


async def still_serves(app: App, registry: RecordingRegistry, count: int) -> None:
    """The honest application next door has noticed nothing."""
    app.client.report([Change("alive", count)])
    await eventually(lambda: any(change.path == "alive" and change.value == count for change in registry.changes))
    assert app.client.state == "live"


async def test_noise_at_the_router(tmp_path: Path) -> None:
    print("seed", SEED)
    raised = trouble()
    source, registry = random.Random(SEED), RecordingRegistry()
    async with (
        link_server(registry, assets=MemoryAssets()) as server,
        zmq_door(server, tmp_path) as (door, found, _bus),
    ):
        with App(ZmqTransport(zmq, found["zmq_router"]), key=None, name="honest") as app:
            await app.until("welcome")
            until, rounds = time.monotonic() + SECONDS, 0
            while time.monotonic() < until:
                rounds += 1
                with zmq.Context() as context, context.socket(zmq.DEALER) as sock:
                    sock.setsockopt(zmq.LINGER, 0)
                    sock.setsockopt(zmq.SNDTIMEO, 1000)
                    sock.connect(found["zmq_router"])
                    if source.random() < 0.7:
                        sock.send_multipart(encode(Frame("hello", {**hello(name="noisy"), "versions": [1]})))
                        assert await asyncio.to_thread(sock.poll, 60_000)
                    for _ in range(source.randrange(1, 200)):
                        sock.send_multipart(message(source))
                        if registry.sessions and source.random() < 0.1:
                            channel = registry.sessions[-1].channel
                            channel.apply([sdk.Wish(source.randrange(20), "a", 1, 1)])
                            channel.invoke(sdk.Call(source.randrange(20), "render"))
                        await asyncio.sleep(0)
                await still_serves(app, registry, rounds)
            noisy = [session for session in registry.sessions if session.mount == "/noisy"]
            await eventually(lambda: all(session.lost_reasons for session in noisy))
            await eventually(lambda: door.router.peers == 1)
            assert server.counters["bad_frames"] > rounds
    assert raised == []


async def test_noise_at_the_tcp_door(monkeypatch: pytest.MonkeyPatch) -> None:
    print("seed", SEED)
    raised = trouble()
    source, registry = random.Random(SEED), RecordingRegistry()
    async with link_server(registry, assets=MemoryAssets()) as server, tcp_door(server) as (door, host, port):
        monkeypatch.setattr(door.backoff, "delay", lambda _source: 0.0)  # patience is tested elsewhere
        with App.tcp(host, port, name="honest") as app:
            await app.until("welcome")
            until, rounds = time.monotonic() + SECONDS, 0
            while time.monotonic() < until:
                rounds += 1
                raw = await Raw.open(host, port)
                if source.random() < 0.6:
                    await raw.join(name="noisy", stream=str(rounds))
                for _ in range(source.randrange(1, 100)):
                    raw.writer.write(source.randbytes(40) if source.random() < 0.02 else pack(message(source)))
                    if raw.reader.at_eof():
                        break
                    await asyncio.sleep(0)
                raw.close()
                await still_serves(app, registry, rounds)
            noisy = [session for session in registry.sessions if session.mount == "/noisy"]
            await eventually(lambda: all(session.lost_reasons for session in noisy))
            await eventually(lambda: len(door.connections) == 1)
            assert server.counters["bad_frames"] > rounds
    assert raised == []
