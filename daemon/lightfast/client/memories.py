"""The memory of facts, notes and relations, for both clients."""

from __future__ import annotations

import uuid
from collections.abc import Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from lightfast.api.v1 import memory_pb2 as pb
from lightfast.api.v1 import memory_pb2_grpc
from lightfast.api.values import set_time, to_message
from lightfast_link.value import Value

if TYPE_CHECKING:
    from lightfast.client.aio import AsyncClient

T = TypeVar("T")

_RANKINGS = {
    "fused": pb.RANKING_FUSED,
    "relevance": pb.RANKING_RELEVANCE,
    "newest": pb.RANKING_NEWEST,
}


class MemoryCalls:
    """Methods of `AsyncClient`. All times are in nanoseconds since 1970; `None` means now, or without end."""

    channel: Any

    async def call(self, method: Any, request: Any, timeout: float | None = None) -> Any:
        """Make one unary call."""
        raise NotImplementedError

    @property
    def memory(self) -> memory_pb2_grpc.MemoryServiceStub:
        """Return the stub."""
        return memory_pb2_grpc.MemoryServiceStub(self.channel)

    async def remember(
        self,
        text: str,
        *,
        key: str = "",
        fact: bool = False,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Value] | None = None,
        strength: float | None = None,
        confidence: float | None = None,
        source: str = "",
        valid_from_ns: int | None = None,
        valid_to_ns: int | None = None,
        request_id: str | None = None,
    ) -> pb.RememberResponse:
        """Remember a note or a *fact*; one with a *key* that is known becomes its next version."""
        request = pb.RememberRequest(
            kind=pb.MEMORY_KIND_FACT if fact else pb.MEMORY_KIND_NOTE,
            text=text,
            key=key,
            tags=tags,
            strength=strength,
            confidence=confidence,
            source=source,
            request_id=uuid.uuid4().hex if request_id is None else request_id,
        )
        _fill(request, metadata, valid_from_ns, valid_to_ns)
        return await self.call(self.memory.Remember, request)  # type: ignore[no-any-return]

    async def relate(
        self,
        subject: str,
        predicate: str,
        thing: str,
        *,
        exclusive: bool = False,
        metadata: Mapping[str, Value] | None = None,
        strength: float | None = None,
        confidence: float | None = None,
        source: str = "",
        valid_from_ns: int | None = None,
        valid_to_ns: int | None = None,
        request_id: str | None = None,
    ) -> pb.RelateResponse:
        """Relate *subject* and *thing*; *exclusive*: there is one at a time, so that others end."""
        request = pb.RelateRequest(
            subject=subject,
            predicate=predicate,
            object=thing,
            exclusive=exclusive,
            strength=strength,
            confidence=confidence,
            source=source,
            request_id=uuid.uuid4().hex if request_id is None else request_id,
        )
        _fill(request, metadata, valid_from_ns, valid_to_ns)
        return await self.call(self.memory.Relate, request)  # type: ignore[no-any-return]

    async def forget(
        self,
        *memories: str,
        relations: Sequence[str] = (),
        valid_to_ns: int | None = None,
        reason: str = "",
        request_id: str | None = None,
    ) -> pb.ForgetResponse:
        """End the validity of memories (by id or key) and relations (by id)."""
        request = pb.ForgetRequest(
            memories=memories,
            relations=relations,
            reason=reason,
            request_id=uuid.uuid4().hex if request_id is None else request_id,
        )
        if valid_to_ns is not None:
            set_time(request.valid_to, valid_to_ns)
        return await self.call(self.memory.Forget, request)  # type: ignore[no-any-return]

    async def recall(
        self,
        query: str = "",
        *,
        as_of_ns: int | None = None,
        known_at_ns: int | None = None,
        subjects: Sequence[str] = (),
        tags: Sequence[str] = (),
        ranking: str = "fused",
        depth: int | None = None,
        embedder: str = "",
        include_archive: bool = False,
        limit: int = 20,
    ) -> list[pb.RecallHit]:
        """Return at most *limit* hits, best first; *ranking* is `fused`, `relevance` or `newest`."""
        if ranking not in _RANKINGS:
            raise ValueError(f"ranking {ranking!r} is none of {', '.join(_RANKINGS)}")
        request = pb.RecallRequest(
            query=query,
            subjects=subjects,
            tags=tags,
            ranking=_RANKINGS[ranking],
            depth=depth,
            embedder=embedder,
            include_archive=include_archive,
        )
        if as_of_ns is not None:
            set_time(request.as_of_valid, as_of_ns)
        if known_at_ns is not None:
            set_time(request.as_of_record, known_at_ns)
        found: list[pb.RecallHit] = []
        while len(found) < limit:
            request.page_size = min(limit - len(found), 200)
            response = await self.call(self.memory.Recall, request)
            found.extend(response.hits)
            if not response.next_page_token:
                break
            request.page_token = response.next_page_token
        return found

    async def get_memory(self, memory: str) -> pb.GetMemoryResponse:
        """Return one memory, by its id or key, with all that was ever known of it."""
        return await self.call(self.memory.GetMemory, pb.GetMemoryRequest(memory=memory))  # type: ignore[no-any-return]

    async def memories(
        self, *, tags: Sequence[str] = (), fact: bool | None = None, include_closed: bool = False, limit: int = 100
    ) -> list[pb.Memory]:
        """Return at most *limit* memories, newest first; *fact*: only facts, or only notes."""
        kind = {None: pb.MEMORY_KIND_UNSPECIFIED, True: pb.MEMORY_KIND_FACT, False: pb.MEMORY_KIND_NOTE}[fact]
        request = pb.ListMemoriesRequest(tags=tags, kind=kind, include_closed=include_closed)
        found: list[pb.Memory] = []
        while len(found) < limit:
            request.page_size = min(limit - len(found), 1000)
            response = await self.call(self.memory.ListMemories, request)
            found.extend(response.memories)
            if not response.next_page_token:
                break
            request.page_token = response.next_page_token
        return found


class BlockingMemoryCalls:
    """The same methods, blocking; see `MemoryCalls`."""

    aio: AsyncClient

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        raise NotImplementedError

    def remember(self, text: str, **options: Any) -> pb.RememberResponse:
        """Remember a note or a fact."""
        return self._run(self.aio.remember(text, **options))

    def relate(self, subject: str, predicate: str, thing: str, **options: Any) -> pb.RelateResponse:
        """Relate two things."""
        return self._run(self.aio.relate(subject, predicate, thing, **options))

    def forget(self, *memories: str, **options: Any) -> pb.ForgetResponse:
        """End the validity of memories and relations."""
        return self._run(self.aio.forget(*memories, **options))

    def recall(self, query: str = "", **options: Any) -> list[pb.RecallHit]:
        """Return hits, best first."""
        return self._run(self.aio.recall(query, **options))

    def get_memory(self, memory: str) -> pb.GetMemoryResponse:
        """Return one memory with all that was ever known of it."""
        return self._run(self.aio.get_memory(memory))

    def memories(self, **options: Any) -> list[pb.Memory]:
        """Return memories, newest first."""
        return self._run(self.aio.memories(**options))


def _fill(
    request: pb.RememberRequest | pb.RelateRequest,
    metadata: Mapping[str, Value] | None,
    valid_from_ns: int | None,
    valid_to_ns: int | None,
) -> None:
    for name, value in (metadata or {}).items():
        to_message(value, request.metadata[name])
    if valid_from_ns is not None:
        set_time(request.valid_from, valid_from_ns)
    if valid_to_ns is not None:
        set_time(request.valid_to, valid_to_ns)
