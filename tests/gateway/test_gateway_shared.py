"""The same request twice: shared while it is under way, given again afterwards, paid once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.gateway import House, house
from tests.support.plugins import until

from lightfast.core.clock import SYSTEM
from lightfast.core.errors import LightfastError
from lightfast.gateway.cache.answers import KeptAnswers
from lightfast.gateway.cache.flights import Flights
from lightfast.gateway.calls import GenerateCall, StepFallback, StepUsage
from lightfast.sdk import Artifact, GenerationRequest, Model, Provider, ProviderError, Step, TextDelta, Usage, Workbench
from lightfast.storage.blob_removal import remove
from lightfast_link.value import Asset


class Teller(Provider):
    """Tells what it was asked, in pieces, when it may."""

    name = "tell"

    def __init__(self) -> None:
        self.prompts: list[str] = []
        self.go = asyncio.Event()
        self.running: dict[str, int] = {}

    def models(self) -> Sequence[Model]:
        return (Model("text", outputs=("text",)), Model("image", outputs=("image",)))

    async def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        self.prompts.append(request.prompt)
        self.running[request.prompt] = self.running.get(request.prompt, 0) + 1
        assert self.running[request.prompt] == 1, "one call at a time for one request"
        try:
            yield TextDelta("so: ") if request.output == "text" else Artifact("image/png", request.prompt.encode())
            await self.go.wait()
            if "fail" in request.prompt:
                raise ProviderError("no", kind="invalid")
            yield TextDelta(request.prompt) if request.output == "text" else Usage(images=1)
            yield Usage(input_tokens=5, cost_usd=0.25)
        finally:
            self.running[request.prompt] -= 1


class Desk:
    def __init__(self, rooms: House, teller: Teller) -> None:
        self.rooms, self.teller = rooms, teller
        self.answers = KeptAnswers(rooms.db, rooms.blobs, SYSTEM)
        rooms.gateway.answers, rooms.gateway.flights = self.answers, Flights()

    def ask(self, prompt: str, **fields: Any) -> asyncio.Task[tuple[str, str]]:
        return asyncio.get_running_loop().create_task(self._ask(prompt, fields))

    async def _ask(self, prompt: str, fields: dict[str, Any]) -> tuple[str, str]:
        """Return the text (or the SHA-256), and where it is from."""
        text = source = ""
        call = GenerateCall(prompt=prompt, **{"model": "tell/text", **fields})
        async for step in self.rooms.gateway.generate(call, "client:test"):
            match step.kind:
                case TextDelta():
                    text += step.kind.text
                case Asset():
                    text += step.kind.sha256
                case StepFallback():
                    text = ""
                case StepUsage():
                    source = step.kind.cache
                    assert step.kind.saved_usd == (0.25 if source else 0.0)
        return text, source


@asynccontextmanager
async def desk(folder: Path) -> AsyncIterator[Desk]:
    async with house(folder) as rooms:
        teller = Teller()
        rooms.gateway.register(teller, "tell")
        yield Desk(rooms, teller)
        await until(lambda: not rooms.gateway.flights, "the end of all flights")


async def test_many_who_ask_the_same_are_answered_by_one_call_and_later_by_none(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        asked = [here.ask("hi") for _ in range(20)]
        await until(lambda: here.teller.prompts, "the call")
        asked += [here.ask("hi"), here.ask("ho")]
        await until(lambda: len(here.teller.prompts) == 2, "the other call")
        flights = here.rooms.gateway.flights
        assert flights is not None
        await until(lambda: flights.shared == 20, "the others")
        here.teller.go.set()
        found = await asyncio.gather(*asked)
        assert sorted({text for text, _ in found}) == ["so: hi", "so: ho"]
        assert sorted(source for _, source in found) == ["", ""] + ["shared"] * 20
        assert await here.ask("hi") == ("so: hi", "exact")
        await until(lambda: here.answers.counts.kept == 2, "the rows of both")  # by its meaning it is found there
        assert await here.ask("Please hi", cache="semantic") == ("so: hi", "semantic")
        assert here.teller.prompts == ["hi", "ho"]
        assert await here.ask("hi", cache="refresh") == ("so: hi", "")
        assert await here.ask("hi", cache="off") == ("so: hi", "")
        assert await here.ask("hi", keep_prompt=False) == ("so: hi", "")
        assert await here.ask("secret", keep_prompt=False) == ("so: secret", "")
        assert await here.ask("secret") == ("so: secret", "")
        assert len(here.teller.prompts) == 7


async def test_when_the_first_leaves_exactly_one_of_the_others_goes_on(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        first = here.ask("hi")
        await until(lambda: here.teller.prompts, "the call")
        others = [here.ask("hi") for _ in range(10)]
        flights = here.rooms.gateway.flights
        assert flights is not None
        await until(lambda: flights.shared == 10, "the others")
        first.cancel()
        await asyncio.wait({first})
        await until(lambda: len(here.teller.prompts) == 2, "the one that goes on")
        here.teller.go.set()
        found = await asyncio.gather(*others)
        assert {text for text, _ in found} == {"so: hi"}
        assert sorted(source for _, source in found) == ["", *["shared"] * 9]
        assert len(here.teller.prompts) == 2


async def test_what_failed_is_shared_and_not_kept(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        asked = [here.ask("fail") for _ in range(5)]
        await until(lambda: here.teller.prompts, "the call")
        here.teller.go.set()
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(one, LightfastError) for one in found)
        assert here.teller.prompts == ["fail"]
        with pytest.raises(LightfastError):
            await here.ask("fail")
        assert len(here.teller.prompts) == 2


async def test_who_asks_twice_for_a_picture_gets_two_unless_the_seed_is_given(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        here.teller.go.set()
        picture = {"model": "tell/image", "output": "image"}
        await here.ask("sunset", **picture)
        assert (await here.ask("sunset", **picture))[1] == ""
        sha256, _ = await here.ask("sunset", seed=3, **picture)
        found = await here.ask("sunset", seed=3, **picture)
        assert found in {(sha256, "exact"), (sha256, "shared")}, "shared while it is on its way to the disk"
        assert (await here.ask("sunset", seed=4, **picture))[1] == ""
        while (await here.ask("sunset", seed=3, **picture))[1] != "exact":
            await asyncio.sleep(0.01)
        await remove(here.rooms.blobs, sha256)
        assert (await here.ask("sunset", seed=3, **picture))[1] == "", "its asset is gone, so it is made again"


async def test_a_crowd_that_comes_and_goes_makes_each_answer_once(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        here.teller.go.set()
        dice = random.Random(7)
        asked = []
        for _ in range(60):
            asked.append(here.ask(f"q{dice.randrange(6)}"))
            if dice.random() < 0.3:
                await asyncio.sleep(0)
            if dice.random() < 0.15:
                dice.choice(asked).cancel()
        await asyncio.wait(asked)
        left = sum(task.cancelled() for task in asked)
        assert all(task.cancelled() or task.result()[0].startswith("so: q") for task in asked)
        assert len(here.teller.prompts) <= 6 + left
        before = len(here.teller.prompts)
        for at in range(6):
            assert (await here.ask(f"q{at}"))[0] == f"so: q{at}"
        assert len(here.teller.prompts) - before <= sum(f"q{at}" not in here.teller.prompts[:before] for at in range(6))
