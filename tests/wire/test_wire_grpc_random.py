"""Random requests, built from the descriptors: whatever is asked, the daemon answers with a reason.

INTERNAL and UNKNOWN mean that something broke inside. `LIGHTFAST_FUZZ_SECONDS` makes it longer.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import aio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.grpc_daemon import Daemon, running

from lightfast.api.v1 import admin_pb2, apps_pb2, assets_pb2, context_pb2, generation_pb2, links_pb2, types_pb2

SECONDS = float(os.environ.get("LIGHTFAST_FUZZ_SECONDS", "12"))
FILES = (context_pb2, assets_pb2, apps_pb2, links_pb2, generation_pb2, admin_pb2)
METHODS = [
    (service.full_name, method)
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]

INTEGERS = st.one_of(
    st.integers(-2, 20), st.sampled_from([(1 << 63) - 1, -(1 << 63), 1 << 40]), st.integers(-(1 << 63), (1 << 63) - 1)
)
NUMBERS = st.one_of(st.floats(), st.sampled_from([0.0, 1.0, -1.0, 1e308]))
PATHS = st.one_of(
    st.sampled_from(
        ["/a", "/a/b", "/a/b/c", "/signal/x", "/", "//", "/*", "/{a,b}", "/a//", "//b", "/[", "", "a", "/é"]
    ),
    st.text(max_size=12).map(lambda text: "/" + text),
)
TEXTS = st.one_of(
    PATHS,
    st.text(max_size=20),
    st.sampled_from(["double", "studio/image", "x * 2", "watch", "0" * 64, "image/", "(((x", "gain.db"]),
    st.text(min_size=200, max_size=400),
)
GOOD_PATHS = st.sampled_from(["/a", "/a/b", "/a/b/c", "/signal/x", "/signal/y", "/n/1", "/é"])
GOOD_PATTERNS = st.sampled_from(["//", "/a//", "/*", "/a/{b,c}", "/signal/?", "//b", "/a"])
MOSTLY = {
    **dict.fromkeys(("path", "paths", "from", "to", "source", "target", "target_path"), GOOD_PATHS),
    **dict.fromkeys(("pattern", "patterns", "remove"), GOOD_PATTERNS),
    "page_token": st.just(""),
    "page_size": st.integers(0, 50),
    **dict.fromkeys(
        ("revision", "start_revision", "at_revision", "after_revision", "until_revision"), st.integers(0, 9)
    ),
    **dict.fromkeys(("request_id", "group_id", "label", "run"), st.sampled_from(["", "", "g-1", "g-2"])),
    **dict.fromkeys(("lease_id", "store_id", "link_id", "type"), st.just("")),
    "nanos": st.integers(0, 999_999_999),
    "seconds": st.integers(0, 2_000_000_000),
    "expression": st.sampled_from(["", "x", "x * 2", "1 - x"]),
    "max_rate_hz": st.sampled_from([0.0, 30.0]),
    "name": st.text("abc", min_size=1, max_size=8),
    "scopes": st.sampled_from(["watch", "operate"]),
    "media_type": st.sampled_from(["", "image/png", "text/plain"]),
    "sha256": st.just(""),
    "size": st.just(0),
    "exclude_origins": st.sampled_from(["local", "client:x"]),
}
"""What fields of these names mostly hold, so that many requests get past the first check."""
NEVER_EMPTY = {"value", "mutations", "operation", "path", "pattern", "patterns"}
NEVER_NAMED = {FieldDescriptor.TYPE_BOOL, FieldDescriptor.TYPE_ENUM}
"""What a name says nothing of: `remove` lists paths here, and is a switch there."""
SCALARS = {
    FieldDescriptor.TYPE_DOUBLE: NUMBERS,
    FieldDescriptor.TYPE_FLOAT: st.floats(width=32),
    FieldDescriptor.TYPE_INT64: INTEGERS,
    FieldDescriptor.TYPE_INT32: st.one_of(st.integers(-2, 20), st.integers(-(1 << 31), (1 << 31) - 1)),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_STRING: TEXTS,
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=40),
    FieldDescriptor.TYPE_ENUM: st.integers(0, 6),
}


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor, depth: int = 0) -> Message:
    """Draw a message: each field is set or not, of a oneof at most one."""
    message = GetMessageClass(descriptor)()
    fields = [field for field in descriptor.fields if field.containing_oneof is None]
    kinds = [draw(st.sampled_from(list(group.fields))) for group in descriptor.oneofs]
    for field in (*fields, *kinds):
        if field.message_type is not None and depth > 4:
            continue
        if field not in kinds and draw(st.integers(0, 3)) == 0 and field.name not in NEVER_EMPTY:
            continue
        _fill(draw, message, field, depth)
    return message


def _fill(draw: st.DrawFn, message: Message, field: FieldDescriptor, depth: int) -> None:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        target = getattr(message, field.name)
        for name in draw(st.lists(TEXTS, max_size=3)):
            value = kind.fields_by_name["value"]
            if value.message_type is not None:
                target[name].CopyFrom(draw(messages(value.message_type, depth + 1)))
            else:
                target[name] = draw(SCALARS[value.type])
    elif field.is_repeated:
        one = _scalar(draw, field) if kind is None else messages(kind, depth + 1)
        getattr(message, field.name).extend(draw(st.lists(one, max_size=3)))
    elif kind is not None:
        getattr(message, field.name).CopyFrom(draw(messages(kind, depth + 1)))
    else:
        setattr(message, field.name, draw(_scalar(draw, field)))


def _scalar(draw: st.DrawFn, field: FieldDescriptor) -> st.SearchStrategy:
    mostly = MOSTLY.get(field.name)
    if field.type not in NEVER_NAMED and mostly is not None and draw(st.integers(0, 9)):
        return mostly
    return SCALARS[field.type]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[asyncio.AbstractEventLoop, Daemon, Any]]:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    stack = AsyncExitStack()
    folder: Path = tmp_path_factory.mktemp("daemon")

    async def start() -> tuple[Daemon, Any]:
        daemon = await stack.enter_async_context(running(folder))
        stub = await daemon.stub()
        await stub.Declare(
            context_pb2.DeclareRequest(
                declarations=[
                    context_pb2.Declaration(
                        pattern="/signal//", entry_class=types_pb2.ENTRY_CLASS_SIGNAL, type="double"
                    )
                ]
            )
        )
        return daemon, await daemon.channel()

    daemon, channel = loop.run_until_complete(start())
    yield loop, daemon, channel
    loop.run_until_complete(stack.aclose())
    loop.close()
    asyncio.set_event_loop(None)


async def call(channel: Any, service: str, method: MethodDescriptor, request: Message) -> Any:
    """Make one call with one message, take at most three answers, and return the status."""
    name = f"/{service}/{method.name}"
    kinds: dict[str, Any] = {"request_serializer": type(request).SerializeToString}

    async def one() -> AsyncIterator[Message]:
        yield request

    try:
        if method.server_streaming:
            make = channel.stream_stream if method.client_streaming else channel.unary_stream
            stream = make(name, **kinds)(one() if method.client_streaming else request, timeout=0.3)
            for _ in range(3):
                if await stream.read() is aio.EOF:
                    return await stream.code()
            stream.cancel()
        elif method.client_streaming:
            await channel.stream_unary(name, **kinds)(one(), timeout=5)
        else:
            await channel.unary_unary(name, **kinds)(request, timeout=5)
    except aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_no_random_request_breaks_the_daemon(
    world: tuple[asyncio.AbstractEventLoop, Daemon, Any],
) -> None:
    loop, _, channel = world
    end = time.monotonic() + SECONDS
    made = dict.fromkeys((f"{service}/{method.name}" for service, method in METHODS), 0)

    @settings(
        max_examples=100, deadline=None, database=None, derandomize=False, suppress_health_check=list(HealthCheck)
    )
    @given(data=st.data(), index=st.integers(0, len(METHODS) - 1))
    def ask(data: st.DataObject, index: int) -> None:
        service, method = METHODS[index]
        request = data.draw(messages(method.input_type))
        code = loop.run_until_complete(call(channel, service, method, request))
        made[f"{service}/{method.name}"] += 1
        assert code not in {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}, (method.name, request)

    def enough() -> bool:
        return sum(made.values()) > 100 and sum(count > 0 for count in made.values()) > len(made) * 0.8

    while time.monotonic() < end or (not enough() and time.monotonic() < end + 180):
        ask()
    assert enough(), made


def test_bytes_that_are_no_message_are_refused(
    world: tuple[asyncio.AbstractEventLoop, Daemon, Any],
) -> None:
    loop, _, channel = world

    async def ask(service: str, method: MethodDescriptor) -> grpc.StatusCode:
        name = f"/{service}/{method.name}"

        async def one() -> AsyncIterator[bytes]:
            yield b"\xff\xff\xff"

        try:
            if method.server_streaming:
                make = channel.stream_stream if method.client_streaming else channel.unary_stream
                await make(name)(one() if method.client_streaming else b"\xff\xff\xff", timeout=60).read()
            elif method.client_streaming:
                await channel.stream_unary(name)(one(), timeout=60)
            else:
                await channel.unary_unary(name)(b"\xff\xff\xff", timeout=60)
        except aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    codes = {f"{service}/{method.name}": loop.run_until_complete(ask(service, method)) for service, method in METHODS}
    assert set(codes.values()) == {grpc.StatusCode.INVALID_ARGUMENT}, codes
