"""Recording: taps the context before anything is conflated, and hands it to the pen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import structlog

from lightfast.context.entry import Event, Transaction
from lightfast.context.store import Store
from lightfast.context.watch import bus_of
from lightfast.context.watch_batch import Filter
from lightfast.core.clock import Clock
from lightfast.core.errors import AlreadyExists, Exhausted, FailedPrecondition, InvalidArgument, NotFound
from lightfast.engine.journal.shelf import Shelf
from lightfast.engine.journal.writer import Pen
from lightfast.engine.links.links import Link

log = structlog.get_logger("lightfast.journal")

MAX_SIZE = 4 << 30
"""The largest recording, in bytes; with that it ends, and says so."""
MAX_SECONDS = 7 * 86_400.0
CLOSE_S = 5.0
"""How long the end of a recording may take, in seconds: what waits is written."""
STOPPED = "it was stopped"
TIME_UP = "its time was up"
STOPPING = "the daemon was stopped"


class Recording(msgspec.Struct, frozen=True):
    """A recording under way: *seconds* and *size* so far, *started* in ns since 1970."""

    name: str
    by: str
    started: int
    patterns: tuple[str, ...]
    seconds: float
    transactions: int
    events: int
    samples: int
    dropped: int
    size: int


class Recorder:
    """Records one session at a time; while none is recorded the bus has no tap, and nothing costs anything."""

    def __init__(
        self,
        store: Store,
        shelf: Shelf,
        clock: Clock,
        *,
        max_size: int = MAX_SIZE,
        links: Callable[[], Sequence[Link]] = tuple,
        version: str = "",
    ) -> None:
        """*max_size* in bytes; *links* returns the links as they stand."""
        self._store = store
        self._shelf = shelf
        self._clock = clock
        self._max_size = max_size
        self._links = links
        self._version = version
        self._pen: Pen | None = None
        self._about: dict[str, Any] = {}
        self._name = ""
        self._began = 0.0
        self._finished = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def active(self) -> Recording | None:
        """Return the recording under way."""
        if self._pen is None:
            return None
        totals, about = self._pen.totals, self._about
        return Recording(
            self._name,
            about["by"],
            about["started"],
            tuple(about["patterns"]),
            self._clock.monotonic() - self._began,
            totals.transactions,
            totals.events,
            totals.samples,
            totals.dropped,
            totals.size,
        )

    def check_closed(self, name: str) -> None:
        """Raise `FailedPrecondition` (RECORDING_ACTIVE) where *name* is being recorded."""
        if self._pen is not None and name == self._name:
            raise FailedPrecondition(
                f"{name!r} is being recorded: stop it first (lightfast record --stop)",
                reason="RECORDING_ACTIVE",
                metadata={"name": name},
            )

    def start(self, name: str, by: str, patterns: Sequence[str] = (), seconds: float = 0.0) -> Recording:
        """Begin to record what matches *patterns* (none: everything), for *seconds* (0: until it is stopped).

        Raises `InvalidArgument`, `AlreadyExists` (RECORDING_EXISTS), `FailedPrecondition` (RECORDING_ACTIVE) and
        `Exhausted` (DISK_FULL) where the file cannot be made.
        """
        path = self._shelf.place(name)
        wanted = Filter(patterns or ("//",))
        if not 0 <= seconds <= MAX_SECONDS:
            raise InvalidArgument(
                f"{seconds:g} seconds: use 0 (until it is stopped) to {MAX_SECONDS:g}", field="duration"
            )
        if self._pen is not None:
            raise FailedPrecondition(
                f"{self._name!r} is being recorded by {self._about['by']}: stop it first (lightfast record --stop)",
                reason="RECORDING_ACTIVE",
                metadata={"name": self._name},
            )
        bus = bus_of(self._store)
        self._pen = pen = self._open(name, path, wanted)
        self._name = name
        # From here to the tap nothing is awaited: the state and what follows it meet at one point.
        self._about = self._head(name, by, wanted)
        entries = {entry.path: entry for pattern in wanted.patterns for entry in self._store.select(pattern.text)}
        self._began = self._clock.monotonic()
        self._finished.clear()
        pen.start(self._about, [entries[key] for key in sorted(entries)])
        bus.tap = self
        if seconds:
            self._timer = asyncio.get_running_loop().call_later(seconds, pen.end, TIME_UP)
        log.info("recording", name=name, by=by, patterns=self._about["patterns"])
        recording = self.active
        if recording is None:
            raise AssertionError("it was just started")
        return recording

    async def stop(self, name: str = "", reason: str = STOPPED) -> str:
        """End the recording under way, and return its name when its file is closed; raise `NotFound`."""
        if self._pen is None or (name and name != self._name):
            what = f"{name!r} is not being recorded" if name else "nothing is being recorded"
            raise NotFound(f"{what}: start it with lightfast record NAME", reason="RECORDING_UNKNOWN")
        stopped, finished = self._name, self._finished
        self._pen.end(reason)
        try:
            async with asyncio.timeout(CLOSE_S):
                await finished.wait()
        except TimeoutError:
            log.error("the disk does not take the end of a recording", name=stopped)  # noqa: TRY400  # no crash
        return stopped

    async def close(self) -> None:
        """End what is being recorded: the daemon stops."""
        if self._pen is not None:
            await self.stop(reason=STOPPING)

    # The tap.

    def transaction(self, transaction: Transaction) -> None:
        """Take a committed transaction; called by the bus."""
        pen = self._pen
        if pen is not None and not pen.commit(self._at(), transaction):
            self._untap()

    def samples(self, events: Sequence[Event]) -> None:
        """Take updates of signals, each of them; called by the bus."""
        if self._pen is not None:
            self._pen.samples(self._at(), events)

    def _at(self) -> int:
        return round((self._clock.monotonic() - self._began) * 1e9)

    def _open(self, name: str, path: Path, wanted: Filter) -> Pen:
        loop = asyncio.get_running_loop()

        def ended() -> None:
            try:
                loop.call_soon_threadsafe(self._ended, pen)
            except RuntimeError:
                return  # the loop is closed, and nobody is left to be told

        try:
            self._shelf.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            pen = Pen(path, wanted, self._max_size, self._at, ended)
        except FileExistsError:
            raise AlreadyExists(
                f"there is a recording {name!r} already: choose another name, or delete it "
                f"(lightfast record delete {name})",
                reason="RECORDING_EXISTS",
                metadata={"name": name},
            ) from None
        except OSError as error:
            raise Exhausted(
                f"the recording {name!r} cannot be written to {path.parent}: {error.strerror or error}",
                reason="DISK_FULL",
            ) from error
        return pen

    def _head(self, name: str, by: str, wanted: Filter) -> dict[str, Any]:
        store = self._store
        return {
            "name": name,
            "by": by,
            "started": self._clock.now_ns(),
            "store_id": store.store_id,
            "revision": store.revision,
            "patterns": [pattern.text for pattern in wanted.patterns],
            "declarations": [msgspec.to_builtins(declaration) for declaration in store.describe()],
            "links": [_link(link) for link in self._links()],
            "version": self._version,
        }

    def _untap(self) -> None:
        bus = bus_of(self._store)
        if bus.tap is self:
            bus.tap = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ended(self, pen: Pen) -> None:
        """Hear on the loop that the file is closed."""
        if pen is not self._pen:
            return
        self._untap()
        say = log.error if pen.incomplete else log.info
        say("recorded", name=self._name, why=pen.reason, incomplete=pen.incomplete, bytes=pen.totals.size)
        self._pen = None
        self._finished.set()


def _link(link: Link) -> dict[str, Any]:
    """Return what is needed to make *link* again."""
    fields: dict[str, Any] = msgspec.to_builtins(link)
    return fields
