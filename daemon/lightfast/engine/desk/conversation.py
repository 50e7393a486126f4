"""One conversation: lines in, their acknowledgements in order, and the events of what they started.

At most `MOST_WAITING` replies wait for a slow client. Beyond that its next line is not read (policy: wait), events stay
in the event log, which cuts a watcher off when `events.log.QUEUE` of them wait (policy: cut off, TOO_SLOW; going on
after the last sequence misses nothing), and words of the front model are left out from the half on (policy: drop).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING

from lightfast.core.errors import LightfastError
from lightfast.core.ids import new_id
from lightfast.core.tasks import TaskGroup
from lightfast.engine.desk.coded import Fault, format_line
from lightfast.engine.desk.follow import RUN_OVER
from lightfast.engine.desk.records import OVER, Ack, Reply
from lightfast.engine.desk.status import coded
from lightfast.engine.events.records import Event, Wanted

if TYPE_CHECKING:
    from lightfast.engine.desk.desk import Desk
    from lightfast.engine.ports import Asker

MOST_WAITING = 256
AT_ONCE = 16
"""So many events are taken before others have their turn."""
MOST_ENTITIES = 10_000
OVER_KINDS = frozenset({"desk.complete", "desk.failed", "desk.ready", "desk.loaded", "desk.remembered"})
"""The events after which nothing more comes of a line."""
_OWN_KINDS = frozenset({"desk", "run", "step"})


class Conversation:
    """Made by `Desk.converse`; `hear` lines, read `replies`, and `close` it."""

    def __init__(self, desk: Desk, asker: Asker, client: str, after: int | None) -> None:
        self._desk, self._asker, self._client, self._after = desk, asker, client, after
        self._identity = new_id("talk")
        self._waiting: deque[Reply] = deque()
        self._news, self._room, self._ready = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._order = asyncio.Lock()
        """Held while a line is answered: no event of it overtakes its acknowledgement."""
        self._entities: dict[str, None] = {}
        self._acknowledged: dict[str, None] = {}
        self._under_way: set[str] = set()
        self._finished = self._watched_all = False
        self._error: LightfastError | None = None
        self._speaking = False
        self._tasks = TaskGroup("conversation")
        self._tasks.start(self._watch(), "watch")

    async def close(self) -> None:
        """End it; what was acknowledged goes on."""
        await self._tasks.close()

    async def hear(self, said: str, request_id: str = "", project: str = "") -> None:
        """Answer a line; waits while too many replies wait."""
        await self._ready.wait()
        await self._have_room()
        async with self._order:
            try:
                ack = await self._desk.say(
                    said, self._asker, self._client, request_id=request_id, project=project, conversation=self._identity
                )
            except LightfastError as error:
                fault = Fault(error.reason, error.message, "Nothing was taken: say it again.")
                self._put(Reply(line=format_line(fault), text=error.message, request_id=request_id))
                return
            if ack.line_id:
                self._own(ack.line_id, ack.job)
                self._remember(self._acknowledged, ack.line_id)
                if await self._goes_on(ack):
                    self._under_way.add(ack.line_id)
            self._put(_reply(ack, request_id))
        if self._desk.front.there and not self._speaking:
            self._speaking = True
            self._tasks.start(self._speak(said, ack, request_id, project), "front model")

    async def _goes_on(self, ack: Ack) -> bool:
        """Say whether more comes of a line than its acknowledgement."""
        if not ack.again:
            return not ack.line.startswith("cl:")
        line = await self._desk.lines.get(ack.line_id)
        return line is not None and line.state not in OVER

    def finish(self) -> None:
        """No more lines come: without *after* the replies end when all that was started is over."""
        self._finished = True
        self._news.set()

    def fail(self, error: LightfastError) -> None:
        """End the replies with *error*, after those that wait."""
        self._error = self._error or error
        self._news.set()

    async def replies(self) -> AsyncIterator[Reply]:
        """Yield the replies. Raises what the watch of the events has failed with: go on from the last sequence."""
        while True:
            while self._waiting:
                reply = self._waiting.popleft()
                self._room.set()
                yield reply
            if self._error is not None:
                raise self._error
            if self._watched_all or (
                self._finished and self._after is None and not self._under_way and not self._speaking
            ):
                return
            self._news.clear()
            await self._news.wait()

    async def _watch(self) -> None:
        try:
            async with aclosing(self._desk.events.watch(Wanted(), self._after)) as batches:
                async for batch, _ in batches:
                    self._ready.set()
                    for number, event in enumerate(batch, 1):
                        if not number % AT_ONCE:
                            await asyncio.sleep(0)  # many may catch up at once, and lines are answered all the same
                        await self._have_room()
                        async with self._order:
                            self._take(event)
        except LightfastError as error:
            self._error = error
        finally:
            self._watched_all = True
            self._ready.set()
            self._room.set()
            self._news.set()

    def _take(self, event: Event) -> None:
        line_id = str(event.payload.get("line_id", ""))
        mine = self._is_mine(event, line_id)
        if mine:
            self._own(*(str(event.payload.get(name, "")) for name in ("run", "task")))
            parts = event.payload.get("parts")
            if isinstance(parts, list):
                self._own(*map(str, parts))
        if event.kind in OVER_KINDS:
            self._under_way.discard(line_id)
            self._news.set()
        if self._after is None and (not mine or event.entity_kind not in _OWN_KINDS or event.kind in RUN_OVER):
            return  # of the end of a run the desk tells itself, with what it means for the line
        if event.kind in {"desk.queued", "desk.answered"} and line_id in self._acknowledged:
            return  # its acknowledgement said the same
        self._put(coded(event))

    def _is_mine(self, event: Event, line_id: str) -> bool:
        if line_id and line_id.partition(".")[0] in self._entities:
            return True
        if event.entity_id in self._entities:
            return True
        if event.entity_kind == "run" and str(event.payload.get("task", "")) in self._entities:
            self._own(event.entity_id)
            return True
        return False

    def _own(self, *entities: str) -> None:
        for entity in entities:
            if entity:
                self._remember(self._entities, entity)

    @staticmethod
    def _remember(found: dict[str, None], name: str) -> None:
        """Keep a name; of too many the oldest goes."""
        found[name] = None
        if len(found) > MOST_ENTITIES:
            del found[next(iter(found))]

    async def _speak(self, said: str, ack: Ack, request_id: str, project: str) -> None:
        try:
            if ack.line.startswith("er:UNCLEAR"):
                line = await self._desk.propose(said, self._client, self._asker.origin, project)
                if line:
                    self._offer(Reply(delta=f"Did you mean {line}?", request_id=request_id, next_steps=(line,)))
                return
            async with aclosing(self._desk.words(said, ack, self._client, self._asker.origin, project)) as words:  # type: ignore[type-var]
                async for delta in words:
                    self._offer(Reply(delta=delta, request_id=request_id))
        finally:
            self._speaking = False
            self._news.set()

    def _offer(self, reply: Reply) -> None:
        if len(self._waiting) < MOST_WAITING // 2:
            self._put(reply)

    def _put(self, reply: Reply) -> None:
        self._waiting.append(reply)
        self._news.set()

    async def _have_room(self) -> None:
        while len(self._waiting) >= MOST_WAITING:
            self._room.clear()
            await self._room.wait()


def _reply(ack: Ack, request_id: str) -> Reply:
    return Reply(
        line=ack.line,
        text=ack.text,
        request_id=request_id,
        job=ack.job,
        command=ack.command,
        confidence=ack.confidence,
        next_steps=ack.next_steps,
    )
