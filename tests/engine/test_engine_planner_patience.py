"""Models that take what they are given and never answer: they are left alone, and stop nobody who works."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.desk import until
from tests.support.desk_back import ASKER, desk_house
from tests.support.planning import PlanningEmulator, Room, answer, asker, planning, studio_world, vocabulary

from lightfast.core.clock import StillClock
from lightfast.core.errors import DeadlineExceeded, Unavailable
from lightfast.engine.planner.bounded import BUSY, BoundedPlanner
from lightfast.engine.planner.grammar.grammar import understand
from lightfast.engine.planner.patience import MUTE, OVER, Patience
from lightfast.engine.planner.settings import GRAMMAR
from lightfast.engine.programs.checked import Plan
from lightfast_providers.openai.provider import OpenAI

MODEL, OTHER = "openai/gpt-6-luna", "openai/gpt-6-terra"
PLAIN = "set /show/level to 5"
ODD = "bring the evening to the lake"
GOOD = answer(("context.set", {"path": "/show/level", "value": 4}))


class Second(OpenAI):
    """The same service under another name."""

    name = "second"


class Mute:
    """A service that takes everything and answers nothing; *taken* are the requests."""

    def __init__(self) -> None:
        self.taken = 0
        self.base_url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                self.taken += line.startswith(b"POST ")
        writer.close()


@contextlib.asynccontextmanager
async def mute() -> AsyncIterator[Mute]:
    service = Mute()
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    service.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield service
    finally:
        server.close()


def test_what_was_mute_twice_is_left_alone_and_then_tried_once() -> None:
    clock = StillClock()
    patience = Patience(clock)
    late = DeadlineExceeded("no answer")
    patience.told(MODEL, DeadlineExceeded("over", reason=OVER))
    patience.told(MODEL, Unavailable("refused"))
    for _ in range(MUTE):
        assert patience.take(MODEL) == ""
        patience.told(MODEL, late)
    assert patience.take(MODEL) == "PLANNER_MUTE: it did not answer 2 times in a row, and is asked again in 5 s"
    assert not patience.may(MODEL)
    assert patience.may(OTHER)
    clock.advance(6.0)
    assert patience.may(MODEL)
    assert patience.take(MODEL) == ""
    assert patience.take(MODEL).startswith("PLANNER_MUTE"), "one is on trial"
    patience.told(MODEL, late)
    clock.advance(6.0)
    assert patience.take(MODEL).startswith("PLANNER_MUTE"), "the second pause is longer"
    clock.advance(6.0)
    assert patience.take(MODEL) == ""
    patience.told(MODEL, None)
    assert patience.take(MODEL) == patience.take(MODEL) == ""


@pytest.fixture
def _long_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a mute model alone for longer than any machine takes for a plan."""
    monkeypatch.setattr("lightfast.gateway.routing.circuits.FIRST_PAUSE_S", 600.0)


async def until_mute(room: Room) -> list[Plan]:
    """Plan until the model is left alone; return the plans that were made meanwhile.

    On a busy machine the time of a plan may be over before the model is asked, which says nothing of the model.
    """
    plans: list[Plan] = []
    while room.planner.asks_models(MODEL):
        assert len(plans) < 30, plans
        plans.append(await room.planner.plan(PLAIN, asker()))
    assert len(plans) >= MUTE
    return plans


@pytest.mark.usefixtures("_long_pause")
async def test_a_mute_model_is_not_waited_for_again_and_the_grammar_answers(tmp_path: Path) -> None:
    async with mute() as service, planning(tmp_path, chain=(MODEL,), deadline_s=60.0) as room:
        room.house.gateway.register(OpenAI(base_url=service.base_url), "openai")
        asked = asyncio.ensure_future(room.planner.plan(PLAIN, asker()))
        await until(lambda: service.taken)
        asked.cancel()
        await asyncio.wait((asked,))
        room.change(deadline_s=2.0)
        for plan in await until_mute(room):
            assert (plan.planner, plan.program.instructions[0].op) == (GRAMMAR, "context.set")
            assert "PLANNER_MUTE" not in plan.attempts[0]
        taken = service.taken
        plan = await room.planner.plan(PLAIN, asker())
        assert plan.attempts[0].startswith(f"{MODEL}: PLANNER_MUTE: it did not answer 2 times in a row")
        assert (plan.planner, service.taken) == (GRAMMAR, taken)


@pytest.mark.usefixtures("_long_pause")
async def test_the_next_model_plans_while_the_first_is_left_alone(tmp_path: Path) -> None:
    chain = (MODEL, "second/gpt-6-luna")
    async with (
        mute() as service,
        PlanningEmulator(GOOD) as emulator,
        planning(tmp_path, chain=chain, deadline_s=2.0) as room,
    ):
        room.house.gateway.register(OpenAI(base_url=service.base_url), "openai")
        room.house.gateway.register(Second(base_url=emulator.base_url), "second")
        await until_mute(room)
        assert not emulator.asked, "the first took all the time there was"
        room.change(deadline_s=60.0)
        assert (await room.planner.plan(PLAIN, asker())).planner == "second/gpt-6-luna"


async def test_models_take_only_so_many_places_and_the_grammar_plans_meanwhile(tmp_path: Path) -> None:
    async with mute() as service, planning(tmp_path, chain=(MODEL,), deadline_s=60.0) as room:
        room.house.gateway.register(OpenAI(base_url=service.base_url), "openai")
        bounded = BoundedPlanner(room.planner, 1)
        waits = asyncio.ensure_future(bounded.plan(ODD, asker()))
        await until(lambda: service.taken)
        plan = await bounded.plan(PLAIN, asker())
        assert (plan.planner, plan.attempts) == (GRAMMAR, ())
        for wait in (0.5, 1.0):  # the more are sent away, the later each comes again
            with pytest.raises(Unavailable) as caught:
                await bounded.plan(ODD, asker())
            assert (caught.value.reason, caught.value.retry_after, service.taken) == (BUSY, wait, 1)
        waits.cancel()
        await asyncio.wait((waits,))
        again = asyncio.ensure_future(bounded.plan(ODD, asker()))
        await until(lambda: service.taken == 2)  # the place was given back
        again.cancel()
        await asyncio.wait((again,))


async def test_without_a_model_nothing_is_bounded(tmp_path: Path) -> None:
    async with planning(tmp_path) as room:
        bounded = BoundedPlanner(room.planner, 1)
        plans = await asyncio.gather(*(bounded.plan(ODD, asker()) for _ in range(5)))
    assert [plan.planner for plan in plans] == [GRAMMAR] * 5
    assert all(plan.checked.mistakes for plan in plans)


async def test_a_line_that_finds_the_planners_busy_waits_and_is_not_given_up(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        house.planner.error = Unavailable("two plans wait for models", reason=BUSY, retry_after=1.0)
        line_id = (await house.desk.say("tc:Add a cube", ASKER, "client:test")).line_id
        await until(lambda: house.planner.intents)
        with pytest.raises(Unavailable):
            await house.desk.backend.perform(line_id, last=True)
        house.planner.error = None
        assert await house.desk.backend.perform(line_id) in {"RUNNING", "DONE"}


@pytest.mark.parametrize(
    ("follows", "wanted"),
    [
        (None, ("context.set", {"path": "/ableton/song/tempo", "value": 128.0})),
        ({"offset": 0.0, "tempo": False}, ("context.set", {"path": "/ableton/song/tempo", "value": 128.0})),
        ({"offset": 0.0}, ("transport.tempo", {"bpm": 128.0})),
    ],
)
def test_the_tempo_is_that_of_the_application_unless_it_follows_the_timeline(follows: Any, wanted: Any) -> None:
    more = {} if follows is None else {"/transport/follows/ableton": follows}
    understood = understand("set the tempo to 128", vocabulary(studio_world(**more)), untrusted=False)
    (step,) = understood.program.instructions
    assert (step.op, dict(step.arguments)) == wanted
    assert not understood.problems
    assert bool(understood.notes) is (wanted[0] == "transport.tempo")
