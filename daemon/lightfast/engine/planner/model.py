"""Planning by models: each is asked, told its mistakes a few times, and followed by the next."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import structlog

from lightfast.core.errors import DeadlineExceeded, Exhausted, InvalidArgument, LightfastError
from lightfast.engine.planner import prompting
from lightfast.engine.planner.patience import OVER
from lightfast.engine.planner.schema import MOST_STEPS, answer_schema, plannable
from lightfast.engine.programs.checked import Checked, Problem
from lightfast.engine.programs.program import Program
from lightfast.engine.programs.text import as_problem, read_plain
from lightfast.gateway.calls import GenerateCall, StepFallback, StepUsage
from lightfast.sdk import TextDelta

if TYPE_CHECKING:
    from lightfast.engine.planner.grammar.vocabulary import Vocabulary
    from lightfast.engine.planner.patience import Patience
    from lightfast.engine.planner.rooms import PlannerRooms
    from lightfast.engine.planner.settings import PlannerSettings
    from lightfast.engine.ports import Asker
    from lightfast.gateway.router import Gateway

log = structlog.get_logger("lightfast.planner")

LEAST_SECONDS = 0.5
"""With less time left no model is asked any more."""
MOST_ANSWER = 64 * 1024
"""The longest answer that is read, in characters."""
SMALL_WINDOW = 16_000
"""Models with a smaller window, in tokens, are told less."""


@dataclass
class Purse:
    """The time and the money of one plan; *until* is of the clock's `monotonic`, *left_usd* goes down."""

    until: float
    left_usd: float
    spent_usd: float = 0.0


@dataclass
class Drafted:
    """What the models came to: a *checked* program, or none. *attempts* are those that failed, with the reason."""

    checked: Checked | None = None
    model: str = ""
    message: str = ""
    repairs: int = 0
    attempts: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be planned, for whom."""

    intent: str
    asker: Asker
    project: str = ""
    quoted: tuple[str, ...] = ()
    untrusted: bool = False


async def ask(gateway: Gateway, call: GenerateCall, origin: str, purse: Purse, now: float) -> str:
    """Return a model's answer; raises what it failed with, and `DeadlineExceeded` or `Exhausted` by the purse."""
    left = purse.until - now
    if left < LEAST_SECONDS:
        raise DeadlineExceeded("the time for planning is over", reason=OVER)
    if purse.left_usd <= 0:
        raise Exhausted("the money for planning is spent", reason="PLAN_BUDGET")
    call = replace(call, timeout=min(left, call.timeout or left), max_cost_usd=purse.left_usd)
    parts: list[str] = []
    size = 0
    steps = gateway.generate(call, origin)
    async with aclosing(steps):  # type: ignore[type-var]
        async for step in steps:
            if isinstance(step.kind, TextDelta):
                parts.append(step.kind.text)
                size += len(step.kind.text)
                if size > MOST_ANSWER:
                    raise Exhausted("the answer of the model has no end", reason="ANSWER_TOO_LONG")
            elif isinstance(step.kind, StepFallback) and step.kind.restarted:
                parts, size = [], 0
            elif isinstance(step.kind, StepUsage):
                purse.spent_usd += step.kind.cost_usd
                purse.left_usd -= step.kind.cost_usd
    return "".join(parts)


class Modelling:
    """Asks the models of a chain for a program."""

    def __init__(self, rooms: PlannerRooms, gateway: Gateway, settings: PlannerSettings, patience: Patience) -> None:
        self._rooms, self._gateway, self._settings, self._patience = rooms, gateway, settings, patience

    async def draft(self, wish: Wish, chain: Sequence[str], vocabulary: Vocabulary, purse: Purse) -> Drafted:
        """Return the first program of *chain* without mistakes; never raises what a model failed with."""
        drafted = Drafted()
        for model in chain:
            if await self._one(wish, model, vocabulary, purse, drafted):
                break
        return drafted

    async def _one(self, wish: Wish, model: str, vocabulary: Vocabulary, purse: Purse, drafted: Drafted) -> bool:
        if why := self._patience.take(model):
            drafted.attempts.append(f"{model}: {why}")
            return False
        mark = prompting.fence()
        names = plannable(self._rooms.book)
        told = self._told(model)
        view = await self._view(wish.intent, model, told)
        request = prompting.request_text(wish.intent, vocabulary, view, wish.quoted, mark, told)
        call = GenerateCall(
            model=model,
            output="text",
            prompt=request,
            system=prompting.system_text(self._rooms.book, names, mark),
            schema=answer_schema(self._rooms.book, names),
            max_output_tokens=self._settings.max_output_tokens,
            strict=True,
            cache="off",
            keep_prompt=False,
            project=wish.project,
        )
        problems: Sequence[Problem] = ()
        for turn in range(self._settings.repairs + 1):
            try:
                answer = await ask(self._gateway, call, wish.asker.origin, purse, self._rooms.clock.monotonic())
            except LightfastError as error:
                self._patience.told(model, error)
                drafted.attempts.append(f"{model}: {error.reason}: {error.message:.300}")
                log.info("a model could not plan", model=model, reason=error.reason)
                return False
            self._patience.told(model, None)
            program, message, problems = read_answer(answer)
            if program is not None:
                program = replace(program, untrusted=wish.untrusted)
                checked = await self._rooms.checker.check(program, wish.asker, project=wish.project)
                problems = checked.mistakes
                if not problems:
                    drafted.checked, drafted.model, drafted.message = checked, model, message
                    drafted.repairs = turn
                    return True
            elif message and not problems:
                drafted.attempts.append(f"{model}: NOTHING_PLANNED: {message:.300}")
                drafted.message = message
                return False
            call = replace(call, prompt=prompting.repair_text(request, answer, problems, mark))
        told_wrong = "; ".join(f"{each.reason}: {each.message:.160}" for each in problems[:3])
        drafted.attempts.append(f"{model}: PLAN_REFUSED: after {self._settings.repairs} repairs: {told_wrong}")
        log.info("the plans of a model were refused", model=model, mistakes=len(problems))
        return False

    def _told(self, model: str) -> int:
        """Return how many tokens of context, and as many of commands, a model is told: a fifth of a small window."""
        record = self._gateway.catalog.find(model)
        window = record.model.context_tokens if record is not None else 0
        most = self._settings.view_tokens
        return most if not window or window >= SMALL_WINDOW else max(64, min(most, window // 5))

    async def _view(self, intent: str, model: str, budget: int) -> str:
        """Return what of the context matters; without it the plan is made from the commands alone."""
        if self._rooms.views is None:
            return ""
        from lightfast.context.views.records import Wanted

        try:
            wanted = Wanted(model=model, budget=budget, purpose=intent[:1000], memory=True)
            return (await self._rooms.views().build(wanted)).text
        except LightfastError as error:
            log.warning("a plan is made without the context", reason=error.reason)
            return ""


def read_answer(answer: str) -> tuple[Program | None, str, tuple[Problem, ...]]:
    """Return the program of a model's answer, its message, and what is wrong with it.

    Without instructions there is no program, and no problem where it says why.
    """
    try:
        data: Any = json.loads(answer)
    except (ValueError, RecursionError) as error:
        return None, "", (Problem("ANSWER_MALFORMED", f"the answer is no JSON: {error}"),)
    if not isinstance(data, dict) or not isinstance(data.get("instructions"), list):
        return None, "", (Problem("ANSWER_MALFORMED", "the answer has no list of instructions"),)
    message = whole(str(data.get("message") or ""))[:1000]
    if not data["instructions"]:
        problems = (
            () if message.strip() else (Problem("NOTHING_PLANNED", "the answer has no instruction and no message"),)
        )
        return None, message, problems
    if len(data["instructions"]) > MOST_STEPS:
        return None, message, (Problem("PROGRAM_TOO_LARGE", f"at most {MOST_STEPS} instructions may be planned"),)
    try:
        return read_plain({"instructions": in_order(data["instructions"])}), message, ()
    except InvalidArgument as error:
        return None, "", (as_problem(error),)


def whole(text: str) -> str:
    """Return *text* without what is no Unicode text: JSON may hold halves of characters, which no message can."""
    return text.encode("utf-8", "replace").decode()


def in_order(instructions: Sequence[Any]) -> list[Any]:
    """Return *instructions* with what follows a wait made to wait for it: a wait itself writes nothing."""
    found: list[Any] = []
    waiting = ""
    for each in instructions:
        kept = each
        if isinstance(each, dict):
            kept = {name: each[name] for name in ("id", "op", "arguments", "after", "when") if name in each}
            if waiting:
                after = kept.get("after") or []
                if isinstance(after, str):
                    after = [name.strip() for name in after.split(",")]
                kept["after"] = [*after, waiting] if isinstance(after, list) else [after, waiting]
            if str(each.get("op", "")).startswith("wait.") and isinstance(each.get("id"), str):
                waiting = each["id"]
        found.append(kept)
    return found
