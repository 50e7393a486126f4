"""One OSC receiver: `socket` (ours, up to the handler), `door` (ours, into the store) or `python-osc`."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop

values: dict[str, float] = {}
received = 0


def take(address: str, value: float) -> None:
    global received  # noqa: PLW0603 - the one number this process is for
    received += 1
    values[address] = value


async def python_osc() -> tuple[int, Callable[[], int]]:
    from pythonosc.dispatcher import Dispatcher
    from pythonosc.osc_server import AsyncIOOSCUDPServer

    dispatcher = Dispatcher()
    dispatcher.map("/bench/*", take)
    loop: Any = asyncio.get_running_loop()
    transport, _ = await AsyncIOOSCUDPServer(("127.0.0.1", 0), dispatcher, loop).create_serve_endpoint()
    return transport.get_extra_info("sockname")[1], lambda: received


async def ours_socket() -> tuple[int, Callable[[], int]]:
    from lightfast.core.osc import Decoder
    from lightfast.wire.osc.socket import UdpSocket

    decode = Decoder().decode

    def receive(batch: list[Any]) -> None:
        for data, _ in batch:
            for message in decode(data):
                take(message.address, message.args[0])

    sock = await UdpSocket.open(("127.0.0.1", 0), receive)
    return sock.address[1], lambda: received


async def ours_door(folder: Path) -> tuple[int, Callable[[], int]]:
    from lightfast.context.entry import Declaration
    from lightfast.context.store import Store
    from lightfast.context.watch import Bus
    from lightfast.core.clock import SYSTEM
    from lightfast.storage.database import Database
    from lightfast.wire.osc.door import OscDoor

    db = await Database.open(folder / "osc.db", clock=SYSTEM)
    store = await Store.open(db, clock=SYSTEM, bus=Bus(db.store_id))
    await store.declare([Declaration("/bench//", signal=True)], [], owner="bench")
    door = OscDoor(store, listen="127.0.0.1:0", grants=["/bench//"], rate=1e9, burst=1e9)
    address = await door.start()
    return int(address.rpartition(":")[2]), lambda: door.counts["accepted"]


async def main(mode: str, folder: Path) -> None:
    port, count = await {"python-osc": python_osc, "socket": ours_socket}.get(mode, lambda: ours_door(folder))()
    print("ready", port, flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.readline():
        print(count(), flush=True)


if __name__ == "__main__":
    with (
        tempfile.TemporaryDirectory(prefix="lf-") as home,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(main(sys.argv[1], Path(home)))
