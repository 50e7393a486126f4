"""One application's transport, as the context shows it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from lightfast.context.entry import Entry, Event, EventType, Status
from lightfast.context.store import Store
from lightfast.context.watch import Batch, Bus
from lightfast.core.clock import Clock
from lightfast.engine.transport.phase import PhaseMeter
from lightfast.engine.transport.playhead import MAX_TEMPO, MIN_TEMPO, Playhead
from lightfast.engine.transport.timecode import FrameRate
from lightfast.sdk import Timeline
from lightfast_link.value import Value

MAX_AGE_NS = 2_000_000_000
"""An event time further back than this, or in the future, is not believed: the clocks differ."""


class Listener:
    """Who hears of a member: its leader or follower half. All times are monotonic seconds."""

    def on_playing(self, playing: bool, time: float) -> None:
        """Take a report of whether it plays."""

    def on_tempo(self, tempo: float, time: float) -> None:
        """Take a report of its tempo."""

    def on_position(self, error: float, seconds: float, time: float) -> None:
        """Take a report of its position: *error* against the timeline, and *seconds*, at *time*."""

    def on_refused(self, path: str, reason: str) -> None:
        """Take note that it refused what was written to *path*."""


class Member:
    """An application that leads or follows. It hears reports from `open` to `close`.

    *put* writes wishes, *unwritten* says of a path whether one still waits to be written; *wake* is called when it
    said something while the timeline stands still.
    """

    def __init__(
        self,
        mount: str,
        timeline: Timeline,
        store: Store,
        clock: Clock,
        head: Playhead,
        rate: Callable[[], FrameRate],
        put: Callable[[Mapping[str, Value | None]], None],
        unwritten: Callable[[str], bool],
        wake: Callable[[], None],
    ) -> None:
        self.mount = mount
        self.timeline = timeline
        self.offset = 0.0
        self.folds = False
        """Where it plays a range over and over, its position is that of the timeline modulo the range."""
        self.alive = False
        self.meter = PhaseMeter()
        self.quiet_until = 0.0
        """Before this moment position reports are not measured: it was just started or located."""
        self._store = store
        self._clock = clock
        self._head = head
        self._rate = rate
        self._put = put
        self._unwritten = unwritten
        self._wake = wake
        self._listener: Listener | None = None
        self._stop: Callable[[], None] | None = None
        self._playing = self._path(timeline.playing)
        self._position = self._path(timeline.position)
        self._locate = self._path(timeline.locate) or self._position
        self._tempo = self._path(timeline.tempo)
        self._per_second = self._path(timeline.rate)
        self._first, self._last = self._path(timeline.first), self._path(timeline.last)

    def _path(self, relative: str) -> str:
        return f"{self.mount}/{relative.strip('/')}" if relative else ""

    # What it has; an application may have less than its kind, a Blender without a window for one.

    @property
    def has(self) -> tuple[str, ...]:
        """Return what its transport has; a `*` marks what cannot be written."""
        parts = (
            ("playing", self.shows_playing, self.can_play),
            ("position", self._entry(self._position) is not None, self.can_locate),
            ("tempo", self._entry(self._tempo) is not None, self.can_set_tempo),
        )
        return tuple(name if writable else name + "*" for name, shown, writable in parts if shown or writable)

    @property
    def shows_playing(self) -> bool:
        """Say whether it reports that it plays."""
        return self._entry(self._playing) is not None

    @property
    def can_play(self) -> bool:
        """Say whether it can be started and stopped."""
        return self.shows_playing and self._writable(self._playing)

    @property
    def can_locate(self) -> bool:
        """Say whether it can be moved to a position."""
        known = self._entry(self._position) is not None or self._locate != self._position
        return bool(self._locate) and known and self._writable(self._locate)

    @property
    def can_set_tempo(self) -> bool:
        """Say whether its tempo can be set."""
        return self._entry(self._tempo) is not None and self._writable(self._tempo)

    # What it reported.

    @property
    def playing(self) -> bool | None:
        """Return whether it plays, as far as it reported."""
        entry = self._entry(self._playing)
        return bool(entry.reported) if entry is not None and entry.reported is not None else None

    @property
    def tempo(self) -> float | None:
        """Return its tempo, as far as it reported."""
        entry = self._entry(self._tempo)
        return _number(entry.reported) if entry is not None else None

    @property
    def position(self) -> float | None:
        """Return its position on the timeline in seconds, as it last reported it, with its offset taken away."""
        entry = self._entry(self._position)
        value = _number(entry.reported) if entry is not None else None
        if value is None:
            return None
        now = self._head.seconds(self._clock.monotonic())
        return now + self._nearest(self._seconds(value) - now)

    @property
    def waiting(self) -> bool:
        """Say whether it has not answered yet where it was last moved to."""
        entry = self._store.get(self._locate) if self._locate else None
        return entry is not None and entry.status is Status.PENDING

    @property
    def undecided(self) -> bool:
        """Say whether it has not answered yet when it was last asked to play or stop."""
        return self._unanswered(self._playing)

    @property
    def retuning(self) -> bool:
        """Say whether it has not answered yet what tempo it was last asked for."""
        return self._unanswered(self._tempo)

    @property
    def unasked(self) -> bool:
        """Say whether something that is to be asked of it is still being written: it has not heard of that."""
        return any(self._unwritten(path) for path in (self._playing, self._locate, self._tempo) if path)

    @property
    def grain(self) -> float:
        """Return the seconds between two positions that it can hold."""
        return 1.0 / self._units_per_second() if self.timeline.unit in {"frames", "samples"} else 0.0

    # Wishes.

    def play(self, playing: bool) -> None:
        """Wish that it plays, or stops."""
        self._put({self._playing: playing})

    def set_tempo(self, tempo: float) -> None:
        """Wish a tempo."""
        self._put({self._tempo: tempo})

    def locate(self, seconds: float) -> None:
        """Wish it at *seconds* of the timeline."""
        self._put({self._locate: self.value_at(seconds)})

    def value_at(self, seconds: float) -> Value:
        """Return *seconds* of the timeline as this application counts, never before its beginning."""
        if self.timeline.unit == "beats":
            now = self._clock.monotonic()
            beats = self._head.beats(now) + (seconds + self.offset - self._head.seconds(now)) * self._head.tempo / 60.0
            return max(0.0, beats)
        value = max(0.0, (seconds + self.offset) * self._units_per_second())
        if (range_ := self._range()) is not None:
            value = range_[0] + max(0.0, value - range_[0]) % range_[1]
        return math.floor(value + 1e-6) if self.timeline.unit in {"frames", "samples"} else value

    def _seconds(self, value: float) -> float:
        if self.timeline.unit == "beats":
            now = self._clock.monotonic()
            ahead = value - self._head.beats(now)
            return self._head.seconds(now) + ahead * 60.0 / self._head.tempo - self.offset
        return value / self._units_per_second() - self.offset

    def _range(self) -> tuple[float, float] | None:
        """Return where the range begins that it plays over and over, and how long that is, in its own unit."""
        entries = (self._entry(self._first), self._entry(self._last)) if self.folds else ()
        ends = [_number(entry.reported) if entry is not None else None for entry in entries]
        if len(ends) != 2 or ends[0] is None or ends[1] is None:
            return None
        length = ends[1] - ends[0] + (1.0 if self.timeline.unit in {"frames", "samples"} else 0.0)
        return (ends[0], length) if length > 0 else None

    def _nearest(self, error: float) -> float:
        """Return an error in seconds, less the whole ranges in it."""
        found = self._range()
        if found is None:
            return error
        length = found[1] / self._units_per_second()
        return error - length * round(error / length)

    def _units_per_second(self) -> float:
        if self.timeline.unit not in {"frames", "samples"}:
            return 1.0
        entry = self._entry(self._per_second)
        found = _number(entry.reported) if entry is not None else None
        return found if found is not None and found > 0 else self._rate().fps

    # Reports.

    def open(self, bus: Bus, listener: Listener) -> None:
        """Begin to hear reports, for *listener*."""
        self._listener = listener
        self.meter.clear()
        if self._stop is None:
            paths = {self._playing, self._position, self._locate, self._tempo} - {""}
            self._stop = bus.listen(sorted(paths), self._on_batch)

    def close(self) -> None:
        """Hear no more."""
        self._listener = None
        if self._stop is not None:
            self._stop()
            self._stop = None

    def _on_batch(self, batch: Batch) -> None:
        origin = "app:" + self.mount[1:]
        for event in batch.events:
            if event.entry.origin == origin and event.type is EventType.SET and self._listener is not None:
                self._on_event(event, self._listener)
        if not self._head.playing:
            self._wake()  # while it plays, it is awake

    def _on_event(self, event: Event, listener: Listener) -> None:
        entry = event.entry
        if entry.status is Status.REJECTED:
            listener.on_refused(entry.path, entry.status_reason)
            return
        if entry.reported is None or not (entry.signal or entry.reported_revision == entry.revision):
            return
        time = self._moment(entry)
        if entry.path == self._position:
            self._on_position(entry, time, listener)
        elif entry.path == self._playing:
            listener.on_playing(bool(entry.reported), time)
        elif entry.path == self._tempo:
            tempo = _number(entry.reported)
            if tempo is not None and MIN_TEMPO <= tempo <= MAX_TEMPO:
                listener.on_tempo(tempo, time)

    def _on_position(self, entry: Entry, time: float, listener: Listener) -> None:
        value = _number(entry.reported)
        if value is None:
            return
        head = self._head
        if self.timeline.unit == "beats":
            error = (value - head.beats(time)) * 60.0 / head.tempo - self.offset
            seconds = head.seconds(time) + error
        else:
            seconds = value / self._units_per_second() - self.offset
            error = self._nearest(seconds - head.seconds(time))
            seconds = head.seconds(time) + error
        listener.on_position(error, seconds, time)

    def _moment(self, entry: Entry) -> float:
        """Return when *entry* happened, as a monotonic time."""
        now, wall = self._clock.monotonic(), self._clock.now_ns()
        for written in (entry.event_time, entry.record_time):
            if 0 <= wall - written <= MAX_AGE_NS:
                return now - (wall - written) / 1e9
        return now

    def _unanswered(self, path: str) -> bool:
        entry = self._entry(path)
        return self._unwritten(path) or (entry is not None and entry.status is Status.PENDING)

    def _entry(self, path: str) -> Entry | None:
        return self._store.get(path) if path else None

    def _writable(self, path: str) -> bool:
        declared = self._store.declaration(path)
        if declared is None:
            return self._store.get(path) is not None
        return declared.access != "r"


def _number(value: Value | None) -> float | None:
    """Return *value* as a number, where it is one."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None
