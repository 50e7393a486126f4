"""The way of an application's signals into the store: latest wins, never behind a commit."""

from __future__ import annotations

import asyncio
from itertools import islice

import structlog
from msgspec import UNSET

from lightfast.context.entry import Report
from lightfast.context.store import Store
from lightfast.core.errors import LightfastError
from lightfast_link.value import Value

TOGETHER = 200
"""The most signals published before others get their turn on the loop: a few milliseconds of work."""

log = structlog.get_logger("lightfast.apps")


class Volatile:
    """Holds the latest value of each signal until its turn comes, at the end of the tick or soon after."""

    def __init__(self, store: Store, origin: str) -> None:
        self._store = store
        self._origin = origin
        self._latest: dict[str, tuple[Report, int]] = {}
        self._wake = asyncio.Event()

    def put(self, change: Report) -> None:
        """Take one value; it replaces an earlier one of the same tick."""
        entry = self._store.get(change.path)
        self._latest[change.path] = change, 0 if entry is None else entry.version
        self._wake.set()

    def latest(self, path: str) -> Value | None:
        """Return the value that is about to be published for *path*, else `None`."""
        change = self._latest.get(path)
        return None if change is None or change[0].value is UNSET else change[0].value

    async def run(self) -> None:
        """Publish what comes, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._latest:
                # What is not taken yet can still be replaced by something newer.
                taken = [self._latest.pop(path) for path in list(islice(self._latest, TOGETHER))]
                changes = [change for change, version in taken if not self._overtaken(change.path, version)]
                if changes and not await self._publish(changes):
                    for change in changes:  # one bad value must not take the others along
                        await self._publish([change])
                if self._latest:
                    await asyncio.sleep(0)

    def _overtaken(self, path: str, version: int) -> bool:
        """Say whether another wrote since the application reported: what is wished is newer, and on its way to it."""
        entry = self._store.get(path)
        return entry is not None and entry.version > version and entry.origin != self._origin

    async def _publish(self, changes: list[Report]) -> bool:
        try:
            await self._store.apply(changes, origin=self._origin, trusted=True)
        except LightfastError as error:
            if len(changes) == 1:
                log.warning("a signal was left out", path=changes[0].path, reason=error.message)
            return False
        return True
