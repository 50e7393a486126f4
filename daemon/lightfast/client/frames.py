"""Frames of the archive, for both clients."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from lightfast.api.v1 import memory_pb2 as pb
from lightfast.api.v1 import memory_pb2_grpc
from lightfast.api.values import set_time, to_message
from lightfast_link.value import Value

if TYPE_CHECKING:
    from lightfast.client.aio import AsyncClient

T = TypeVar("T")

_MATCHES = {"all": pb.FRAME_MATCH_ALL, "any": pb.FRAME_MATCH_ANY, "phrase": pb.FRAME_MATCH_PHRASE}


class FrameCalls:
    """Methods of `AsyncClient`. All times are in nanoseconds since 1970; the archive keeps whole milliseconds."""

    channel: Any
    metadata: Any

    async def call(self, method: Any, request: Any, timeout: float | None = None) -> Any:
        """Make one unary call."""
        raise NotImplementedError

    def messages(self, start: Callable[[], Any]) -> AsyncGenerator[Any, None]:
        """Yield the messages of a streaming call."""
        raise NotImplementedError

    async def append_frames(
        self, *frames: pb.NewFrame | str | bytes, request_id: str | None = None, timeout: float | None = None
    ) -> list[str]:
        """Append frames (see `frame`), or notes given by their content; returns their ids when they are durable."""
        request = pb.AppendFramesRequest(
            frames=[one if isinstance(one, pb.NewFrame) else frame(one) for one in frames],
            request_id=uuid.uuid4().hex if request_id is None else request_id,
        )
        response = await self.call(memory_pb2_grpc.MemoryServiceStub(self.channel).AppendFrames, request, timeout)
        return list(response.frame_ids)

    async def get_frames(self, frame_ids: Sequence[str]) -> pb.GetFramesResponse:
        """Return frames by their ids, and why those that are missing cannot be had; at most 1,000 at once."""
        request = pb.GetFramesRequest(frame_ids=frame_ids)
        return await self.call(memory_pb2_grpc.MemoryServiceStub(self.channel).GetFrames, request)  # type: ignore[no-any-return]

    async def search_frames(
        self,
        query: str = "",
        *,
        match: str = "all",
        relevance: bool = False,
        kinds: Iterable[str] = (),
        after_ns: int | None = None,
        before_ns: int | None = None,
        limit: int = 20,
        ids_only: bool = False,
        timeout: float = 60.0,
    ) -> AsyncIterator[pb.SearchFramesResponse.Hit]:
        """Yield frames as they are found, the newest first, or the most *relevant* first.

        *match* is `all` of the words, `any` of them, or `phrase`. End the iteration to stop the search.
        """
        request = pb.SearchFramesRequest(
            query=query,
            match=_MATCHES[match],
            ranking=pb.RANKING_RELEVANCE if relevance else pb.RANKING_NEWEST,
            kinds=kinds,
            limit=limit,
            ids_only=ids_only,
        )
        if after_ns is not None:
            set_time(request.after, after_ns)
        if before_ns is not None:
            set_time(request.before, before_ns)
        stub = memory_pb2_grpc.MemoryServiceStub(self.channel)
        start = partial(stub.SearchFrames, request, metadata=self.metadata, timeout=timeout)
        async with aclosing(self.messages(start)) as messages:
            async for message in messages:
                for hit in message.hits:
                    yield hit

    async def clusters(self, frame_id: str = "", page_size: int = 100) -> pb.ListClustersResponse:
        """Return the largest clusters of frames; with *frame_id* its cluster, and what it has to do with."""
        request = pb.ListClustersRequest(frame_id=frame_id, page_size=page_size)
        return await self.call(memory_pb2_grpc.MemoryServiceStub(self.channel).ListClusters, request)  # type: ignore[no-any-return]


class BlockingFrameCalls:
    """The same methods, blocking; see `FrameCalls`."""

    aio: AsyncClient

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        raise NotImplementedError

    def _iterate(self, source: AsyncIterator[T]) -> Iterator[T]:
        raise NotImplementedError

    def append_frames(
        self, *frames: pb.NewFrame | str | bytes, request_id: str | None = None, timeout: float | None = None
    ) -> list[str]:
        """Append frames, or notes given by their content; returns their ids when they are durable."""
        return self._run(self.aio.append_frames(*frames, request_id=request_id, timeout=timeout))

    def get_frames(self, frame_ids: Sequence[str]) -> pb.GetFramesResponse:
        """Return frames by their ids, and why those that are missing cannot be had."""
        return self._run(self.aio.get_frames(frame_ids))

    def clusters(self, frame_id: str = "", page_size: int = 100) -> pb.ListClustersResponse:
        """Return the largest clusters of frames, or that of one with what it has to do with."""
        return self._run(self.aio.clusters(frame_id, page_size))

    def search_frames(self, query: str = "", **options: Any) -> Iterator[pb.SearchFramesResponse.Hit]:
        """Yield frames as they are found."""
        return self._iterate(self.aio.search_frames(query, **options))


def frame(
    content: str | bytes,
    *,
    kind: str = "",
    time_ns: int | None = None,
    metadata: Mapping[str, Value] | None = None,
    private: bool = False,
) -> pb.NewFrame:
    """Return the message of a frame to append; without *time_ns* it happened now."""
    message = pb.NewFrame(kind=kind, private=private)
    if isinstance(content, bytes):
        message.data = content
    else:
        message.text = content
    if time_ns is not None:
        set_time(message.time, time_ns)
    for name, value in (metadata or {}).items():
        to_message(value, message.metadata[name])
    return message
