"""A run that has not ended, as it is in memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from lightfast.engine.runs.journal import Journal
from lightfast.engine.runs.kept import Kept
from lightfast.engine.runs.ports import RunControl
from lightfast.engine.runs.records import Run, RunState, Step


@dataclass(slots=True)
class Live:
    """One of them. *taken* are the steps that were taken back, as they stand; *news* is set whenever one more is.

    *fresh*: it was begun by this daemon; *cancelling* why it is being cancelled; *changing* is held while its state is
    changed.
    """

    kept: Kept
    journal: Journal
    fresh: bool = True
    control: RunControl | None = None
    task: asyncio.Task[None] | None = None
    cancelling: str | None = None
    taken: list[Step] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def run(self) -> Run:
        """Return its record, without steps."""
        return self.kept.run

    @property
    def goes_on(self) -> bool:
        """Say whether it runs, or will when there is room."""
        return self.kept.run.state is RunState.RUNNING

    def tell(self, step: Step) -> None:
        """Add a step that was taken back, or could not be."""
        self.taken.append(step)
        self.news.set()
