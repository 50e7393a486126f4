"""What is kept of a run beside its record: how it is to end, and until when it may go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lightfast.engine.runs.records import ENDED, Run, RunState
from lightfast.sdk import Effect

_ROUNDING = 1.0 + 1e-9


@dataclass(frozen=True, slots=True)
class Ending:
    """A run whose steps are over and of which something is taken back before it ends, or after it has.

    *state* is the one it has then, *reason* why; *steps* only those (a run that failed where others of its steps had
    acted out of order), none: all; *by* is who asked for a rollback, empty for a compensation.
    """

    state: RunState
    reason: str
    steps: tuple[str, ...] | None = None
    by: str = ""

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        steps = None if self.steps is None else list(self.steps)
        return {"state": str(self.state), "reason": self.reason, "steps": steps, "by": self.by}


def ending(plain: dict[str, Any]) -> Ending:
    """Return the ending of `Ending.plain`."""
    steps = plain["steps"]
    return Ending(RunState(plain["state"]), plain["reason"], None if steps is None else tuple(steps), plain["by"])


@dataclass(frozen=True, slots=True)
class Kept:
    """A run as it lies on the disk; *number* orders runs, *deadline* is in ns since 1970, 0: it has not begun.

    *left_s* are the seconds it had left when it was paused, *budget_usd* what it may cost, 0: what the budgets say;
    *store_id* is the store it was last written in: another one was restored from a backup since. *allowed* is what each
    instruction was checked for, by identity, and what was approved with the run where it had to be; those that only
    read are left out. *ai*: a model had a hand in it, or a client that is one asked for it.
    """

    run: Run
    number: int = 0
    deadline: int = 0
    left_s: float = 0.0
    ending: Ending | None = None
    budget_usd: float = 0.0
    store_id: str = ""
    allowed: Mapping[str, frozenset[Effect]] = field(default_factory=dict)
    ai: bool = False

    @property
    def most_usd(self) -> float:
        """Return what it may cost, 0: what the budgets say. Who approved it was told a bound, which then holds."""
        told = (self.run.max_cost_usd or 0.0) * _ROUNDING if self.run.approver else 0.0
        return min(told, self.budget_usd) if told and self.budget_usd else told or self.budget_usd

    @property
    def ended(self) -> bool:
        """Say whether it is over."""
        return self.run.state in ENDED

    def changed(self, **changes: Any) -> Kept:
        """Return it with changes of the record."""
        return replace(self, run=replace(self.run, **changes))


def allowed_plain(allowed: Mapping[str, frozenset[Effect]]) -> dict[str, list[str]]:
    """Return what instructions may do as JSON has it: their identities by what they may do."""
    found: dict[str, list[str]] = {}
    for identity, effects in allowed.items():
        if beyond := sorted(effects - {Effect.READ}):
            found.setdefault(" ".join(beyond), []).append(identity)
    return found


def allowed_of(plain: Mapping[str, list[str]]) -> dict[str, frozenset[Effect]]:
    """Return what instructions may do, of `allowed_plain`."""
    return {
        identity: frozenset((Effect.READ, *map(Effect, effects.split())))
        for effects, identities in plain.items()
        for identity in identities
    }
