"""Programs that sit where a bridge looks for its application: left in peace, and not taken for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
from tests.support.ending import ended

from lightfast.sdk import Bridge
from lightfast.sdk.osc import decode
from lightfast.sdk.testing import FakeBridgeHost
from lightfast_bridges.ardour.bridge import ArdourBridge
from lightfast_bridges.hydrogen.bridge import HydrogenBridge
from lightfast_bridges.supercollider.bridge import SuperColliderBridge

Answer = Callable[[bytes], bytes | None]
BRIDGES: Mapping[str, Callable[[], Bridge]] = {
    "ardour": ArdourBridge,
    "hydrogen": HydrogenBridge,
    "supercollider": SuperColliderBridge,
}
HARMLESS = {
    "ardour": {"/set_surface/port", "/set_surface"},
    "hydrogen": {"/Hydrogen/LIGHTFAST"},
    "supercollider": {"/status"},
}
"""All that may be said to a program that has not shown what it is: questions, and what no program acts on."""
STRANGERS: Mapping[str, Answer] = {
    "silent": lambda _: None,
    "an echo": lambda said: said,
    "garbage": lambda _: b"\xff\0garbage",
    "an empty bundle": lambda _: b"#bundle\0" + bytes(8),
}


class Stranger(asyncio.DatagramProtocol):
    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.heard: list[str] = []
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.heard += [message.address for message in decode(data)]
        if (answer := self.answer(data)) is not None:
            self.transport.sendto(answer, addr)


@contextlib.asynccontextmanager
async def beside(kind: str, answer: Answer) -> AsyncIterator[tuple[FakeBridgeHost, Stranger, asyncio.Task[None]]]:
    loop = asyncio.get_running_loop()
    transport, stranger = await loop.create_datagram_endpoint(lambda: Stranger(answer), local_addr=("127.0.0.1", 0))
    host = FakeBridgeHost({"remote": f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"})
    task = asyncio.ensure_future(BRIDGES[kind]().run(host))
    try:
        yield host, stranger, task
    finally:
        await ended(task, "the bridge")
        host.close()
        transport.close()


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("kind", BRIDGES)
async def test_a_stranger_is_left_in_peace(kind: str, stranger: str) -> None:
    async with beside(kind, STRANGERS[stranger]) as (host, program, task):
        await host.until(lambda: host.absences or host.sessions or task.done(), "word of it")
        for _ in range(100):  # it looks again
            if len(program.heard) > 2 * len(HARMLESS[kind]) or task.done():
                break
            await asyncio.sleep(0.1)
        assert not task.done()
        assert host.sessions == []
        assert set(program.heard) <= HARMLESS[kind]
        assert len(program.heard) < 30
