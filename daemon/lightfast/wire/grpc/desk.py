"""DeskService: lines in, coded events out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import ClassVar

from google.protobuf.descriptor import ServiceDescriptor

from lightfast.api.v1 import desk_pb2 as pb
from lightfast.core.errors import InvalidArgument, LightfastError
from lightfast.core.tasks import TaskGroup
from lightfast.engine.desk.conversation import Conversation
from lightfast.engine.desk.desk import Desk
from lightfast.engine.desk.records import Reply
from lightfast.security.tokens import Scope
from lightfast.wire.grpc.run_messages import asker_of
from lightfast.wire.grpc.services import OPERATE, WATCH, Caller, Services

MOST_SUGGESTED = 20


class DeskService:
    """The methods of `lightfast.api.v1.DeskService`. Request ids are honored by the desk, in its own unit of work."""

    DESCRIPTOR: ClassVar[ServiceDescriptor] = pb.DESCRIPTOR.services_by_name["DeskService"]
    SCOPES: ClassVar[Mapping[str, Scope | None]] = {"Converse": OPERATE, "Say": OPERATE, "SuggestNext": WATCH}
    ONCE: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, services: Services) -> None:
        self._services = services

    @property
    def _desk(self) -> Desk:
        return self._services.computer().desk

    async def Converse(
        self, requests: AsyncIterator[pb.ConverseRequest], caller: Caller
    ) -> AsyncGenerator[pb.ConverseResponse, None]:
        """Take lines and send their acknowledgements and events."""
        desk = self._desk
        first = await anext(aiter(requests), None)
        if first is None:
            return
        after = first.after_sequence if first.HasField("after_sequence") else None
        conversation = desk.converse(asker_of(caller), caller.principal.origin, after=after)
        async with TaskGroup("converse") as tasks:
            try:
                tasks.start(_hear(conversation, first, requests), "hear")
                async with aclosing(conversation.replies()) as replies:  # type: ignore[type-var]
                    async for reply in replies:
                        yield _message(reply)
            finally:
                await conversation.close()

    async def Say(self, request: pb.SayRequest, caller: Caller) -> pb.SayResponse:
        """Take one line and return its acknowledgement."""
        ack = await self._desk.say(
            request.line,
            asker_of(caller),
            caller.principal.origin,
            request_id=request.request_id,
            project=request.project,
        )
        return pb.SayResponse(
            line=ack.line,
            job=ack.job,
            text=ack.text,
            command=ack.command,
            confidence=ack.confidence,
            next_steps=ack.next_steps,
        )

    async def SuggestNext(self, request: pb.SuggestNextRequest, caller: Caller) -> pb.SuggestNextResponse:
        """Suggest what may come next."""
        if not 0 <= request.limit <= MOST_SUGGESTED:
            raise InvalidArgument(f"limit is {request.limit}: ask for 1 to {MOST_SUGGESTED}", field="limit")
        found = self._desk.suggest(caller.principal.origin, request.limit)
        return pb.SuggestNextResponse(
            suggestions=[pb.Suggestion(line=each.line, score=each.score, reason=each.reason) for each in found]
        )


async def _hear(
    conversation: Conversation, first: pb.ConverseRequest, requests: AsyncIterator[pb.ConverseRequest]
) -> None:
    """Answer line after line; a first request without a line only says what is to be told."""
    try:
        if first.line or not first.HasField("after_sequence"):
            await conversation.hear(first.line, first.request_id, first.project)
        async for request in requests:
            if request.HasField("after_sequence"):
                raise InvalidArgument("after_sequence is sent once, with the first line", field="after_sequence")
            await conversation.hear(request.line, request.request_id, request.project)
    except LightfastError as error:
        conversation.fail(error)
    finally:
        conversation.finish()


def _message(reply: Reply) -> pb.ConverseResponse:
    return pb.ConverseResponse(
        line=reply.line,
        request_id=reply.request_id,
        text=reply.text,
        job=reply.job,
        command=reply.command,
        delta=reply.delta,
        confidence=reply.confidence,
        next_steps=reply.next_steps,
        sequence=reply.sequence,
    )
