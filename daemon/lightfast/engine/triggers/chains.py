"""Which triggers led to a change: so that none fires because of what it did itself."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lightfast.core.errors import LightfastError

if TYPE_CHECKING:
    from lightfast.engine.ports import RunRoom

LONGEST = 8
"""How many triggers may lead to one another."""
MOST_REMEMBERED = 4_096
_PREFIX = "run:"
_RUN = "run-"
"""What the identities of runs begin with; the groups of other writes do not."""


class Chains:
    """Remembers the triggers behind each run, and looks older ones up."""

    def __init__(self, runs: RunRoom) -> None:
        self._runs = runs
        self._known: OrderedDict[str, tuple[str, ...]] = OrderedDict()

    def add(self, run_id: str, chain: Sequence[str]) -> None:
        """Remember that the triggers of *chain*, in this order, led to a run."""
        self._known[run_id] = tuple(chain)
        while len(self._known) > MOST_REMEMBERED:
            self._known.popitem(last=False)

    async def of(self, origin: str, group: str) -> tuple[str, ...]:
        """Return the triggers that led to a change with this origin and group; empty: none did.

        What a run writes has it as origin. What a link carries on, or an application answers, has its group.
        """
        run_id = origin.removeprefix(_PREFIX).partition("#")[0] if origin.startswith(_PREFIX) else group
        seen: set[str] = set()
        while run_id.startswith(_RUN) and run_id not in seen and len(seen) < LONGEST:
            if run_id in self._known:
                return self._known[run_id]
            seen.add(run_id)
            try:
                run = await self._runs.get(run_id)
            except LightfastError:
                return ()  # a group of something else, or a run that is no longer kept
            chain = run.details.get("chain")
            if chain or not run.details.get("parent"):
                self.add(next(iter(seen)), [str(each) for each in chain or ()])
                return self._known[next(iter(seen))]
            run_id = str(run.details["parent"])
        return ()

    @staticmethod
    def why_not(trigger: str, chain: Sequence[str]) -> str:
        """Say why a trigger must not fire after *chain*; empty: it may."""
        if trigger in chain:
            circle = " → ".join((*chain[list(chain).index(trigger) :], trigger))
            return f"it would be a loop: {circle}"
        if len(chain) >= LONGEST:
            return f"{len(chain)} triggers led to one another: {' → '.join(chain)}"
        return ""
