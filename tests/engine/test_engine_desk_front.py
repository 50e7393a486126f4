"""What stands in front: budgets of tokens, acknowledgements by code alone, and a model that only adds words to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.desk_back import ASKER, desk_house

from lightfast.core.errors import OutOfRange, Unavailable
from lightfast.core.tokens import Estimate
from lightfast.engine.desk import conversation as talks
from lightfast.engine.desk.coded import Fault, TaskReady, parse_event
from lightfast.engine.desk.context import BUDGETS, INSTRUCTIONS, MOST_TOKENS, build
from lightfast.engine.desk.conversation import Conversation
from lightfast.engine.desk.front import MOST_AT_ONCE, PATIENCE_S
from lightfast.engine.desk.grammar import CodedFault
from lightfast.engine.desk.records import Reply
from lightfast.gateway.calls import GenerateCall, OperationStep
from lightfast.sdk import TextDelta

COUNT = Estimate().count


class Model:
    """Stands where the gateway does."""

    def __init__(self, *words: str, error: Exception | None = None, hangs: bool = False) -> None:
        self.words, self.error, self.hangs = words, error, hangs
        self.calls: list[GenerateCall] = []
        self.started = asyncio.Event()

    async def generate(self, call: GenerateCall, origin: str) -> AsyncIterator[OperationStep]:
        self.calls.append(call)
        self.started.set()
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        for word in self.words:
            yield OperationStep("operation-1", TextDelta(word))


def with_model(model: Model) -> dict[str, Any]:
    return {"gateway": model, "model": lambda: "front/model"}


async def gather(conversation: Conversation, enough: Callable[[list[Reply]], bool]) -> list[Reply]:
    found: list[Reply] = []
    async for reply in conversation.replies():
        found.append(reply)
        if enough(found):
            break
    return found


def test_the_budgets_are_those_of_the_design() -> None:
    assert BUDGETS == {"instructions": 200, "commands": 500, "status": 300, "message": 1_000}
    assert COUNT(f"{INSTRUCTIONS}\n") < BUDGETS["instructions"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.text(max_size=3_000),
    st.lists(st.text(max_size=2_000), max_size=40),
    st.lists(st.text(max_size=2_000), max_size=40),
)
def test_the_context_never_has_2000_tokens(message: str, commands: list[str], status: list[str]) -> None:
    if COUNT(message) > BUDGETS["message"]:
        with pytest.raises(CodedFault) as caught:
            build(message, commands, status, Estimate())
        assert caught.value.reason == "MESSAGE_TOO_LONG"
        return
    context = build(message, commands, status, Estimate())
    assert all(context.tokens[part] <= most for part, most in BUDGETS.items())
    assert context.total < MOST_TOKENS
    assert COUNT(context.system) + COUNT(context.message) <= context.total
    assert context.system.startswith(INSTRUCTIONS)


def test_the_newest_is_kept_and_shown_last() -> None:
    commands = [f"tc:task number {number}|create" for number in range(300)]
    context = build("hello", commands, ["su:run-1|running|0.5"], Estimate())
    lines = context.system.splitlines()
    shown = [line for line in lines if line.startswith("tc:task")]
    assert shown[-1] == commands[0]
    assert shown == list(reversed(commands[: len(shown)]))
    assert 400 < context.tokens["commands"] <= 500
    assert "su:run-1|running|0.5" in lines


async def test_a_message_over_its_budget_is_refused(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        for said in ("tc:" + "word " * 1_100, "please add " + "word " * 1_100, "x" * 100_000):
            fault = parse_event((await house.desk.say(said, ASKER, "client:test")).line)
            assert isinstance(fault, Fault)
            assert fault.code == "MESSAGE_TOO_LONG"
        assert (await house.desk.say("tc:" + "word " * 150, ASKER, "client:test")).line_id


class Forbidden:
    """A room that nobody may call; of workflows only the names are known."""

    def names(self) -> tuple[str, ...]:
        return ("project_planning",)

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was called before the acknowledgement")


@pytest.mark.parametrize(
    "line",
    ["tc:a", "ts:auto|0.3|b", "wf:project_planning", "cl:x", "ms:k|v", "add a cube", "hello", "er", "tc:", "cl:/a"],
)
async def test_it_answers_by_code_alone(tmp_path: Path, line: str) -> None:
    async with desk_house(tmp_path, start=False) as house:
        desk, model = house.desk, Model(hangs=True)
        commits = 0
        commit = house.db.commit

        async def counted(unit: Any) -> None:
            nonlocal commits
            commits += 1
            await commit(unit)

        forbidden = Forbidden()
        for room in (desk.backend, desk.loads, desk._outcomes):
            for name in ("_planner", "_runs", "_workspaces", "_memory", "_views"):
                if hasattr(room, name):
                    setattr(room, name, forbidden)
        desk.front._gateway, desk.front._model = model, lambda: "front/model"  # type: ignore[assignment]
        house.db.commit = counted  # type: ignore[method-assign, assignment]
        ack = await desk.say(line, ASKER, "client:test")
        parse_event(ack.line)
        assert commits == (1 if ack.line_id else 0)
        assert not model.calls
        assert not house.jobs.jobs


async def test_words_of_the_model_come_after_the_acknowledgement(tmp_path: Path) -> None:
    model = Model("I will ", "paint it.")
    async with desk_house(tmp_path, **with_model(model)) as house:
        conversation = house.desk.converse(ASKER, "client:test")
        await conversation.hear("please add a red cube", "r1")
        conversation.finish()
        found = await gather(conversation, lambda _: False)
        await conversation.close()
        assert isinstance(parse_event(found[0].line), TaskReady)
        assert found[0].request_id == "r1"
        assert "".join(reply.delta for reply in found) == "I will paint it."
        assert all(not reply.line for reply in found if reply.delta)
        (call,) = model.calls
        assert COUNT(call.system) + COUNT(call.prompt) < MOST_TOKENS
        assert (call.model, call.cache, call.keep_prompt, call.timeout) == ("front/model", "off", False, PATIENCE_S)
        assert found[0].line in call.system


@pytest.mark.parametrize("model", ["hangs", "fails"])
async def test_a_model_that_is_slow_or_dead_delays_nothing(tmp_path: Path, model: str) -> None:
    stand_in = Model(error=Unavailable("no")) if model == "fails" else Model(hangs=True)
    async with desk_house(tmp_path, **with_model(stand_in)) as house:
        conversation = house.desk.converse(ASKER, "client:test")
        for number in range(MOST_AT_ONCE + 4):
            await conversation.hear(f"tc:add cube {number}", f"r{number}")
        found = await gather(conversation, lambda all_: sum(bool(each.request_id) for each in all_) == MOST_AT_ONCE + 4)
        assert [each.request_id for each in found if each.request_id] == [f"r{n}" for n in range(MOST_AT_ONCE + 4)]
        await house.told("desk.complete", count=MOST_AT_ONCE + 4)
        await conversation.close()
        assert house.desk.front._at_work == 0


async def test_where_code_asks_back_the_model_may_propose(tmp_path: Path) -> None:
    model = Model('{"command": "tc:Paint the fence blue", ', '"confidence": 0.9}')
    async with desk_house(tmp_path, **with_model(model)) as house:
        conversation = house.desk.converse(ASKER, "client:test")
        await conversation.hear("the fence, blue")
        conversation.finish()
        found = await gather(conversation, lambda _: False)
        await conversation.close()
        assert parse_event(found[0].line).code == "UNCLEAR"  # type: ignore[union-attr]
        assert found[1].next_steps == ("tc:Paint the fence blue",)
        assert not house.jobs.jobs
        assert await house.db.query("SELECT * FROM desk_lines") == []


async def test_lines_are_answered_in_order_and_events_follow_them(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        conversation = house.desk.converse(ASKER, "client:test")
        for number in range(20):
            await conversation.hear(f"tc:add cube {number}", f"r{number}")
        conversation.finish()
        found = await gather(conversation, lambda _: False)
        await conversation.close()
        assert [each.request_id for each in found if each.request_id] == [f"r{n}" for n in range(20)]
        place = {each.job: at for at, each in enumerate(found) if each.request_id}
        events = [(at, each) for at, each in enumerate(found) if each.sequence and each.job in place]
        assert all(at > place[each.job] for at, each in events)
        assert sum(each.line.startswith("tc:") for _, each in events) == 20
        sequences = [each.sequence for each in found if each.sequence]
        assert sequences == sorted(sequences)


async def test_only_what_it_started_is_told_unless_all_is_asked_for(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        mine = house.desk.converse(ASKER, "client:one")
        await mine.hear("tc:add my cube")
        other = await house.desk.say("tc:add other cube", ASKER, "client:two")
        await house.told("desk.complete", count=2)
        mine.finish()
        found = await gather(mine, lambda _: False)
        await mine.close()
        assert other.job not in {each.job for each in found}
        everything = house.desk.converse(ASKER, "client:one", after=0)
        newest = house.events.newest
        found = await gather(everything, lambda all_: all_[-1].sequence == newest)
        await everything.close()
        assert [each.sequence for each in found] == list(range(1, newest + 1))
        assert other.job in {each.job for each in found}
        again = house.desk.converse(ASKER, "client:one", after=newest - 2)
        found = await gather(again, lambda all_: len(all_) == 2)
        await again.close()
        assert [each.sequence for each in found] == [newest - 1, newest]
        lost = house.desk.converse(ASKER, "client:one", after=newest + 1)
        with pytest.raises(OutOfRange):
            await gather(lost, lambda _: False)
        await lost.close()


async def test_a_slow_client_makes_its_next_line_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talks, "MOST_WAITING", 4)
    async with desk_house(tmp_path) as house:
        house.jobs.stop("a test")
        conversation = house.desk.converse(ASKER, "client:test")

        async def hear() -> None:
            for number in range(10):
                await conversation.hear(f"tc:{number}", f"r{number}")

        task = asyncio.ensure_future(hear())
        await house.until(lambda: len(conversation._waiting) >= 4)
        before = house.desk.lines
        assert len(await before.newest("client:test", 100)) <= 5
        assert not task.done()
        found = await gather(conversation, lambda all_: len(all_) == 10)
        await task
        assert [each.request_id for each in found] == [f"r{n}" for n in range(10)]
        await conversation.close()


async def test_the_same_request_again_ends_as_it_did(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        await house.desk.say("tc:add a cube", ASKER, "client:test", request_id="one")
        await house.told("desk.complete")
        conversation = house.desk.converse(ASKER, "client:test")
        await conversation.hear("tc:add a cube", "one")
        await conversation.hear("tc:add another", "one")
        conversation.finish()
        first, second = await gather(conversation, lambda _: False)
        await conversation.close()
        assert isinstance(parse_event(first.line), TaskReady)
        assert parse_event(second.line).code == "REQUEST_ID_REUSED"  # type: ignore[union-attr]
