"""Any candidates, faults, refusals, deadlines and leavers: one answer or one error, and everything is ended once."""

from __future__ import annotations

import asyncio
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from tests.support.ai_spies import ACTS, Scripted, Spies
from tests.support.gateway import House, house

from lightfast.core.errors import LightfastError
from lightfast.gateway.cache.flights import Flights
from lightfast.gateway.calls import GenerateCall, StepFallback, StepUsage
from lightfast.gateway.operations import OperationState
from lightfast.sdk import TextDelta

EXAMPLES = 60 * (1 + int(os.environ.get("LIGHTFAST_CHAOS", "0")))
NAMES = ("ann", "bob", "cid")


@dataclass(frozen=True)
class Script:
    """What each provider does at each attempt, and who of them goes on where another one broke off."""

    acts: tuple[tuple[str, ...], ...]
    continues: tuple[bool, ...]
    verdicts: tuple[str, ...]
    timeout: float
    leaves: tuple[str, int] | None
    """How the caller leaves, and after how many steps."""


SCRIPTS = st.builds(
    Script,
    acts=st.lists(st.lists(st.sampled_from(ACTS), max_size=4).map(tuple), min_size=1, max_size=3).map(tuple),
    continues=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    verdicts=st.lists(st.sampled_from(("yes", "yes", "yes", "slow", "no")), max_size=8).map(tuple),
    timeout=st.sampled_from((0.01, 0.05, 0.15, 0.4)),
    leaves=st.none() | st.tuples(st.sampled_from(("close", "cancel", "throw")), st.integers(0, 4)),
)


@dataclass
class Told:
    """What the caller was told."""

    operation: str = ""
    text: str = ""
    answers: int = 0
    errors: int = 0
    left: bool = False
    named: bool = True


async def told(rooms: House, script: Script) -> Told:
    """Ask, and leave when the script says so."""
    found = Told()
    models = [f"{name}/m" for name, _ in zip(NAMES, script.acts, strict=False)]
    call = GenerateCall(models[0], "text", "go", fallbacks=tuple(models[1:]), timeout=script.timeout)
    count = 0

    async def read() -> None:
        nonlocal count
        steps = rooms.gateway.generate(call, "client:test")
        try:
            async for step in steps:
                found.operation = step.operation_id
                match step.kind:
                    case TextDelta(text):
                        found.text += text
                    case StepFallback(restarted=True):
                        found.text = ""
                    case StepUsage():
                        found.answers += 1
                if script.leaves is not None and count == script.leaves[1] and not found.answers:
                    match script.leaves[0]:
                        case "close":
                            found.left = True
                            return
                        case "cancel":
                            await rooms.gateway.cancel(step.operation_id)
                        case _:
                            found.left = True
                            raise asyncio.CancelledError
                count += 1
        finally:
            await steps.aclose()  # type: ignore[attr-defined]  # it is an async generator

    try:
        await read()
    except LightfastError as error:
        found.errors += 1
        found.named = bool(error.reason) and len(error.message) > 5
    except asyncio.CancelledError:
        assert found.left
    return found


async def play(script: Script) -> None:
    """Play it, and look whether everything was ended."""
    with tempfile.TemporaryDirectory() as folder:
        async with house(Path(folder)) as rooms:
            gateway = rooms.gateway
            spies = Spies(script.verdicts)
            gateway.sessions = gateway.costs = spies
            gateway.flights = Flights()
            players = [
                Scripted(name, acts, continues=goes_on)
                for name, acts, goes_on in zip(NAMES, script.acts, script.continues, strict=False)
            ]
            for player in players:
                gateway.register(player, player.name)
            async with asyncio.timeout(120):
                found = await told(rooms, script)
                while gateway.running or any(not money.ends for money in spies.money):
                    await asyncio.sleep(0.002)
            assert found.named
            assert found.answers + found.errors + found.left == 1, found
            assert [place for place in spies.places if len(place.ends) != 1] == []
            assert [money for money in spies.money if len(money.ends) != 1] == []
            assert [player.name for player in players if player.under_way] == []
            assert len(gateway.flights) == 0
            if found.operation:
                row = await gateway.operation(found.operation)
                assert row.state is not OperationState.RUNNING
                if not found.left:
                    assert (row.state is OperationState.SUCCEEDED) == bool(found.answers)
                if found.answers:
                    assert (row.text, found.text[-3:]) == (found.text, "end")
            jobs = [job for player in players for job in player.jobs]
            assert len(jobs) == len(set(jobs))
            event("answer" if found.answers else "error" if found.errors else "left")


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SCRIPTS)
def test_there_is_one_end_and_everything_is_given_back(script: Script) -> None:
    asyncio.run(play(script))
