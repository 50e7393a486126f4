"""The planner as those have it who hold a place among the workers of jobs: models may not take all of these."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from lightfast.core.errors import Unavailable
from lightfast.engine.planner.settings import GRAMMAR

if TYPE_CHECKING:
    from lightfast.engine.planner.planner import Planner
    from lightfast.engine.ports import Asker
    from lightfast.engine.programs.checked import Plan
    from lightfast.engine.programs.program import Program

BUSY = "PLANNERS_BUSY"
"""The reason of an error after which a job is given back: that it was taken does not count as an attempt."""
_AGAIN_S = 0.5
_LONGEST_S = 15.0


class BoundedPlanner:
    """A `PlannerRoom`: at most *most* plans wait for models at once. Meanwhile the grammar plans what it understands.

    What it does not understand is to be tried again later, and holds no place until then.
    """

    def __init__(self, planner: Planner, most: int) -> None:
        self._planner = planner
        self._most = max(1, most)
        self._asking = 0
        self._refused = 0
        """How many were sent away since a place was free."""

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
        """Plan as the planner does; raises `Unavailable` (PLANNERS_BUSY) where the models have enough to do."""
        plan = partial(self._planner.plan, intent, asker, project=project, quoted=quoted, optimize=optimize)
        if not self._planner.asks_models(model, intent_type):
            return await plan(model=model, intent_type=intent_type)
        if self._asking >= self._most:
            found = await plan(model=GRAMMAR)
            if found.checked.mistakes or not found.program.instructions:
                self._refused += 1
                raise Unavailable(
                    f"{self._asking} plans wait for models, which is the most at once: it is tried again",
                    reason=BUSY,
                    retry_after=min(_LONGEST_S, _AGAIN_S * self._refused),
                )
            return found
        self._asking, self._refused = self._asking + 1, 0
        try:
            return await plan(model=model, intent_type=intent_type)
        finally:
            self._asking -= 1

    async def prepare(
        self, program: Program, asker: Asker, *, project: str = "", budget_usd: float = 0.0, optimize: bool = True
    ) -> Plan:
        """Check a program that was given; no model is asked."""
        return await self._planner.prepare(program, asker, project=project, budget_usd=budget_usd, optimize=optimize)
