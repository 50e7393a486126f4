"""The transport: one timeline for the desk, led by the daemon's own clock or by an application."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

import structlog

from lightfast.context.entry import Event, EventType, Set
from lightfast.context.store import Store
from lightfast.context.watch import Batch, WatchSpec, bus_of
from lightfast.core.clock import Clock
from lightfast.core.errors import FailedPrecondition, InvalidArgument, LightfastError
from lightfast.core.tasks import TaskGroup
from lightfast.engine.apps.presence import ROOT as PRESENCE
from lightfast.engine.apps.registry import AppRegistry
from lightfast.engine.transport import mirror as paths
from lightfast.engine.transport.beats import BeatOut, Beats, Taps
from lightfast.engine.transport.commands import Commands
from lightfast.engine.transport.mirror import Mirror, declarations
from lightfast.engine.transport.outbox import ORIGIN
from lightfast.engine.transport.playhead import MAX_TEMPO, MIN_TEMPO, Playhead
from lightfast.engine.transport.records import INTERNAL, Options, TransportRecord
from lightfast.engine.transport.roles import FOLLOWS, LEADER, ROOT
from lightfast.engine.transport.team import Team
from lightfast.engine.transport.timecode import (
    DEFAULT_RATE,
    FRAME_RATES,
    frame_rate,
    frames_at,
    timecode_at,
)

T = TypeVar("T")
log = structlog.get_logger("lightfast.transport")

NUMBERS_S = 1.0
"""Seconds between two looks at how the applications stand to the timeline, while it plays."""
MEASURES_S = 10.0
"""Seconds between two publications of phase error and drift: each settles, and so goes into the history."""


class Transport:
    """The timeline. `start` comes first; *beat_out* takes the beat, where it is wanted.

    Whoever writes `playing`, `tempo`, `position`, `frame_rate`, `leader`, `follows/<name>` or `tap` below
    `/transport` does the same as who calls the method.
    """

    def __init__(
        self,
        store: Store,
        registry: AppRegistry,
        clock: Clock,
        options: Options | None = None,
        beat_out: BeatOut | None = None,
    ) -> None:
        self.notice = ""
        self._store = store
        self._bus = bus_of(store)
        self._registry = registry
        self._clock = clock
        self._options = options or Options()
        self._tasks = TaskGroup("transport")
        self._head = Playhead()
        self._rate = DEFAULT_RATE
        self._mirror = Mirror(store, self._tasks)
        self._team = Team(
            store,
            self._bus,
            registry,
            clock,
            self._tasks,
            self._head,
            lambda: self._rate,
            self._options,
            moved=self._on_lead,
            tell=self._tell,
            by_hand=self._on_hand,
            wake=self._wake,
        )
        self._commands = Commands(self._head, self._team, clock, lambda: self._rate, self._changed)
        self._taps = Taps()
        self._beats = Beats(self._head, clock, beat_out) if beat_out is not None else None
        self._beating = False
        self._pulsing = False
        self._measured = self._published = -math.inf
        self._stops: list[Callable[[], None]] = []

    async def start(self) -> None:
        """Take tempo, frame rate, position and roles from the context; it stands until somebody plays."""
        await self._store.declare(declarations(), owner=paths.OWNER)
        if self._store.get(LEADER) is None:  # from then on it is the user's own
            await self._store.apply([Set(LEADER, INTERNAL)], origin=ORIGIN, label="transport", trusted=True)
        now = self._clock.monotonic()
        tempo, rate, position = (self._kept(path) for path in (paths.TEMPO, paths.FRAME_RATE, paths.POSITION))
        if isinstance(tempo, float) and MIN_TEMPO <= tempo <= MAX_TEMPO:
            self._head.set_tempo(now, tempo)
        if isinstance(rate, str) and rate in FRAME_RATES:
            self._rate = FRAME_RATES[rate]
        if isinstance(position, float) and math.isfinite(position):
            self._head.seek(now, position)
        self._stops = [
            self._bus.listen([ROOT + "//"], self._on_own),
            self._bus.listen([PRESENCE + "/*/state"], lambda _: self.refresh()),
        ]
        self.refresh()

    async def close(self) -> None:
        """Stop moving others; the applications go on as they are."""
        for stop in self._stops:
            stop()
        self._stops = []
        self._team.close()
        await self._tasks.close()

    def refresh(self) -> None:
        """Look again at who leads, who follows and who is there."""
        self._team.rebuild()
        self._mirror.show(self.record())
        self._wake()

    # What can be asked.

    def record(self) -> TransportRecord:
        """Return the timeline as it is now, and how the applications stand to it."""
        now, head = self._clock.monotonic(), self._head
        seconds = head.seconds(now)
        return TransportRecord(
            playing=head.playing,
            position=seconds,
            beats=head.beats(now),
            frames=frames_at(self._rate, seconds),
            timecode=timecode_at(self._rate, seconds),
            tempo=head.tempo,
            frame_rate=self._rate.name,
            frames_per_second=self._rate.fps,
            time=self._clock.now_ns(),
            leader=self._team.wanted,
            leading=self._team.leading,
            notice=self.notice,
            apps=tuple(self._team.records()),
        )

    async def watch(self, max_rate_hz: float = 10.0) -> AsyncGenerator[TransportRecord, None]:
        """Yield the timeline, then again at each change, and at most *max_rate_hz* a second while it plays.

        Raises as `context.watch` does.
        """
        if not 0 < max_rate_hz < math.inf:
            raise InvalidArgument(f"max_rate_hz is {max_rate_hz}: it must be above 0", field="max_rate_hz")
        spec = WatchSpec((ROOT + "//",), max_rate_hz=max_rate_hz)
        subscription = self._bus.subscribe(spec, self._store.revision)
        try:
            yield self.record()
            while True:
                batch = await subscription.next()
                if batch.events:
                    yield self.record()
        finally:
            subscription.close()

    # A panic: `engine.show.panic.Holder`.

    @property
    def held(self) -> str:
        """Return why the timeline is held; empty where it is not."""
        return self._team.held

    def hold(self, reason: str) -> None:
        """Stop our own clock and the beat, and move nobody, until `release`; again, it changes only the reason.

        What is asked of the timeline meanwhile is refused with HELD. An application that leads is not stopped by it,
        it is held itself; the timeline goes on to show where it is.
        """
        began = not self.held
        self._team.hold(reason or "the timeline is held")
        if began and self._team.lead is None and self._head.playing:
            self._head.stop(self._clock.monotonic())
            self._changed("playing")  # the beat says that it stops, and is silent from then on
        if self._beats is not None:
            self._beats.silent = True

    def release(self) -> None:
        """Go on: nothing plays by itself, and who follows is brought in step with the timeline as it is now."""
        if self.held:
            self._team.release()
            if self._beats is not None:
                self._beats.silent = False
            self._changed("seek")

    def _check(self, what: str) -> None:
        if self.held:
            raise FailedPrecondition(
                f"the timeline cannot {what}: {self.held}; release it first",
                reason="HELD",
                metadata={"held": self.held},
            )

    async def play(self, playing: bool = True) -> None:
        """Play, or stop. A leader is asked to, and waited for.

        Raises `FailedPrecondition` (LEADER_NOT_WRITABLE, LEADER_REFUSED) where the leader cannot do it or will not,
        `Unavailable` (LEADER_SILENT, LEADER_GONE, LEADER_NOT_ASKED) where it does not do it within two seconds, leads
        no more, or was not even asked because that could not be written down.
        """
        self._check("play" if playing else "stop")
        await self._commands.play(playing)

    async def seek(
        self,
        seconds: float | None = None,
        beats: float | None = None,
        frames: int | None = None,
        timecode: str | None = None,
    ) -> None:
        """Go to exactly one of them; raises `InvalidArgument`, `OutOfBounds`, and as `play` does."""
        self._check("be moved")
        await self._commands.seek(seconds, beats, frames, timecode)

    async def set_tempo(self, tempo: float) -> None:
        """Set the tempo in beats per minute; raises `OutOfBounds`, and as `play` does."""
        self._check("take a tempo")
        await self._commands.set_tempo(tempo)

    def set_frame_rate(self, name: str) -> None:
        """Count frames and timecode so from now on."""
        self._rate = frame_rate(name)
        self._changed("rate")

    async def tap(self, time: float) -> None:
        """Take a tap at the monotonic *time*; from the third on it sets the tempo."""
        tempo = self._taps.tap(time)
        if tempo is not None:
            await self.set_tempo(tempo)

    # What happens.

    def step(self, now: float) -> bool:
        """Do what is due at *now*; say whether it has to be called again, some times a second."""
        busy = self._team.tick(now) or self._head.playing
        seconds = self._head.seconds(now)
        self._mirror.move(seconds, self._head.beats(now), timecode_at(self._rate, seconds))
        if now - self._measured >= NUMBERS_S or not busy:
            self._measured = now
            record = self.record()
            self._mirror.show(record)
            if not self._team.idle and now - self._published >= MEASURES_S and self._mirror.measure(record):
                self._published = now
        return busy

    def _wake(self) -> None:
        """See that `step` is called while there is something to do, and only then."""
        if not self._pulsing:
            self._pulsing = True
            self._tasks.start(self._pulse(), "pulse")
        if self._beats is not None and self._head.playing and not self._beating:
            self._beating = True
            self._tasks.start(self._beat(self._beats), "beats")

    async def _pulse(self) -> None:
        pause = 1.0 / max(self._options.mirror_hz, self._options.chase_hz)
        try:
            while self.step(self._clock.monotonic()):  # noqa: ASYNC110  # it paces itself, and ends when all stands
                await asyncio.sleep(pause)
        finally:
            self._pulsing = False

    async def _beat(self, beats: Beats) -> None:
        try:
            await beats.run()
        finally:
            self._beating = False

    def _changed(self, what: str) -> None:
        """Tell everybody that `playing`, `tempo`, `rate` or the position (`seek`, `jump`) changed."""
        if what in {"playing", "seek", "jump"}:
            self._team.follow(sought=what != "playing")
        if self._beats is not None and what != "rate":
            self._beats.changed()
        self._mirror.show(self.record())
        self._wake()

    def _on_lead(self, what: str, seconds: float) -> None:
        if what == "jump":
            self._tell(f"{self._team.leading} jumped by {seconds:+.3f} s, and the timeline with it")
        self._changed(what)

    def _on_hand(self, playing: bool) -> None:
        self._obey(self.play, playing)

    def _tell(self, words: str) -> None:
        if words != self.notice:
            log.info("transport", notice=words)
        self.notice = words

    # What others write.

    def _on_own(self, batch: Batch) -> None:
        roles = False
        for event in batch.events:
            if event.entry.origin != ORIGIN:
                self._mirror.forget(event.entry.path)
                roles = self._on_write(event) or roles
        if roles:
            self.refresh()
        elif not all(event.entry.signal for event in batch.events):
            self._mirror.show(self.record())

    def _on_write(self, event: Event) -> bool:
        """Do what somebody asks for by writing; say whether the roles may have changed."""
        entry = event.entry
        path, value = entry.path, entry.value
        if path == LEADER or path.startswith(FOLLOWS + "/"):
            return True
        if event.type is not EventType.SET:
            return False
        if path == paths.PLAYING and isinstance(value, bool):
            self._obey(self.play, value)
        elif path == paths.TEMPO and isinstance(value, float):
            self._obey(self.set_tempo, value)
        elif path == paths.FRAME_RATE and isinstance(value, str):
            self.set_frame_rate(value)
        elif entry.revision and event.previous is not None and event.previous.value == value:
            return False  # a signal that settles is no news
        elif path == paths.POSITION and isinstance(value, float):
            self._obey(self.seek, value)
        elif path == paths.TAP:
            self._obey(self.tap, self._clock.monotonic() - (self._clock.now_ns() - entry.event_time) / 1e9)
        return False

    def _obey(self, work: Callable[[T], Awaitable[None]], value: T) -> None:
        async def run() -> None:
            try:
                await work(value)  # made here: a task that is ended before it begins leaves none behind
            except LightfastError as error:
                self._tell(error.message)
            self._mirror.show(self.record())

        self._tasks.start(run(), "obey")

    def _kept(self, path: str) -> object:
        entry = self._store.get(path)
        return entry.value if entry is not None else None
