"""Generations over real sockets: every field of a request, fallbacks, usage, operations in pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from tests.support.actors import Actor, down
from tests.support.grpc_daemon import refused, running

from lightfast.api.v1 import generation_pb2 as pb
from lightfast.api.v1 import types_pb2
from lightfast.core.errors import InvalidArgument
from lightfast.gateway.calls import GenerateCall, Window
from lightfast.gateway.rooms import Patience
from lightfast.sdk import Finish, Message, TextDelta, Usage
from lightfast.wire.grpc.generation_messages import get_call, put_usage

WHOLE = pb.GenerateRequest(
    model="a/one",
    output="text",
    prompt="hello",
    settings={"size": types_pb2.Value(int_value=3)},
    sources=["0" * 64],
    seed=7,
    target_path="/x",
    request_id="r",
    group_id="g",
    system="be brief",
    messages=[pb.Message(role="user", text="hi")],
    schema="{}",
    max_output_tokens=9,
    fallbacks=["b/one"],
    strict=True,
    cache=pb.CACHE_USE_REFRESH,
    project="p",
    run="r",
    max_cost_usd=0.5,
    price_consent=True,
    template="t@2",
    arguments={"who": types_pb2.Value(string_value="Ada")},
    window=pb.ContextWindow(patterns=["/a//"], max_tokens=100),
)
WHOLE.timeout.FromSeconds(5)


def test_every_field_of_a_request_arrives() -> None:
    assert {field.name for field, _ in WHOLE.ListFields()} == set(pb.GenerateRequest.DESCRIPTOR.fields_by_name)
    assert get_call(WHOLE) == GenerateCall(
        "a/one",
        "text",
        "hello",
        {"size": 3},
        ("0" * 64,),
        7,
        "/x",
        5.0,
        "g",
        system="be brief",
        messages=(Message("user", "hi"),),
        schema="{}",
        max_output_tokens=9,
        fallbacks=("b/one",),
        strict=True,
        cache="refresh",
        project="p",
        run="r",
        max_cost_usd=0.5,
        price_consent=True,
        template="t@2",
        arguments={"who": "Ada"},
        window=Window(("/a//",), 100),
    )
    assert get_call(pb.GenerateRequest()) == GenerateCall()


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (pb.GenerateRequest(cache=77), "there is no use 77 of the cache"),  # type: ignore[arg-type]
        (pb.GenerateRequest(window=pb.ContextWindow(max_tokens=-1)), "at least 0 tokens"),
    ],
    ids=["cache", "window"],
)
def test_what_is_out_of_range_is_refused(request_: pb.GenerateRequest, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        get_call(request_)


def test_every_count_of_usage_is_told() -> None:
    counts = {
        field.name: 3
        for field in pb.Usage.DESCRIPTOR.fields
        if field.name in Usage.__dataclass_fields__ and field.name != "cost_usd"
    }
    usage: Any = Usage(**counts)
    message = pb.Usage()
    put_usage(message, usage)
    assert {field.name for field, _ in message.ListFields()} == set(counts)
    assert all(field.type != FieldDescriptor.TYPE_MESSAGE for field, _ in message.ListFields())


async def test_a_fallback_and_its_usage_are_told(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub("generation")
        gateway = daemon.services.gateway
        gateway.patience = Patience(again=0)
        first, second = Actor("a", "continue"), Actor("b", "continue")
        first.plays(TextDelta("one "), down("it broke"))
        second.plays(TextDelta("two"), Usage(5, 6, 0.25, reasoning_tokens=2), Finish("length"))
        for one in (first, second):
            gateway.register(one, one.name)
        request = pb.GenerateRequest(model="a/one", prompt="x", fallbacks=["b/one"], project="p")
        steps = [step async for step in stub.Generate(request)]
        assert "".join(step.text_delta for step in steps) == "one two"
        (fallback,) = [step.fallback for step in steps if step.HasField("fallback")]
        assert (fallback.from_model, fallback.to_model, fallback.restarted) == ("a/one", "b/one", False)
        assert "it broke" in fallback.reason
        usage = steps[-1].usage
        assert (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens) == (5, 6, 2)
        assert (usage.cost_usd, usage.cost_basis, usage.model, usage.finish_reason) == (
            0.25,
            "reported",
            "b/one",
            "length",
        )
        found = (await stub.GetOperation(pb.GetOperationRequest(operation_id=steps[0].operation_id))).operation
        assert (found.text, found.output, found.project, found.model) == ("one two", "text", "p", "b/one")
        assert (found.usage.cost_usd, found.usage.finish_reason) == (0.25, "length")
        assert list(found.fallbacks) == [fallback]
        gateway.unregister(first)
        gateway.unregister(second)


async def test_operations_are_listed_in_pages(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub("generation")
        gateway = daemon.services.gateway
        one = Actor("a")
        gateway.register(one, "a")
        for _ in range(5):
            async for _step in stub.Generate(pb.GenerateRequest(model="a/one", prompt="x", project="p")):
                pass
        seen, token = [], ""
        while True:
            response = await stub.ListOperations(pb.ListOperationsRequest(page_size=2, page_token=token, project="p"))
            seen += response.operations
            token = response.next_page_token
            if not token:
                break
        times = [item.create_time.ToNanoseconds() for item in seen]
        assert len({item.operation_id for item in seen}) == 5
        assert times == sorted(times, reverse=True)
        assert {item.text for item in seen} == {""}  # texts only by GetOperation
        assert not (await stub.ListOperations(pb.ListOperationsRequest(running_only=True))).operations
        found = await refused(stub.ListOperations(pb.ListOperationsRequest(page_token="nonsense")))
        assert found.code is grpc.StatusCode.INVALID_ARGUMENT
        gateway.unregister(one)


async def test_a_request_that_is_repeated_meets_its_answer_with_its_fallbacks(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub("generation")
        gateway = daemon.services.gateway
        gateway.patience = Patience(again=0)
        first, second = Actor("a"), Actor("b")
        first.plays(TextDelta("half"), down())
        for one in (first, second):
            gateway.register(one, one.name)
        request = pb.GenerateRequest(model="a/one", prompt="x", fallbacks=["b/one"], request_id="r-1")
        live = [step async for step in stub.Generate(request)]
        again = [step async for step in stub.Generate(request)]
        assert [step for step in live if not step.HasField("progress")] == again
        assert [step.WhichOneof("kind") for step in again][-3:] == ["fallback", "text_delta", "usage"]
        assert (len(first.requests), len(second.requests)) == (1, 1)
        gateway.unregister(first)
        gateway.unregister(second)
