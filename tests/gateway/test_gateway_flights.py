"""The same request under way is made once, whatever comes in between."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightfast.core.errors import Cancelled, DeadlineExceeded, Exhausted, FailedPrecondition, Unavailable
from lightfast.core.tasks import TaskGroup
from lightfast.gateway.cache.flights import Flight, Flights, StartAnew
from lightfast.gateway.calls import StepProgress
from lightfast.sdk import Preview, TextDelta


async def had(flight: Flight) -> list[Any]:
    return [kind async for kind in flight.follow()]


async def test_who_follows_gets_everything_from_the_beginning() -> None:
    flights = Flights()
    leader = flights.join("k")
    early = flights.join("k")
    assert (leader.leads, early.leads, flights.join("other").leads) == (True, False, True)
    async with TaskGroup("test") as tasks:
        first = tasks.start(had(early), "early")
        await asyncio.sleep(0)
        leader.publish(TextDelta("a"))
        leader.publish(TextDelta("b"))
        late = flights.join("k")
        second = tasks.start(had(late), "late")
        await asyncio.sleep(0)
        leader.publish(TextDelta("c"))
        assert leader.followers == 2
        leader.finish()
        wanted = [TextDelta("a"), TextDelta("b"), TextDelta("c")]
        assert await first == wanted
        assert await second == wanted
    assert flights.join("k").leads
    assert (flights.led, flights.shared) == (3, 2)


async def test_of_progress_and_previews_only_the_newest_counts_and_in_its_place() -> None:
    flights = Flights()
    leader, follower = flights.join("k"), flights.join("k")
    for at in range(5):
        leader.publish(StepProgress(at / 10, "", "m", 1))
        leader.publish(Preview("image/png", bytes([at])))
    leader.publish(TextDelta("a"))
    leader.publish(StepProgress(0.9, "", "m", 1))
    leader.finish()
    assert await had(follower) == [
        Preview("image/png", b"\4"),
        TextDelta("a"),
        StepProgress(0.9, "", "m", 1),
    ]


@pytest.mark.parametrize(
    "error", [Cancelled("gone"), DeadlineExceeded("late"), Exhausted("x", reason="BUDGET_EXCEEDED")]
)
async def test_a_leader_that_ends_for_a_reason_of_its_own_is_followed_by_one_that_leads(error: Exception) -> None:
    flights = Flights()
    leader = flights.join("k")
    followers = [flights.join("k") for _ in range(5)]
    leader.publish(TextDelta("half"))
    leader.finish(error)
    for follower in followers:
        seen = []
        with pytest.raises(StartAnew):  # noqa: PT012 — what came before it is looked at, too
            async for kind in follower.follow():
                seen.append(kind)
        assert seen == [TextDelta("half")]
    assert [flights.join("k").leads for _ in followers] == [True, False, False, False, False]


async def test_a_failure_of_the_service_is_one_for_all_and_a_leader_without_a_word_has_left() -> None:
    flights = Flights()
    leader, follower = flights.join("k"), flights.join("k")
    leader.finish(Unavailable("down", reason="PROVIDER_UNAVAILABLE"))
    with pytest.raises(Unavailable, match="down"):
        await had(follower)
    with pytest.raises(ValueError, match="bug"), flights.join("k") as leads:  # noqa: PT012
        follower = flights.join("k")
        assert leads.leads
        raise ValueError("bug")
    with pytest.raises(StartAnew):
        await had(follower)
    with pytest.raises(FailedPrecondition), flights.join("k") as leads:  # noqa: PT012
        follower = flights.join("k")
        raise FailedPrecondition("no")
    with pytest.raises(FailedPrecondition):
        await had(follower)
    assert len(flights) == 0


async def test_the_slow_are_cut_and_the_late_fly_by_themselves() -> None:
    flights = Flights(most_bytes=1000)
    leader, slow, quick = flights.join("k"), flights.join("k"), flights.join("k")
    steps = quick.follow()
    for at in range(20):
        leader.publish(TextDelta(f"{at}"))
        assert await anext(steps) == TextDelta(f"{at}")
    assert flights.join("k").leads
    with pytest.raises(Exhausted) as caught:
        await had(slow)
    assert caught.value.reason == "READER_TOO_SLOW"
    leader.finish()
    with pytest.raises(StopAsyncIteration):
        await anext(steps)
    with pytest.raises(RuntimeError):
        leader.publish(TextDelta("x"))
    assert len(flights) == 1, "the later one still flies"


async def test_a_follower_that_leaves_is_counted_no_longer() -> None:
    flights = Flights()
    leader, follower = flights.join("k"), flights.join("k")
    async with TaskGroup("test") as tasks:
        task = tasks.start(had(follower), "follower")
        await asyncio.sleep(0)
        assert leader.followers == 1
        task.cancel()
        await asyncio.wait({task})
        assert leader.followers == 0
        with flights.join("k") as other:
            assert leader.followers == 1
            assert not other.leads
        assert leader.followers == 0


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_one_call_at_a_time_and_every_answer_whole_under_any_interleaving(data: st.DataObject) -> None:
    """Requests of one key come, wait, are cancelled and fail at any time: each ends with a whole answer or its error.

    No two calls are ever under way at once, and there is one call more than the first only for each leader that left.
    """
    plan = data.draw(
        st.lists(
            st.tuples(
                st.integers(0, 6),  # when it comes
                st.integers(1, 5),  # how long its call would take
                st.one_of(st.none(), st.integers(0, 6)),  # when it is cancelled
            ),
            min_size=1,
            max_size=8,
        )
    )
    asyncio.run(_run(plan))


async def _run(plan: list[tuple[int, int, int | None]]) -> None:
    flights, kept = Flights(), dict[str, list[TextDelta]]()
    calls = running = 0
    left = 0

    async def ask(begin: int, steps: int) -> list[TextDelta]:
        nonlocal calls, running, left
        for _ in range(begin):
            await asyncio.sleep(0)
        while True:
            flight = flights.join("k")
            if not flight.leads:
                try:
                    return await had(flight)
                except StartAnew:
                    continue
            with flight:
                await asyncio.sleep(0)  # it looks for a kept answer
                if "k" not in kept:
                    calls += 1
                    running += 1
                    assert running == 1
                    made = []
                    try:
                        for at in range(steps):
                            await asyncio.sleep(0)
                            made.append(TextDelta(str(at)))
                            flight.publish(made[-1])
                    except asyncio.CancelledError:
                        left += 1
                        raise
                    finally:
                        running -= 1
                    kept["k"] = made
                else:
                    for kind in kept["k"]:
                        flight.publish(kind)
                flight.finish()
                return kept["k"]

    async with TaskGroup("test") as tasks:
        asked = [tasks.start(ask(begin, steps), f"{at}") for at, (begin, steps, _) in enumerate(plan)]
        for turn in range(8):
            for task, (_, _, cancel) in zip(asked, plan, strict=True):
                if cancel == turn:
                    task.cancel()
            await asyncio.sleep(0)
        await asyncio.wait(asked)
        answers = [task.result() for task in asked if not task.cancelled()]
    assert all(answer == kept["k"] for answer in answers)
    assert calls <= 1 + left
    assert calls == 1 + left or not answers
    assert len(flights) == 0
