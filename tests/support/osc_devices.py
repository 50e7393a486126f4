"""Small OSC devices on real UDP sockets, written after what the real ones do; they know nothing of maps."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

from tests.support.ports import free_port

from lightfast.core.osc import decode
from lightfast.core.osc_build import encode


class Device(asyncio.DatagramProtocol):
    """Listens on a port of its own and answers to a fixed port, as these applications do."""

    def __init__(self, reply_port: int) -> None:
        self.reply = ("127.0.0.1", reply_port)
        self.heard: list[tuple[str, tuple[Any, ...]]] = []
        self.port = free_port()  # it may stop and start again: nobody else is given it meanwhile
        self.transport: Any = None

    async def start(self) -> Self:
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", self.port))
        return self

    def stop(self) -> None:
        self.transport.close()

    def say(self, address: str, *arguments: Any) -> None:
        self.transport.sendto(encode(address, *arguments), self.reply)

    def datagram_received(self, data: bytes, address: Any) -> None:
        for name, _, arguments in decode(data):
            self.heard.append((name, arguments))
            self.take(name, arguments)

    def take(self, address: str, arguments: tuple[Any, ...]) -> None:
        """Do what the device does with a message."""


class Resolume(Device):
    """Fixed addresses, normalized floats; `?` is answered on the output port, a change is sent there, too."""

    def __init__(self, reply_port: int, layers: int = 3) -> None:
        super().__init__(reply_port)
        self.values: dict[str, Any] = {
            "/composition/master": 1.0,
            "/composition/video/opacity": 1.0,
            "/composition/crossfader/phase": 0.5,
            "/composition/tempocontroller/tempo": 100 / 480,
        }
        for layer in range(1, layers + 1):
            root = f"/composition/layers/{layer}"
            self.values |= {
                f"{root}/master": 1.0,
                f"{root}/video/opacity": 1.0,
                f"{root}/bypassed": 0,
                f"{root}/solo": 0,
            }
        self.connected: list[str] = []

    def take(self, address: str, arguments: tuple[Any, ...]) -> None:
        if address.endswith("/connect"):
            self.connected.append(address)
        elif address not in self.values:
            return
        elif arguments[:1] == ("?",):
            self.say(address, self.values[address])
        elif arguments and not isinstance(arguments[0], str):
            self.turn(address, arguments[0])

    def turn(self, address: str, value: Any) -> None:
        low, high = 0.0, 1.0
        kind = type(self.values[address])
        fitted = kind(min(high, max(low, value)))
        if fitted != self.values[address]:
            self.values[address] = fitted
            self.say(address, fitted)


class QLab(Device):
    """Answers every message with one JSON text at `/reply/…`; tells of changes once it was asked to."""

    def __init__(self, reply_port: int) -> None:
        super().__init__(reply_port)
        self.cues: dict[str, dict[str, Any]] = {
            number: {"name": f"Cue {number}", "armed": True, "preWait": 0.0, "isRunning": False, "sliderLevel/0": 0.0}
            for number in ("1", "2")
        }
        self.selected = "1"
        self.updates = False
        self.thumps = 0

    def answer(self, address: str, status: str, data: Any = None) -> None:
        found = {"workspace_id": "W1", "address": address, "status": status}
        if data is not None:
            found["data"] = data
        self.say("/reply" + address, json.dumps(found))

    def take(self, address: str, arguments: tuple[Any, ...]) -> None:
        parts = address.strip("/").split("/")
        if address == "/thump":
            self.thumps += 1
        elif address == "/updates":
            self.updates = bool(arguments and arguments[0])
            self.answer(address, "ok")
        elif address == "/version":
            self.answer(address, "ok", "5.4")
        elif address in ("/go", "/panic", "/stop", "/pause", "/resume"):
            self.answer(address, "ok")
        elif parts[0] == "cue" and len(parts) >= 3:
            self._cue(address, parts[1], "/".join(parts[2:]), arguments)
        else:
            self.answer(address, "error")

    def _cue(self, address: str, number: str, name: str, arguments: tuple[Any, ...]) -> None:
        cue = self.cues.get(self.selected if number == "selected" else number)
        if cue is None:
            self.answer(address, "error")
        elif name == "start":
            cue["isRunning"] = True
            self.answer(address, "ok")
            self.changed(number)
        elif name in ("number", "displayName"):
            self.answer(address, "ok", self.selected if name == "number" else cue["name"])
        elif name not in cue:
            self.answer(address, "error")
        elif not arguments:
            self.answer(address, "ok", cue[name])
        else:
            cue[name] = bool(arguments[0]) if name == "armed" else arguments[0]
            self.answer(address, "ok")
            self.changed(number)

    def changed(self, number: str) -> None:
        if self.updates:
            self.say(f"/update/workspace/W1/cue_id/ID{number}")


class Surface(Device):
    """Sends when it is touched, shows what it is sent, and says nothing else."""

    def __init__(self, reply_port: int) -> None:
        super().__init__(reply_port)
        self.shown: dict[str, tuple[Any, ...]] = {}

    def take(self, address: str, arguments: tuple[Any, ...]) -> None:
        self.shown[address] = arguments


@asynccontextmanager
async def running(device: Device) -> AsyncIterator[Any]:
    """Run *device* for the length of a block."""
    await device.start()
    try:
        yield device
    finally:
        device.stop()
