"""A real scsynth on a private JACK, a second client beside the bridge, and a small encoder of synth definitions."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support.jack import Jack, start_jack
from tests.support.ports import free_port

from lightfast.sdk.osc import OscError, decode, encode

READY_S = 120.0
"""Seconds that a server may take until it answers: one on an idle machine, 40 where 60 programs want two processors."""
INSTALL = "apt-get install --no-install-recommends supercollider-server jackd2"
KR, AR = 1, 2
SHARED = Path("/dev/shm")

Message = tuple[str, tuple[Any, ...]]


def _text(name: str) -> bytes:
    data = name.encode("ascii")
    return bytes([len(data)]) + data


def _ugen(name: str, rate: int, inputs: Sequence[tuple[int, int]], outputs: int, special: int = 0) -> bytes:
    head = _text(name) + struct.pack(">biih", rate, len(inputs), outputs, special)
    return head + b"".join(struct.pack(">ii", *one) for one in inputs) + bytes([rate]) * outputs


def synthdef(name: str = "tone") -> bytes:
    """Return the file (SCgf version 2) of a sine with the controls freq, amp and pan, which is an array of two."""
    constants = struct.pack(">if", 1, 0.0)
    controls = struct.pack(">i4f", 4, 440.0, 0.1, -1.0, 1.0)
    names = struct.pack(">i", 3) + b"".join(
        _text(one) + struct.pack(">i", index) for one, index in (("freq", 0), ("amp", 1), ("pan", 2))
    )
    ugens = [
        _ugen("Control", KR, (), 4),
        _ugen("SinOsc", AR, ((0, 0), (-1, 0)), 1),
        _ugen("BinaryOpUGen", AR, ((1, 0), (0, 1)), 1, special=2),
        _ugen("Out", AR, ((-1, 0), (2, 0)), 0),
    ]
    body = _text(name) + constants + controls + names + struct.pack(">i", len(ugens)) + b"".join(ugens)
    return b"SCgf" + struct.pack(">ih", 2, 1) + body + struct.pack(">h", 0)


class Client:
    """Another client of the server: what a performer's own program does, and an independent look at it."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._port = port

    def send(self, address: str, *arguments: Any) -> None:
        """Send one message."""
        self._socket.sendto(encode(address, *arguments), ("127.0.0.1", self._port))

    def hear(self, seconds: float) -> list[Message]:
        """Return the messages of the next datagram."""
        self._socket.settimeout(max(seconds, 0.001))
        try:
            return [(address, tuple(arguments)) for address, _, arguments in decode(self._socket.recv(65_536))]
        except (TimeoutError, ConnectionError, OscError):
            return []

    def ask(self, address: str, *arguments: Any, answer: Callable[[Message], bool], within: float = 60.0) -> Message:
        """Ask until the answer comes, and not one to an earlier question, which may have been asked twice."""
        while self.hear(0.0):
            pass
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            self.send(address, *arguments)
            until = time.monotonic() + 0.5
            while time.monotonic() < until:
                for message in self.hear(until - time.monotonic()):
                    if answer(message):
                        return message
        raise AssertionError(f"scsynth did not answer {address} {arguments}")

    def control(self, node: int, name: str) -> float:
        """Return the value of a control."""
        found = self.ask("/s_get", node, name, answer=lambda m: m[0] == "/n_set" and m[1][:2] == (node, name))
        return float(found[1][2])

    def bus(self, index: int) -> float:
        """Return the value of a control bus."""
        return float(self.ask("/c_get", index, answer=lambda m: m[0] == "/c_set" and m[1][0] == index)[1][1])

    def tree(self) -> tuple[Any, ...]:
        """Return the node tree, as the server tells it."""
        return self.ask("/g_queryTree", 0, 0, answer=lambda m: m[0] == "/g_queryTree.reply")[1]

    def sync(self, number: int = 77) -> None:
        """Wait until the server has done what was sent before."""
        self.ask("/sync", number, answer=lambda m: m == ("/synced", (number,)))

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()


class Scsynth:
    """A real scsynth on a private JACK server."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.log = folder / "scsynth.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.jack: Jack | None = None

    def start(self) -> None:
        """Start it, with JACK the first time; skip the test where either is missing."""
        if shutil.which("scsynth") is None:
            pytest.skip(f"no SuperCollider here: {INSTALL}")
        if self.jack is None:
            self.jack = start_jack(self.folder, period=128)
        environ = {**os.environ, **self.jack.environ, "SC_JACK_DEFAULT_INPUTS": "", "SC_JACK_DEFAULT_OUTPUTS": "system"}
        line = ["scsynth", "-u", str(self.port), "-B", "127.0.0.1", "-i", "0", "-o", "2", "-R", "0"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ)

    def wait(self) -> None:
        """Wait until it answers; where it has ended, or never does, its log is in the failure."""
        client, end = Client(self.port), time.monotonic() + READY_S
        try:
            while self.process is not None and self.process.poll() is None and time.monotonic() < end:
                with contextlib.suppress(AssertionError):
                    client.ask("/status", answer=lambda m: m[0] == "/status.reply", within=2.0)
                    return
        finally:
            client.close()
        code = None if self.process is None else self.process.poll()
        what = f"ended with {code}" if code is not None else f"did not answer within {READY_S:g} s"
        raise AssertionError(f"scsynth {what}; it said:\n{self.log.read_text(encoding='utf-8', errors='replace')}")

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(60)
            self.process = None
            (SHARED / f"SuperColliderServer_{self.port}").unlink(missing_ok=True)  # 8 MB that nobody takes away

    def close(self) -> None:
        """End it, and its JACK."""
        try:
            self.kill()
        finally:
            if self.jack is not None:
                self.jack.stop()
