"""The planner: an intent becomes a checked program, by models or by the grammar, or a reason why it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from lightfast.core.errors import InvalidArgument
from lightfast.engine.planner import scores
from lightfast.engine.planner.changes import foreseen
from lightfast.engine.planner.guarding import guarded
from lightfast.engine.planner.patience import Patience
from lightfast.engine.planner.rooms import PlannerRooms
from lightfast.engine.planner.settings import GRAMMAR, MOST_CHARACTERS, PlannerSettings
from lightfast.engine.ports import Asker
from lightfast.engine.programs.checked import Checked, Plan, Problem, Saving
from lightfast.engine.programs.program import Program

MOST_QUOTES = 32
"""The most texts that may be quoted with one intent."""


class Planner:
    """Implements `lightfast.engine.ports.PlannerRoom`."""

    def __init__(self, rooms: PlannerRooms) -> None:
        self._rooms = rooms
        self._patience = Patience(rooms.clock)

    def asks_models(self, model: str = "", intent_type: str = "") -> bool:
        """Say whether a plan would wait for a model now: for *model*, or one of the settings that is not mute."""
        chain = self._chain(self._rooms.settings(), model, intent_type)
        return self._rooms.gateway is not None and any(self._patience.may(each) for each in chain)

    @staticmethod
    def _chain(settings: PlannerSettings, model: str, intent_type: str) -> tuple[str, ...]:
        chain = (model,) if model else (settings.specialists.get(intent_type, GRAMMAR), *settings.chain)
        return tuple(each for each in chain if each != GRAMMAR)

    async def plan(
        self,
        intent: str,
        asker: Asker,
        *,
        model: str = "",
        project: str = "",
        quoted: Sequence[str] = (),
        optimize: bool = True,
        intent_type: str = "",
    ) -> Plan:
        """Plan *intent*: by *model* or the models of the settings in turn, and last by the grammar.

        The specialist of *intent_type*, where the settings name one, is asked before the others.

        A plan with mistakes tells what was not understood, and may not run. Raises `InvalidArgument`
        (INTENT_EMPTY, INTENT_TOO_LONG, TOO_MANY_QUOTES).
        """
        _check(intent, quoted)
        if self._rooms.ready is not None:
            await self._rooms.ready()
        settings = self._rooms.settings()
        chain = self._chain(settings, model, intent_type)
        untrusted = bool(quoted) or asker.untrusted
        if not chain or self._rooms.gateway is None:
            return await self._by_grammar(intent, asker, project, untrusted=untrusted, optimize=optimize)
        return await self._by_models(
            intent,
            asker,
            chain,
            settings,
            project=project,
            quoted=tuple(quoted),
            untrusted=untrusted,
            optimize=optimize,
        )

    async def prepare(
        self, program: Program, asker: Asker, *, project: str = "", budget_usd: float = 0.0, optimize: bool = True
    ) -> Plan:
        """Check a program that was given, rewrite it where it is right, and say what it would change."""
        if self._rooms.ready is not None:
            await self._rooms.ready()
        if asker.untrusted and not program.untrusted:
            program = replace(program, untrusted=True)
        checked = await self._rooms.checker.check(program, asker, project=project, budget_usd=budget_usd)
        return await self._finish(Plan(checked), asker, project, budget_usd=budget_usd, optimize=optimize)

    async def _by_grammar(
        self,
        intent: str,
        asker: Asker,
        project: str,
        *,
        untrusted: bool,
        optimize: bool,
        before: Plan | None = None,
    ) -> Plan:
        from lightfast.engine.planner.grammar.grammar import understand

        vocabulary = self._rooms.vocabulary()
        if vocabulary.is_large:
            await asyncio.to_thread(vocabulary.look)
        understood = understand(intent, vocabulary, untrusted=untrusted)
        if understood.program.instructions:
            checked = await self._rooms.checker.check(understood.program, asker, project=project)
            checked = replace(checked, problems=(*understood.problems, *checked.problems))
        else:
            checked = Checked(understood.program, understood.problems)
        if untrusted:
            checked = guarded(checked, intent)
        plan = Plan(
            checked,
            intent=intent,
            planner=GRAMMAR,
            attempts=before.attempts if before is not None else (),
            message=_said(understood.problems, understood.notes) or (before.message if before is not None else ""),
            confidence=round(understood.confidence * (0.8 if untrusted else 1.0), 4),
            cost_usd=before.cost_usd if before is not None else 0.0,
        )
        return await self._finish(plan, asker, project, optimize=optimize)

    async def _by_models(
        self,
        intent: str,
        asker: Asker,
        chain: Sequence[str],
        settings: PlannerSettings,
        *,
        project: str,
        quoted: tuple[str, ...],
        untrusted: bool,
        optimize: bool,
    ) -> Plan:
        from lightfast.engine.planner.model import Modelling, Purse, Wish
        from lightfast.engine.planner.reviewer import review

        gateway = self._rooms.gateway
        if gateway is None:
            raise TypeError("there is no gateway to ask models through")
        wish = Wish(intent, asker, project, quoted, untrusted)
        purse = Purse(self._rooms.clock.monotonic() + settings.deadline_s, settings.max_cost_usd)
        modelling = Modelling(self._rooms, gateway, settings, self._patience)
        drafted = await modelling.draft(wish, chain, self._rooms.vocabulary(), purse)
        told = Plan(
            Checked(Program(())), attempts=tuple(drafted.attempts), message=drafted.message, cost_usd=purse.spent_usd
        )
        if drafted.checked is None:
            return await self._by_grammar(intent, asker, project, untrusted=untrusted, optimize=optimize, before=told)
        checked, said, refused = guarded(drafted.checked, intent), "", False
        if settings.reviewer:
            now = self._rooms.clock.monotonic()
            verdict = await review(gateway, settings.reviewer, wish, checked, purse, now)
            said, refused = verdict.told, verdict.refused
            if refused or (settings.review_required and not verdict.answered):
                reason = "REVIEW_REFUSED" if refused else "REVIEW_MISSING"
                message = f"the reviewer {settings.reviewer} {said}; ask in other words, or give the program itself"
                checked = replace(checked, problems=(*checked.problems, Problem(reason, message)))
        warnings = sum(each.warning for each in checked.problems)
        plan = Plan(
            checked,
            intent=intent,
            planner=drafted.model,
            attempts=told.attempts,
            review=said,
            message=drafted.message,
            confidence=scores.model_confidence(
                drafted.repairs, len(told.attempts), warnings, untrusted=untrusted, refused=refused
            ),
            cost_usd=purse.spent_usd,
        )
        return await self._finish(plan, asker, project, optimize=optimize)

    async def _finish(self, plan: Plan, asker: Asker, project: str, *, budget_usd: float = 0.0, optimize: bool) -> Plan:
        """Optimize a plan without mistakes, and add what it would change."""
        checked, savings = plan.checked, plan.savings
        if optimize and not checked.mistakes and checked.program.instructions:
            checked, savings = await self._smaller(checked, asker, project, budget_usd, plan)
        if checked.program.instructions:
            checked = replace(checked, changes=await foreseen(checked, self._rooms))
        return replace(plan, checked=checked, savings=savings, complexity=scores.complexity(checked.program))

    async def _smaller(
        self, checked: Checked, asker: Asker, project: str, budget_usd: float, plan: Plan
    ) -> tuple[Checked, tuple[Saving, ...]]:
        program, savings = await self._rooms.rewriter.gently(checked.program, self._rooms.world)
        if not savings or program == checked.program:
            return checked, ()
        again = await self._rooms.checker.check(program, asker, project=project, budget_usd=budget_usd)
        if again.mistakes:
            return checked, ()  # the plain one was right
        if plan.planner and (plan.planner != GRAMMAR or program.untrusted):
            again = guarded(again, plan.intent)
        return again, savings


def _check(intent: str, quoted: Sequence[str]) -> None:
    if not intent.strip():
        raise InvalidArgument("the intent is empty: say what is wanted", reason="INTENT_EMPTY", field="intent")
    if len(intent) > MOST_CHARACTERS:
        raise InvalidArgument(
            f"the intent has {len(intent)} characters, the most is {MOST_CHARACTERS}: say it in parts",
            reason="INTENT_TOO_LONG",
            field="intent",
        )
    if len(quoted) > MOST_QUOTES:
        raise InvalidArgument(
            f"{len(quoted)} texts are quoted, the most is {MOST_QUOTES}", reason="TOO_MANY_QUOTES", field="quoted"
        )


def _said(problems: Sequence[Problem], notes: Sequence[str]) -> str:
    if problems:
        return "I did not understand everything. " + "; ".join(each.message for each in problems[:5])
    return "; ".join(notes)
