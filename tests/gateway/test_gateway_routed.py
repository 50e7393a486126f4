"""Routing and prompts at work in a real gateway: a template, a window, a chain, an open circuit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.gateway import House, house
from tests.support.routing import Still, text

from lightfast.app.gateway_settings import GatewaySettings
from lightfast.app.gauges_routing import measure_routing
from lightfast.app.routing_joints import join_routing, join_views
from lightfast.context.entry import Set
from lightfast.context.views.views import Views
from lightfast.core.clock import SYSTEM
from lightfast.core.errors import FailedPrecondition, LightfastError, Unavailable
from lightfast.core.metrics import Metrics
from lightfast.gateway.calls import GenerateCall, OperationStep, StepFallback, Window
from lightfast.gateway.prompts.room import PromptRoom
from lightfast.gateway.routing.candidates import Routing
from lightfast.gateway.routing.circuits import State
from lightfast.sdk import GenerationRequest, Message, Model, ProviderError, Step, TextDelta, Usage, Workbench


class Parrot(Still):
    """Says what it was asked, or fails with *trouble*; reports twice the tokens that the estimate has."""

    trouble: Exception | None = None

    def __init__(self, name: str, *models: Model) -> None:
        super().__init__(name, models)
        self.requests: list[GenerationRequest] = []

    async def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        self.requests.append(request)
        if self.trouble is not None:
            raise self.trouble
        yield TextDelta(f"{self.name}: {request.prompt}")
        yield Usage(input_tokens=2000, output_tokens=3)


class NoDialects:
    def dialect(self, mount: str) -> None:
        return None

    def mounts(self) -> tuple[str, ...]:
        return ()


@asynccontextmanager
async def routed(folder: Path) -> AsyncIterator[tuple[House, Routing, PromptRoom, Parrot, Parrot]]:
    async with house(folder) as rooms:
        options = GatewaySettings(aliases=(("mine", ("first/a", "second/b")),))
        routing, prompts = join_routing(rooms.gateway, options, rooms.db, SYSTEM)
        views = Views(rooms.store, SYSTEM, NoDialects(), None, prompts.counter)
        join_views(prompts, lambda: views)
        system = ("system",)
        first = Parrot("first", text("a", context_tokens=4000, max_output_tokens=300, capabilities=system))
        second = Parrot("second", text("b", context_tokens=4000, max_output_tokens=300, capabilities=system))
        for each in (first, second):
            rooms.gateway.register(each, f"{each.name}s")
        try:
            yield rooms, routing, prompts, first, second
        finally:
            await prompts.close()


async def answer(rooms: House, **fields: object) -> tuple[str, list[OperationStep]]:
    call = GenerateCall(output="text", **fields)  # type: ignore[arg-type]
    steps = [step async for step in rooms.gateway.generate(call, "client:test")]
    return "".join(step.kind.text for step in steps if isinstance(step.kind, TextDelta)), steps


async def test_a_template_becomes_the_prompt(tmp_path: Path) -> None:
    async with routed(tmp_path) as (rooms, routing, prompts, first, _):
        await prompts.templates.save("ask", "Say {{ how }}: {{ prompt }}", "Be {{ how }}.", model="first/a")
        said, _ = await answer(rooms, prompt="hello", template="ask", arguments={"how": "it"})
        assert said == "first: Say it: hello"
        assert first.requests[0].system == "Be it."
        assert routing.seen.latency("first/a") < 60


async def test_context_and_old_messages_share_the_window(tmp_path: Path) -> None:
    async with routed(tmp_path) as (rooms, _, prompts, first, _):
        await rooms.store.apply([Set(f"/desk/lamp{n}/level", 0.5) for n in range(5)], origin="test")
        talk = tuple(Message("user" if n % 2 == 0 else "assistant", "word " * 300) for n in range(20))
        said, _ = await answer(rooms, model="mine", prompt="Now?", messages=talk, window=Window(("/desk//",), 400))
        request = first.requests[0]
        assert request.prompt.endswith("\n\nNow?")
        assert "/desk/lamp4/level = 0.5" in request.prompt
        assert said == f"first: {request.prompt}"
        assert 0 < len(request.messages) < 20
        assert request.messages[-1] == talk[-1]
        assert prompts.counters.factor("first/a") > 0  # what it counted was learned
        assert prompts.counters.models() == ["first/a"]
        with pytest.raises(FailedPrecondition) as caught:
            await answer(rooms, model="first/a", prompt="word " * 5000)
        assert caught.value.reason == "CONTEXT_TOO_LONG"


async def test_a_service_that_fails_is_left_alone_and_the_chain_goes_on(tmp_path: Path) -> None:
    async with routed(tmp_path) as (rooms, routing, _, first, _):
        first.trouble = ProviderError("down", kind="unavailable")
        for number in range(8):
            said, steps = await answer(rooms, model="mine", prompt=f"{number}")
            assert said == f"second: {number}"
            fell = [step.kind for step in steps if isinstance(step.kind, StepFallback)]
            assert [(each.from_model, each.to_model) for each in fell] in ([("first/a", "second/b")], [])
        assert len(first.requests) == 5
        assert routing.circuits.state("first/a") is State.OPEN
        with pytest.raises(Unavailable) as caught:
            await answer(rooms, model="first/a", prompt="x")
        assert caught.value.reason == "CIRCUIT_OPEN"
        assert caught.value.retry_after is not None
        assert len(first.requests) == 5
        first.trouble = None
        routing.circuits.recovered("first")
        said, _ = await answer(rooms, model="mine", prompt="again")
        assert said == "first: again"
        assert routing.circuits.state("first/a") is State.CLOSED


async def test_the_state_of_models_is_measured(tmp_path: Path) -> None:
    async with routed(tmp_path) as (rooms, routing, prompts, first, _):
        metrics = Metrics()
        measure_routing(metrics, routing, prompts)
        await answer(rooms, model="mine", prompt="word " * 200)
        first.trouble = ProviderError("down", kind="unavailable")
        for _ in range(6):
            await answer(rooms, model="mine", prompt="x")
        lines = dict(line.rsplit(" ", 1) for line in metrics.render().decode().splitlines() if line[0] != "#")
        assert lines['lightfast_gateway_circuit_open{name="first/a"}'] == "1.0"
        assert lines['lightfast_gateway_circuit_opened_total{name="first/a"}'] == "1.0"
        assert 0 < float(lines['lightfast_gateway_model_seconds{model="second/b"}']) < 60
        assert float(lines['lightfast_gateway_model_failing{model="first/a"}']) > 0.5
        assert float(lines['lightfast_gateway_model_failing{model="second/b"}']) == 0.0
        assert float(lines['lightfast_gateway_token_correction{model="first/a"}']) == prompts.counters.factor("first/a")
        assert lines["lightfast_gateway_probes_total"] == "0.0"


async def test_a_wrong_template_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    async with routed(tmp_path) as (rooms, _, _, first, _):
        with pytest.raises(LightfastError) as caught:
            await answer(rooms, model="first/a", prompt="x", template="nobody")
        assert caught.value.reason == "PROMPT_NOT_FOUND"
        assert first.requests == []
