"""Operations as they are listed, kept and read again; and answers that are shared or kept."""

from __future__ import annotations

import asyncio
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.actors import Actor, Purse, down, for_ever
from tests.support.gateway import House, house
from tests.support.plugins import until

from lightfast.core.clock import SYSTEM
from lightfast.core.errors import Exhausted, InvalidArgument, LightfastError
from lightfast.gateway.cache.answers import KeptAnswers
from lightfast.gateway.cache.flights import Flights
from lightfast.gateway.calls import GenerateCall, OperationStep, StepFallback, StepUsage
from lightfast.gateway.operations import KEPT_ROWS, TEXT_KEPT, Operation, OperationState, decode, encode
from lightfast.sdk import TextDelta, Usage
from lightfast_link.value import Asset


def final(steps: list[OperationStep]) -> str:
    text = ""
    for step in steps:
        if isinstance(step.kind, StepFallback) and step.kind.restarted:
            text = ""
        elif isinstance(step.kind, TextDelta):
            text += step.kind.text
    return text


def usage_of(steps: list[OperationStep]) -> StepUsage:
    last = steps[-1].kind
    assert isinstance(last, StepUsage)
    return last


text = st.text(max_size=20)
whole = st.integers(0, 1 << 40)
operations = st.builds(
    Operation,
    operation_id=text,
    state=st.sampled_from(OperationState),
    model=text,
    output=text,
    prompt=text,
    seed=whole,
    origin=text,
    create_time=whole,
    fraction=st.floats(0, 1),
    error=text,
    assets=st.lists(st.builds(Asset, text, text, text, whole), max_size=3).map(tuple),
    end_time=whole,
    usage=st.builds(Usage, whole, whole, st.none() | st.floats(0, 1), reasoning_tokens=whole, seconds=st.floats(0, 9)),
    cost_usd=st.floats(0, 9),
    text=text,
    fallbacks=st.lists(st.builds(StepFallback, text, text, st.booleans(), text), max_size=3).map(tuple),
    job_id=text,
    account=text,
    settings=text,
    sources=st.lists(text, max_size=3).map(tuple),
    deadline=whole,
    project=text,
    run=text,
    cache=text,
    finish_reason=text,
)


@given(operations)
def test_a_row_holds_all_of_an_operation(operation: Operation) -> None:
    assert decode(encode(operation)) == operation


def test_a_row_of_before_is_read() -> None:
    old = (
        '{"operation_id":"op-1","state":"SUCCEEDED","model":"m","output":"text","prompt":"p","seed":1,"origin":"o",'
        '"create_time":5,"fraction":1.0,"error":"","assets":[],"end_time":6,"group":"","target_path":""}'
    )
    found = decode(old)
    assert (found.operation_id, found.usage, found.fallbacks, found.text) == ("op-1", Usage(), (), "")
    assert (
        len(encode(Operation("i", OperationState.RUNNING, "m", "o", "p", 1, "o", 1, text="x" * 10**6)))
        < TEXT_KEPT + 500
    )
    assert {each.name for each in fields(Operation)} >= {"job_id", "deadline"}


async def test_pages_show_each_operation_once_the_newest_first(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        rooms.gateway.register(Actor("a"), "a")
        ids = [(await rooms.run("x", model="a/one", project="p" if i % 2 else ""))[0].operation_id for i in range(7)]
        seen: list[str] = []
        token, pages = "", 0
        while True:
            page, token = await rooms.gateway.list_operations(size=3, token=token)
            seen += [each.operation_id for each in page]
            pages += 1
            if not token:
                break
        assert (seen, pages) == (ids[::-1], 3)
        page, token = await rooms.gateway.list_operations(project="p")
        assert ([each.operation_id for each in page], token) == (ids[1::2][::-1], "")
        assert (await rooms.gateway.list_operations(running_only=True))[0] == []
        for wrong in ({"size": -1}, {"size": 1001}, {"token": "x"}, {"token": "9:"}, {"token": "9" * 30 + ":x"}):
            with pytest.raises(InvalidArgument) as caught:
                await rooms.gateway.list_operations(**wrong)
            assert caught.value.reason == "PAGE_INVALID"


async def test_the_oldest_rows_go_at_a_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightfast.gateway.operations.KEPT_ROWS", 3)
    assert KEPT_ROWS == 10_000
    async with house(tmp_path) as rooms:
        rooms.gateway.register(Actor("a"), "a")
        ids = [(await rooms.run("x", model="a/one"))[0].operation_id for _ in range(5)]
        await rooms.gateway.start()
        found, _ = await rooms.gateway.list_operations()
        assert [each.operation_id for each in found] == ids[:1:-1]


def with_cache(rooms: House) -> tuple[KeptAnswers, Purse]:
    answers = KeptAnswers(rooms.db, rooms.blobs, SYSTEM)
    purse = Purse()
    rooms.gateway.answers, rooms.gateway.flights, rooms.gateway.costs = answers, Flights(), purse
    return answers, purse


async def test_the_same_question_is_answered_from_what_was_kept(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        _, purse = with_cache(rooms)
        one = Actor("a")
        rooms.gateway.register(one, "a")
        one.plays(TextDelta("forty"), TextDelta("-two"), Usage(1, 2, 0.5))
        first = await rooms.run("why", model="a/one")
        again = await rooms.run("why", model="a/one", target_path="/said")
        assert (final(first), final(again), len(one.requests)) == ("forty-two", "forty-two", 1)
        assert (usage_of(first).cache, usage_of(first).cost_usd) == ("", 0.5)
        last = usage_of(again)
        assert (last.cache, last.cost_usd, last.saved_usd, last.model) == ("exact", 0.0, 0.5, "a/one")
        assert purse.saves == [(0.5, "exact")]
        entry = rooms.store.get("/said")
        assert entry is not None
        assert entry.value == "forty-two"
        await rooms.run("why", model="a/one", cache="off")
        await rooms.run("why", model="a/one", keep_prompt=False)
        await rooms.run("why", model="a/one", cache="refresh")
        assert len(one.requests) == 4
        assert final(await rooms.run("why", model="a/one")) == "fine"


async def test_the_same_question_under_way_is_asked_once(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        _, purse = with_cache(rooms)
        gate = asyncio.Event()
        one = Actor("a").plays(TextDelta("for"), gate.wait, TextDelta("ty"), Usage(1, 2, 0.5))
        rooms.gateway.register(one, "a")
        tasks = [asyncio.ensure_future(rooms.run("why", model="a/one")) for _ in range(20)]
        await until(lambda: rooms.gateway.running == 20, "all of them")
        gate.set()
        answers = await asyncio.gather(*tasks)
        assert [final(steps) for steps in answers] == ["forty"] * 20
        assert len(one.requests) == 1
        assert sorted(usage_of(steps).cache for steps in answers) == ["", *["shared"] * 19]
        assert purse.saves == [(0.5, "shared")] * 19
        assert len({steps[0].operation_id for steps in answers}) == 20


async def test_a_leader_that_leaves_is_replaced(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        with_cache(rooms)
        one = Actor("a").plays(TextDelta("never"), for_ever).plays(TextDelta("ready"))
        rooms.gateway.register(one, "a")
        leader = rooms.gateway.generate(GenerateCall("a/one", prompt="why"), "client:one")
        while not isinstance((await anext(leader)).kind, TextDelta):
            pass
        tasks = [asyncio.ensure_future(rooms.run("why", model="a/one")) for _ in range(5)]
        await until(lambda: rooms.gateway.running == 6, "all of them")
        await leader.aclose()  # type: ignore[attr-defined]
        answers = await asyncio.gather(*tasks)
        assert [final(steps) for steps in answers] == ["ready"] * 5
        assert len(one.requests) == 2


async def test_a_failure_of_the_service_is_one_for_all(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        with_cache(rooms)
        gate = asyncio.Event()
        one = Actor("a").plays(gate.wait, down(kind="auth"))
        rooms.gateway.register(one, "a")
        tasks = [asyncio.ensure_future(rooms.run("why", model="a/one")) for _ in range(5)]
        await until(lambda: rooms.gateway.running == 5, "all of them")
        gate.set()
        outcomes: list[Any] = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(outcome).__mro__[1] for outcome in outcomes} == {LightfastError}
        assert len(one.requests) == 1


async def test_a_budget_of_one_is_no_failure_of_the_others(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        _, purse = with_cache(rooms)
        one = Actor("a")
        rooms.gateway.register(one, "a")
        gate = asyncio.Event()
        hold = purse.hold

        begun = asyncio.Event()

        async def first_is_refused(*args: Any, **options: Any) -> Any:
            if not gate.is_set():
                begun.set()
                await gate.wait()
                purse.hold = hold  # type: ignore[method-assign]
                raise Exhausted("no money", reason="BUDGET_EXCEEDED")
            return await hold(*args, **options)

        purse.hold = first_is_refused  # type: ignore[method-assign]
        tasks = [asyncio.ensure_future(rooms.run("why", model="a/one")) for _ in range(3)]
        await until(lambda: rooms.gateway.running == 3 and begun.is_set(), "all of them, and the first at its budget")
        gate.set()
        outcomes: list[Any] = await asyncio.gather(*tasks, return_exceptions=True)
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Exhausted", "list", "list"]
        assert len(one.requests) == 1
