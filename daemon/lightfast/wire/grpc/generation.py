"""GenerationService: AI services and the local provider."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import ClassVar

from google.protobuf.descriptor import ServiceDescriptor

from lightfast.api.v1 import generation_pb2 as pb
from lightfast.gateway.calls import OperationStep, StepFallback, StepProgress, StepUsage
from lightfast.sdk import Preview, TextDelta
from lightfast.security.tokens import Scope
from lightfast.wire.grpc import convert
from lightfast.wire.grpc.assets import put_asset
from lightfast.wire.grpc.catalog import CatalogMethods
from lightfast.wire.grpc.costs import CostMethods
from lightfast.wire.grpc.embed import EmbedMethods, put_answers
from lightfast.wire.grpc.generation_messages import get_call, operation, put_fallback, put_usage
from lightfast.wire.grpc.prompts import PromptMethods
from lightfast.wire.grpc.repeat import Repeats
from lightfast.wire.grpc.services import OPERATE, WATCH, Caller, Services
from lightfast.wire.grpc.sessions import SessionMethods
from lightfast_link.value import Asset


class GenerationService(CatalogMethods, PromptMethods, SessionMethods, CostMethods, EmbedMethods):
    """The methods of `lightfast.api.v1.GenerationService`."""

    DESCRIPTOR: ClassVar[ServiceDescriptor] = pb.DESCRIPTOR.services_by_name["GenerationService"]
    SCOPES: ClassVar[Mapping[str, Scope | None]] = {
        **CatalogMethods.SCOPES,
        **PromptMethods.SCOPES,
        **SessionMethods.SCOPES,
        **CostMethods.SCOPES,
        **EmbedMethods.SCOPES,
        "Generate": OPERATE,
        "ListOperations": WATCH,
        "GetOperation": WATCH,
        "CancelOperation": OPERATE,
    }
    ONCE: ClassVar[frozenset[str]] = PromptMethods.ONCE | SessionMethods.ONCE | CostMethods.ONCE | EmbedMethods.ONCE
    LOCKED: ClassVar[Mapping[str, str]] = {
        **PromptMethods.LOCKED,
        **SessionMethods.LOCKED,
        **CostMethods.LOCKED,
        **EmbedMethods.LOCKED,
    }

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._gateway = services.gateway
        self._store = services.store
        self._blobs = services.blobs
        self._repeats = Repeats(services.requests)

    def Generate(self, request: pb.GenerateRequest, caller: Caller) -> AsyncGenerator[bytes, None]:
        """Generate: progress, previews, text, assets, usage."""
        return self._repeats.stream(self._generate(request, caller), request, caller, "Generate", _is_answer)

    async def _generate(self, request: pb.GenerateRequest, caller: Caller) -> AsyncIterator[pb.GenerateResponse]:
        steps = self._gateway.generate(get_call(request), caller.origin)
        try:
            async for step in steps:
                yield await self._response(step)
        finally:
            await steps.aclose()  # type: ignore[attr-defined]  # it is a generator

    async def _response(self, step: OperationStep) -> pb.GenerateResponse:
        kind = step.kind
        if type(kind) is TextDelta:
            return pb.GenerateResponse(operation_id=step.operation_id, text_delta=kind.text)
        response = pb.GenerateResponse(operation_id=step.operation_id)
        if isinstance(kind, StepProgress):
            response.progress.fraction = kind.fraction
            response.progress.message = kind.message
            response.progress.model = kind.model
            response.progress.seed = kind.seed
        elif isinstance(kind, Preview):
            response.preview.media_type = kind.media_type
            response.preview.content = kind.content
        elif isinstance(kind, Asset):
            put_asset(response.asset, await self._blobs.get(kind.sha256))
        elif isinstance(kind, StepFallback):
            put_fallback(response.fallback, kind)
        elif isinstance(kind, StepUsage):
            usage = response.usage
            put_usage(usage, kind.usage)
            convert.put_duration(usage.duration, kind.duration)
            usage.cost_usd = kind.cost_usd
            usage.cost_basis = kind.cost_basis
            usage.saved_usd = kind.saved_usd
            usage.cache = kind.cache
            usage.model = kind.model
            usage.finish_reason = kind.finish_reason
        return response

    async def ListOperations(self, request: pb.ListOperationsRequest, caller: Caller) -> pb.ListOperationsResponse:
        """List the operations, the newest first, without their texts."""
        found, more = await self._gateway.list_operations(
            running_only=request.running_only,
            project=request.project,
            size=request.page_size,
            token=request.page_token,
        )
        return pb.ListOperationsResponse(
            operations=[operation(record, whole=False) for record in found], next_page_token=more
        )

    async def GetOperation(self, request: pb.GetOperationRequest, caller: Caller) -> pb.GetOperationResponse:
        """Show an operation."""
        found = await self._gateway.operation(request.operation_id)
        message = operation(found)
        if found.output == "batch" and self._gateway.batches is not None:
            put_answers(message, await self._gateway.batches.answers(found.operation_id))
        return pb.GetOperationResponse(operation=message, revision=self._store.revision, store_id=self._store.store_id)

    async def CancelOperation(self, request: pb.CancelOperationRequest, caller: Caller) -> pb.CancelOperationResponse:
        """Cancel an operation."""
        return pb.CancelOperationResponse(operation=operation(await self._gateway.cancel(request.operation_id)))


def _is_answer(message: pb.GenerateResponse) -> bool:
    return message.WhichOneof("kind") in {"text_delta", "asset", "usage", "fallback"}
