"""So many gRPC watchers in one process, each on its own connection; answers `count` and `latency`."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections import defaultdict

from grpc import aio

from lightfast.api.v1 import context_pb2


class Watchers:
    """Counts events; for a state event whose value is a send time, the delay of the slowest watcher."""

    def __init__(self) -> None:
        self.events = 0
        self.messages = 0
        self.delays: dict[int, float] = defaultdict(float)

    async def one(self, address: str, token: str, pattern: str, started: asyncio.Semaphore) -> None:
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 64 << 20))
        async with aio.insecure_channel(address, options=options) as channel:
            method = channel.unary_stream(
                "/lightfast.api.v1.ContextService/Watch",
                request_serializer=context_pb2.WatchRequest.SerializeToString,
                response_deserializer=context_pb2.WatchResponse.FromString,
            )
            request = context_pb2.WatchRequest(patterns=[pattern], include_snapshot=True)
            async for message in method(request, metadata=(("authorization", f"Bearer {token}"),)):
                if message.synced:
                    started.release()
                    continue
                self.messages += 1
                self.events += len(message.events)
                for event in message.events:
                    if event.entry.revision:
                        delay = time.monotonic() - event.entry.value.double_value
                        self.delays[event.entry.revision] = max(self.delays[event.entry.revision], delay)


async def main(address: str, token: str, pattern: str, number: int) -> None:
    watchers = Watchers()
    started = asyncio.Semaphore(0)
    tasks = [asyncio.create_task(watchers.one(address, token, pattern, started)) for _ in range(number)]
    for _ in range(number):
        await asyncio.wait_for(started.acquire(), 30)
    print("ready", flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode().strip():
        if line == "count":
            print(watchers.events, watchers.messages, flush=True)
        elif line == "latency":
            delays = sorted(watchers.delays.values())
            watchers.delays.clear()
            print(len(delays), statistics.median(delays), delays[int(len(delays) * 0.99)], flush=True)
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
