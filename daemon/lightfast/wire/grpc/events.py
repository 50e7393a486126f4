"""EventService: what happened in the engine."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import ClassVar

from google.protobuf.descriptor import ServiceDescriptor

from lightfast.api.v1 import events_pb2 as pb
from lightfast.core.errors import InvalidArgument
from lightfast.engine.events.log import EventLog
from lightfast.engine.events.records import Event, wanted
from lightfast.security.tokens import Scope
from lightfast.wire.grpc.convert import put_time
from lightfast.wire.grpc.services import WATCH, Caller, Services

PAGE = 100
MOST_PAGE = 1000


class EventService:
    """The methods of `lightfast.api.v1.EventService`."""

    DESCRIPTOR: ClassVar[ServiceDescriptor] = pb.DESCRIPTOR.services_by_name["EventService"]
    SCOPES: ClassVar[Mapping[str, Scope | None]] = {"WatchEvents": WATCH, "ListEvents": WATCH}
    ONCE: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, services: Services) -> None:
        self._services = services

    @property
    def _log(self) -> EventLog:
        return self._services.computer().events

    async def WatchEvents(
        self, request: pb.WatchEventsRequest, caller: Caller
    ) -> AsyncGenerator[pb.WatchEventsResponse, None]:
        """Send events as they are committed."""
        log = self._log
        after = request.after_sequence if request.HasField("after_sequence") else None
        found = log.watch(wanted(request.kinds, request.entity_id), after, request.store_id, guest=True)
        async with aclosing(found) as batches:
            async for events, reached in batches:
                response = pb.WatchEventsResponse(sequence=reached, store_id=log.store_id)
                for event in events:
                    put_event(response.events.add(), event)
                yield response

    async def ListEvents(self, request: pb.ListEventsRequest, caller: Caller) -> pb.ListEventsResponse:
        """List kept events."""
        log = self._log
        after = request.after_sequence
        if token := request.page_token:
            if not token.isdecimal() or len(token) > 18:
                raise InvalidArgument("the page token is not one of ours: leave it out to begin", field="page_token")
            after = int(token)
        size = min(request.page_size or PAGE, MOST_PAGE)
        if size < 0 or after < 0:
            raise InvalidArgument("page_size and after_sequence are 0 or more", field="page_size")
        events = await log.page(after, wanted(request.kinds, request.entity_id), size)
        response = pb.ListEventsResponse(oldest_sequence=log.oldest)
        for event in events:
            put_event(response.events.add(), event)
        if len(events) == size:
            response.next_page_token = str(events[-1].sequence)
        return response


def put_event(message: pb.EngineEvent, event: Event) -> None:
    """Write *event* into an empty *message*."""
    message.sequence = event.sequence
    message.kind = event.kind
    message.entity_kind = event.entity_kind
    message.entity_id = event.entity_id
    message.payload = json.dumps(event.payload, separators=(",", ":"), ensure_ascii=False)
    put_time(message.time, event.time)
