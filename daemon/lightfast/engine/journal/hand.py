"""The hand of a replay: writes in order, several transactions under way at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from lightfast.context.codec import size_of
from lightfast.context.entry import Delete, Merge, Move, Mutation, Report, Set
from lightfast.context.store import Store
from lightfast.core.errors import Exhausted, LightfastError, Unavailable
from lightfast.core.tasks import TaskGroup
from lightfast.engine.journal.compare import Difference
from lightfast.engine.journal.fold import Roots

MAX_WAITING = 256
"""How many transactions may wait for the disk: then the replay waits, and its lateness tells."""
MAX_REFUSED = 1000
"""How many refusals are told one by one; all are counted."""
STATE_MUTATIONS = 1000
STATE_SIZE = 1 << 20


class Hand:
    """Writes as one *origin* and in one *group*, so that one undo takes a whole replay back."""

    def __init__(
        self, store: Store, tasks: TaskGroup, *, origin: str, group: str, label: str, check: Callable[[], None]
    ) -> None:
        """*check* raises where nothing may be written any more."""
        self.roots = Roots()
        self.refused: list[Difference] = []
        self.refusals = self.transactions = self.samples = 0
        self.revision = 0
        self._store = store
        self._tasks = tasks
        self._origin = origin
        self._group = group
        self._label = label
        self._may = check
        self._waiting: set[asyncio.Task[None]] = set()
        self._failure: LightfastError | None = None

    async def commit(self, mutations: Sequence[Mutation], recorded: int = 0) -> None:
        """Hand one transaction to the store; *recorded* is the revision it had when it was recorded.

        Tasks begin in the order they were started, and a transaction has its place as soon as it began.
        """
        while len(self._waiting) >= MAX_WAITING:
            await asyncio.wait(self._waiting, return_when=asyncio.FIRST_COMPLETED)
        self._check()
        task = self._tasks.start(self._apply(mutations, recorded), "replayed write")
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    def publish(self, updates: Sequence[Set]) -> None:
        """Publish samples."""
        published = self._store.publish(updates, origin=self._origin)
        self.samples += published.accepted
        if published.dropped:
            self._refuse(updates[:1], published.first_reason, count=published.dropped)

    async def state(self, mutations: Sequence[Set | Delete]) -> None:
        """Bring about a state, in as few transactions as hold it, and wait until it is durable."""
        signals: list[Set] = []
        part: list[Mutation] = []
        size = 0
        for mutation in mutations:
            declared = self._store.declaration(mutation.path)
            if isinstance(mutation, Set):
                if declared is not None and declared.signal:
                    signals.append(mutation)
                    continue
                size += size_of(mutation.value)
            part.append(mutation)
            if len(part) >= STATE_MUTATIONS or size >= STATE_SIZE:
                await self.commit(part)
                part, size = [], 0
        if part:
            await self.commit(part)
        if signals:
            self.publish(signals)
        await self.drained()

    async def drained(self) -> None:
        """Wait until everything handed over is durable; raise what kept the store from writing."""
        while self._waiting:
            await asyncio.wait(self._waiting)
        self._check()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _apply(self, mutations: Sequence[Mutation], recorded: int) -> None:
        try:
            self._may()  # it may have been stopped since this was handed over
        except LightfastError as error:
            self._failure = error
            return
        try:
            await self._write(mutations, recorded)
        except (Exhausted, Unavailable) as error:
            self._failure = error
        except LightfastError as error:
            # Up to here nothing was awaited, and what follows is handed over at once: the order holds.
            good = await self._possible(mutations)
            if len(good) in {0, len(mutations)}:
                self._refuse(good, error.message)
                return
            try:
                await self._write(good, recorded)
            except LightfastError as again:
                self._refuse(good, again.message)

    async def _write(self, mutations: Sequence[Mutation], recorded: int) -> None:
        applied = await self._store.apply(mutations, origin=self._origin, group=self._group, label=self._label)
        if applied.revision:
            self.transactions += 1
            self.revision = max(self.revision, applied.revision)
            if recorded:
                self.roots.inputs[applied.revision] = recorded

    async def _possible(self, mutations: Sequence[Mutation]) -> list[Mutation]:
        """Return the mutations that can be written one by one; the others are noted."""
        good: list[Mutation] = []
        for mutation in mutations:
            try:
                await self._store.apply([mutation], origin=self._origin, validate_only=True)
            except LightfastError as error:
                self._refuse([mutation], error.message)
            else:
                good.append(mutation)
        return good

    def _refuse(self, mutations: Sequence[Mutation], reason: str, count: int = 0) -> None:
        self.refusals += count or len(mutations)
        for mutation in mutations:
            if len(self.refused) < MAX_REFUSED:
                value = mutation.value if isinstance(mutation, Set) else None
                self.refused.append(Difference("refused", path_of(mutation), value, None, note=reason))


def path_of(mutation: Mutation) -> str:
    """Return the path that *mutation* writes."""
    if isinstance(mutation, Move):
        return mutation.target
    if isinstance(mutation, (Set, Delete, Merge, Report)):
        return mutation.path
    raise TypeError(f"{mutation!r} is no mutation")
