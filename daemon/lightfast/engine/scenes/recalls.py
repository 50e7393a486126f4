"""Recalls: brings the values of scenes back, one recall at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol

import structlog

from lightfast.context.scenes.gather import Choice
from lightfast.context.scenes.scenes import Scenes
from lightfast.context.store import Store
from lightfast.core.clock import Clock
from lightfast.core.errors import Cancelled, DeadlineExceeded, FailedPrecondition, LightfastError
from lightfast.core.tasks import TaskGroup
from lightfast.engine.apps.registry import AppRegistry
from lightfast.engine.scenes.records import Asked, Step

if TYPE_CHECKING:
    from lightfast.engine.scenes.run import Run

log = structlog.get_logger("lightfast.scenes")

MAX_STEPS = 256
"""How many steps may wait for a slow reader: then progress is dropped, and the rest waits."""
STOP_S = 10.0
"""How long a recall waits for the one it replaces to stop, and the end of the daemon for all."""


class Linked(Protocol):
    """Who knows what links lead from."""

    def leading(self) -> frozenset[str]:
        """Return the paths whose changes links carry on."""


class Recalls:
    """Runs recalls. It can be held in a panic: a morph ends at once, and nothing begins before it is released.

    A recall that has begun replaces the one that is still moving; one that only waits for the applications goes on.
    """

    def __init__(self, store: Store, scenes: Scenes, apps: AppRegistry, links: Linked, clock: Clock) -> None:
        self.held = ""
        self._store = store
        self._scenes = scenes
        self._apps = apps
        self._links = links
        self._clock = clock
        self._tasks = TaskGroup("recalls")
        self._runs: set[Run] = set()
        self._beginning = asyncio.Lock()

    async def close(self) -> None:
        """Stop what moves where it is, on the record."""
        for run in self._runs:
            run.stop(Cancelled("the daemon is stopping", reason="STORE_CLOSED"), write=True)
        with suppress(TimeoutError):  # one whose caller neither reads nor leaves is cut off
            async with asyncio.timeout(STOP_S):
                for run in tuple(self._runs):
                    await run.ended.wait()
        await self._tasks.close()

    @property
    def running(self) -> int:
        """Return how many recalls run."""
        return sum(not run.ended.is_set() for run in self._runs)

    def hold(self, reason: str) -> None:
        """Stop every morph before its next write; applications are asked where that leaves them."""
        self.held = reason
        for run in self._runs:
            if not run.applied:
                run.stop(_held(reason), write=False)

    def release(self) -> None:
        """Let recalls begin again; those that were stopped stay so."""
        self.held = ""

    async def recall(self, asked: Asked, *, origin: str) -> AsyncGenerator[Step, None]:
        """Recall a scene and yield the steps: what is planned, how far it moves, that it is written, what became of it.

        Closing the generator stops a morph where it is. Raises `NotFound` (SCENE_UNKNOWN), `InvalidArgument`,
        `FailedPrecondition` (PANIC, SCENE_DAMAGED), `Exhausted` (RECALL_TOO_LARGE, DISK_FULL) and `Cancelled`
        (RECALL_REPLACED); what was written by then is in the group that the steps named.
        """
        from lightfast.engine.scenes.run import Run  # what plans, moves and verifies is loaded with the first recall

        curve = asked.check()
        Choice(asked.patterns, asked.exclude)
        scene = await self._scenes.get(asked.name, asked.version)
        entries = await self._scenes.entries(scene)
        steps: asyncio.Queue[Step | LightfastError | None] = asyncio.Queue(MAX_STEPS)
        run = Run(self._store, self._apps, self._clock, asked, curve, scene, origin, self._links.leading, steps)
        if asked.validate_only:
            task = self._tasks.start(run.go(entries), f"plan {scene.name}")
        else:
            async with self._beginning:
                await self._replace(scene.name)
                if self.held:
                    raise _held(self.held)
                self._runs.add(run)
                task = self._tasks.start(run.go(entries), f"recall {scene.name}")
            log.info("recall", scene=scene.name, version=scene.version, morph=asked.morph, group=run.group)
        task.add_done_callback(partial(self._over, run, steps))
        try:
            while (step := await steps.get()) is not None:
                if isinstance(step, LightfastError):
                    raise step
                yield step
        finally:
            if not run.ended.is_set():
                run.stop(Cancelled("the caller has left", reason="CANCELLED"), write=True)
                self._drain(steps, task)

    async def _replace(self, name: str) -> None:
        for run in [run for run in self._runs if not run.applied]:
            why = f"a recall of {name!r} replaced this one; what it had written by then is in the group {run.group}"
            run.stop(Cancelled(why, reason="RECALL_REPLACED", metadata={"group": run.group}), write=True)
            try:
                async with asyncio.timeout(STOP_S):
                    await run.ended.wait()
            except TimeoutError:
                raise DeadlineExceeded(
                    f"the recall that moves now did not stop within {STOP_S:g} s: the store may hang"
                ) from None

    def _over(self, run: Run, steps: asyncio.Queue[Step | LightfastError | None], task: asyncio.Task[None]) -> None:
        """Hear that a run is over; one that was cut off has told no end, and whoever reads would wait for it."""
        self._runs.discard(run)
        run.ended.set()
        if task.cancelled():
            while steps.full():
                steps.get_nowait()
            steps.put_nowait(Cancelled("the daemon is stopping", reason="STORE_CLOSED"))

    def _drain(self, steps: asyncio.Queue[Step | LightfastError | None], task: asyncio.Task[None]) -> None:
        """Take the steps that nobody reads any more, so that the run can end."""

        async def take() -> None:
            while not task.done():
                await steps.get()

        taking = self._tasks.start(take(), "steps nobody reads")
        task.add_done_callback(lambda _: taking.cancel())


def _held(reason: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"a recall is refused: {reason}; release it first (lightfast panic --release)", reason="PANIC"
    )
