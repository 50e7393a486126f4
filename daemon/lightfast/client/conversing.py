"""The front desk, for both clients: say something, and hear what comes of it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

from lightfast.api.v1 import desk_pb2 as pb
from lightfast.api.v1 import desk_pb2_grpc
from lightfast.client.errors import Source

if TYPE_CHECKING:
    from lightfast.client.aio import AsyncClient

T = TypeVar("T")


class DeskCalls:
    """Methods of `AsyncClient`. A line is plain words, or coded: `lightfast say --grammar` shows how."""

    channel: Any
    metadata: Any

    async def call(self, method: Any, request: Any, timeout: float | None = None) -> Any:
        """Make one unary call."""
        raise NotImplementedError

    def messages(self, start: Callable[[], Any]) -> Any:
        """Yield the messages of a streaming call."""
        raise NotImplementedError

    @property
    def desk(self) -> desk_pb2_grpc.DeskServiceStub:
        """Return the stub."""
        return desk_pb2_grpc.DeskServiceStub(self.channel)

    async def say(self, line: str, *, project: str = "", request_id: str | None = None) -> pb.SayResponse:
        """Say one line; what was taken survives a crash when this returns. A bad line is answered by `er:…`."""
        request = pb.SayRequest(
            line=line, project=project, request_id=uuid.uuid4().hex if request_id is None else request_id
        )
        return await self.call(self.desk.Say, request)  # type: ignore[no-any-return]

    async def converse(
        self, lines: AsyncIterable[str], *, project: str = "", after: int | None = None
    ) -> AsyncIterator[pb.ConverseResponse]:
        """Say *lines* as they come, and yield acknowledgements and events.

        It ends when the lines have ended and all they started is over. With *after*, the number of the last event that
        is known, all later events are told, too, and it goes on until it is closed.
        """

        async def requests() -> AsyncIterator[pb.ConverseRequest]:
            if after is not None:
                yield pb.ConverseRequest(after_sequence=after, project=project)
            async for line in lines:
                yield pb.ConverseRequest(line=line, project=project, request_id=uuid.uuid4().hex)

        source = Source(requests())
        said = self.messages(lambda: self.desk.Converse(source.each(), metadata=self.metadata))
        with source.told():
            async with aclosing(said) as found:
                async for message in found:
                    yield message

    async def suggest_next(self, limit: int = 3) -> list[pb.Suggestion]:
        """Return what may come next, the likeliest first."""
        response = await self.call(self.desk.SuggestNext, pb.SuggestNextRequest(limit=limit))
        return list(response.suggestions)


class BlockingDeskCalls:
    """The same methods, blocking; see `DeskCalls`."""

    aio: AsyncClient

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        raise NotImplementedError

    def _iterate(self, source: AsyncIterator[T]) -> Iterator[T]:
        raise NotImplementedError

    def say(self, line: str, **options: Any) -> pb.SayResponse:
        """Say one line."""
        return self._run(self.aio.say(line, **options))

    def converse(self, lines: Iterable[str], **options: Any) -> Iterator[pb.ConverseResponse]:
        """Say *lines*, which are read at once, and yield acknowledgements and events until all is over."""
        said = list(lines)

        async def each() -> AsyncIterator[str]:
            for line in said:
                yield line

        return self._iterate(self.aio.converse(each(), **options))

    def suggest_next(self, limit: int = 3) -> list[pb.Suggestion]:
        """Return what may come next."""
        return self._run(self.aio.suggest_next(limit))
