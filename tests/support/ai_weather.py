"""Emulated services in bad weather: what goes wrong with each request is drawn from a seed, by what is asked.

A request is named in its prompt, `#17#`. What happens to its nth call at a service depends on the seed, the service,
the name and n alone, in whatever order calls come in: so a failure can be repeated. Answers are numbered words that say
who made them (`17.openai-1.0 17.openai-1.1 …`), so that no mixture can pass for an answer.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from tests.emulators.anthropic import Anthropic as AnthropicService
from tests.emulators.base import Call, Emulator
from tests.emulators.compatible import CompatibleEmulator
from tests.emulators.openai import OpenAIEmulator

NAME = re.compile(rb"#(\d+)#")
SHORT_RETRY = "0.02"
WHOLE = frozenset(("", "slow", "filtered"))
"""What is answered, and billed, to its end."""
_COMMON = {
    "429": 2, "500": 3, "503": 2, "malformed": 2, "content-type": 1, "disconnect": 3, "disconnect-mid": 4, "stall": 3,
    "stall-mid": 3, "oversize": 1, "malformed-mid": 2, "filtered": 2, "slow": 6, "context": 1, "invalid": 1,
}  # fmt: skip
WEATHER = {
    "openai": {**_COMMON, "failed": 2, "error-event": 1},
    "anthropic": {**_COMMON, "overloaded": 2, "overloaded-mid": 1, "timeout": 2, "blocked": 1},
    "lab": _COMMON,
}
"""The faults of each service, and how often each is drawn."""


@dataclass(slots=True, eq=False)
class Heard:
    """One call for an answer: whose it is, and how many answers with its *key* were under way with it."""

    call: Call
    name: int
    number: int
    key: str
    together: int = 0
    slow: bool = False

    @property
    def whole(self) -> bool:
        """Say whether the answer was sent to its end."""
        return self.call.done and not self.call.closed and self.call.fault in WHOLE and self.call.sent > 0


_NOW: ContextVar[Heard] = ContextVar("heard")


@dataclass(frozen=True, slots=True)
class Sky:
    """What goes wrong: *calm* says which requests are left alone, *brief* which will not wait for long."""

    seed: int
    calm: Callable[[int], bool]
    brief: Callable[[int], bool]
    often: float = 0.28

    def fault(self, service: str, name: int, number: int) -> str:
        """Return what happens to the nth call for a request; empty: nothing."""
        if self.calm(name):
            return ""
        chance = random.Random(f"{self.seed}/{service}/{name}/{number}")
        if chance.random() >= self.often * (0.4 if service == "lab" else 1.0):
            return ""
        kinds = WEATHER[service]
        found = chance.choices(list(kinds), list(kinds.values()))[0]
        return found if self.brief(name) or not found.startswith("stall") else "disconnect"


def words(name: int) -> int:
    """Return how many words the answer to a request has."""
    return 6 + name % 9


def tokens(name: int) -> tuple[int, int]:
    """Return what an answer uses: tokens in and out, other ones for other requests."""
    return 3 + name % 5, words(name) + name % 23


class Weather(Emulator):
    """Mixed into an emulator; *paths* are those that answers are asked at, *keys* those that are good."""

    paths: tuple[str, ...] = ()
    label = ""

    def __init__(self, *arguments: Any, sky: Sky, keys: Sequence[str] = (), **fields: Any) -> None:
        super().__init__(*arguments, **fields)
        self.sky, self.keys = sky, tuple(keys)
        self.heard: list[Heard] = []
        self.times: Counter[int] = Counter()
        self.under_way: set[Heard] = set()

    @property
    def pace(self) -> float:
        """A pause between pieces, for an answer that is slow."""
        heard = _NOW.get(None)
        return 0.02 if heard is not None and heard.slow else 0.0

    @pace.setter
    def pace(self, _: float) -> None:
        """Leave it as it is drawn."""

    def key_of(self, call: Call) -> str:
        """Return the key of a call."""
        return call.headers.get("Authorization", "").removeprefix("Bearer ") or call.headers.get("x-api-key", "")

    def authorized(self, call: Call) -> bool:
        return not self.keys or self.key_of(call) in self.keys

    def refusal(self, fault: str, call: Call) -> web.Response | None:
        made = super().refusal(fault, call)
        if made is not None and fault in {"429", "500", "503", "overloaded", "timeout"}:
            made.headers["retry-after"] = SHORT_RETRY
            if "retry-after-ms" in made.headers:
                made.headers["retry-after-ms"] = str(round(float(SHORT_RETRY) * 1000))
        return made

    def _take(self, call: Call) -> str:
        heard = _NOW.get(None)
        if heard is None or heard.call is not call:
            return ""
        return "" if heard.slow else self.sky.fault(self.label, heard.name, heard.number)

    async def _made(self, request: web.Request, handler: Any, call: Call) -> Any:
        named = NAME.search(call.body)
        if named is not None and call.path.endswith(self.paths):
            name = int(named[1])
            self.times[name] += 1
            heard = Heard(call, name, self.times[name], self.key_of(call))
            heard.slow = self.sky.fault(self.label, name, heard.number) == "slow"
            self.heard.append(heard)
            self.under_way = {each for each in self.under_way if not each.call.done} | {heard}
            _NOW.set(heard)
            for _ in range(8):  # who has left is heard of in the next turns of the loop
                await asyncio.sleep(0)
            heard.together = sum(not each.call.done and each.key == heard.key for each in self.under_way)
        return await super()._made(request, handler, call)

    def words(self) -> list[str]:
        """Return the words of the answer to the request of now, from where its beginning leaves off."""
        heard = _NOW.get()
        begun = self.begun(heard.call)
        said = [f"{heard.name}.{self.label}-{heard.number}.{index} " for index in range(words(heard.name))]
        return said[len(begun.split()) :]

    def begun(self, call: Call) -> str:
        """Return the beginning of an answer that was given to go on from."""
        messages = call.json.get("messages") or ()
        last = messages[-1] if messages else {}
        return str(last.get("content", "")) if last.get("role") == "assistant" else ""


class StormyOpenAI(Weather, OpenAIEmulator):
    """OpenAI in bad weather."""

    label = "openai"
    paths = ("/responses",)

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        self.break_after = 6

    def said(self, call: Call) -> list[str]:
        del call
        return self.words()

    def response(self, call: Call, status: str, text: str, **more: Any) -> dict[str, Any]:
        into, out = tokens(_NOW.get().name)
        usage = {"input_tokens": into, "output_tokens": out, "total_tokens": into + out}
        return super().response(call, status, text, **{"usage": usage, **more})


class StormyLab(Weather, CompatibleEmulator):
    """A server of one's own in bad weather."""

    label = "lab"
    paths = ("/chat/completions",)

    def __init__(self, *items: Any, **fields: Any) -> None:
        super().__init__(*items, **fields)
        self.break_after = 4

    @property
    def chunks(self) -> Sequence[str]:
        """The answer of now."""
        return self.words()

    @chunks.setter
    def chunks(self, _: Sequence[str]) -> None:
        """Leave it as it is asked."""

    def usage(self) -> dict[str, Any]:
        into, out = tokens(_NOW.get().name)
        return {"prompt_tokens": into, "completion_tokens": out, "total_tokens": into + out}


class StormyAnthropic(Weather, AnthropicService):
    """Claude in bad weather."""

    label = "anthropic"
    paths = ("/messages",)

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        self.break_after = 7
        self.thoughts = ""

    @property
    def pieces(self) -> list[str]:
        """The answer of now."""
        return self.words()

    @pieces.setter
    def pieces(self, _: list[str]) -> None:
        """Leave it as it is asked."""

    @property
    def usage(self) -> dict[str, Any]:
        """What the answer of now uses."""
        into, out = tokens(_NOW.get().name)
        return {"input_tokens": into, "output_tokens": out}

    @usage.setter
    def usage(self, _: dict[str, Any]) -> None:
        """Leave it as it is asked."""
