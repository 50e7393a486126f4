"""The ZMQ plane to 100 subscribers, against Redis PUBLISH to as many."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import zmq
from tests.bench.measure import Peer, Row, compare, interleave
from tests.bench.world import World

SUBSCRIBERS = 100
WINDOW = 640  # updates on the way at most, for both
UPDATES = 12_800
PAYLOAD = 62


class Window:
    """Sends chunks of 64 updates and never has more than `WINDOW` on the way."""

    def __init__(self, send: Callable[[int], None], peer: Peer) -> None:
        self.send = send
        self.peer = peer

    async def run(self) -> float:
        """Return the deliveries per second."""
        before = int(self.peer.ask("count"))
        began = time.perf_counter()
        sent = 0
        while sent < UPDATES:
            self.send(64)
            sent += 64
            while sent * SUBSCRIBERS - (int(self.peer.ask("count")) - before) > WINDOW * SUBSCRIBERS:
                self._check(began)
        while int(self.peer.ask("count")) - before < UPDATES * SUBSCRIBERS:
            self._check(began)
        return UPDATES * SUBSCRIBERS / (time.perf_counter() - began)

    @staticmethod
    def _check(began: float) -> None:
        if time.perf_counter() - began > 60:
            raise RuntimeError("deliveries were lost")


class Plane:
    """Our plane with its subscribers."""

    def __init__(self, folder: Path, mode: str) -> None:
        folder.mkdir()
        self.server = Peer("plane_server", str(folder), mode)
        self.peer = Peer("subscribers", "zmq", str(folder / "pub"), str(SUBSCRIBERS))
        self.context = zmq.Context()
        self.feed = self.context.socket(zmq.PUSH)
        self.feed.connect(f"ipc://{folder}/feed")
        self.window = Window(self._send, self.peer)
        self.number = 0

    def _send(self, updates: int) -> None:
        # Distinct paths among all that is on the way, so that nothing is conflated away.
        paths = [f"/bench/{(self.number + index) % (4 * WINDOW)}" for index in range(updates)]
        self.number += updates
        self.feed.send(msgspec.msgpack.encode([(path, float(self.number)) for path in paths]))

    async def warm(self) -> None:
        """Wait until all subscribers hear something."""
        deadline = time.perf_counter() + 20
        while True:
            before = int(self.peer.ask("count"))
            self._send(1)
            await asyncio.sleep(0.1)
            if int(self.peer.ask("count")) - before >= SUBSCRIBERS:
                return
            if time.perf_counter() > deadline:
                raise RuntimeError("the subscribers never heard anything")

    def close(self) -> None:
        self.feed.close(0)
        self.context.term()
        self.peer.close()
        self.server.close()


class Redis:
    """A Redis of our own with its subscribers."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.server = subprocess.Popen(
            ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)],
            stdout=subprocess.DEVNULL,
        )
        deadline = time.perf_counter() + 10
        while True:
            try:
                self.sock = socket.create_connection(("127.0.0.1", port))
                break
            except ConnectionRefusedError:
                if time.perf_counter() > deadline:
                    raise
                time.sleep(0.02)
        body = b"x" * PAYLOAD
        self.command = b"*3\r\n$7\r\nPUBLISH\r\n$5\r\nbench\r\n$%d\r\n%s\r\n" % (PAYLOAD, body)
        self.peer = Peer("subscribers", "redis", str(port), str(SUBSCRIBERS))
        self.window = Window(self._send, self.peer)

    def _send(self, updates: int) -> None:
        self.sock.sendall(self.command * updates)
        wanted, answer = updates * len(b":100\r\n"), 0
        while answer < wanted:
            answer += len(self.sock.recv(65536))

    def close(self) -> None:
        self.sock.close()
        self.peer.close()
        self.server.terminate()
        self.server.wait(10)


async def run(world: World, pairs: int) -> list[Row]:
    """Measure both ways of using the plane."""
    if shutil.which("redis-server") is None:
        print("zmq_plane is left out: redis-server is not here (Debian: apt install redis-server)")
        return []
    rows = []
    with tempfile.TemporaryDirectory(prefix="lf-") as folder:
        for mode, least, note in (
            ("single", 0.5, "one message per update on both sides"),
            ("joined", 1.0, "ours joins the updates of a tick in one message, Redis sends each by itself"),
        ):
            plane, redis = Plane(Path(folder) / mode, mode), Redis(Path(folder) / f"redis-{mode}")
            try:
                await plane.warm()
                found = await interleave(pairs, plane.window.run, redis.window.run)
            finally:
                plane.close()
                redis.close()
            name = f"ZMQ plane to {SUBSCRIBERS} subscribers against Redis PUBLISH, {mode}"
            rows.append(compare(name, found, "deliveries/s", least=least, note=note))
    return rows
