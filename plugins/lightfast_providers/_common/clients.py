"""One client for each account: made with the first request, used by many at once, closed in the end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from lightfast.sdk import Session

C = TypeVar("C")
MOST_CLIENTS = 16


@dataclass(slots=True)
class _Held(Generic[C]):
    client: C
    uses: int = 0


class Clients(Generic[C]):
    """Clients by account; of more than `MOST_CLIENTS`, those longest unused are closed.

    *make* builds the client of a session, *end* closes one.
    """

    def __init__(self, make: Callable[[Session], C], end: Callable[[C], Awaitable[None]]) -> None:
        self._make, self._end = make, end
        self._held: dict[object, _Held[C]] = {}
        self._idle: list[C] = []

    @contextmanager
    def lend(self, session: Session) -> Iterator[C]:
        """Lend the client of *session*; while it is lent it is not closed to make room."""
        name = (session.account, session.key, session.base_url, repr(sorted(session.options.items(), key=str)))
        held = self._held.pop(name, None) or _Held(self._make(session))
        self._held[name] = held  # the latest is the last
        held.uses += 1
        try:
            yield held.client
        finally:
            held.uses -= 1
            surplus = max(0, len(self._held) - MOST_CLIENTS)
            for other in [key for key, each in self._held.items() if not each.uses][:surplus]:
                self._idle.append(self._held.pop(other).client)

    async def tidy(self) -> None:
        """Close those that made room; called where one may wait."""
        while self._idle:
            await self._end(self._idle.pop())

    async def close(self) -> None:
        """Close all; a later `lend` makes new ones."""
        self._idle += [held.client for held in self._held.values()]
        self._held.clear()
        await self.tidy()
