"""Wishes on their way to a server. A server does not echo to who wrote, so each is settled by reading it back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from lightfast.sdk import AppSession, Value
from lightfast_bridges.oscquery.errors import TroubleError
from lightfast_bridges.oscquery.nodes import Node, Tree
from lightfast_bridges.oscquery.values import from_json
from lightfast_link.value import close

SETTLING = 0.05
"""Seconds between writing and reading back; each further reading waits longer."""
READINGS = 4
"""How often a value is read back before the server's word is final."""
AT_ONCE = 4
MANY = 32
"""From so many on, the whole tree is read instead of each value."""


@dataclass(slots=True, eq=False)
class _Pending:
    """One path that waits: the ids of its wishes (the newest last), and what was there before."""

    node: Node
    value: Value
    before: Value | None
    due: float
    ids: list[int] = field(default_factory=list)
    readings: int = 0
    told: int = 0
    """Counts what the server told that was something else."""


class Wishes:
    """The wishes of one server."""

    def __init__(
        self,
        session: Callable[[], AppSession | None],
        ask: Callable[[str], Awaitable[Any]],
        read: Callable[[], Awaitable[Tree]],
        holds: Callable[[str, Value], None],
    ) -> None:
        """*ask* reads one value by its address, *read* the whole tree; *holds* is told what was read back at a path."""
        self._session = session
        self._holds = holds
        self._ask = ask
        self._read = read
        self._pending: dict[str, _Pending] = {}
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()

    def add(self, node: Node, value: Value, before: Value | None, wish_id: int) -> None:
        """Wait for a wish that was sent."""
        pending = self._pending.get(node.path)
        if pending is None:
            pending = self._pending[node.path] = _Pending(node, value, before, 0.0)
        pending.node, pending.value, pending.readings = node, value, 0
        pending.due = self._loop.time() + SETTLING
        pending.ids.append(wish_id)
        self._wake.set()

    async def run(self) -> None:
        """Read back what waits, until cancelled."""
        while True:
            if not self._pending:
                self._wake.clear()
                await self._wake.wait()
            now = self._loop.time()
            due = [pending for pending in self._pending.values() if pending.due <= now]
            if not due:
                await asyncio.sleep(max(0.005, min(pending.due for pending in self._pending.values()) - now))
            elif len(due) >= MANY:
                await self._read_many(due)
            else:
                for start in range(0, len(due), AT_ONCE):
                    await asyncio.gather(*(self._read_one(pending) for pending in due[start : start + AT_ONCE]))

    async def _read_one(self, pending: _Pending) -> None:
        asked, told = pending.value, pending.told
        try:
            raw = await self._ask(pending.node.address)
        except TroubleError as error:
            self._unread(pending, str(error))
            return
        if pending.value is asked:  # else a newer wish has been sent meanwhile
            self._judge(pending, from_json(pending.node, raw), told)

    async def _read_many(self, due: list[_Pending]) -> None:
        asked = [(pending.value, pending.told) for pending in due]
        try:
            tree = await self._read()
        except TroubleError as error:
            for pending in due:
                self._unread(pending, str(error))
            return
        for pending, (value, told) in zip(due, asked, strict=True):
            if pending.value is value:
                self._judge(pending, from_json(pending.node, tree.raw.get(pending.node.path)), told)

    def _unread(self, pending: _Pending, reason: str) -> None:
        if not self._again(pending):
            self._reject(pending, f"it was written, but could not be read back: {reason}")

    def _judge(self, pending: _Pending, held: Value | None, told: int) -> None:
        path = pending.node.path
        if self._pending.get(path) is not pending:
            return
        if pending.told != told and self._again(pending):
            return  # what was told while it was read may be newer
        if held is not None and close(held, pending.value):
            self._holds(path, held)
            self._settle(pending, held)
        elif self._again(pending):
            return
        elif held is None:
            self._reject(pending, "it was written, but the server shows no value there")
        elif pending.before is not None and close(held, pending.before):
            self._reject(pending, f"the server kept {held!r:.60} when asked for {pending.value!r:.60}")
        else:
            self._holds(path, held)
            self._settle(pending, held)  # it has adjusted the value

    def _again(self, pending: _Pending) -> bool:
        pending.readings += 1
        pending.due = self._loop.time() + SETTLING * (2 << pending.readings)
        return pending.readings < READINGS

    def hear(self, path: str, value: Value) -> bool:
        """Take a value that the server told; True where it settled a wish."""
        pending = self._pending.get(path)
        if pending is None:
            return False
        if not close(value, pending.value):
            pending.told += 1
            return False
        self._settle(pending, value)
        return True

    def _settle(self, pending: _Pending, value: Value) -> None:
        session = self._take(pending)
        if session is not None:
            for wish_id in pending.ids:
                session.settle(wish_id, value)

    def _reject(self, pending: _Pending, reason: str) -> None:
        session = self._take(pending)
        if session is not None:
            for wish_id in pending.ids:
                session.reject(wish_id, reason)

    def _take(self, pending: _Pending) -> AppSession | None:
        return self._session() if self._pending.pop(pending.node.path, None) is pending else None

    def forget(self) -> None:
        """Forget all: the session's end speaks for them."""
        self._pending.clear()
