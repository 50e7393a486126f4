"""Streams that may be asked for again by their request id."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, TypeVar

import msgspec
from google.protobuf.message import Message

from lightfast.core.errors import LightfastError
from lightfast.core.tasks import TaskGroup
from lightfast.storage.requests import Requests
from lightfast.wire.grpc.interceptors import digest
from lightfast.wire.grpc.services import Caller

M = TypeVar("M", bound=Message)

MAX_WAITING = 256
"""How many messages wait for a slow reader; beyond it, those that need not be kept are dropped."""


class Repeats:
    """Runs a stream once per request id; who asks again gets the messages that were kept, without the rest.

    With a request id the work goes on when the caller goes away, so that asking again meets the answer.
    """

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    async def stream(
        self,
        steps: AsyncIterator[M],
        request: Any,
        caller: Caller,
        method: str,
        keep: Callable[[M], bool],
    ) -> AsyncGenerator[bytes, None]:
        """Yield the serialized *steps*; those that *keep* picks out are the answer that is stored."""
        if not request.request_id:
            async with aclosing(steps):  # type: ignore[type-var]  # it is a generator
                async for step in steps:
                    yield step.SerializeToString()
            return
        live: deque[bytes] = deque()
        news = asyncio.Event()
        began = False

        async def act() -> bytes:
            nonlocal began
            began = True
            kept = []
            async with aclosing(steps):  # type: ignore[type-var]
                async for step in steps:
                    data = step.SerializeToString()
                    if keep(step):
                        kept.append(data)
                    elif len(live) >= MAX_WAITING:
                        continue
                    live.append(data)
                    news.set()
            return msgspec.msgpack.encode(kept)

        async def ask() -> bytes | LightfastError:
            try:
                return await self._requests.once(
                    caller.principal.origin, method, request.request_id, digest(request).encode(), act
                )
            except LightfastError as error:
                return error

        async with TaskGroup("repeat") as tasks:
            answer = tasks.start(ask(), method)
            answer.add_done_callback(lambda _: news.set())
            while True:
                while live:
                    yield live.popleft()
                if answer.done():
                    break
                await news.wait()
                news.clear()
            outcome = answer.result()
            if isinstance(outcome, LightfastError):
                raise outcome
            if not began:
                for data in msgspec.msgpack.decode(outcome, type=list[bytes]):
                    yield data
