"""Embeddings and batches: methods of GenerationService."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from lightfast.api.v1 import generation_pb2 as pb
from lightfast.core.errors import InvalidArgument, Unavailable
from lightfast.gateway.batching.batches import BatchCall, Batches
from lightfast.gateway.batching.embeddings import EmbedCall
from lightfast.sdk import BatchAnswer
from lightfast.security.tokens import Scope
from lightfast.wire.grpc import convert
from lightfast.wire.grpc.generation_messages import get_call, operation, put_usage
from lightfast.wire.grpc.services import OPERATE, Caller, Services


class EmbedMethods:
    """Embeddings and batches: methods of GenerationService."""

    SCOPES: ClassVar[Mapping[str, Scope | None]] = {
        "Embed": OPERATE,
        "SubmitBatch": OPERATE,
    }
    ONCE: ClassVar[frozenset[str]] = frozenset({"SubmitBatch"})
    LOCKED: ClassVar[Mapping[str, str]] = {}

    def __init__(self, services: Services) -> None:
        self._services = services

    async def Embed(self, request: pb.EmbedRequest, caller: Caller) -> pb.EmbedResponse:
        """Turn texts into vectors."""
        room = self._services.gateway.embedder
        if room is None:
            raise _not_there("embeddings")
        call = EmbedCall(
            model=request.model,
            texts=tuple(request.texts),
            dimensions=request.dimensions,
            project=request.project,
            timeout=convert.get_duration(request.timeout, "timeout") if request.HasField("timeout") else 0.0,
            price_consent=request.price_consent,
        )
        found = await room.embed(call, caller.origin)
        response = pb.EmbedResponse()
        for vector in found.vectors:
            response.vectors.add(values=vector)
        usage = response.usage
        put_usage(usage, found.usage)
        convert.put_duration(usage.duration, found.duration)
        usage.cost_usd = found.cost_usd
        usage.cost_basis = found.cost_basis
        usage.saved_usd = found.saved_usd
        usage.cache = found.cache
        usage.model = found.model
        return response

    async def SubmitBatch(self, request: pb.SubmitBatchRequest, caller: Caller) -> pb.SubmitBatchResponse:
        """Begin a batch; it is on the disk when this returns."""
        call = BatchCall(
            model=request.model,
            requests=tuple(get_call(each) for each in request.requests),
            project=request.project,
            price_consent=request.price_consent,
        )
        for at, each in enumerate(request.requests):
            if each.model not in {"", request.model} or each.output not in {"", "text"}:
                raise InvalidArgument(
                    f"requests[{at}]: all of a batch go to {request.model!r} and make text", field=f"requests[{at}]"
                )
        return pb.SubmitBatchResponse(operation=operation(await self._batches().submit(call, caller.origin)))

    def _batches(self) -> Batches:
        batches = self._services.gateway.batches
        if batches is None:
            raise _not_there("batches")
        return batches


def put_answers(message: pb.Operation, answers: Iterable[BatchAnswer]) -> None:
    """Add the answers of a batch, in the order of its requests; one that is not there yet is empty."""
    for answer in answers:
        while len(message.answers) < answer.index:
            message.answers.add()
        added = message.answers.add(text=answer.text, error=answer.error)
        put_usage(added.usage, answer.usage)
        added.usage.cost_usd = answer.usage.cost_usd or 0.0


def _not_there(what: str) -> Unavailable:
    return Unavailable(f"this daemon makes no {what}", reason="NOT_JOINED")
