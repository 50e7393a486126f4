"""The real store, bus and PUB plane in one process, fed through a PULL socket: `FOLDER joined|single`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec
import uvloop
import zmq

from lightfast.context.entry import Declaration, Set
from lightfast.context.store import Store
from lightfast.context.watch import Bus
from lightfast.core.clock import SYSTEM
from lightfast.storage.database import Database
from lightfast.wire.zmq.publisher import Publisher, make_publisher


async def serve(folder: Path, *, per_update: bool) -> None:
    db = await Database.open(folder / "plane.db", clock=SYSTEM)
    bus = Bus(db.store_id)
    store = await Store.open(db, clock=SYSTEM, bus=bus)
    await store.declare([Declaration("/bench//", signal=True)], [], owner="bench")
    context = zmq.Context()
    sock = make_publisher(context)
    sock.bind(f"ipc://{folder}/pub")
    publisher = Publisher(sock, db.store_id, per_update=per_update)
    bus.listen(["//"], publisher.publish)
    feed = context.socket(zmq.PULL)
    feed.bind(f"ipc://{folder}/feed")
    decode = msgspec.msgpack.Decoder(list[tuple[str, float]]).decode

    def drain() -> None:
        try:
            while True:
                store.publish([Set(path, value) for path, value in decode(feed.recv(zmq.NOBLOCK))], origin="bench")
        except zmq.Again:
            pass

    asyncio.get_running_loop().add_reader(int(feed.getsockopt(zmq.FD)), drain)
    print("ready", flush=True)
    while True:
        drain()  # the descriptor is edge-triggered: a wake-up that was missed is made up for here
        await asyncio.sleep(0.001)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(Path(sys.argv[1]), per_update=sys.argv[2] == "single"))
