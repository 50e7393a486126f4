"""Many requests at once over providers that fail at random: each ends, and all that was taken is given back once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest
from tests.support.actors import Accounts, Actor, Purse
from tests.support.gateway import house
from tests.support.plugins import until

from lightfast.core.clock import SYSTEM
from lightfast.core.errors import LightfastError
from lightfast.gateway.cache.answers import KeptAnswers
from lightfast.gateway.cache.flights import Flights
from lightfast.gateway.calls import GenerateCall, StepFallback, StepUsage
from lightfast.gateway.operations import OperationState
from lightfast.gateway.ports import Attempt
from lightfast.sdk import GenerationRequest, Job, Progress, ProviderError, Step, TextDelta, Usage, Workbench
from lightfast.sdk.errors import KINDS

MANY = 300
BRIEF_S, PATIENT_S = 4.0, 90.0
"""How long a call waits: every fourth not for long, and only such a one meets a provider that goes on for ever."""


class Wild(Actor):
    """Says the prompt backwards, when it does not fail."""

    def __init__(self, name: str, chance: Random) -> None:
        super().__init__(name, "continue", "jobs")
        self.chance = chance
        self.under_way = 0

    async def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        chance = self.chance
        self.under_way += 1
        try:
            if chance.random() < 0.2:
                yield Job(request.job or f"job-{chance.random()}")
            yield Progress(0.1)
            for letter in request.prompt[::-1][len(request.prefix) :]:
                for _ in range(chance.randrange(3)):
                    await asyncio.sleep(0)
                fate = chance.random()
                if fate < 0.02:
                    raise ProviderError("by chance", kind=chance.choice(KINDS))
                if fate < 0.025:
                    raise RuntimeError("a bug")
                if fate < 0.045 and request.timeout <= BRIEF_S:
                    await asyncio.Event().wait()
                yield TextDelta(letter)
            yield Usage(1, 1, 0.001)
        finally:
            self.under_way -= 1


class Forgiving(Accounts):
    """Accounts that are free again at once."""

    def _free(self) -> list[str]:
        return list(self.names)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_every_request_ends_and_gives_back_what_it_took(tmp_path: Path, seed: int) -> None:
    chance = Random(seed)
    async with house(tmp_path) as rooms:
        gateway = rooms.gateway
        gateway._most = MANY
        purse, accounts = Purse(limit=1e9), Forgiving("first", "second")
        gateway.costs, gateway.sessions = purse, accounts
        gateway.answers, gateway.flights = KeptAnswers(rooms.db, rooms.blobs, SYSTEM), Flights()
        told: list[Attempt] = []
        gateway.on_attempt.append(told.append)
        actors = [Wild(name, chance) for name in "abc"]
        for actor in actors:
            gateway.register(actor, actor.name)

        async def ask(number: int) -> str:
            prompt = f"question {number % 100}"
            timeout = PATIENT_S if number % 4 else BRIEF_S
            call = GenerateCall("a/one", "text", prompt, fallbacks=("b/one", "c/one"), timeout=timeout)
            steps = gateway.generate(call, "client:test")
            leaves = chance.randrange(60) if chance.random() < 0.2 else -1
            text, seen = "", 0
            try:
                async for step in steps:
                    if isinstance(step.kind, TextDelta):
                        text += step.kind.text
                    elif isinstance(step.kind, StepFallback) and step.kind.restarted:
                        text = ""
                    elif isinstance(step.kind, StepUsage):
                        assert text == prompt[::-1]
                        return "answered"
                    seen += 1
                    if seen == leaves:
                        return "left"
            except LightfastError as error:
                return error.reason
            finally:
                await steps.aclose()  # type: ignore[attr-defined]
            raise AssertionError("a stream ended without an answer or an error")

        outcomes = Counter(await asyncio.gather(*map(ask, range(MANY))))
        await until(lambda: gateway.running == 0 and not gateway.flights, "the end of all")
        assert outcomes["answered"] > MANY / 4
        assert outcomes["DEADLINE_EXCEEDED"]
        assert [actor.under_way for actor in actors] == [0, 0, 0]
        assert {len(hold.ends) for hold in purse.holds} == {1}
        assert {len(place.ends) for place in accounts.places} == {1}
        assert len(told) >= len(purse.holds)
        rows = dict(await rooms.db.query("SELECT state, count(*) FROM operations GROUP BY state"))
        assert OperationState.RUNNING.value not in rows
        assert sum(rows.values()) == MANY
        assert rows[OperationState.SUCCEEDED.value] >= outcomes["answered"]
