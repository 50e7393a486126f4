"""Requests, usage and operations of generations as messages."""

from __future__ import annotations

from lightfast.api.v1 import assets_pb2
from lightfast.api.v1 import generation_pb2 as pb
from lightfast.core.errors import InvalidArgument
from lightfast.gateway.calls import GenerateCall, StepFallback, Window
from lightfast.gateway.operations import Operation, OperationState
from lightfast.sdk import Message, Usage
from lightfast.wire.grpc import convert
from lightfast_link.value import Asset

STATES = {
    OperationState.RUNNING: pb.OPERATION_STATE_RUNNING,
    OperationState.SUCCEEDED: pb.OPERATION_STATE_SUCCEEDED,
    OperationState.FAILED: pb.OPERATION_STATE_FAILED,
    OperationState.CANCELLED: pb.OPERATION_STATE_CANCELLED,
}
_CACHE_USES = {
    pb.CACHE_USE_UNSPECIFIED: "",
    pb.CACHE_USE_OFF: "off",
    pb.CACHE_USE_EXACT: "exact",
    pb.CACHE_USE_SEMANTIC: "semantic",
    pb.CACHE_USE_REFRESH: "refresh",
}


def get_call(request: pb.GenerateRequest) -> GenerateCall:
    """Return what *request* asks for; raise `InvalidArgument`."""
    if request.cache not in _CACHE_USES:
        raise InvalidArgument(f"there is no use {request.cache} of the cache", field="cache")
    window = None
    if request.HasField("window"):
        if request.window.max_tokens < 0:
            raise InvalidArgument("a window has at least 0 tokens", field="window.max_tokens")
        window = Window(tuple(request.window.patterns), request.window.max_tokens)
    return GenerateCall(
        model=request.model,
        output=request.output,
        prompt=request.prompt,
        settings=convert.get_values(request.settings, "settings") if request.settings else {},
        sources=tuple(request.sources),
        seed=request.seed if request.HasField("seed") else None,
        target_path=request.target_path,
        timeout=convert.get_duration(request.timeout, "timeout") if request.HasField("timeout") else 0.0,
        group=request.group_id,
        system=request.system,
        messages=tuple(Message(each.role, each.text) for each in request.messages),
        schema=request.schema,
        max_output_tokens=request.max_output_tokens,
        fallbacks=tuple(request.fallbacks),
        strict=request.strict,
        cache=_CACHE_USES[request.cache],
        project=request.project,
        run=request.run,
        max_cost_usd=request.max_cost_usd,
        price_consent=request.price_consent,
        template=request.template,
        arguments=convert.get_values(request.arguments, "arguments") if request.arguments else {},
        window=window,
    )


def put_usage(message: pb.Usage, usage: Usage) -> None:
    """Fill in the counts."""
    message.input_tokens = usage.input_tokens
    message.output_tokens = usage.output_tokens
    message.cached_tokens = usage.cached_tokens
    message.cache_write_tokens = usage.cache_write_tokens
    message.reasoning_tokens = usage.reasoning_tokens
    message.characters = usage.characters
    message.seconds = usage.seconds
    message.images = usage.images
    message.credits = usage.credits


def put_fallback(message: pb.GenerateResponse.Fallback, step: StepFallback) -> None:
    """Fill in who goes on."""
    message.from_model = step.from_model
    message.to_model = step.to_model
    message.restarted = step.restarted
    message.reason = step.reason


def operation(record: Operation, *, whole: bool = True) -> pb.Operation:
    """Return *record* as a message; the text only in a *whole* one."""
    message = pb.Operation(
        operation_id=record.operation_id,
        state=STATES[record.state],
        model=record.model,
        fraction=record.fraction,
        error=record.error,
        assets=[_asset(asset) for asset in record.assets],
        output=record.output,
        text=record.text if whole else "",
        job_id=record.job_id,
        project=record.project,
        note=record.note,
    )
    convert.put_time(message.create_time, record.create_time)
    convert.put_time(message.end_time, record.end_time)
    put_usage(message.usage, record.usage)
    usage = message.usage
    convert.put_duration(usage.duration, record.duration)
    usage.cost_usd = record.cost_usd
    usage.cost_basis = record.cost_basis
    usage.saved_usd = record.saved_usd
    usage.cache = record.cache
    usage.model = record.model
    usage.finish_reason = record.finish_reason
    for fallback in record.fallbacks:
        put_fallback(message.fallbacks.add(), fallback)
    return message


def _asset(asset: Asset) -> assets_pb2.Asset:
    return assets_pb2.Asset(uri=asset.uri, media_type=asset.media_type, sha256=asset.sha256, size=asset.size)
