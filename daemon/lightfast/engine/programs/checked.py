"""What checking, optimizing and planning say of a program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lightfast.engine.programs.program import Program
from lightfast.sdk import Effect
from lightfast_link.value import Value


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, or, as a *warning*, worth knowing; *line* from 1, 0 where there is none."""

    reason: str
    message: str
    instruction: str = ""
    field: str = ""
    line: int = 0
    warning: bool = False


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """One change that a program would make, as far as it can be known before; `None`: nothing, or not known."""

    instruction: str
    path: str
    before: Value | None = None
    after: Value | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Saving:
    """One rewrite: *rewrite* is dedupe, dead_code, fold, batch or reorder."""

    rewrite: str
    instructions: tuple[str, ...]
    summary: str
    instructions_saved: int = 0


@dataclass(frozen=True, slots=True)
class Checked:
    """A program with what is known of it. It may run unless *mistakes*.

    *effects* by instruction; *approval_reasons* one line for each instruction that a person must approve, by
    instruction; *max_cost_usd* `None`: it has no upper bound.
    """

    program: Program
    problems: tuple[Problem, ...] = ()
    effects: Mapping[str, frozenset[Effect]] = field(default_factory=dict)
    approval_reasons: Mapping[str, str] = field(default_factory=dict)
    max_cost_usd: float | None = 0.0
    changes: tuple[PlannedChange, ...] = ()

    @property
    def mistakes(self) -> tuple[Problem, ...]:
        """Return what keeps it from running."""
        return tuple(each for each in self.problems if not each.warning)

    @property
    def needs_approval(self) -> bool:
        """Say whether a person must approve it."""
        return bool(self.approval_reasons)

    @property
    def digest(self) -> str:
        """Return the digest of the program."""
        return self.program.digest()


@dataclass(frozen=True, slots=True)
class Plan:
    """A checked program as a planner made it, or as it was given.

    *planner* is the model's name or `grammar`; *attempts* the models that failed to, each with the reason; *message*
    what is understood or asked back; *confidence* and *complexity* 0 to 1.
    """

    checked: Checked
    savings: tuple[Saving, ...] = ()
    intent: str = ""
    planner: str = ""
    attempts: tuple[str, ...] = ()
    review: str = ""
    message: str = ""
    confidence: float = 1.0
    complexity: float = 0.0
    next_steps: tuple[str, ...] = ()
    cost_usd: float = 0.0
    """What the planning cost."""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def program(self) -> Program:
        """Return the program."""
        return self.checked.program
