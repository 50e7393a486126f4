"""A crowd that asks the gateway at once: what each asks, what each was told, and whether that is right."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.support.ai_house import AiHouse, ai_house
from tests.support.ai_weather import Sky, StormyAnthropic, StormyLab, StormyOpenAI, Weather, words

from lightfast.core.errors import LightfastError
from lightfast.gateway.calls import GenerateCall, StepFallback, StepProgress, StepUsage
from lightfast.gateway.rooms import Patience
from lightfast.sdk import TextDelta
from lightfast_providers.anthropic.provider import Anthropic
from lightfast_providers.compatible.provider import Compatible
from lightfast_providers.compatible.servers import Server
from lightfast_providers.openai.provider import OpenAI

GRACE = 60.0
"""What a loaded machine may take beyond a deadline, in seconds: it is no judgement, only that nothing hangs."""
PATIENT = 120.0
"""Who will not wait for long waits less. Who does is answered within seconds, or later on a busy machine."""
MODELS = {"openai": "openai/gpt-6-luna", "anthropic": "anthropic/claude-haiku-4-5", "lab": "lab/m1"}
CHAIN = tuple(MODELS.values())
PRICES = {"openai": (1000, 4000), "anthropic": (2000, 6000), "lab": (0, 0)}
"""Nano-dollars for a token in and a token out."""
LONGEST = 64
"""The most tokens of an answer that is asked for."""
WARM = 1_000_000
"""Requests of such names are made before the weather begins."""
LISTED = {"id": "m1", "object": "model", "created": 1, "owned_by": "vllm", "max_model_len": 32768}
_WORD = re.compile(r"(\d+)\.([a-z]+)-(\d+)\.(\d+)")


@dataclass(slots=True)
class Asked:
    """One request, how it went, and what was told of it."""

    name: int
    fields: dict[str, Any]
    leaves_after: float = -1.0
    calm: bool = False
    """Nothing goes wrong with it at the services."""
    operation: str = ""
    text: str = ""
    models: list[str] = field(default_factory=list)
    fallbacks: list[StepFallback] = field(default_factory=list)
    made_by: list[str] = field(default_factory=list)
    """For each word of `text` the model that was told to work when it came."""
    last: StepUsage | None = None
    error: BaseException | None = None
    took: float = -1.0

    @property
    def brief(self) -> bool:
        """Say whether it will not wait for long."""
        return float(self.fields["timeout"]) < PATIENT

    @property
    def left(self) -> bool:
        """Say whether the caller went away before the end."""
        return isinstance(self.error, asyncio.CancelledError)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the settings allow at once, and in a day, of each key.

    In a day, for then nobody waits for the next window: calls are counted when they are let out, and a busy machine,
    on which some are heard late, would bring those of two windows together.
    """

    at_once: int
    a_day: int = 0


LIMITS = {"openai": Limits(9, 120), "anthropic": Limits(14, 240), "lab": Limits(24)}


def plan(seed: int, count: int) -> list[Asked]:
    """Return *count* requests: single ones, crowds that ask the same, some calm and some not."""
    chance = random.Random(seed)
    found: list[Asked] = []
    name = 0
    while len(found) < count:
        name += 1
        kind = chance.random()
        many = 1 if kind < 0.75 else chance.randint(3, 9)
        calm = 0.75 <= kind < 0.88
        cache = "off" if kind >= 0.95 else ""
        who = _whom(chance, calm=calm)
        brief = not calm and chance.random() < 0.35
        for _ in range(min(many, count - len(found))):
            timeout = chance.uniform(0.2, 3.0) if brief else PATIENT + 1.0
            leaves = chance.uniform(0.0, 3.0) if not calm and chance.random() < 0.12 else -1.0
            prompt = f"Tell me about #{name}# of {seed}, in a few words please"
            asks = {"prompt": prompt, "timeout": timeout, "cache": cache, "max_output_tokens": LONGEST, **who}
            found.append(Asked(name, asks, leaves, calm))
    chance.shuffle(found)
    return found


def _whom(chance: random.Random, *, calm: bool) -> dict[str, Any]:
    """Return who is asked: an alias, a model with others to fall back on, or one model alone."""
    kind = chance.random()
    if calm or kind < 0.4:
        return {"model": "crowd"}
    if kind < 0.8:
        first, *others = chance.sample(CHAIN, len(CHAIN))
        return {"model": first, "fallbacks": tuple(others[: chance.randint(1, 2)])}
    return {"model": chance.choice(CHAIN), "strict": True}


@dataclass
class Crowd:
    """The gateway, its services, and who asks."""

    house: AiHouse
    services: dict[str, Weather]

    async def ask(self, asked: Asked) -> None:
        """Ask, and note down everything that is told; nothing is raised but what is no error of ours."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(float(asked.fields["timeout"]) + GRACE):
                await self._read(asked)
        except (LightfastError, asyncio.CancelledError) as error:
            asked.error = error
        finally:
            asked.took = time.monotonic() - began

    async def _read(self, asked: Asked) -> None:
        model = ""
        async for step in self.house.gateway.generate(GenerateCall(**asked.fields), "client:crowd"):
            asked.operation = step.operation_id
            match step.kind:
                case StepProgress():
                    model = model or step.kind.model
                    asked.models = asked.models or [model]
                case TextDelta(text):
                    asked.text += text
                    asked.made_by += [model] * (len(asked.text.split()) - len(asked.made_by))
                case StepFallback():
                    asked.fallbacks.append(step.kind)
                    model = step.kind.to_model
                    asked.models.append(model)
                    if step.kind.restarted:
                        asked.text, asked.made_by = "", []
                case StepUsage():
                    assert asked.last is None, "two ends"
                    asked.last = step.kind

    async def ask_all(self, everybody: Sequence[Asked]) -> None:
        """Let everybody ask at once; some leave."""
        loop = asyncio.get_running_loop()
        tasks = []
        for asked in everybody:
            task = loop.create_task(self.ask(asked))
            tasks.append(task)
            if asked.leaves_after >= 0:
                loop.call_later(asked.leaves_after, task.cancel)
        await asyncio.gather(*tasks)
        for asked in everybody:
            _let_go(asked.error)


@asynccontextmanager
async def crowd(
    folder: Path, everybody: Sequence[Asked], *, seed: int, budget_usd: float = 0.0
) -> AsyncIterator[Crowd]:
    """Open the gateway and three services in the weather of *seed*."""
    brief = {asked.name for asked in everybody if asked.brief}
    calm = {asked.name for asked in everybody if asked.calm}
    sky = Sky(seed, lambda name: name in calm or name >= WARM, brief.__contains__)
    keys = {"openai": ("sk-crowd-openai-one-5d2", "sk-crowd-openai-two-8a1"), "anthropic": ("sk-crowd-claude-77c",)}
    async with AsyncExitStack() as stack:
        services: dict[str, Weather] = {
            "openai": await stack.enter_async_context(StormyOpenAI(sky=sky, keys=keys["openai"])),
            "anthropic": await stack.enter_async_context(StormyAnthropic(sky=sky, keys=keys["anthropic"])),
            "lab": await stack.enter_async_context(StormyLab(LISTED, sky=sky)),
        }
        tables: dict[str, dict[str, Any]] = {}
        for name, service in services.items():
            tables[name] = {"base_urls": (service.base_url,), "concurrency": LIMITS[name].at_once}
            tables[name]["requests_per_day"] = LIMITS[name].a_day
            tables[name]["keys"] = tuple(_kept(folder / f"{name}-{at}", key) for at, key in enumerate(service.keys))
            if service.keys:
                into, out = (nano / 1000 for nano in PRICES[name])
                tables[name]["prices"] = (("*", f"input {into:g}/M, output {out:g}/M"),)
        openai, claude = OpenAI(), Anthropic()
        lab = Compatible(Server("lab", services["lab"].base_url, models=("m1",)))
        for provider in (openai, claude, lab):
            provider.most_bytes = 300_000
        house = await stack.enter_async_context(
            ai_house(
                folder / "house",
                (openai, claude, lab),
                tables,
                most=len(everybody) + 10,
                aliases=(("crowd", CHAIN),),
                budget_per_day_usd=budget_usd,
            )
        )
        house.gateway.patience = Patience(again=2, first=0.02, longest=0.2)
        yield Crowd(house, services)


def _let_go(error: BaseException | None) -> None:
    """Let go of the frames that an error and its causes hold."""
    if error is not None:
        error.__traceback__ = error.__cause__ = error.__context__ = None


def _kept(path: Path, key: str) -> str:
    path.write_text(key)
    path.chmod(0o600)
    return f"file:{path}"


def check_answer(asked: Asked) -> str:
    """Return what is wrong with what somebody was told; empty: nothing."""
    if asked.took < 0:
        return "it never ended"
    if asked.took > float(asked.fields["timeout"]) + GRACE:
        return f"it took {asked.took:.1f} s"
    if asked.error is not None:
        if asked.left:
            return "" if asked.leaves_after >= 0 else "it was cancelled by nobody"
        named = isinstance(asked.error, LightfastError) and asked.error.reason and len(asked.error.message) > 10
        return "" if named and asked.last is None else f"no error with a name: {asked.error!r}, {asked.last}"
    if asked.last is None:
        return "it ended without an end"
    return _check_text(asked) or _check_fallbacks(asked)


def _check_text(asked: Asked) -> str:
    """Check that the text is whole, and that each word is from who was told to make it."""
    found = [_WORD.fullmatch(word) for word in asked.text.split()]
    if None in found or len(found) != words(asked.name):
        return f"no whole answer: {asked.text!r}"
    said = [(int(one[1]), one[2], int(one[3]), int(one[4])) for one in found if one]
    if [one[3] for one in said] != list(range(len(said))) or {one[0] for one in said} != {asked.name}:
        return f"words are missing, or mixed up: {asked.text!r}"
    if _is_kept(asked, {one[1] for one in said}):
        return ""
    for model, one in zip(asked.made_by, said, strict=True):
        if model.partition("/")[0] != one[1]:
            return f"{one[1]} has made what {model} was told to: {asked.text!r}, {asked.fallbacks}"
    joints = sum(one[1:3] != two[1:3] for one, two in pairwise(said))
    told = sum(not step.restarted for step in asked.fallbacks)
    return f"{joints} joints, {told} told: {asked.text!r}" if joints > told else ""


def _is_kept(asked: Asked, makers: set[str]) -> bool:
    """Say whether an answer is one that was kept, or shared with one who got a kept one: who made it is told last."""
    assert asked.last is not None
    shared = asked.last.cache == "shared" and not asked.fallbacks
    return asked.last.cache == "exact" or (shared and makers == {asked.last.model.partition("/")[0]})


def _check_fallbacks(asked: Asked) -> str:
    """Check that from the first model to the last each change was told."""
    assert asked.last is not None
    if _is_kept(asked, {one[2] for one in _WORD.finditer(asked.text)}):
        return ""
    at = asked.models[0]
    for step in asked.fallbacks:
        if step.from_model != at:
            return f"{step.from_model} fails, where {at} works: {asked.fallbacks}"
        at = step.to_model
    return "" if asked.last.model == at else f"{asked.last.model} has ended it, {at} was told: {asked.fallbacks}"
