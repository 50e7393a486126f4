"""The timeline over OSC: the beat that goes out to those who are listed, and taps that come in, in a real daemon."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest
from tests.support.daemon import daemon

from lightfast.client import Client
from lightfast.core.osc import OscMessage, decode
from lightfast.core.osc_build import encode


class Ear:
    """Hears OSC messages on a port of its own."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.2)
        self.port = self._socket.getsockname()[1]
        self.heard: list[OscMessage] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._hear)
        self._thread.start()

    def _hear(self) -> None:
        while not self._over.is_set():
            try:
                self.heard += decode(self._socket.recv(4096))
            except TimeoutError:
                continue

    def values(self, name: str) -> list[object]:
        """Return the values that were heard of *name*."""
        return [message.args[0] for message in self.heard if message.address == f"/lightfast/transport/{name}"]

    def wait(self, name: str, value: object, seconds: float = 15.0) -> None:
        """Wait until *value* was heard."""
        deadline = time.monotonic() + seconds
        while value not in self.values(name):
            assert time.monotonic() < deadline, f"{name} was never {value}: {self.values(name)[-5:]}"
            time.sleep(0.01)

    def close(self) -> None:
        """End it."""
        self._over.set()
        self._thread.join(5)
        self._socket.close()


def test_the_beat_goes_out_and_taps_come_in(tmp_path: Path) -> None:
    ear = Ear()
    try:
        flags = [f'transport.osc_out=["127.0.0.1:{ear.port}"]', 'osc.grants=["/transport/tap", "/transport/playing"]']
        with daemon(tmp_path, flags=flags) as running, Client(home=tmp_path) as client:
            host, _, port = running.endpoints["osc"].rpartition(":")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
                out.connect((host, int(port)))
                client.set_tempo(240.0)
                out.send(encode("/lightfast/transport/playing", True))
                ear.wait("playing", 1)
                ear.wait("beat", 3)
                assert ear.values("tempo")[-1] == pytest.approx(240.0)
                beats = [value for value in ear.values("beat") if isinstance(value, int)]
                assert beats == sorted(beats)
                assert set(range(beats[-1])) <= set(beats)
                for _ in range(5):
                    out.send(encode("/lightfast/transport/tap", 1))
                    time.sleep(0.2)
                deadline = time.monotonic() + 10
                while client.get_transport().tempo == 240.0:
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
                out.send(encode("/lightfast/transport/tempo", 90.0))  # not granted
                out.send(encode("/lightfast/transport/playing", False))
                ear.wait("playing", 0)
                assert client.get_transport().tempo != 90.0
    finally:
        ear.close()
