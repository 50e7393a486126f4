"""The transport's writes: the latest value of each path, one transaction at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from lightfast.context.entry import Delete, Mutation, Set
from lightfast.context.store import Store
from lightfast.core.errors import LightfastError
from lightfast.core.tasks import TaskGroup
from lightfast_link.value import Value

log = structlog.get_logger("lightfast.transport")

ORIGIN = "transport"
"""Who writes what the transport writes."""


class Outbox:
    """Writes in the background, in the order of first mention; what waits for one path is replaced by newer.

    So it holds at most one value for each path. *trusted* writes are not checked against access and range.
    *trouble* is told of each value that the store refused, and why.
    """

    def __init__(
        self, store: Store, tasks: TaskGroup, label: str, *, trusted: bool, trouble: Callable[[str, str], None]
    ) -> None:
        self._store = store
        self._tasks = tasks
        self._label = label
        self._trusted = trusted
        self._trouble = trouble
        self._waiting: dict[str, Value | None] = {}
        self._writing: frozenset[str] = frozenset()
        self._running = False

    @property
    def running(self) -> bool:
        """Say whether something is being written."""
        return self._running

    def holds(self, path: str) -> bool:
        """Say whether *path* waits to be written, or is being written."""
        return path in self._waiting or path in self._writing

    def put(self, values: Mapping[str, Value | None]) -> None:
        """Write *values*, `None` deleting; returns at once."""
        self._waiting.update(values)
        if self._waiting and not self._running:
            self._running = True
            self._tasks.start(self._drain(), self._label)

    def drop(self) -> None:
        """Forget what waits; what is being written is written."""
        self._waiting.clear()

    async def _drain(self) -> None:
        try:
            while self._waiting:
                taken, self._waiting = self._waiting, {}
                self._writing = frozenset(taken)
                signals: list[Mutation] = []
                states: list[Mutation] = []
                for path, value in taken.items():
                    declared = self._store.declaration(path)
                    volatile = declared is not None and declared.signal and value is not None
                    kind = signals if volatile else states
                    kind.append(Delete(path) if value is None else Set(path, value))
                for group in (signals, states):
                    if group:
                        await self._write(group)
        finally:
            self._writing = frozenset()
            self._running = False

    async def _write(self, mutations: list[Mutation]) -> None:
        try:
            await self._store.apply(mutations, origin=ORIGIN, label=self._label, trusted=self._trusted)
        except LightfastError as error:
            if len(mutations) > 1:
                for mutation in mutations:  # one that is refused must not take the others along
                    await self._write([mutation])
                return
            path = getattr(mutations[0], "path", "")
            log.warning("the transport could not write", path=path, reason=error.message)
            self._trouble(path, error.message)
