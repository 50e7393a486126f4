"""An application with a transport of its own, for the tests of the timeline: as good or as bad as it is told to be."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.desk import Desk, bounded, open_desk, until

from lightfast.core.clock import SYSTEM
from lightfast.engine.transport.records import AppTransport, Options, Standing
from lightfast.engine.transport.transport import Transport
from lightfast.sdk import Bridge, BridgeHost, Call, Change, Hello, Parameter, Timeline, Wish
from lightfast_link.value import Value

TIMELINES = {
    "deck": Timeline(playing="playing", position="position", tempo="tempo"),
    "sequencer": Timeline(playing="playing", position="position", unit="beats", tempo="tempo"),
    "film": Timeline(position="frame", unit="frames", rate="fps"),
    "tape": Timeline(position="position"),
    "loop": Timeline(playing="playing", position="place", unit="frames", rate="fps", first="first", last="last"),
    "pulse": Timeline(tempo="tempo"),
    "lamp": Timeline(playing="playing"),
    "jukebox": Timeline(playing="runs", position="position"),
    "plain": None,
}
PARAMETERS = (
    Parameter("playing", kind="bool"),
    Parameter("runs", kind="bool", access="r"),
    Parameter("position", kind="double", signal=True),
    Parameter("tempo", kind="double", minimum=20, maximum=999),
    Parameter("frame", kind="int", maximum=10_000),
    Parameter("place", kind="double", signal=True),
    Parameter("first", kind="double", access="r"),
    Parameter("last", kind="double", access="r"),
    Parameter("fps", kind="double", access="r"),
)


class Kind(Bridge):
    """A kind of player."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.timeline = TIMELINES[kind]

    async def run(self, host: BridgeHost) -> None:
        raise NotImplementedError


class Player:
    """A player and its channel. *speed* is how fast its clock runs, *latency* how long a locate takes, in seconds.

    *sticks* are paths that never take what is wished, *refuses* those it says no to, *rate* how often a second it
    reports its position, *last* the last frame of one that plays its frames from 1 on over and over.
    """

    def __init__(self, kind: str, **manners: Any) -> None:
        self.kind = kind
        self.timeline = TIMELINES[kind] or Timeline()
        self.speed: float = manners.get("speed", 1.0)
        self.latency: float = manners.get("latency", 0.0)
        self.last: float = manners.get("last", 50.0)
        self.rate: float = manners.get("rate", 50.0)
        self.sticks: set[str] = set(manners.get("sticks", ()))
        self.refuses: set[str] = set(manners.get("refuses", ()))
        self.playing = False
        self.tempo = 120.0
        self.wished: list[tuple[str, Value | None]] = []
        self.mount = ""
        self._at = 0.0
        self._position = 0.0
        self._session: Any = None
        self._task: asyncio.Task[None] | None = None

    # What its user does.

    def press(self, playing: bool) -> None:
        """Play or stop by hand."""
        self._play(playing)
        self._report({self.timeline.playing: playing} if self.timeline.playing else {})

    def go(self, seconds: float) -> None:
        """Go somewhere by hand."""
        self._seek(seconds)
        self._report(self._position_now())

    def turn(self, tempo: float) -> None:
        """Set the tempo by hand."""
        self._seek(self.now())
        self.tempo = tempo
        self._report({"tempo": tempo})

    def now(self) -> float:
        """Return its position in seconds."""
        passed = (SYSTEM.monotonic() - self._at) * self.speed if self.playing else 0.0
        return self._position + passed

    def say(self, values: dict[str, Value]) -> None:
        """Report *values*, whatever it holds."""
        self._report(values)

    # Its half of the bridge.

    def apply(self, wishes: Sequence[Wish]) -> None:
        self.wished += [(wish.path, wish.value) for wish in wishes]
        loop = asyncio.get_running_loop()
        loop.call_later(self.latency, self._carry_out, list(wishes))

    def invoke(self, call: Call) -> None: ...

    def cancel(self, call_id: int) -> None: ...

    def resync(self) -> None:
        self._report_all()

    def close(self, reason: str) -> None: ...

    async def join(self, desk: Desk) -> None:
        """Say hello, and wait until it is in step."""
        hello = Hello(self.kind, f"{self.kind}-1", document_id="d", parameters=PARAMETERS)
        self._session = desk.registry.hello(hello, self, transport="test")
        self.mount = self._session.mount
        self._report_all()
        await bounded(self._session.live.wait())
        if self.timeline.position:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def leave(self) -> None:
        """Crash."""
        self.quiet()
        session, self._session = self._session, None
        session.lost("it crashed")
        await bounded(session.ended.wait())

    def quiet(self) -> None:
        """End what it does by itself."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _carry_out(self, wishes: list[Wish]) -> None:
        for wish in wishes:
            if self._session is None:
                return
            if wish.path in self.refuses:
                self._session.reject(wish.wish_id, "not now")
                continue
            if wish.path not in self.sticks:
                self._take(wish.path, wish.value)
            if wish.path != "frame":
                self._report(self._position_now())
            if not wish.signal:
                self._session.settle(wish.wish_id, self._values().get(wish.path))

    def _take(self, path: str, value: Any) -> None:
        if path == "playing":
            self._play(value)
        elif path == "tempo":
            self._seek(self.now())
            self.tempo = value
        elif path in {"frame", "place"}:
            self._seek(value / 25.0)
        elif self.timeline.unit == "beats":
            self._seek(value * 60 / self.tempo)
        else:
            self._seek(value)

    def _play(self, playing: bool) -> None:
        self._seek(self.now())
        self.playing = playing

    def _seek(self, seconds: float) -> None:
        self._at, self._position = SYSTEM.monotonic(), seconds

    def _position_now(self) -> dict[str, Value]:
        timeline = self.timeline
        if timeline.unit == "beats":
            return {"position": self.now() * self.tempo / 60}
        if timeline.unit == "frames":
            if timeline.last:
                return {"place": 1.0 + (self.now() * 25 - 1.0) % self.last}
            return {"frame": math.floor(self.now() * 25 + 1e-6)}
        return {timeline.position: self.now()} if timeline.position else {}

    def _values(self) -> dict[str, Value]:
        found = self._position_now()
        if self.timeline.playing:
            found[self.timeline.playing] = self.playing
        if self.timeline.tempo:
            found["tempo"] = self.tempo
        if self.timeline.rate:
            found[self.timeline.rate] = 25.0
        if self.timeline.last:
            found |= {"first": 1.0, "last": self.last}
        return found

    def _report_all(self) -> None:
        self._report(self._values())
        self._session.synced()

    def _report(self, values: dict[str, Value]) -> None:
        self._session.report([Change(path, value, SYSTEM.now_ns()) for path, value in values.items()])

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(1 / self.rate)
            if self.playing:
                self._report(self._position_now())


@asynccontextmanager
async def stage(folder: Path, **more: Any) -> AsyncIterator[tuple[Desk, Transport]]:
    """Run a desk with a timeline; *more* are `Options`, and `beat_out`."""
    out = more.pop("beat_out", None)
    async with open_desk(folder) as desk:
        for kind in TIMELINES:
            desk.registry.add_kind(Kind(kind))
        transport = Transport(desk.store, desk.registry, SYSTEM, Options(**more), out)
        await transport.start()
        try:
            yield desk, transport
        finally:
            await transport.close()


def app(transport: Transport, mount: str) -> AppTransport:
    """Return how an application stands."""
    return next(one for one in transport.record().apps if one.mount == mount)


async def stands(transport: Transport, mount: str, standing: Standing, seconds: float = 60.0) -> AppTransport:
    """Wait until an application stands so."""
    await until(lambda: app(transport, mount).standing is standing, lambda: app(transport, mount), seconds)
    return app(transport, mount)
