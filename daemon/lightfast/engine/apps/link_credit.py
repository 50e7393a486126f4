"""When the reports of one application are acknowledged: at once, or when the store has caught up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from lightfast import sdk
from lightfast.core.tasks import TaskGroup

MAX_BACKLOG = 2_000
"""Changes that wait for the store beyond which nothing more is acknowledged: the application waits, conflating."""
LOOK_S = 0.005
"""Seconds between looks whether they have become fewer."""


class Credit:
    """Acknowledges through *send*, which takes the last sequence; at most one acknowledgement waits."""

    def __init__(self, tasks: TaskGroup, send: Callable[[int], None]) -> None:
        self._tasks = tasks
        self._send = send
        self._sequence = 0
        self._waiting: asyncio.Task[None] | None = None

    def taken(self, session: sdk.AppSession, sequence: int) -> None:
        """Note that everything up to *sequence* was taken for *session*."""
        self._sequence = sequence
        if self._waiting is not None:
            return
        if _backlog(session) <= MAX_BACKLOG:
            self._send(sequence)
        else:
            self._waiting = self._tasks.start(self._wait(session), "link credit")

    def close(self) -> None:
        """Acknowledge nothing more: the connection is over."""
        if self._waiting is not None:
            self._waiting.cancel()

    async def _wait(self, session: sdk.AppSession) -> None:
        try:
            while _backlog(session) > MAX_BACKLOG:  # noqa: ASYNC110  # a session says how many wait, not when
                await asyncio.sleep(LOOK_S)
        finally:
            self._waiting = None
        self._send(self._sequence)


def _backlog(session: sdk.AppSession) -> int:
    """Return how many changes of a session wait for the store, where it counts them."""
    return int(getattr(session, "backlog", 0))
