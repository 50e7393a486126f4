"""Checks programs with what they call: a `workflow.call` is replaced before anything is checked.

So an approval holds for the instructions of the called workflow as they were then, and a file that changes later
changes nothing in a run.
"""

from __future__ import annotations

from collections.abc import Callable

from lightfast.core.errors import LightfastError
from lightfast.engine.ports import Asker, Checker
from lightfast.engine.programs.checked import Checked, Problem
from lightfast.engine.programs.program import Program


class CallingChecker:
    """Implements `lightfast.engine.ports.Checker` over another; *expand* is `Workflows.expand`."""

    def __init__(self, checker: Checker, expand: Callable[[Program], Program]) -> None:
        self._checker = checker
        self._expand = expand

    async def check(self, program: Program, asker: Asker, *, project: str = "", budget_usd: float = 0.0) -> Checked:
        """Check *program* with the workflows it calls in their places; what they refuse is a mistake."""
        try:
            expanded = self._expand(program)
        except LightfastError as error:
            checked = await self._checker.check(program, asker, project=project, budget_usd=budget_usd)
            if checked.mistakes:
                return checked
            problem = Problem(error.reason, error.message, field=error.field or "")
            return Checked(program, (*checked.problems, problem), checked.effects, checked.approval_reasons)
        return await self._checker.check(expanded, asker, project=project, budget_usd=budget_usd)
