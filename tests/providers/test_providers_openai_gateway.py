"""The providers of OpenAI's protocol in the gateway: discovery, and an answer that goes on at the real llama.cpp."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.emulators.llamacpp import llamacpp
from tests.emulators.openai import OpenAIEmulator
from tests.support.gateway import house

from lightfast.app.gateway_settings import GatewaySettings
from lightfast.app.routing_joints import join_routing
from lightfast.core.clock import SYSTEM
from lightfast.gateway.calls import StepFallback, StepUsage
from lightfast.sdk import TextDelta, Usage
from lightfast_providers.compatible.provider import Compatible
from lightfast_providers.compatible.servers import Server
from lightfast_providers.openai.provider import OpenAI

pytest.importorskip("xllamacpp")


async def test_an_answer_that_breaks_off_goes_on_at_a_local_model(tmp_path: Path) -> None:
    with llamacpp(tmp_path) as local:
        async with OpenAIEmulator() as emulator, house(tmp_path) as rooms:
            emulator.needs_key = False
            emulator.next("disconnect-mid", on="/responses")
            emulator.break_after = 5
            routing, prompts = join_routing(rooms.gateway, GatewaySettings(), rooms.db, SYSTEM)
            rooms.gateway.register(OpenAI(base_url=emulator.base_url), "openai")
            rooms.gateway.register(Compatible(Server("llama", local)), "compatible")
            steps = await rooms.run(
                "Describe the bay.",
                model="openai/gpt-6-luna",
                fallbacks=("llama/tiny-random.gguf",),
                max_output_tokens=24,
            )
            await prompts.close()
            assert routing is not None
    (change,) = [step.kind for step in steps if isinstance(step.kind, StepFallback)]
    assert (change.from_model, change.to_model) == ("openai/gpt-6-luna", "llama/tiny-random.gguf")
    at = next(index for index, step in enumerate(steps) if step.kind is change)
    before = "".join(step.kind.text for step in steps[:at] if isinstance(step.kind, TextDelta))
    after = "".join(step.kind.text for step in steps[at:] if isinstance(step.kind, TextDelta))
    assert before.startswith("The lighthouse"), "what the first one said is kept"
    assert after
    assert not change.restarted, "llama.cpp goes on from a beginning, so nothing is said twice"
    assert "The lighthouse" not in after


async def test_an_answer_of_the_service_is_passed_on_with_its_usage(tmp_path: Path) -> None:
    async with OpenAIEmulator() as emulator, house(tmp_path) as rooms:
        emulator.needs_key = False
        rooms.gateway.register(OpenAI(base_url=emulator.base_url), "openai")
        steps = await rooms.run("Describe the bay.", model="openai/gpt-6-luna", settings={"effort": "low"})
        text = "".join(step.kind.text for step in steps if isinstance(step.kind, TextDelta))
        assert text == "The lighthouse turns, and the bay answers."
        told = [step.kind for step in steps if isinstance(step.kind, (StepUsage, Usage))]
        assert told
        assert emulator.calls("/responses", "POST")[0].json["reasoning"] == {"effort": "low"}
