"""One trigger at work: its condition, what it remembers of each path, and the runs it has under way."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lightfast.core.errors import LightfastError
from lightfast.engine.programs.expression import Expression
from lightfast.engine.triggers.gate import Gate
from lightfast.engine.triggers.records import Happening, shown
from lightfast.engine.workflows.records import TriggerSpec
from lightfast.engine.workflows.trigger_forms import condition
from lightfast_link.value import Value

MOST_PATHS = 10_000
"""Of how many paths one trigger remembers whether its condition held."""
MOST_QUEUED = 16
"""How many firings of one trigger may wait for its runs to end."""
MOST_PENDING = 1_000
"""How many paths of one trigger may wait for their debounce."""


@dataclass(slots=True)
class Verdict:
    """What came of a happening: *code* `go`, or why not."""

    code: str
    reason: str


@dataclass(slots=True)
class Live:
    """One trigger with what it remembers."""

    spec: TriggerSpec
    gate: Gate
    condition: Expression | None = None
    held: OrderedDict[str, bool] = field(default_factory=OrderedDict)
    values: OrderedDict[str, Any] = field(default_factory=OrderedDict)
    pending: dict[str, tuple[float, Happening]] = field(default_factory=dict)
    active: dict[str, None] = field(default_factory=dict)
    queued: deque[Happening] = field(default_factory=deque)

    @classmethod
    def of(cls, spec: TriggerSpec) -> Live:
        """Return the trigger of *spec*, with nothing remembered."""
        return cls(spec, Gate(spec), condition(spec.when) if spec.when else None)

    @property
    def wants_asset(self) -> bool:
        """Say whether it gives the file that appeared as an asset."""
        return "${asset" in str(self.spec.parameters) or "asset" in (self.condition.names if self.condition else ())

    def weigh(self, happening: Happening, read: Callable[[str], Value | None]) -> Verdict:
        """Look at the condition; for a path remember whether it holds."""
        spec = self.spec
        holds, why = self._holds(happening, read)
        if spec.kind != "path" or spec.edge == "change":
            if holds is None:
                return Verdict("condition_failed", why)
            return Verdict("go", why) if holds else Verdict("false", why)
        path = str(happening.names["path"])
        before = self.held.get(path, False)
        self.held[path] = bool(holds)
        self.held.move_to_end(path)
        if len(self.held) > MOST_PATHS:
            self.held.popitem(last=False)
        if holds is None:
            return Verdict("condition_failed", why)
        if not holds:
            return Verdict("false", why)
        return Verdict("still_true", why) if before else Verdict("go", why)

    def _holds(self, happening: Happening, read: Callable[[str], Value | None]) -> tuple[bool | None, str]:
        if self.condition is None:
            return True, happening.said
        told = [happening.said]

        def reading(path: str) -> Value | None:
            found = read(path)
            told.append(f"{path}={shown(found)}")
            return found

        try:
            holds = self.condition.holds(happening.names, reading)
        except LightfastError as error:
            return None, f"{happening.said}: {error.message}"
        word = "is true" if holds else "is not true"
        return holds, f"{', '.join(each for each in told if each)}: {self.spec.when} {word}"

    def previous(self, path: str, value: Value | None) -> Any:
        """Return the value *path* had when it was last seen, and remember the new one."""
        before = self.values.get(path)
        self.values[path] = value
        self.values.move_to_end(path)
        if len(self.values) > MOST_PATHS:
            self.values.popitem(last=False)
        return before
