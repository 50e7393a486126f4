"""The whole loop with the real llama.cpp and a model of random weights: well formed by its schema, noise by content."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import jsonschema_rs
import pytest
from tests.emulators.llamacpp import llamacpp
from tests.support.planning import asker, planning

from lightfast.app.gateway_settings import GatewaySettings
from lightfast.app.routing_joints import join_routing
from lightfast.core.clock import SYSTEM
from lightfast.engine.planner.model import read_answer
from lightfast.engine.planner.schema import answer_schema
from lightfast.engine.planner.settings import GRAMMAR
from lightfast.gateway.calls import StepUsage
from lightfast.sdk import TextDelta
from lightfast_providers.compatible.provider import Compatible
from lightfast_providers.compatible.servers import Server

pytest.importorskip("xllamacpp")

MODEL = "llama/tiny-random.gguf"
WINDOW = 12_288
REASONS = {"PLAN_REFUSED", "NOTHING_PLANNED", "ANSWER_UNFIT", "ANSWER_TOO_LONG", "EMPTY_ANSWER"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with llamacpp(tmp_path_factory.mktemp("llama"), window=WINDOW, ascii_only=True) as base_url:
        yield base_url


async def test_what_it_says_fits_the_schema_and_is_read_without_an_error(tmp_path: Path, server: str) -> None:
    async with planning(tmp_path) as room:
        _, prompts = join_routing(room.house.gateway, GatewaySettings(), room.house.db, SYSTEM)
        room.house.gateway.register(Compatible(Server("llama", server)), "compatible")
        schema = answer_schema(room.book)
        whole = 0
        for seed in range(4):
            steps = await room.house.run(
                "play", model=MODEL, schema=schema, max_output_tokens=6000, seed=seed, strict=True
            )
            text = "".join(step.kind.text for step in steps if isinstance(step.kind, TextDelta))
            assert [step for step in steps if isinstance(step.kind, StepUsage)]
            jsonschema_rs.validate(json.loads(schema), json.loads(text))
            program, message, problems = read_answer(text)
            assert program is not None or problems or message.strip()
            whole += 1
        await prompts.close()
        assert whole == 4


async def test_noise_is_refused_with_reasons_and_the_grammar_plans(tmp_path: Path, server: str) -> None:
    async with planning(tmp_path, chain=(MODEL,), repairs=1, view_tokens=400, max_output_tokens=1500) as room:
        _, prompts = join_routing(room.house.gateway, GatewaySettings(), room.house.db, SYSTEM)
        room.house.gateway.register(Compatible(Server("llama", server)), "compatible")
        plan = await room.planner.plan("set the tempo to 128, add a red cube, render it", asker())
        await prompts.close()
    if plan.planner == MODEL:  # by chance it said something that can be done
        assert not plan.checked.mistakes
        return
    assert plan.planner == GRAMMAR
    (attempt,) = plan.attempts
    assert attempt.split(": ")[1] in REASONS, attempt
    assert [each.op for each in plan.program.instructions] == ["context.set", "app.command", "app.command"]
    assert not plan.checked.mistakes
