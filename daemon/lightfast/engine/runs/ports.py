"""What the runs ask of others: a runner for programs, budgets of a run, and whether an application is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from lightfast.engine.pipeline.ports import RunEnd, RunJournal
from lightfast.engine.programs.program import Program
from lightfast.engine.runs.records import Step
from lightfast.sdk import Effect


class RunControl(Protocol):
    """Steers one run; every call returns at once."""

    def pause(self, *, leave: bool = False) -> None:
        """Start nothing more; with *leave* the run returns PAUSED when what is under way has ended."""

    def resume(self) -> None:
        """Go on."""

    def cancel(self, reason: str) -> None:
        """End it, and what is under way."""

    def refuse(self, error: str, reason: str) -> None:
        """Let it fail before anything more is done."""


class Runner(Protocol):
    """Runs a program to its end; the pipeline is one."""

    def control(self) -> RunControl:
        """Return what steers the next run."""

    async def run(
        self,
        program: Program,
        journal: RunJournal,
        *,
        run_id: str,
        origin: str,
        project: str,
        recorded: Mapping[str, Step],
        control: RunControl,
        deadline_s: float,
        budget_usd: float,
        allowed: Mapping[str, frozenset[Effect]],
    ) -> RunEnd:
        """Run it from what is *recorded* on. *deadline_s* 0: none; *budget_usd* 0: what the budgets say.

        *allowed* is what each instruction may do, by identity; one that is not named may only read.
        """


class RunBudgets(Protocol):
    """Sets what a run may spend; `lightfast.gateway.cost.costs.Costs` is one."""

    async def set_budget(self, scope: str, name: str, limit_usd: float, period: str) -> Any:
        """Set the budget of one run, in USD."""

    async def remove_budget(self, scope: str, name: str, period: str) -> Any:
        """Take it away; raises `NotFound` where there is none."""


There = Callable[[str], bool]
"""Says whether the application at a mount is connected."""
