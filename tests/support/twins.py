"""An application in which two parameters are one thing, and a desk on which everything happens at a bad moment."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.support.desk import App, Desk, bounded, conflicts, until

from lightfast.context.entry import EventType, Status
from lightfast.core.errors import LightfastError
from lightfast.sdk import Change, Hello, Parameter, Wish
from lightfast_link.value import Value, close

MOUNT = "/twins"
PATHS = ("tempo", "gain", "position")
OFFSET = 70.0
"""A gain is a position less this."""
START: dict[str, Value] = {"tempo": 100.0, "gain": 10.0, "position": 80.0}
PARAMETERS = tuple(Parameter(path, kind="double") for path in PATHS)
MANNERS: dict[str, tuple[Any, ...]] = {
    "at_once": (True, True, True, False),
    "slow": (0.0, 0.3),
    "rounding": ("exact", "clamps", "coarse"),
    "refuses": (0.0, 0.0, 0.15),
    "answers": (True, True, True, False),
    "echoes": ("not", "before", "after"),
    "says_value": (True, True, False),
}
"""How an application may behave: whether it answers in the call that brings the wish, how often it dawdles, …"""


class Twins(App):
    """Everything it says arrives in order and after a while; how it behaves in between is drawn by *rng*."""

    def __init__(self, values: dict[str, Value], rng: random.Random, manners: dict[str, Any]) -> None:
        super().__init__(values)
        self.rng, self.manners = rng, manners
        self.inbox: deque[Wish | None] = deque()
        self.outbox: deque[Callable[[], None]] = deque()
        self.dirty: dict[str, None] = {}
        self.took: list[tuple[str, Value | None]] = []
        self.dead = False

    def apply(self, wishes: Sequence[Wish]) -> None:
        self.inbox += wishes
        if self.manners["at_once"] and self.rng.random() < 0.7:
            while self.inbox:
                self.take(self.inbox.popleft())
            self.tell_changes(0.5)
            while self.outbox and self.rng.random() < 0.9:
                self.outbox.popleft()()

    def resync(self) -> None:
        self.inbox.append(None)

    @property
    def at_rest(self) -> bool:
        return not (self.inbox or self.outbox or self.dirty)

    async def run(self) -> None:
        """Live until it dies."""
        while not self.dead:
            await pause(self.rng, self.manners["slow"])
            act = self.rng.random()
            if act < 0.4 and self.inbox:
                self.take(self.inbox.popleft())
            elif act < 0.55:
                self.tell_changes(1.0)
            elif self.outbox:
                self.outbox.popleft()()

    def die(self) -> None:
        self.dead = True
        self.inbox.clear()
        self.dirty.clear()
        self.outbox.clear()

    def turn(self, path: str, value: Value) -> None:
        self._put(path, self._rounded(path, value))

    def tell_all(self) -> None:
        """Report everything, in one piece or in several between which something else may be said."""
        pieces = [list(self.values)] if self.rng.random() < 0.5 else [[path] for path in self.values]
        self.dirty.clear()
        for paths in pieces:
            self._say("report", [Change(path, self.values[path]) for path in paths])
        self._say("synced")

    def tell_changes(self, chance: float) -> None:
        """Report what changed, or let it wait and grow."""
        if self.dirty and self.rng.random() < chance:
            self._say("report", [Change(path, self.values[path]) for path in self.dirty])
            self.dirty.clear()

    def take(self, wish: Wish | None) -> None:
        """Carry one wish out, or the question for everything."""
        manners = self.manners
        if wish is None:
            self.tell_all()
            return
        if self.rng.random() < manners["refuses"]:
            self._say("reject", wish.wish_id, "no")
            return
        value = self._rounded(wish.path, wish.value)
        changed = self._put(wish.path, value)
        self.took.append((wish.path, wish.value))
        if manners["answers"] and manners["echoes"] == "not":
            self.dirty.pop(wish.path, None)
        held = value if manners["says_value"] or value != wish.value else None
        if manners["answers"] and manners["echoes"] == "after":
            self._say("settle", wish.wish_id, held)
        if changed and not (manners["answers"] and manners["echoes"] == "after"):
            self.tell_changes(0.6)  # the other one of the two is news in any case
        if manners["answers"] and manners["echoes"] != "after":
            self._say("settle", wish.wish_id, held)

    def _rounded(self, path: str, value: Any) -> float:
        if path == "tempo" and self.manners["rounding"] == "clamps":
            return min(float(value), 120.0)
        return float(round(value / 10) * 10) if path == "tempo" and self.manners["rounding"] == "coarse" else value

    def _put(self, path: str, value: float) -> bool:
        new: dict[str, Value] = {path: value}
        if path != "tempo":
            gain = value if path == "gain" else value - OFFSET
            new = {"gain": gain, "position": gain + OFFSET}
        changed = [each for each in new if self.values[each] != new[each]]
        self.values |= new
        self.dirty |= dict.fromkeys(changed)
        return bool(changed)

    def _say(self, what: str, *args: Any) -> None:
        session = self.joined
        self.outbox.append(lambda: getattr(session, what)(*args))


async def pause(rng: random.Random, slow: float = 0.0) -> None:
    """Wait some turns of the loop, or a few milliseconds."""
    draw = rng.random()
    if draw < 0.6:
        for _ in range(rng.randrange(4)):
            await asyncio.sleep(0)
    else:
        await asyncio.sleep(0.001 if draw < 0.95 - slow else 0.004)


WISH, TURN, CRASH, COME = 0.1, 0.6, 0.75, 0.5
"""Draws of `Program.step` for what is to happen and not left to chance; to come back is one while it is away."""
RETURNS = (WISH, WISH, WISH, TURN, CRASH, WISH, WISH, COME, WISH, TURN, WISH)
"""It has some wishes, crashes, gets more while it is away, and others while it is compared."""


@dataclass
class Program:
    """A random program of what clients, users, a panic button and crashes do, and what must hold after it."""

    desk: Desk
    rng: random.Random
    values: dict[str, Value] = field(default_factory=lambda: dict(START))
    saved: dict[str, Value] = field(default_factory=lambda: dict(START))
    sets: list[tuple[int, str, float]] = field(default_factory=list)
    took: list[tuple[str, Value | None]] = field(default_factory=list)
    tasks: list[asyncio.Future[Any]] = field(default_factory=list)
    at_once: bool = False
    generation: int = 0
    document: str = "a"
    app: Twins | None = None

    def __post_init__(self) -> None:
        self.manners = {name: self.rng.choice(ways) for name, ways in MANNERS.items()}
        self.manners["at_once"] = self.manners["at_once"] or self.at_once
        self._slow_store(self.rng.choice([0.0, 0.5, 0.8]), random.Random(self.rng.random()))

    def join(self) -> Twins:
        """Let the application come, or come back."""
        app = self.app = Twins(self.values, random.Random(self.rng.random()), self.manners)
        known = {"document_id": self.document, "generation": self.generation, "parameters": PARAMETERS}
        hello = Hello("twins", f"i{self.rng.randrange(2)}", name="twins", **known)  # type: ignore[arg-type]
        app.session = self.desk.registry.hello(hello, app, transport="test")
        app.session._wishes.window = 0.05
        app.tell_all()
        self.tasks.append(asyncio.ensure_future(app.run()))
        return app

    def crash(self, app: Twins) -> None:
        """Let it die, and draw what it will come back with: what was saved, what it had, or another document."""
        self.app = None
        app.die()
        self.took += app.took
        app.joined.lost("it crashed")
        kind = self.rng.random()
        if kind < 0.4:
            self.values = dict(self.saved)
        elif kind < 0.8:
            self.values, self.saved = dict(app.values), dict(app.values)
            self.generation += 1
        else:
            self.document, self.values = self.rng.choice("ab"), dict(self.saved)
        if self.rng.random() < 0.4:
            gain = float(self.rng.randrange(50, 150))
            self.values |= {"gain": gain, "position": gain + OFFSET}

    async def run(self, draws: Iterable[float]) -> None:
        """Do one thing for each of *draws*, and wait until nothing moves any more."""
        await bounded(self.join().joined.live.wait())
        for draw in draws:
            self.step(draw)
            if self.rng.random() < 0.1:
                await asyncio.sleep(self.rng.choice([0.005, 0.02, 0.06]))
            await pause(self.rng)
        self.desk.registry.release()
        app = self.app or self.join()
        self.manners["refuses"] = 0.0
        calm = 0

        def quiet() -> bool:
            nonlocal calm
            session = app.joined
            assert not session.closing, session.closing
            busy = session._wishes._flights or session._incoming.waiting or session.backlog or not session.live.is_set()
            calm = calm + 1 if app.at_rest and not busy and session._read_back._reading is None else 0
            return calm > 6

        await until(quiet, lambda: (app.joined.record(), app.joined._wishes, app.joined._join._put_back._waiting))
        app.die()
        await asyncio.gather(*self.tasks)

    def step(self, draw: float) -> None:
        """Do the thing that *draw*, from 0 to 1, stands for."""
        registry, app, number = self.desk.registry, self.app, float(self.rng.choice([60, 61, self.rng.randrange(150)]))
        if draw < 0.45:
            self.tasks.append(asyncio.ensure_future(self._set(self.rng.choice(PATHS), number)))
        elif app is None:
            if draw < 0.9:
                self.join()
        elif draw < 0.7:
            app.turn(self.rng.choice(PATHS), number)
        elif draw < 0.85:
            self.crash(app)
        elif draw < 0.9:
            if registry.held:
                registry.release()
            else:
                registry.hold("a test")
        elif draw < 0.93:
            self.tasks.append(asyncio.ensure_future(self._tried(registry.resync(MOUNT, 10.0))))
        elif draw < 0.96:
            revision = self.desk.store.revision - self.rng.randrange(3)
            self.tasks.append(
                asyncio.ensure_future(self._tried(self.desk.store.undo(revision=revision, origin="client:undo")))
            )
        else:
            self.saved = dict(app.values)

    async def wrong(self) -> list[str]:
        """Return what does not hold: the tree says what the application holds, and what became of each wish."""
        assert self.app is not None
        found = []
        records = conflicts(self.desk)
        for path in PATHS:
            entry, held = self.desk.entry(f"{MOUNT}/{path}"), self.app.values[path]
            if any(record.get("open") and record["path"] == entry.path for record in records):
                continue
            same = entry.reported is not None and close(entry.reported, held)
            if entry.status is Status.SETTLED:
                same = same and entry.value is not None and close(entry.value, held)
            if not same or entry.status not in {Status.SETTLED, Status.REJECTED}:
                found.append(f"{path} is {held!r} in the application: {entry}")
        took = {*self.took, *self.app.took}
        history = await self.desk.store.replay(0, self.desk.store.revision, 100_000)
        for revision, path, value in self.sets:
            later = [
                event.entry
                for each in history
                for event in each.events
                if each.revision > revision and event.entry.path == f"{MOUNT}/{path}" and event.type is EventType.SET
            ]
            told = {Status.SETTLED, Status.REJECTED}
            fine = (path, value) in took or any(
                entry.origin.startswith("client") or (entry.status in told and entry.value == value) for entry in later
            )
            if not fine and not any(record.get("wished") == value for record in records):
                found.append(f"{path} = {value} of {revision} is lost in silence")
        return found

    async def _set(self, path: str, value: float) -> None:
        self.sets.append((await self.desk.set(f"{MOUNT}/{path}", value), path, value))

    async def _tried(self, doing: Any) -> None:
        with suppress(LightfastError):
            await doing

    def _slow_store(self, often: float, rng: random.Random) -> None:
        """Let commits wait, each in the order of its origin."""
        real = self.desk.store.apply
        turns: dict[str, asyncio.Lock] = {}

        async def apply(mutations: Any, **more: Any) -> Any:
            async with turns.setdefault(more["origin"], asyncio.Lock()):
                if rng.random() < often:
                    await pause(rng, 0.3)
            return await real(mutations, **more)

        self.desk.store.apply = apply  # type: ignore[method-assign]
