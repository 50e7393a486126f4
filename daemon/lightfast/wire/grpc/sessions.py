"""Sessions with the providers: methods of GenerationService."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from lightfast.api.v1 import generation_pb2 as pb
from lightfast.core.errors import InvalidArgument, Unavailable
from lightfast.gateway.sessions.book import SessionBook
from lightfast.gateway.sessions.records import SessionRecord, SessionState
from lightfast.security.tokens import Scope
from lightfast.wire.grpc.services import OPERATE, WATCH, Caller, Services

_STATES = {state: pb.SessionState.Value(f"SESSION_STATE_{state.value}") for state in SessionState}


class SessionMethods:
    """Sessions with the providers: methods of GenerationService."""

    SCOPES: ClassVar[Mapping[str, Scope | None]] = {
        "ListSessions": WATCH,
        "CheckProvider": OPERATE,
    }
    ONCE: ClassVar[frozenset[str]] = frozenset()
    LOCKED: ClassVar[Mapping[str, str]] = {}

    def __init__(self, services: Services) -> None:
        self._services = services

    async def ListSessions(self, request: pb.ListSessionsRequest, caller: Caller) -> pb.ListSessionsResponse:
        """List the sessions, by provider and account."""
        gateway = self._services.gateway
        names = [request.provider] if request.provider else [each.name for each in gateway.catalog.all()]
        return pb.ListSessionsResponse(sessions=_messages(self._book().records(names)))

    async def CheckProvider(self, request: pb.CheckProviderRequest, caller: Caller) -> pb.CheckProviderResponse:
        """Look for the keys anew, and ask the provider with each account."""
        if not request.provider:
            raise InvalidArgument("name the provider to check: see 'lightfast providers'", field="provider")
        if not self._services.gateway.catalog.has(request.provider) and self._services.gateway.settled is not None:
            await self._services.gateway.settled()  # its plugin may still be on its way
        return pb.CheckProviderResponse(sessions=_messages(await self._book().check(request.provider)))

    def _book(self) -> SessionBook:
        book = self._services.gateway.sessions
        if not isinstance(book, SessionBook):
            raise Unavailable("this daemon keeps no sessions with providers", reason="NO_SESSIONS")
        return book


def _messages(records: Sequence[SessionRecord]) -> list[pb.Session]:
    return [_message(record) for record in records]


def _message(record: SessionRecord) -> pb.Session:
    message = pb.Session(
        provider=record.provider,
        account=record.account,
        state=_STATES[record.state],
        reason=record.reason,
        key_source=record.key_source,
        base_url=record.base_url,
        tier=record.tier,
        limits=[
            pb.Limit(
                kind=limit.kind,
                window_s=limit.window,
                limit=limit.limit,
                remaining=limit.remaining,
                source=limit.source,
            )
            for limit in record.limits
        ],
        balance=record.balance,
        balance_unit=record.balance_unit,
        requests=record.requests,
        failures=record.failures,
    )
    if record.expire_time:
        message.expire_time.FromNanoseconds(record.expire_time)
    if record.requests > record.failures:
        message.latency.FromNanoseconds(round(record.latency * 1e9))
    return message
