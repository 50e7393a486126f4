"""OSC ingest against python-osc: messages per second of processor time, and the loss at 100,000 a second."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from functools import partial

from tests.bench.measure import Peer, Row, Watch, compare, interleave, single
from tests.bench.world import World

from lightfast.core.osc_build import encode

DATAGRAMS = [encode(f"/bench/fader/{index}/value", 0.5) for index in range(100)]


def send(port: int, rate: int, seconds: float, datagrams: Sequence[bytes] = DATAGRAMS) -> int:
    """Send at a steady rate in bursts of a millisecond; return how many were sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        burst, sent, number = rate // 1000, 0, 0
        began = time.perf_counter()
        while (now := time.perf_counter() - began) < seconds:
            while sent < min(now * rate, seconds * rate):
                for _ in range(burst):
                    sock.send(datagrams[number % len(datagrams)])
                    number += 1
                sent += burst
            time.sleep(0.0002)
    return sent


async def settled(peer: Peer) -> int:
    """Return the count once it stands still."""
    before = -1
    while (now := int(peer.ask("count"))) != before:
        before = now
        await asyncio.sleep(0.2)
    return now


async def run(world: World, pairs: int) -> list[Row]:
    """Measure at a rate both can take, then at 100,000 a second."""
    rows = []
    peers = {mode: Peer("osc_server", mode) for mode in ("socket", "door", "python-osc")}
    try:

        async def capacity(mode: str) -> float:
            peer = peers[mode]
            before = await settled(peer)
            watch = Watch(peer.pid)
            await asyncio.to_thread(send, int(peer.words[0]), 40_000, 0.5)
            return (await settled(peer) - before) / watch.cpu_used()

        for mode, least, what in (
            ("socket", 3.0, "up to a handler, as python-osc"),
            ("door", 0.0, "into the store, with grants, ranges, rates and the feed"),
        ):
            found = await interleave(pairs, partial(capacity, mode), partial(capacity, "python-osc"))
            rows.append(compare(f"OSC ingest against python-osc, {what}", found, "messages/CPU-s", least=least))
        for mode in ("door", "python-osc"):
            before = await settled(peers[mode])
            sent = await asyncio.to_thread(send, int(peers[mode].words[0]), 100_000, 2.0)
            lost = sent - (await settled(peers[mode]) - before)
            name = f"OSC loss at 100,000 messages/s, {'ours into the store' if mode == 'door' else mode}"
            rows.append(single(name, float(lost), "messages", note=f"of {sent:,}"))
    finally:
        for peer in peers.values():
            peer.close()
    return rows
