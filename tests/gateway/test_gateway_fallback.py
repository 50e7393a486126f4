"""Another model goes on where one fails: before it said anything, and in the middle of its answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.actors import Actor, Purse, down, for_ever
from tests.support.gateway import House, house

from lightfast.core.errors import (
    DeadlineExceeded,
    Exhausted,
    FailedPrecondition,
    InvalidArgument,
    LightfastError,
    NotFound,
    Unavailable,
)
from lightfast.gateway.calls import OperationStep, StepFallback, StepUsage
from lightfast.gateway.ports import Attempt
from lightfast.sdk import Artifact, Message, ProviderError, TextDelta, Usage
from lightfast_link.value import Asset

CALL = {"model": "a/one", "fallbacks": ("b/one", "c/one")}


def cast(rooms: House, *capabilities: str) -> tuple[Actor, Actor, Actor]:
    made = (Actor("a", *capabilities), Actor("b", *capabilities), Actor("c", *capabilities))
    for one in made:
        rooms.gateway.register(one, one.name)
    return made


def heard_of(steps: list[OperationStep]) -> str:
    """Return the answer as one who reads it has it in the end."""
    text = ""
    for step in steps:
        if isinstance(step.kind, StepFallback) and step.kind.restarted:
            text = ""
        elif isinstance(step.kind, TextDelta):
            text += step.kind.text
    return text


def fallbacks(steps: list[OperationStep]) -> list[StepFallback]:
    return [step.kind for step in steps if isinstance(step.kind, StepFallback)]


@pytest.mark.parametrize("kind", ["auth", "denied", "limit", "overloaded", "unavailable", "timeout", "malformed", "failed",
                                  "not_found", "context"])  # fmt: skip
async def test_the_next_model_answers(tmp_path: Path, kind: str) -> None:
    async with house(tmp_path) as rooms:
        heard: list[Attempt] = []
        rooms.gateway.on_attempt.append(heard.append)
        a, b, c = cast(rooms)
        a.plays(ProviderError("no luck", kind=kind))
        steps = await rooms.run("x", **CALL)
        assert heard_of(steps) == "fine"
        assert fallbacks(steps) == [StepFallback("a/one", "b/one", restarted=False, reason="a/one failed: no luck")]
        assert [len(one.requests) for one in (a, b, c)] == [1, 1, 0]
        assert [(each.model, each.outcome, each.action) for each in heard] == [
            ("a/one", "error", "fallback"),
            ("b/one", "ok", ""),
        ]
        last = steps[-1].kind
        assert isinstance(last, StepUsage)
        assert last.model == "b/one"
        operation = await rooms.gateway.operation(steps[0].operation_id)
        assert (operation.model, operation.fallbacks) == ("b/one", tuple(fallbacks(steps)))


@pytest.mark.parametrize("kind", ["invalid", "too_large"])
async def test_what_is_wrong_with_the_request_is_not_sent_elsewhere(tmp_path: Path, kind: str) -> None:
    async with house(tmp_path) as rooms:
        a, b, _ = cast(rooms)
        a.plays(ProviderError("not so", kind=kind))
        with pytest.raises(LightfastError, match="a/one failed: not so"):
            await rooms.run("x", **CALL)
        assert b.requests == []


async def test_what_is_filtered_goes_on_only_where_the_call_says_so(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        a, b, _ = cast(rooms)
        a.plays(ProviderError("by policy", kind="filtered"))
        assert heard_of(await rooms.run("x", **CALL)) == "fine"
        a.plays(ProviderError("by policy", kind="filtered"))
        with pytest.raises(FailedPrecondition) as caught:
            await rooms.run("x", model="a/one")
        assert (caught.value.reason, len(b.requests)) == ("CONTENT_FILTERED", 1)


async def test_an_answer_that_breaks_off_is_continued(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        purse = rooms.gateway.costs = Purse()
        a, b, _ = cast(rooms, "continue")
        a.plays(TextDelta("to be or "), TextDelta("not "), Usage(5, 3, 0.25), down("the connection broke"))
        b.plays(TextDelta("to be"), Usage(9, 2, 0.5))
        steps = await rooms.run("x", target_path="/said", **CALL)
        assert b.requests[0].prefix == "to be or not "
        assert heard_of(steps) == "to be or not to be"
        assert [(step.from_model, step.to_model, step.restarted) for step in fallbacks(steps)] == [
            ("a/one", "b/one", False)
        ]
        assert "the connection broke" in fallbacks(steps)[0].reason
        entry = rooms.store.get("/said")
        assert entry is not None
        assert entry.value == "to be or not to be"
        last = steps[-1].kind
        assert isinstance(last, StepUsage)
        assert (last.usage, last.cost_usd) == (Usage(14, 5, 0.75), 0.75)
        assert [hold.ends for hold in purse.holds] == [["failed"], ["settled"]]


async def test_one_that_cannot_continue_begins_anew(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        a, b, _ = cast(rooms)
        a.plays(TextDelta("to be or "), RuntimeError("a bug"))
        b.plays(TextDelta("once upon a time"))
        steps = await rooms.run("x", target_path="/said", **CALL)
        assert b.requests[0].prefix == ""
        assert heard_of(steps) == "once upon a time"
        assert fallbacks(steps)[0].restarted
        entry = rooms.store.get("/said")
        assert entry is not None
        assert entry.value == "once upon a time"
        assert (await rooms.gateway.operation(steps[0].operation_id)).text == "once upon a time"


async def test_the_only_model_goes_on_itself(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        a, _, _ = cast(rooms, "continue")
        a.plays(TextDelta("one "), down()).plays(TextDelta("two "), down()).plays(TextDelta("three"))
        steps = await rooms.run("x", model="a/one")
        assert [request.prefix for request in a.requests] == ["", "one ", "one two "]
        assert heard_of(steps) == "one two three"
        assert [(each.from_model, each.to_model) for each in fallbacks(steps)] == [("a/one", "a/one")] * 2


async def test_an_asset_that_was_passed_on_means_a_new_beginning(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        a, b = Actor("a", outputs=("image",)), Actor("b", outputs=("image",))
        for one in (a, b):
            rooms.gateway.register(one, one.name)
        a.plays(Artifact("image/png", b"first"), down())
        b.plays(Artifact("image/png", b"second"))
        steps = await rooms.run("x", model="a/one", fallbacks=("b/one",), target_path="/art")
        assert fallbacks(steps)[0].restarted
        assets = [step.kind for step in steps if isinstance(step.kind, Asset)]
        entry = rooms.store.get("/art")
        assert entry is not None
        assert entry.value == assets[-1]
        assert (await rooms.gateway.operation(steps[0].operation_id)).assets == (assets[-1],)


async def test_all_fail_and_each_says_why(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        a, b, c = cast(rooms)
        a.plays(ProviderError("bad key", kind="auth"))
        b.plays(ProviderError("no such model", kind="not_found"))
        for _ in range(10):
            c.plays(down("cannot connect"))
        with pytest.raises(Unavailable) as caught:
            await rooms.run("x", **CALL)
        assert caught.value.reason == "ALL_MODELS_FAILED"
        for said in ("a/one: bad key", "b/one: no such model", "c/one: cannot connect"):
            assert said in caught.value.message
        assert (len(a.requests), len(b.requests)) == (1, 1)
        assert len(c.requests) == 1 + rooms.gateway.patience.again


async def test_a_second_round_asks_those_again_that_may_be_back(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        a, b, c = cast(rooms)
        a.plays(down())
        b.plays(ProviderError("bad key", kind="auth"))
        c.plays(down())
        steps = await rooms.run("x", **CALL)
        assert heard_of(steps) == "fine"
        assert [len(one.requests) for one in (a, b, c)] == [2, 1, 1]


async def test_strict_means_no_other(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        a, b, _ = cast(rooms)
        a.plays(ProviderError("no luck"))
        with pytest.raises(FailedPrecondition, match="a/one failed: no luck"):
            await rooms.run("x", strict=True, **CALL)
        assert b.requests == []


async def test_the_deadline_is_for_all_together(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        a, b, _ = cast(rooms)
        b.plays(for_ever)
        for timeout in (0.4, 4.0, 40.0):  # the next one where a busy machine did not come to the second model
            a.plays(TextDelta("one"), down())
            with pytest.raises(DeadlineExceeded) as caught:
                await rooms.run("x", timeout=timeout, **CALL)
            if b.requests:
                assert "b/one was not done after" in caught.value.message
                assert b.closed == 1
                assert b.requests[0].timeout < timeout
                return
        raise AssertionError("the second model was never asked")


async def test_a_provider_that_left_is_passed_over(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        a, b, _ = cast(rooms)
        a.plays(lambda: rooms.gateway.unregister(b), ProviderError("no luck"))
        steps = await rooms.run("x", **CALL)
        assert heard_of(steps) == "fine"
        assert steps[-1].kind.model == "c/one"  # type: ignore[union-attr]
        assert b.requests == []


async def test_a_model_that_the_request_does_not_fit_is_passed_over(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        a, _, _ = cast(rooms)
        a.plays(ProviderError("no luck"))
        with pytest.raises(LightfastError) as caught:  # `draw` makes images
            await rooms.run("x", model="a/one", fallbacks=("puppet/draw",))
        assert "puppet/draw" in caught.value.message
        with pytest.raises(NotFound, match="no/body"):
            await rooms.run("x", model="a/one", fallbacks=("no/body",))


async def test_a_budget_error_is_the_error_where_all_meet_it(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        rooms.gateway.costs = Purse(limit=0.0)
        cast(rooms)
        with pytest.raises(Exhausted) as caught:
            await rooms.run("x", **CALL)
        assert caught.value.reason == "BUDGET_EXCEEDED"


async def test_the_texts_reach_the_provider(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        a, _, _ = cast(rooms, "system")
        messages = (Message("user", "hi"), Message("assistant", "ho"))
        await rooms.run("x", model="a/one", system="be brief", messages=messages, max_output_tokens=7)
        (request,) = a.requests
        assert (request.system, request.messages, request.max_output_tokens) == ("be brief", messages, 7)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"messages": (Message("robot", "x"),)}, "a message has the role 'robot'"),
        ({"messages": (Message("user", "x"),) * 1001}, "1001 messages"),
        ({"messages": (Message("user", "x" * 5_000_000),)}, "the texts have 5000001 characters"),
        ({"fallbacks": ("a/one",) * 17}, "17 fallbacks"),
        ({"cache": "often"}, "the cache is used 'often'"),
        ({"max_output_tokens": -1}, "at most -1 tokens"),
        ({"max_cost_usd": float("nan")}, "it may cost nan USD"),
        ({"system": "be brief"}, "a/one is not able to: system"),
        ({"schema": "{}"}, "a/one is not able to: schema"),
    ],
    ids=lambda value: value.split()[0] if isinstance(value, str) else next(iter(value)),
)
async def test_wrong_fields_are_refused_before_anything_starts(
    tmp_path: Path, fields: dict[str, object], said: str
) -> None:
    async with house(tmp_path) as rooms:
        a, _, _ = cast(rooms)
        with pytest.raises(InvalidArgument) as caught:
            await rooms.run("x", **{"model": "a/one", **fields})
        assert said in caught.value.message
        assert a.requests == []
        assert (await rooms.gateway.list_operations())[0] == []
