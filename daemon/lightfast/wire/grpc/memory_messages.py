"""Between the messages of MemoryService and the records of the memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightfast.api.v1 import memory_pb2 as pb
from lightfast.api.values import to_message
from lightfast.context.memory.records import (
    FOREVER,
    Hit,
    Kind,
    Memory,
    NewMemory,
    NewRelation,
    Question,
    Ranking,
    Relation,
)
from lightfast.core.errors import InvalidArgument
from lightfast.wire.grpc import convert

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

_RANKINGS = {
    pb.RANKING_UNSPECIFIED: Ranking.FUSED,
    pb.RANKING_FUSED: Ranking.FUSED,
    pb.RANKING_RELEVANCE: Ranking.RELEVANCE,
    pb.RANKING_NEWEST: Ranking.NEWEST,
}


def get_memory(request: pb.RememberRequest) -> NewMemory:
    """Return what to remember."""
    return NewMemory(
        text=request.text,
        kind=get_kind(request.kind) or Kind.NOTE,
        key=request.key,
        tags=tuple(request.tags),
        metadata=convert.get_values(request.metadata, "metadata"),
        strength=request.strength if request.HasField("strength") else None,
        confidence=request.confidence if request.HasField("confidence") else 1.0,
        source=request.source,
        valid_from=get_optional_time(request, "valid_from"),
        valid_to=_end(request),
    )


def get_relation(request: pb.RelateRequest) -> NewRelation:
    """Return what to relate."""
    return NewRelation(
        subject=request.subject,
        predicate=request.predicate,
        object=request.object,
        exclusive=request.exclusive,
        metadata=convert.get_values(request.metadata, "metadata"),
        strength=request.strength if request.HasField("strength") else None,
        confidence=request.confidence if request.HasField("confidence") else 1.0,
        source=request.source,
        valid_from=get_optional_time(request, "valid_from"),
        valid_to=_end(request),
    )


def get_question(request: pb.RecallRequest) -> Question:
    """Return what to recall."""
    if request.ranking not in _RANKINGS:
        raise InvalidArgument(f"ranking {request.ranking} is none of FUSED, RELEVANCE, NEWEST", field="ranking")
    return Question(
        query=request.query,
        valid=get_optional_time(request, "as_of_valid"),
        known=get_optional_time(request, "as_of_record"),
        tags=tuple(request.tags),
        kind=get_kind(request.kind),
        subjects=tuple(request.subjects),
        depth=request.depth if request.HasField("depth") else 2,
        ranking=_RANKINGS[request.ranking],
        embedder=request.embedder,
        include_archive=request.include_archive,
        page_size=request.page_size,
        page_token=request.page_token,
    )


def get_kind(kind: int) -> Kind:
    """Return the kind; one that is not known is refused."""
    try:
        return Kind(kind)
    except ValueError:
        raise InvalidArgument(f"kind {kind} is not known: use NOTE or FACT", field="kind") from None


def get_optional_time(
    request: pb.RememberRequest | pb.RelateRequest | pb.RecallRequest | pb.ForgetRequest, field: str
) -> int | None:
    """Return the time of a field in ns since 1970, `None` where it is not set."""
    return convert.get_time(getattr(request, field), field) if request.HasField(field) else None  # type: ignore[arg-type]


def put_memory(message: pb.Memory, memory: Memory, *, tier: bool = False) -> None:
    """Write *memory* into an empty *message*; *tier*: also that it comes from where it always does."""
    message.memory_id, message.key, message.text = memory.memory_id, memory.key, memory.text
    message.kind = pb.MEMORY_KIND_FACT if memory.kind is Kind.FACT else pb.MEMORY_KIND_NOTE
    message.tags.extend(memory.tags)
    message.revision = memory.revision
    _put_common(message, memory, tier)


def put_relation(message: pb.Relation, relation: Relation, *, tier: bool = False) -> None:
    """Write *relation* into an empty *message*."""
    message.relation_id, message.closed_by = relation.relation_id, relation.closed_by
    message.subject, message.predicate, message.object = relation.subject, relation.predicate, relation.object
    _put_common(message, relation, tier)


def put_hit(message: pb.RecallHit, hit: Hit, *, tier: bool) -> None:
    """Write *hit* into an empty *message*."""
    if isinstance(hit.thing, Memory):
        put_memory(message.memory, hit.thing, tier=tier)
    else:
        put_relation(message.relation, hit.thing, tier=tier)
    message.score = hit.score
    message.keyword_rank, message.vector_rank, message.graph_rank = hit.keyword_rank, hit.vector_rank, hit.graph_rank


def _put_common(message: pb.Memory | pb.Relation, thing: Memory | Relation, tier: bool) -> None:
    for name, value in thing.metadata.items():
        to_message(value, message.metadata[name])
    message.strength, message.confidence = thing.strength, thing.confidence
    message.source, message.origin, message.reason = thing.source, thing.origin, thing.reason
    message.version = thing.version
    _put_time(message.valid_from, thing.valid_from)
    _put_time(message.record_time, thing.record_time)
    if thing.valid_to != FOREVER:
        _put_time(message.valid_to, thing.valid_to)
    if thing.superseded_time != FOREVER:
        _put_time(message.superseded_time, thing.superseded_time)
    if tier or thing.tier != "history":
        message.tier = thing.tier


def _put_time(stamp: Timestamp, nanoseconds: int) -> None:
    """Write a time of which 0, the beginning of 1970, is one."""
    stamp.seconds, stamp.nanos = divmod(nanoseconds, 1_000_000_000)
    stamp.SetInParent()


def _end(request: pb.RememberRequest | pb.RelateRequest) -> int:
    end = get_optional_time(request, "valid_to")
    return FOREVER if end is None else end
