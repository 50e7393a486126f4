"""A real Pd with a patch of the tests', the hand that turns its sliders, and a stand-in that speaks as the patch does."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.ports import free_port

from lightfast.sdk import Simulator
from lightfast.sdk.osc import decode, encode
from lightfast_bridges.puredata.pack import abstractions_folder

INSTALL = "apt-get install --no-install-recommends puredata-core"
PATCH = r"""#N canvas 0 0 700 500 10;
#X obj 20 20 lightfast NAME PORT;
#X obj 20 200 lightfast-param osc/freq 20 2000 440 0 Hz;
#X obj 320 200 lightfast-param gain 0 0 0.5;
#X obj 420 200 lightfast-symbol label hello;
#X obj 520 200 lightfast-bang go;
#X obj 20 150 hsl 128 15 20 2000 0 0 empty empty empty -2 -8 0 10 #fcfcfc #000000 #000000 0 1;
#X obj 20 50 netreceive -u -b HAND 127.0.0.1;
#X obj 20 75 oscparse;
#X obj 20 100 list trim;
#X obj 20 125 route hand;
#X obj 120 125 route freq gain label ask crash;
#X obj 300 150 t b b b b;
#X obj 20 300 f;
#X obj 320 300 f;
#X obj 420 300 symbol;
#X obj 520 300 f;
#X obj 520 250 + 1;
#X obj 20 340 oscformat hand freq;
#X obj 320 340 oscformat hand gain;
#X obj 420 340 oscformat hand label;
#X obj 520 340 oscformat hand bangs;
#X obj 20 400 list prepend send;
#X obj 20 425 list trim;
#X obj 420 150 list prepend symbol;
#X obj 420 175 list trim;
#X obj 560 275 f;
#X obj 480 275 t b;
#X obj 20 460 netsend -u -b;
#X obj 220 430 loadbang;
#X msg 220 460 connect 127.0.0.1 BACK;
#X connect 6 0 7 0;
#X connect 7 0 8 0;
#X connect 8 0 9 0;
#X connect 9 0 10 0;
#X connect 10 0 5 0;
#X connect 5 0 1 0;
#X connect 1 1 5 0;
#X connect 1 0 12 1;
#X connect 10 1 2 0;
#X connect 2 0 13 1;
#X connect 10 2 23 0;
#X connect 23 0 24 0;
#X connect 24 0 3 0;
#X connect 3 0 14 1;
#X connect 4 0 26 0;
#X connect 26 0 15 0;
#X connect 15 0 16 0;
#X connect 16 0 15 1;
#X connect 10 3 11 0;
#X connect 11 3 12 0;
#X connect 11 2 13 0;
#X connect 11 1 14 0;
#X connect 16 0 25 1;
#X connect 11 0 25 0;
#X connect 25 0 20 0;
#X connect 12 0 17 0;
#X connect 13 0 18 0;
#X connect 14 0 19 0;
#X connect 17 0 21 0;
#X connect 18 0 21 0;
#X connect 19 0 21 0;
#X connect 20 0 21 0;
#X connect 21 0 22 0;
#X connect 22 0 27 0;
#X connect 28 0 29 0;
#X connect 29 0 27 0;
"""


class Pd:
    """A real Pd with the patch open. *hand* goes around the bridge: it turns sliders and reads what came out."""

    patch = PATCH

    def __init__(self, folder: Path, listen: int, name: str = "drone") -> None:
        self.folder, self.listen, self.name = folder, listen, name
        self.hand_port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder / f"pd-{name}.log"
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))

    def start(self) -> None:
        """Start it; skip the test where it is missing."""
        if shutil.which("pd") is None:
            pytest.skip(f"no Pure Data here: {INSTALL}")
        text = (
            self.patch.replace("NAME", self.name).replace("PORT", str(self.listen)).replace("HAND", str(self.hand_port))
        )
        text = text.replace("BACK", str(self._socket.getsockname()[1]))
        patch = self.folder / f"{self.name}-patch.pd"
        patch.write_text(text, encoding="utf-8")
        line = ["pd", "-nogui", "-noaudio", "-nomidi", "-nrt", "-noprefs", "-stderr"]
        line += ["-path", str(abstractions_folder()), "-open", str(patch)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(60)
            self.process = None

    def close(self) -> None:
        """End it, and let go of the hand."""
        self.kill()
        self._socket.close()

    def turn(self, what: str, value: float | str) -> None:
        """Turn something in the patch, as its user does."""
        self._socket.sendto(encode(f"/hand/{what}", value), ("127.0.0.1", self.hand_port))

    def _empty(self) -> None:
        """Drop answers to earlier questions."""
        self._socket.setblocking(False)
        for _ in range(1000):
            try:
                self._socket.recv(65_536)
            except BlockingIOError:
                return

    def read(self, within: float = 60.0) -> dict[str, Any]:
        """Return what left the outlets of the parameters last."""
        deadline = time.monotonic() + within
        self._empty()
        found: dict[str, Any] = {}
        while time.monotonic() < deadline and len(found) < 4:
            self._socket.sendto(encode("/hand/ask"), ("127.0.0.1", self.hand_port))
            self._socket.settimeout(0.3)
            try:
                for _ in range(4):
                    for address, _, arguments in decode(self._socket.recv(65_536)):
                        found[address.rpartition("/")[2]] = arguments[0]
            except (TimeoutError, ConnectionError):
                continue
        assert len(found) == 4, f"the patch does not answer:\n{self.log.read_text(encoding='utf-8')[-2000:]}"
        return found


class FakePd(Simulator):
    """Speaks as the abstractions do, to the port *reply_port* of a bridge; it can be made to misbehave."""

    name = "puredata"
    description = "The abstractions of a patch, for the tests."
    default_listen = ("127.0.0.1", 0)

    def __init__(self, patch: str = "drone") -> None:
        self.patch = patch
        self.values: dict[str, float | str] = {"osc/freq": 440.0, "label": "hello"}
        self.deaf: set[str] = set()
        """Parameters whose messages get lost, each once."""
        self.stubborn: set[str] = set()
        self.mute = False
        self.version = 1.0
        self.port = 0
        self.heard: list[tuple[str, tuple[Any, ...]]] = []
        self.transport: Any = None

    async def run(self, listen: tuple[str, int], reply_port: int, ready: Callable[[tuple[str, int]], None]) -> None:
        fake = self
        loop = asyncio.get_running_loop()

        class Protocol(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
                for address, _, arguments in decode(data):
                    fake.take(address, tuple(arguments))

            def error_received(self, exc: Exception) -> None: ...

        self.transport, _ = await loop.create_datagram_endpoint(
            Protocol, local_addr=listen, remote_addr=("127.0.0.1", reply_port)
        )
        self.port = self.transport.get_extra_info("sockname")[1]
        ready(("127.0.0.1", self.port))
        try:
            while True:
                if not self.heard or self.heard[-1][0] == "/quiet":
                    self.say("hello", self.version, self.patch)
                await asyncio.sleep(0.1)
        finally:
            self.transport.close()

    def say(self, what: str, *arguments: Any) -> None:
        """Send one message to the bridge."""
        if not self.mute:
            self.transport.sendto(encode(f"/lightfast/{what}", *arguments))

    def take(self, address: str, arguments: tuple[Any, ...]) -> None:
        """Take one message of the bridge."""
        self.heard.append((address, arguments))
        if address == "/lightfast/ping":
            self.say("pong", *arguments)
        elif address == "/lightfast/query":
            for name, value in self.values.items():
                if isinstance(value, str):
                    self.say("param", name, "symbol", value)
                else:
                    self.say("param", name, "float", value, 20.0, 2000.0, "Hz")
            self.say("param", "go", "bang")
            self.say("listed", *arguments)
        elif address == "/lightfast/set" and arguments[0] in self.deaf:
            self.deaf.discard(arguments[0])
        elif address == "/lightfast/set":
            if arguments[0] not in self.stubborn:
                self.values[arguments[0]] = arguments[1]
            self.say("value", arguments[0], self.values[arguments[0]])
        elif address == "/lightfast/trigger" and arguments[0] == "go":
            self.say("done", "go")
