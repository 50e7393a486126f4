"""GenerationService: AI services and the local provider."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import ClassVar

from google.protobuf.descriptor import ServiceDescriptor

from lightfast.api.v1 import assets_pb2
from lightfast.api.v1 import generation_pb2 as pb
from lightfast.gateway.calls import GenerateCall, OperationStep, StepProgress, StepUsage
from lightfast.gateway.operations import Operation, OperationState
from lightfast.sdk import Preview, TextDelta
from lightfast.security.tokens import Scope
from lightfast.wire.grpc import convert
from lightfast.wire.grpc.assets import put_asset
from lightfast.wire.grpc.repeat import Repeats
from lightfast.wire.grpc.services import OPERATE, WATCH, Caller, Services
from lightfast_link.value import Asset

_STATES = {
    OperationState.RUNNING: pb.OPERATION_STATE_RUNNING,
    OperationState.SUCCEEDED: pb.OPERATION_STATE_SUCCEEDED,
    OperationState.FAILED: pb.OPERATION_STATE_FAILED,
    OperationState.CANCELLED: pb.OPERATION_STATE_CANCELLED,
}


class GenerationService:
    """The methods of `lightfast.api.v1.GenerationService`."""

    DESCRIPTOR: ClassVar[ServiceDescriptor] = pb.DESCRIPTOR.services_by_name["GenerationService"]
    SCOPES: ClassVar[Mapping[str, Scope | None]] = {
        "ListProviders": WATCH,
        "ListModels": WATCH,
        "Generate": OPERATE,
        "GetOperation": WATCH,
        "CancelOperation": OPERATE,
    }
    ONCE: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, services: Services) -> None:
        self._gateway = services.gateway
        self._store = services.store
        self._blobs = services.blobs
        self._repeats = Repeats(services.requests)

    async def ListProviders(self, request: pb.ListProvidersRequest, caller: Caller) -> pb.ListProvidersResponse:
        """List the providers, the unavailable ones with the reason."""
        response = pb.ListProvidersResponse()
        for record in self._gateway.providers():
            response.providers.add(
                name=record.name,
                description=record.description,
                available=record.available,
                reason=record.reason,
                local=record.local,
            )
        return response

    async def ListModels(self, request: pb.ListModelsRequest, caller: Caller) -> pb.ListModelsResponse:
        """List the models."""
        response = pb.ListModelsResponse()
        for record in self._gateway.models(request.output):
            response.models.add(
                name=record.name,
                inputs=record.model.inputs,
                outputs=record.model.outputs,
                description=record.model.description,
                settings_schema=json.dumps(dict(record.model.settings)),
                procedural=record.model.procedural,
            )
        return response

    def Generate(self, request: pb.GenerateRequest, caller: Caller) -> AsyncGenerator[bytes, None]:
        """Generate: progress, previews, text, assets, usage."""
        return self._repeats.stream(self._generate(request, caller), request, caller, "Generate", _is_answer)

    async def _generate(self, request: pb.GenerateRequest, caller: Caller) -> AsyncIterator[pb.GenerateResponse]:
        call = GenerateCall(
            model=request.model,
            output=request.output,
            prompt=request.prompt,
            settings=convert.get_values(request.settings, "settings"),
            sources=tuple(request.sources),
            seed=request.seed if request.HasField("seed") else None,
            target_path=request.target_path,
            timeout=convert.get_duration(request.timeout, "timeout") if request.HasField("timeout") else 0.0,
            group=request.group_id,
        )
        steps = self._gateway.generate(call, caller.origin)
        try:
            async for step in steps:
                yield await self._response(step)
        finally:
            await steps.aclose()  # type: ignore[attr-defined]  # it is a generator

    async def _response(self, step: OperationStep) -> pb.GenerateResponse:
        response = pb.GenerateResponse(operation_id=step.operation_id)
        kind = step.kind
        if isinstance(kind, StepProgress):
            response.progress.fraction = kind.fraction
            response.progress.message = kind.message
            response.progress.model = kind.model
            response.progress.seed = kind.seed
        elif isinstance(kind, TextDelta):
            response.text_delta = kind.text
        elif isinstance(kind, Preview):
            response.preview.media_type = kind.media_type
            response.preview.content = kind.content
        elif isinstance(kind, Asset):
            put_asset(response.asset, await self._blobs.get(kind.sha256))
        elif isinstance(kind, StepUsage):
            response.usage.input_tokens = kind.input_tokens
            response.usage.output_tokens = kind.output_tokens
            convert.put_duration(response.usage.duration, kind.duration)
            response.usage.cost_usd = kind.cost_usd
        return response

    async def GetOperation(self, request: pb.GetOperationRequest, caller: Caller) -> pb.GetOperationResponse:
        """Show an operation."""
        operation = await self._gateway.operation(request.operation_id)
        return pb.GetOperationResponse(
            operation=_operation(operation), revision=self._store.revision, store_id=self._store.store_id
        )

    async def CancelOperation(self, request: pb.CancelOperationRequest, caller: Caller) -> pb.CancelOperationResponse:
        """Cancel an operation."""
        return pb.CancelOperationResponse(operation=_operation(await self._gateway.cancel(request.operation_id)))


def _is_answer(message: pb.GenerateResponse) -> bool:
    return message.WhichOneof("kind") in {"text_delta", "asset", "usage"}


def _operation(record: Operation) -> pb.Operation:
    message = pb.Operation(
        operation_id=record.operation_id,
        state=_STATES[record.state],
        model=record.model,
        fraction=record.fraction,
        error=record.error,
        assets=[
            assets_pb2.Asset(uri=asset.uri, media_type=asset.media_type, sha256=asset.sha256, size=asset.size)
            for asset in record.assets
        ],
    )
    convert.put_time(message.create_time, record.create_time)
    convert.put_time(message.end_time, record.end_time)
    return message
