"""The table of all methods: from a method's full name to its wrapped handler, by one look-up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, ClassVar, Protocol

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from lightfast.context.flow.records import Lane
from lightfast.security.tokens import Scope
from lightfast.wire.grpc.interceptors import Door
from lightfast.wire.grpc.lanes import lane_of


class Service(Protocol):
    """One service: a coroutine or a generator for each method of its descriptor.

    Where it has a mapping `LOCKED`, its unary methods are refused while a show is locked; the text says what
    they do, for example `a link edit`.
    """

    DESCRIPTOR: ClassVar[ServiceDescriptor]
    """What the .proto file says of it."""
    SCOPES: ClassVar[Mapping[str, Scope | None]]
    """The scope that each method needs; `None` for one that is open to everybody."""
    ONCE: ClassVar[frozenset[str]]
    """The unary methods whose `request_id` is honored here; others do it below."""


class MethodTable(grpc.GenericRpcHandler):
    """Finds the handler of a call."""

    def __init__(self, door: Door, services: Iterable[Service], check: Callable[[str], None] = lambda _: None) -> None:
        """Wrap every method; one without a scope is a `KeyError`: nothing is open by accident.

        *check* raises where what a method of `LOCKED` does is refused now.
        """
        self.names: list[str] = []
        self._check = check
        self._door = door
        self._methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        for service in services:
            self.add(service)

    def add(self, service: Service, *, name: str = "") -> None:
        """Add a service, under another *name* than its own where one is given."""
        self.names.append(name or service.DESCRIPTOR.full_name)
        for method in service.DESCRIPTOR.methods:
            self._methods[f"/{self.names[-1]}/{method.name}"] = _wrap(self._door, service, method, self._check)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the handler; `None` answers UNIMPLEMENTED."""
        return self._methods.get(handler_call_details.method)


def _wrap(
    door: Door, service: Service, method: MethodDescriptor, check: Callable[[str], None]
) -> grpc.RpcMethodHandler[Any, Any]:
    call = getattr(service, method.name)
    if what := getattr(service, "LOCKED", {}).get(method.name):
        call = _locked(call, what, check)
    request_type = GetMessageClass(method.input_type)
    scope = service.SCOPES[method.name]
    lane = lane_of(service.DESCRIPTOR.name, method.name)
    handler: Any
    streamed = lane if isinstance(lane, Lane) else Lane.STATE
    if method.server_streaming:
        handler = door.server_stream(
            call, request_type, scope, method.name, many_requests=method.client_streaming, lane=streamed
        )
        if method.client_streaming:
            return grpc.stream_stream_rpc_method_handler(handler)
        return grpc.unary_stream_rpc_method_handler(handler)
    if method.client_streaming:
        return grpc.stream_unary_rpc_method_handler(
            door.client_stream(call, request_type, scope, method.name, lane=streamed)
        )
    handler = door.unary(call, request_type, scope, method.name, once=method.name in service.ONCE, lane=lane)
    return grpc.unary_unary_rpc_method_handler(handler)


def _locked(
    call: Callable[[Any, Any], Awaitable[Any]], what: str, check: Callable[[str], None]
) -> Callable[[Any, Any], Awaitable[Any]]:
    async def guarded(request: Any, caller: Any) -> Any:
        check(what)
        return await call(request, caller)

    return guarded
