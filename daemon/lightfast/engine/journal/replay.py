"""Replaying: the inputs of a recording, written again at their times by one origin, `replay:NAME`."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable

import structlog

from lightfast.context.store import Store
from lightfast.core.clock import Clock
from lightfast.core.errors import Exhausted, FailedPrecondition, InvalidArgument, LightfastError
from lightfast.core.tasks import TaskGroup
from lightfast.engine.journal.plan import Outcome, Plan, Step
from lightfast.engine.journal.run import Run
from lightfast.engine.journal.shelf import Shelf
from lightfast.engine.links.links import Links
from lightfast.engine.show.guard import Guard

log = structlog.get_logger("lightfast.journal")

MAX_RUNNING = 8
"""How many replays may run at once."""
MAX_STEPS = 256
"""How many steps may wait for a slow reader: then progress is dropped, and the rest waits."""


class Replays:
    """Runs replays. It can be held in a panic: what runs ends at once, and nothing begins before it is released."""

    def __init__(
        self,
        store: Store,
        shelf: Shelf,
        links: Links,
        clock: Clock,
        check_closed: Callable[[str], None],
        guard: Guard,
    ) -> None:
        """*check_closed* raises where a recording is under way: replayed into itself it would never end."""
        self.held = ""
        self._check_closed = check_closed
        self._guard = guard
        self._store = store
        self._shelf = shelf
        self._links = links
        self._clock = clock
        self._runs: set[Run] = set()

    @property
    def running(self) -> int:
        """Return how many run."""
        return len(self._runs)

    def hold(self, reason: str) -> None:
        """End every replay before its next write."""
        self.held = reason
        for run in self._runs:
            run.stop(_held(reason))

    def release(self) -> None:
        """Let replays begin again; those that were ended stay so."""
        self.held = ""

    async def replay(self, plan: Plan) -> AsyncIterator[Step]:
        """Run *plan* and yield its steps, last an `Outcome`; it ends when the iterator is closed.

        Raises `InvalidArgument`, `NotFound` (RECORDING_UNKNOWN), `FailedPrecondition` (RECORDING_CORRUPT,
        RECORDING_TOO_NEW, RECORDING_ACTIVE, PANIC, SHOW_LOCKED) and `Exhausted` (TOO_MANY_REPLAYS, or what the
        store has).
        """
        _check(plan)
        if self.held and not plan.dry:
            raise _held(self.held)
        if len(self._runs) >= MAX_RUNNING:
            raise Exhausted(
                f"{MAX_RUNNING} replays run already: wait until one is over", reason="TOO_MANY_REPLAYS", retry_after=5.0
            )
        path = self._shelf.file(plan.name)
        self._check_closed(plan.name)
        if plan.set_up:
            self._guard.check("a replay that makes links and declarations")
        steps: asyncio.Queue[Step | LightfastError] = asyncio.Queue(MAX_STEPS)
        run = Run(self._store, self._links, self._clock, path, plan, steps)
        self._runs.add(run)
        log.info("replay", name=plan.name, speed=plan.speed, dry=plan.dry, check=plan.check)
        try:
            async with TaskGroup("replay") as tasks:
                tasks.start(run.go(tasks), plan.name)
                while True:
                    step = await steps.get()
                    if isinstance(step, LightfastError):
                        raise step
                    yield step
                    if isinstance(step, Outcome):
                        return
        finally:
            self._runs.discard(run)


def _held(reason: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"a replay is refused: {reason}; release it first (lightfast panic --release)", reason="PANIC"
    )


def _check(plan: Plan) -> None:
    if not plan.speed > 0:
        raise InvalidArgument(f"the speed is {plan.speed:g}: use a number above 0, or infinity", field="speed")
    if not (0 <= plan.start < math.inf and 0 <= plan.end < math.inf):
        raise InvalidArgument("from and to are seconds since the recording began: 0 or more", field="start")
    if plan.end and plan.end <= plan.start:
        raise InvalidArgument(f"it ends at {plan.end:g} s, before it begins at {plan.start:g} s", field="end")
    if plan.dry and (plan.check or plan.set_up):
        raise InvalidArgument("a dry run writes nothing, so there is nothing to check", field="dry_run")
    for app in plan.apps:
        if not app.strip("/"):
            raise InvalidArgument(f"{app!r} is no mount: use for example /ableton", field="apps")
