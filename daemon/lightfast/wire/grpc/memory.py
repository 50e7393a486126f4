"""Facts, notes and relations: methods of MemoryService."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from lightfast.api.v1 import memory_pb2 as pb
from lightfast.context.memory.port import TemporalMemory
from lightfast.context.records import RequestKey
from lightfast.core.errors import Unavailable
from lightfast.security.tokens import Scope
from lightfast.wire.grpc import memory_messages as messages
from lightfast.wire.grpc.interceptors import digest
from lightfast.wire.grpc.services import OPERATE, WATCH, Caller, Services


class MemoryMethods:
    """Facts, notes and relations: methods of MemoryService. Request ids are honoured below, in the same transaction."""

    SCOPES: ClassVar[Mapping[str, Scope | None]] = {
        "Remember": OPERATE,
        "Recall": WATCH,
        "Relate": OPERATE,
        "Forget": OPERATE,
        "GetMemory": WATCH,
        "ListMemories": WATCH,
    }
    ONCE: ClassVar[frozenset[str]] = frozenset()
    LOCKED: ClassVar[Mapping[str, str]] = {}

    def __init__(self, services: Services) -> None:
        self._services = services

    @property
    def _memory(self) -> TemporalMemory:
        if self._services.memory is None:
            raise Unavailable("this daemon runs without a memory", reason="MEMORY_MISSING")
        return self._services.memory

    async def Remember(self, request: pb.RememberRequest, caller: Caller) -> pb.RememberResponse:
        """Remember a fact or a note."""
        new = messages.get_memory(request)
        done = await self._memory.remember(new, origin=caller.origin, request=_request_key(request, caller, "Remember"))
        store = self._services.store
        response = pb.RememberResponse(revision=store.revision, store_id=store.store_id)
        messages.put_memory(response.memory, done.memory)
        if done.similar is not None:
            messages.put_memory(response.similar, done.similar)
        return response

    async def Recall(self, request: pb.RecallRequest, caller: Caller) -> pb.RecallResponse:
        """Recall what matches."""
        found = await self._memory.recall(messages.get_question(request))
        store = self._services.store
        response = pb.RecallResponse(
            revision=store.revision,
            store_id=store.store_id,
            next_page_token=found.next_page_token,
            embedder=found.embedder,
        )
        for hit in found.hits:
            messages.put_hit(response.hits.add(), hit, tier=request.include_archive)
        return response

    async def Relate(self, request: pb.RelateRequest, caller: Caller) -> pb.RelateResponse:
        """Relate two things."""
        new = messages.get_relation(request)
        done = await self._memory.relate(new, origin=caller.origin, request=_request_key(request, caller, "Relate"))
        store = self._services.store
        response = pb.RelateResponse(revision=store.revision, store_id=store.store_id)
        messages.put_relation(response.relation, done.relation)
        for relation in done.closed:
            messages.put_relation(response.closed.add(), relation)
        return response

    async def Forget(self, request: pb.ForgetRequest, caller: Caller) -> pb.ForgetResponse:
        """End the validity of memories."""
        done = await self._memory.forget(
            request.memories,
            request.relations,
            valid_to=messages.get_optional_time(request, "valid_to"),
            reason=request.reason,
            origin=caller.origin,
            request=_request_key(request, caller, "Forget"),
        )
        store = self._services.store
        return pb.ForgetResponse(
            memories=done.memories, relations=done.relations, revision=store.revision, store_id=store.store_id
        )

    async def GetMemory(self, request: pb.GetMemoryRequest, caller: Caller) -> pb.GetMemoryResponse:
        """Get one memory."""
        found = await self._memory.get(request.memory)
        store = self._services.store
        response = pb.GetMemoryResponse(revision=store.revision, store_id=store.store_id)
        for memory in found.versions:
            messages.put_memory(response.versions.add(), memory)
        for relation in found.relations:
            messages.put_relation(response.relations.add(), relation)
        return response

    async def ListMemories(self, request: pb.ListMemoriesRequest, caller: Caller) -> pb.ListMemoriesResponse:
        """List memories."""
        found = await self._memory.memories(
            tags=tuple(request.tags),
            kind=messages.get_kind(request.kind),
            include_closed=request.include_closed,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        store = self._services.store
        response = pb.ListMemoriesResponse(
            revision=store.revision, store_id=store.store_id, next_page_token=found.next_page_token
        )
        for memory in found.memories:
            messages.put_memory(response.memories.add(), memory)
        return response


def _request_key(
    request: pb.RememberRequest | pb.RelateRequest | pb.ForgetRequest, caller: Caller, method: str
) -> RequestKey | None:
    if not request.request_id:
        return None
    return RequestKey(caller.principal.origin, method, request.request_id, digest(request))
