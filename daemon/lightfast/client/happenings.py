"""The events of the engine, for both clients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

from lightfast.api.v1 import events_pb2 as pb
from lightfast.api.v1 import events_pb2_grpc
from lightfast.client.resuming import resumed

if TYPE_CHECKING:
    from lightfast.client.aio import AsyncClient

T = TypeVar("T")


class EventCalls:
    """Methods of `AsyncClient`."""

    channel: Any
    metadata: Any
    _is_closed: bool

    async def call(self, method: Any, request: Any, timeout: float | None = None) -> Any:
        """Make one unary call."""
        raise NotImplementedError

    @property
    def event_log(self) -> events_pb2_grpc.EventServiceStub:
        """Return the stub."""
        return events_pb2_grpc.EventServiceStub(self.channel)

    async def events(
        self, *, after: int = 0, kinds: Sequence[str] = (), entity_id: str = "", limit: int = 1000
    ) -> list[pb.EngineEvent]:
        """Return at most *limit* kept events after the one numbered *after*, oldest first; *kinds* such as `run.*`."""
        request = pb.ListEventsRequest(after_sequence=after, kinds=kinds, entity_id=entity_id)
        found: list[pb.EngineEvent] = []
        while len(found) < limit:
            request.page_size = min(limit - len(found), 1000)
            response = await self.call(self.event_log.ListEvents, request)
            found += response.events
            if not response.next_page_token:
                break
            request.page_token = response.next_page_token
        return found

    async def watch_events(
        self,
        *,
        after: int | None = None,
        kinds: Sequence[str] = (),
        entity_id: str = "",
        give_up_after: float = 60.0,
    ) -> AsyncIterator[pb.EngineEvent]:
        """Yield events for ever, after the one numbered *after* (`None`: from now on).

        A broken connection is gone on with, without loss or doubles, until nothing has answered for *give_up_after*
        seconds. Raises `OutOfRange` where the events after that number are no longer kept.
        """
        request = pb.WatchEventsRequest(after_sequence=after, kinds=kinds, entity_id=entity_id)
        messages = resumed(
            lambda: self.event_log.WatchEvents(request, metadata=self.metadata),
            lambda: self._is_closed,
            give_up_after=give_up_after,
        )
        async with aclosing(messages):
            async for message in messages:
                for event in message.events:
                    yield event
                request.after_sequence, request.store_id = message.sequence, message.store_id


class BlockingEventCalls:
    """The same, blocking: methods of `Client`."""

    aio: AsyncClient

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        raise NotImplementedError

    def _iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        raise NotImplementedError

    def events(
        self, *, after: int = 0, kinds: Sequence[str] = (), entity_id: str = "", limit: int = 1000
    ) -> list[pb.EngineEvent]:
        """Return at most *limit* kept events after the one numbered *after*, oldest first; *kinds* such as `run.*`."""
        return self._run(self.aio.events(after=after, kinds=kinds, entity_id=entity_id, limit=limit))

    def watch_events(
        self,
        *,
        after: int | None = None,
        kinds: Sequence[str] = (),
        entity_id: str = "",
        give_up_after: float = 60.0,
    ) -> Iterator[pb.EngineEvent]:
        """Yield events for ever; see `AsyncClient.watch_events`."""
        return self._iterate(
            self.aio.watch_events(after=after, kinds=kinds, entity_id=entity_id, give_up_after=give_up_after)
        )
