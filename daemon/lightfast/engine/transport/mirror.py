"""The timeline in the context: below `/transport`, so that OSC, links, scenes and every watcher see it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lightfast.context.entry import Declaration
from lightfast.context.store import Store
from lightfast.core.tasks import TaskGroup
from lightfast.engine.transport.outbox import Outbox
from lightfast.engine.transport.playhead import MAX_TEMPO, MIN_TEMPO
from lightfast.engine.transport.records import INTERNAL, AppTransport, Role, TransportRecord
from lightfast.engine.transport.roles import FOLLOWS, LEADER, ROOT
from lightfast.engine.transport.timecode import FRAME_RATES
from lightfast_link.value import Value

PLAYING, TEMPO, POSITION = ROOT + "/playing", ROOT + "/tempo", ROOT + "/position"
FRAME_RATE, TAP, APPS = ROOT + "/frame_rate", ROOT + "/tap", ROOT + "/apps"
OWNER = "daemon"
_COARSE = {"phase_ms": 1.0, "drift_ppm": 5.0}
"""How much a number must change before it is written again."""


def declarations() -> list[Declaration]:
    """Return what is known of the paths: those that act when they are written, and those that only tell."""

    def one(path: str, kind: str, access: str, words: str, **more: object) -> Declaration:
        return Declaration(path, kind=kind, access=access, description=words, owner=OWNER, **more)  # type: ignore[arg-type]

    return [
        Declaration(ROOT + "//", access="r", owner=OWNER, description="The timeline."),
        one(PLAYING, "bool", "rw", "The timeline plays; written: play or stop."),
        one(TEMPO, "double", "rw", "Its tempo.", minimum=MIN_TEMPO, maximum=MAX_TEMPO, unit="time.bpm"),
        one(POSITION, "double", "rw", "Where it is; written: go there.", signal=True, minimum=0.0, unit="time.second"),
        one(ROOT + "/beats", "double", "r", "Where it is, in beats.", signal=True),
        one(ROOT + "/timecode", "string", "r", "Where it is, as SMPTE timecode.", signal=True),
        one(FRAME_RATE, "string", "rw", "What frames and timecode are counted in.", choices=tuple(FRAME_RATES)),
        one(LEADER, "string", "rw", f"Who is meant to lead: {INTERNAL} or a mount."),
        one(ROOT + "/leading", "string", "r", "Who leads now."),
        one(ROOT + "/notice", "string", "r", "The last thing worth telling."),
        one(FOLLOWS + "/*", "map", "rw", "How an application follows: offset in seconds, tempo true or false."),
        one(TAP, "", "rw", "Written on each beat: the tempo is taken from three or more.", signal=True),
        one(APPS + "/*/phase_ms", "double", "r", "Median phase error.", signal=True, unit="time.ms"),
        one(APPS + "/*/drift_ppm", "double", "r", "Drift against the timeline.", signal=True),
    ]


class Mirror:
    """Writes what differs from the context, and only that."""

    def __init__(self, store: Store, tasks: TaskGroup) -> None:
        self._store = store
        self._outbox = Outbox(store, tasks, "transport mirror", trusted=True, trouble=lambda _path, _reason: None)
        self._sent: dict[str, Value | None] = {}

    def show(self, record: TransportRecord) -> None:
        """Bring the state up to date."""
        if not self._outbox.running:
            self._sent.clear()
        wanted: dict[str, Value | None] = dict(_state(record))
        for entry in self._store.select(APPS + "//"):
            if entry.path not in wanted and not self._store_signal(entry.path, record):
                wanted[entry.path] = None
        self._put(wanted)

    def move(self, seconds: float, beats: float, timecode: str) -> None:
        """Publish where it is."""
        wanted: dict[str, Value | None] = {
            POSITION: seconds,
            ROOT + "/beats": beats,
            ROOT + "/timecode": timecode,
        }
        self._outbox.put({path: value for path, value in wanted.items() if not self._holds(path, value)})

    def forget(self, path: str) -> None:
        """Take note that somebody else wrote *path*."""
        self._sent.pop(path, None)

    def measure(self, record: TransportRecord) -> bool:
        """Publish the phase errors and drifts that changed; say whether any did."""
        values: dict[str, Value | None] = {}
        for app in record.apps:
            for name, value in (("phase_ms", app.phase_ms), ("drift_ppm", app.drift_ppm)):
                if value is None or app.role is Role.NONE:
                    continue
                path = f"{APPS}{app.mount}/{name}"
                entry = self._store.get(path)
                held = entry.value if entry is not None and isinstance(entry.value, float) else math.inf
                if not abs(held - value) < _COARSE[name]:
                    values[path] = round(value, 3)
        self._outbox.put(values)
        return bool(values)

    def _holds(self, path: str, value: Value | None) -> bool:
        entry = self._store.get(path)
        return entry is not None and entry.value == value

    def _put(self, wanted: dict[str, Value | None]) -> None:
        changed: dict[str, Value | None] = {}
        for path, value in wanted.items():
            entry = self._store.get(path)
            held = self._sent.get(path, entry.value if entry is not None else None)
            if held != value or type(held) is not type(value):
                changed[path] = self._sent[path] = value
        self._outbox.put(changed)

    def _store_signal(self, path: str, record: TransportRecord) -> bool:
        """Say whether *path* is a number of an application that still has a role."""
        name = path[len(APPS) :].rpartition("/")[0]
        return path.endswith(tuple(_COARSE)) and any(a.mount == name and a.role is not Role.NONE for a in record.apps)


def _state(record: TransportRecord) -> Iterator[tuple[str, Value]]:
    yield PLAYING, record.playing
    yield TEMPO, record.tempo
    yield FRAME_RATE, record.frame_rate
    yield ROOT + "/leading", record.leading
    yield ROOT + "/notice", record.notice
    for app in record.apps:
        if app.role is not Role.NONE:
            yield from _app(app)


def _app(app: AppTransport) -> Iterator[tuple[str, Value]]:
    below = APPS + app.mount
    yield below + "/role", str(app.role)
    yield below + "/state", str(app.standing)
    yield below + "/reason", app.reason
