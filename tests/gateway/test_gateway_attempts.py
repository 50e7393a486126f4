"""One attempt after the other: accounts, limits, money, waits, and what is told about them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.actors import Accounts, Actor, Purse, down, for_ever
from tests.support.gateway import House, house
from tests.support.plugins import until

from lightfast.core.errors import (
    DeadlineExceeded,
    Exhausted,
    FailedPrecondition,
    InvalidArgument,
    LightfastError,
    NotFound,
    Unavailable,
)
from lightfast.gateway.calls import GenerateCall, OperationStep, StepUsage
from lightfast.gateway.operations import OperationState
from lightfast.gateway.ports import Attempt
from lightfast.gateway.rooms import Patience
from lightfast.sdk import Finish, Limit, Limits, ProviderError, TextDelta, Usage


def text_of(steps: list[OperationStep]) -> str:
    return "".join(step.kind.text for step in steps if isinstance(step.kind, TextDelta))


def actor(rooms: House, name: str = "a", *capabilities: str) -> Actor:
    made = Actor(name, *capabilities)
    rooms.gateway.register(made, name)
    return made


def listen(rooms: House) -> list[Attempt]:
    heard: list[Attempt] = []
    rooms.gateway.on_attempt.append(heard.append)
    return heard


async def test_an_attempt_reserves_holds_and_settles(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        heard = listen(rooms)
        accounts = rooms.gateway.sessions = Accounts("first", "second")
        purse = rooms.gateway.costs = Purse()
        limits = Limits((Limit("requests", 60, 10, 9),))
        one = actor(rooms).plays(TextDelta("yes"), limits, Usage(3, 4, 0.5, reasoning_tokens=2), Finish("stop"))
        steps = await rooms.run("x", model="a/one", project="film", run="r")
        last = steps[-1].kind
        assert isinstance(last, StepUsage)
        assert (last.cost_usd, last.cost_basis, last.model, last.finish_reason) == (0.5, "reported", "a/one", "stop")
        assert last.usage == Usage(3, 4, 0.5, reasoning_tokens=2)
        assert one.requests[0].session.account == "first"
        assert one.requests[0].idempotency_key == f"{steps[0].operation_id}.a/one"
        (place,) = accounts.places
        assert (place.told, place.ends) == ([limits], ["settled"])
        assert [hold.ends for hold in purse.holds] == [["settled"]]
        (attempt,) = heard
        assert (attempt.model, attempt.account, attempt.outcome, attempt.error) == ("a/one", "first", "ok", None)
        assert (attempt.payer.project, attempt.payer.client, attempt.payer.run) == ("film", "client:test", "r")
        assert attempt.usage == last.usage
        operation = await rooms.gateway.operation(steps[0].operation_id)
        assert (operation.text, operation.usage, operation.cost_usd) == ("yes", last.usage, 0.5)


async def test_what_is_retryable_is_tried_again_at_the_only_model(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        heard = listen(rooms)
        purse = rooms.gateway.costs = Purse()
        one = actor(rooms).plays(down()).plays(down(retry_after=0.01))
        steps = await rooms.run("x", model="a/one")
        assert text_of(steps) == "fine"
        assert len(one.requests) == 3
        assert len({request.idempotency_key for request in one.requests}) == 1
        assert [(each.outcome, each.action) for each in heard] == [
            ("error", "retried"),
            ("error", "retried"),
            ("ok", ""),
        ]
        assert [hold.ends for hold in purse.holds] == [["failed"], ["failed"], ["settled"]]


async def test_retries_end(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        heard = listen(rooms)
        one = actor(rooms)
        for _ in range(10):
            one.plays(down("it is away", retry_after=0.003))
        with pytest.raises(Unavailable, match="a/one failed: it is away") as caught:
            await rooms.run("x", model="a/one")
        assert (caught.value.reason, caught.value.retry_after) == ("PROVIDER_UNAVAILABLE", 0.003)
        assert len(one.requests) == 1 + rooms.gateway.patience.again
        assert heard[-1].action == "failed"


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (ProviderError("no", kind="invalid"), InvalidArgument, "PROVIDER_REFUSED"),
        (ProviderError("no", kind="auth"), FailedPrecondition, "KEY_REFUSED"),
        (ProviderError("no", kind="denied"), FailedPrecondition, "PROVIDER_DENIED"),
        (ProviderError("no", kind="not_found"), NotFound, "MODEL_NOT_FOUND"),
        (ProviderError("no", kind="filtered"), FailedPrecondition, "CONTENT_FILTERED"),
        (ProviderError("no", kind="context"), InvalidArgument, "CONTEXT_TOO_LONG"),
        (ProviderError("no", kind="limit", terminal=True), Exhausted, "PROVIDER_LIMIT"),
        (ProviderError("no", kind="malformed"), FailedPrecondition, "PROVIDER_MALFORMED"),
        (ProviderError("no", kind="too_large"), FailedPrecondition, "ANSWER_TOO_LARGE"),
    ],
    ids=lambda value: getattr(value, "kind", None) or getattr(value, "__name__", str(value)),
)
async def test_what_is_not_retryable_is_told_at_once(
    tmp_path: Path, error: ProviderError, kind: type[LightfastError], reason: str
) -> None:
    async with house(tmp_path) as rooms:
        one = actor(rooms).plays(error)
        with pytest.raises(kind) as caught:
            await rooms.run("x", model="a/one")
        assert (caught.value.reason, len(one.requests)) == (reason, 1)
        assert caught.value.metadata["kind"] == error.kind


async def test_another_account_is_tried_first(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        accounts = rooms.gateway.sessions = Accounts("first", "second", "third")
        one = actor(rooms)
        one.plays(ProviderError("bad key", kind="auth"))
        one.plays(ProviderError("slow down", kind="limit", retry_after=30.0, limits=Limits((), 2.5)))
        other = actor(rooms, "b")
        steps = await rooms.run("x", model="a/one", fallbacks=("b/one",))
        assert text_of(steps) == "fine"
        assert [request.session.account for request in one.requests] == ["first", "second", "third"]
        assert other.requests == []
        assert accounts.refused == ["first", "second"]
        assert accounts.places[1].told == [Limits((), 2.5)]
        assert [place.ends for place in accounts.places] == [["released"], ["released"], ["settled"]]


async def test_an_account_that_is_refused_for_good_is_not_tried_for_ever(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        accounts = rooms.gateway.sessions = Accounts("only")
        accounts.refused = []
        one = actor(rooms)
        for _ in range(50):
            one.plays(accounts.refused.clear, ProviderError("bad key", kind="auth"))
        with pytest.raises(FailedPrecondition):
            await rooms.run("x", model="a/one")
        assert len(one.requests) <= 2


async def test_a_budget_that_is_used_up_stops_before_the_request(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        accounts = rooms.gateway.sessions = Accounts("first")
        rooms.gateway.costs = Purse(limit=0.5)
        one = actor(rooms)
        with pytest.raises(Exhausted) as caught:
            await rooms.run("x", model="a/one")
        assert (caught.value.reason, one.requests) == ("BUDGET_EXCEEDED", [])
        assert [place.ends for place in accounts.places] == [["released"]]


async def test_a_wait_beyond_the_deadline_is_not_waited_for(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        one = actor(rooms).plays(ProviderError("slow down", kind="limit", retry_after=3600.0))
        with pytest.raises(Exhausted) as caught:
            await rooms.run("x", model="a/one", timeout=60.0)
        assert (caught.value.retry_after, len(one.requests)) == (3600.0, 1)


async def test_a_cancelled_attempt_settles(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        heard = listen(rooms)
        accounts, purse = Accounts("first"), Purse()
        rooms.gateway.sessions, rooms.gateway.costs = accounts, purse
        one = actor(rooms).plays(TextDelta("so f"), for_ever)
        steps = rooms.gateway.generate(GenerateCall("a/one", prompt="x"), "client:test")
        operation_id = (await anext(steps)).operation_id
        assert (await anext(steps)).kind == TextDelta("so f")
        running = await rooms.gateway.operation(operation_id)
        assert (running.state, running.text) == (OperationState.RUNNING, "so f")
        await steps.aclose()  # type: ignore[attr-defined]
        assert one.closed == 1
        assert (accounts.places[0].ends, purse.holds[0].ends) == (["settled"], ["failed"])
        assert [(each.outcome, each.error) for each in heard] == [("cancelled", None)]
        ended = await rooms.gateway.operation(operation_id)
        assert (ended.state, ended.text) == (OperationState.CANCELLED, "so f")


async def test_one_that_is_cancelled_while_it_waits_for_its_next_try_ends(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        rooms.gateway.patience = Patience(again=2, first=60.0, longest=60.0)
        one = actor(rooms).plays(down())
        task = asyncio.ensure_future(rooms.run("x", model="a/one"))
        await until(lambda: one.closed == 1, "the first try")
        (operation,), _ = await rooms.gateway.list_operations(running_only=True)
        assert (await rooms.gateway.cancel(operation.operation_id)).state is OperationState.CANCELLED
        with pytest.raises(LightfastError, match="was cancelled"):
            await task


async def test_a_deadline_covers_all_tries(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        for timeout in (0.3, 3.0, 30.0):  # the next one where a busy machine did not come to the second try
            one = actor(rooms, f"a{timeout:g}".replace(".", "-")).plays(down()).plays(for_ever)
            with pytest.raises(DeadlineExceeded):
                await rooms.run("x", model=f"{one.name}/one", timeout=timeout)
            if len(one.requests) == 2:
                assert 0 < one.requests[1].timeout < one.requests[0].timeout <= timeout
                return
        raise AssertionError("there was no second try")


def test_waits_double_are_jittered_and_honour_the_service() -> None:
    patience = Patience(again=5, first=1.0, longest=8.0)
    for tries, most in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 8.0)):
        drawn = [patience.wait(tries, 0.0) for _ in range(100)]
        assert all(most / 2 <= wait <= most for wait in drawn)
        assert len(set(drawn)) > 10
    assert patience.wait(1, 20.0) == 20.0
