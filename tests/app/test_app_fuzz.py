"""Random bytes into every port of a real daemon: it goes on serving.

Bounded here; `LIGHTFAST_FUZZ_SECONDS=36000 make pytest ARGS="-k fuzz"` for a night.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq

from lightfast.app.cli.stage import Stage
from lightfast.client import Client

SECONDS = float(os.environ.get("LIGHTFAST_FUZZ_SECONDS", "8"))
SEED = int(os.environ.get("LIGHTFAST_FUZZ_SEED", "1"))

OPENINGS = (
    b"",
    b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n",
    b"POST /",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03",
    b"/a\x00\x00,f\x00\x00",
    b"#bundle\x00" + bytes(8),
    b"\x00\x00\x00\x01\x00\x00\x00\x05hello",
    b'hello\x00{"versions": [1]}',
)


def junk(chance: random.Random) -> bytes:
    return chance.choice(OPENINGS) + chance.randbytes(chance.choice((0, 1, 3, 4, 16, 200, 1400, 9000)))


def into_stream(family: int, address: tuple[str, int] | str) -> Callable[[random.Random], None]:
    def throw(chance: random.Random) -> None:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as peer:
            peer.settimeout(0.5)
            peer.connect(address)
            for _ in range(chance.randrange(1, 4)):
                peer.sendall(junk(chance))
            if chance.random() < 0.2:
                peer.recv(100)

    return throw


def into_datagrams(address: tuple[str, int]) -> Callable[[random.Random], None]:
    def throw(chance: random.Random) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            for _ in range(20):
                peer.sendto(junk(chance), address)

    return throw


def into_zmq(endpoint: str) -> Callable[[random.Random], None]:
    def throw(chance: random.Random) -> None:
        with zmq.Context() as context, context.socket(zmq.DEALER) as peer:
            peer.linger = 50
            peer.connect(endpoint)
            for _ in range(chance.randrange(1, 6)):
                peer.send_multipart([junk(chance) for _ in range(chance.randrange(1, 4))])

    return throw


def split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def test_fuzz_every_port(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    try:
        process = stage.daemon()
        doors = json.loads((tmp_path / "run" / "endpoints.json").read_text())
        throws = {
            "grpc": into_stream(socket.AF_INET, split(doors["grpc"])),
            "grpc_unix": into_stream(socket.AF_UNIX, doors["grpc_unix"]),
            "http": into_stream(socket.AF_INET, split(doors["http"])),
            "link_tcp": into_stream(socket.AF_INET, split(doors["link_tcp"])),
            "osc": into_datagrams(split(doors["osc"])),
            "zmq_router": into_zmq(doors["zmq_router"]),
            "zmq_router raw": into_stream(socket.AF_UNIX, doors["zmq_router"].removeprefix("ipc://")),
        }
        chance = random.Random(SEED)
        with Client(home=str(tmp_path), timeout=60.0) as client:
            end, rounds = time.monotonic() + SECONDS, 0
            while time.monotonic() < end or rounds < 4:
                rounds += 1
                for name, throw in throws.items():
                    throw(chance)
                    if process.poll() is not None:
                        pytest.fail(f"{name} ended the daemon in round {rounds} of seed {SEED}")
                client.set("/fuzz/round", rounds)
                assert client.get("/fuzz/round").value == rounds
        errors = [line for line in stage.log("daemon").read_text().splitlines() if "Traceback" in line]
        assert errors == []
    finally:
        stage.close()
