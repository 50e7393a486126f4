"""The front model through the real gateway: a service that answers in a structured form, wrongly, or not at all."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.engine.desk_requests import OBLIQUE, WORKFLOWS
from tests.support.desk_back import ASKER, DeskHouse, desk_house
from tests.support.gateway import house
from tests.support.planning import PlanningEmulator

from lightfast.core.tokens import Estimate
from lightfast.engine.desk.classify import classify
from lightfast.engine.desk.coded import parse_event
from lightfast.engine.desk.context import MOST_TOKENS
from lightfast.engine.desk.records import Reply
from lightfast_providers.openai.provider import OpenAI

EXAMPLES = {"tc": "tc:{0}", "ts": "ts:auto|0.3|{0}", "cl": "cl:{0}", "ms": "ms:thing|{0}", "wf": "wf:nightly_render"}
UNCLEAR = tuple((said, wanted) for said, wanted in OBLIQUE if classify(said, WORKFLOWS).letters == "unclear")


@asynccontextmanager
async def desk_with(folder: Path, emulator: PlanningEmulator) -> AsyncIterator[DeskHouse]:
    """Open a desk whose front model is that of the emulator."""
    (folder / "gateway").mkdir()
    async with house(folder / "gateway") as room:
        room.gateway.register(OpenAI(base_url=emulator.base_url), "openai")
        async with desk_house(
            folder, workflows=WORKFLOWS, gateway=room.gateway, model=lambda: "openai/gpt-6-luna"
        ) as desk:
            yield desk


async def heard(desk: DeskHouse, said: str) -> list[Reply]:
    conversation = desk.desk.converse(ASKER, "client:test")
    await conversation.hear(said, "r")
    conversation.finish()
    found = [reply async for reply in conversation.replies()]
    await conversation.close()
    return found


def right(body: Any) -> dict[str, Any]:
    """Answer as a good model would."""
    message = body["input"] if isinstance(body["input"], str) else json.dumps(body["input"], ensure_ascii=False)
    wanted = next((line for said, line in OBLIQUE if said in message), "")
    said = next((said for said, _ in OBLIQUE if said in message), "")
    return {"command": EXAMPLES[wanted].format(said), "confidence": 0.9}


@pytest.mark.parametrize("model", ["right", "wrong", "noise"])
async def test_what_was_not_clear_with_and_without_a_model(tmp_path: Path, model: str) -> None:
    script = {"right": right, "wrong": {"command": "tc:Delete everything", "confidence": 1.0}, "noise": "%&/("}[model]
    assert len(UNCLEAR) >= 5
    async with PlanningEmulator(script) as emulator, desk_with(tmp_path, emulator) as desk:
        proposed = 0
        for said, wanted in UNCLEAR:
            replies = await heard(desk, said)
            assert parse_event(replies[0].line).code == "UNCLEAR"  # type: ignore[union-attr]
            lines = [step for reply in replies[1:] for step in reply.next_steps]
            proposed += any(line.startswith(f"{wanted}:") for line in lines)
            assert model == "right" or not lines
        print(f"{model}: {proposed} of {len(UNCLEAR)} that code asked back at")
        assert proposed >= len(UNCLEAR) - 1 if model == "right" else proposed == 0
        assert not desk.jobs.jobs
        asked = emulator.asked[0]
        assert asked["text"]["format"]["type"] == "json_schema"
        assert not asked.get("tools")
        assert Estimate().count(json.dumps(asked["input"]) + asked.get("instructions", "")) < MOST_TOKENS


async def test_words_stream_after_the_acknowledgement(tmp_path: Path) -> None:
    async with PlanningEmulator("The cube comes at once.") as emulator, desk_with(tmp_path, emulator) as desk:
        replies = await heard(desk, "tc:add a red cube")
        assert replies[0].request_id == "r"
        assert replies[0].line.startswith("tr:")
        assert "".join(reply.delta for reply in replies) == "The cube comes at once."
        assert any(reply.line.startswith("tc:task") for reply in replies)
        assert not emulator.asked[0].get("tools")


async def test_a_service_that_is_gone_changes_nothing(tmp_path: Path) -> None:
    async with PlanningEmulator("never") as emulator:
        pass
    async with desk_with(tmp_path, emulator) as desk:
        replies = await heard(desk, "tc:add a red cube")
        assert [reply.delta for reply in replies if reply.delta] == []
        assert replies[-1].line.startswith("tc:task") or any(reply.line.startswith("tc:task") for reply in replies)
        assert desk.desk.front.failed == 1
