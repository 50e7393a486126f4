"""Any method by its name, with proto JSON in and out: what the command line and scripts use.

Names are snake_case as in the .proto files; 64-bit integers are strings, as proto JSON has it.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from lightfast.api.v1 import (
    admin_pb2,
    apps_pb2,
    assets_pb2,
    context_pb2,
    desk_pb2,
    engine_pb2,
    events_pb2,
    generation_pb2,
    jobs_pb2,
    links_pb2,
    memory_pb2,
    show_pb2,
    transport_pb2,
    workspaces_pb2,
)
from lightfast.core.errors import InvalidArgument

if TYPE_CHECKING:
    from lightfast.client.aio import AsyncClient

METHODS: dict[str, MethodDescriptor] = {
    f"{service.name}.{method.name}": method
    for module in (
        context_pb2,
        assets_pb2,
        apps_pb2,
        links_pb2,
        memory_pb2,
        transport_pb2,
        generation_pb2,
        admin_pb2,
        show_pb2,
        engine_pb2,
        events_pb2,
        desk_pb2,
        jobs_pb2,
        workspaces_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
"""All methods of the API: `ContextService.Get` and so on."""

Json = dict[str, Any]

_UNFIT = {
    "Unpaired surrogate": "it is no valid UTF-8",
    'Couldn\'t parse NaN, use quoted "NaN" instead': "nan is no number to reckon with",
    'Couldn\'t parse Infinity or value too large, use quoted "Infinity" instead': "that is no finite number",
}
"""What the codec of proto JSON says, in words that help who typed it."""


def request(name: str, fields: Mapping[str, Any]) -> Any:
    """Return the request message of a method, filled from proto JSON; raises `InvalidArgument` where it does not fit.

    Not everything that can be typed can be sent: a number that is none (nan), bytes that are no UTF-8.
    """
    try:
        return json_format.ParseDict(dict(fields), GetMessageClass(METHODS[name].input_type)())
    except json_format.ParseError as error:
        told = str(error).removeprefix("Failed to parse ").rstrip(".")
        for theirs, ours in _UNFIT.items():
            told = told.replace(theirs, ours)
        raise InvalidArgument(f"{name} cannot be sent: {told}") from None


def to_json(message: Any) -> Json:
    """Return a message as proto JSON with snake_case names."""
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def _path(name: str) -> str:
    method = METHODS[name]
    return f"/{method.containing_service.full_name}/{method.name}"


async def call(client: AsyncClient, name: str, fields: Mapping[str, Any], timeout: float | None) -> Json:
    """Make one unary call and return the response as proto JSON."""
    method: Any = client.channel.unary_unary(
        _path(name),
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(METHODS[name].output_type).FromString,
    )
    return to_json(await client.call(method, request(name, fields), timeout))


async def stream(
    client: AsyncClient, name: str, fields: Mapping[str, Any], timeout: float | None
) -> AsyncIterator[Json]:
    """Make one server-streaming call and yield each message as proto JSON."""
    method: Any = client.channel.unary_stream(
        _path(name),
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(METHODS[name].output_type).FromString,
    )
    body = request(name, fields)
    start = functools.partial(method, body, metadata=client.metadata, timeout=timeout)
    async with aclosing(client.messages(start)) as messages:
        async for message in messages:
            yield to_json(message)
