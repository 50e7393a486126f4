"""The pen: a thread that turns news into records and appends them to a file. The loop only hands it references."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import structlog

from lightfast.context.entry import Entry, Event, EventType, Transaction
from lightfast.context.watch_batch import Filter, entry_size, event_size
from lightfast.engine.journal.form import OPENING, PLAIN, TAIL, TAIL_MAGIC, Kind, frame, pack

log = structlog.get_logger("lightfast.journal")

INTERVAL_S = 0.02
"""How often, in seconds, the thread looks for news: what waits is written at one go."""
MAX_SAMPLES = 200_000
"""How many samples may wait for the disk; what is more is dropped, and counted in the recording."""
MAX_SAMPLE_BYTES = 64 << 20
"""The same, in bytes of values that are not plain numbers."""
MAX_STATE_BYTES = 256 << 20
"""How much state may wait, in roughly the bytes of its records; with more the recording ends, incomplete."""
MAX_NAMES = 100_000
"""How many paths and origins are written once and then as numbers; further ones are written out each time."""
ENTRIES_PER_RECORD = 1000
RECORD_BYTES = 16 << 20
"""A record of the state at the beginning ends with the one that is reached first."""

TOO_SLOW = "the disk was too slow for the state: what came after this is missing"
FULL = "it reached its largest size"

_TYPES = {EventType.SET: 0, EventType.DELETE: 1, EventType.MOVE: 2}


class _Names(dict[str, Any]):
    """Gives every text a number; `fresh` are those that the file does not know yet."""

    def __init__(self) -> None:
        super().__init__()
        self.fresh: list[str] = []

    def __missing__(self, text: str) -> Any:
        if len(self) >= MAX_NAMES:
            return text
        number = self[text] = len(self)
        self.fresh.append(text)
        return number


class Totals:
    """What was written so far; read by the loop, written by the thread."""

    __slots__ = ("at", "dropped", "events", "samples", "size", "transactions")

    def __init__(self) -> None:
        self.at = self.transactions = self.events = self.samples = self.dropped = self.size = 0


class _Load:
    """Counts one side of the queue. What waits is the difference of two, each with one thread that writes it."""

    __slots__ = ("lost", "sample_bytes", "samples", "state_bytes")

    def __init__(self) -> None:
        self.lost = self.sample_bytes = self.samples = self.state_bytes = 0


class Pen:
    """Writes one recording. `commit` and `samples` are called on the loop and never wait.

    *ended* is called in the thread, once, when it stops by itself: the file is full, or the disk failed.
    """

    def __init__(
        self, path: Path, wanted: Filter, max_size: int, now: Callable[[], int], ended: Callable[[], None]
    ) -> None:
        """Create the file; raise `OSError` where that cannot be done, also where it exists.

        *now* tells the ns since the recording began.
        """
        self.totals = Totals()
        self.reason = ""
        self.incomplete = False
        self._wanted = wanted
        self._max_size = max_size
        self._now = now
        self._ended = ended
        self._queue: deque[tuple[Any, ...]] = deque()
        self._everything = any(pattern.text == "//" for pattern in wanted.patterns)
        self._taken = _Load()
        self._done = _Load()
        self._names = _Names()
        self._known: dict[str, bool] = {}
        self._ending = 0
        self._stop = threading.Event()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        self._thread = threading.Thread(target=self._run, name="lightfast-journal", daemon=True)

    def start(self, head: dict[str, Any], entries: Sequence[Entry]) -> None:
        """Begin with the head, and the state as it is now."""
        self._queue.append((Kind.HEAD, head))
        part: list[Entry] = []
        size = 0
        for entry in entries:
            part.append(entry)
            size += entry_size(entry)
            if len(part) >= ENTRIES_PER_RECORD or size >= RECORD_BYTES:
                self._queue.append((Kind.ENTRIES, part))
                part, size = [], 0
        if part:
            self._queue.append((Kind.ENTRIES, part))
        self._thread.start()

    def commit(self, at: int, transaction: Transaction) -> bool:
        """Take a transaction; return false where it could not be taken, and the recording ends before it."""
        if self.reason:
            return False
        size = sum([event_size(event) for event in transaction.events])
        waiting = self._taken.state_bytes - self._done.state_bytes
        if waiting and waiting + size > MAX_STATE_BYTES:
            self.end(TOO_SLOW, incomplete=True)
            return False
        self._taken.state_bytes += size
        self._queue.append((Kind.COMMIT, at, transaction, size))
        return True

    def samples(self, at: int, events: Sequence[Event]) -> None:
        """Take samples of signals, or drop and count them where too many wait."""
        size = sum([event_size(event) for event in events if type(event.entry.value) not in _SMALL])
        taken, done = self._taken, self._done
        if (
            taken.samples - done.samples + len(events) > MAX_SAMPLES
            or taken.sample_bytes - done.sample_bytes + size > MAX_SAMPLE_BYTES
        ):
            taken.lost += len(events)
            return
        taken.samples += len(events)
        taken.sample_bytes += size
        self._queue.append((Kind.SAMPLES, at, events, size))

    def end(self, reason: str, *, incomplete: bool = False) -> None:
        """Let the thread write what waits, and the end; the first reason counts."""
        if not self.reason:
            self._ending = self._now()
            self.reason, self.incomplete = reason, incomplete
        self._stop.set()

    def join(self, timeout: float) -> bool:
        """Wait until the file is closed; say whether it is."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # The thread.

    def _run(self) -> None:
        try:
            self._put(OPENING)
            while not self._stop.wait(INTERVAL_S):
                self._drain()
            self._drain()
            self._finish()
        except OSError as error:
            self.incomplete = True
            self.reason = f"the disk failed: {error.strerror or error}"
            log.exception("a recording broke off", reason=self.reason)
        except Exception as error:
            self.incomplete = True
            self.reason = f"it could not be written: {error}"
            log.exception("a recording broke off", reason=self.reason)
        finally:
            os.close(self._file)
            self._queue.clear()
            self._ended()

    def _drain(self) -> None:
        queue, totals = self._queue, self.totals
        done = self._done
        lost = self._taken.lost - done.lost
        parts: list[bytes] = []
        waiting = 0
        for _ in range(len(queue)):
            item = queue.popleft()
            kind = item[0]
            if kind is Kind.SAMPLES:
                done.samples += len(item[2])
                done.sample_bytes += item[3]
                self._write_samples(parts, item[1], item[2])
            elif kind is Kind.COMMIT:
                done.state_bytes += item[3]
                self._write_commit(parts, item[1], item[2])
            elif kind is Kind.HEAD:
                parts.append(frame([0, item[1]]))
            else:
                parts.append(frame([1, 0, [self._row(entry) for entry in item[1] if self._matches(entry.path)]]))
            waiting += len(parts[-1]) if parts else 0
            if waiting > 1 << 20:
                if self._is_full(parts):
                    return
                parts, waiting = [], 0
        if lost:
            done.lost += lost
            totals.dropped += lost
            parts.append(frame([5, totals.at, lost]))
        self._is_full(parts)

    def _is_full(self, parts: list[bytes]) -> bool:
        """Write *parts*, but for those that would make the file too large: then it ends here."""
        size = self.totals.size
        for count, part in enumerate(parts):
            size += len(part)
            if size > self._max_size:
                self._put(b"".join(parts[:count]))
                self._queue.clear()
                self.end(FULL, incomplete=True)
                return True
        self._put(b"".join(parts))
        return False

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
        self.totals.size += len(data)

    def _finish(self) -> None:
        totals = self.totals
        if not self.incomplete:  # else it holds only what was written
            totals.at = max(totals.at, self._ending)
        numbers = {name: getattr(totals, name) for name in ("transactions", "events", "samples", "dropped")}
        record = frame([6, totals.at, {"reason": self.reason, "incomplete": self.incomplete, **numbers}])
        self._put(record + TAIL.pack(len(record) + TAIL.size, TAIL_MAGIC))
        os.fsync(self._file)

    def _matches(self, path: str) -> bool:
        known = self._everything or self._known.get(path)
        if known is None:
            if len(self._known) >= MAX_NAMES:
                self._known.clear()
            known = self._known[path] = self._wanted.matches(path)
        return known

    def _with_names(self, parts: list[bytes], record: list[Any]) -> None:
        fresh = self._names.fresh
        if fresh:
            parts.append(frame([2, len(self._names) - len(fresh), fresh]))
            self._names.fresh = []
        parts.append(frame(record))

    def _row(self, entry: Entry) -> list[Any]:
        return [
            entry.path,
            pack(entry.value),
            entry.signal,
            entry.origin,
            entry.event_time,
            entry.record_time,
            entry.status.value,
        ]

    def _write_samples(self, parts: list[bytes], at: int, events: Sequence[Event]) -> None:
        names = self._names
        entries = [event.entry for event in events]
        if not self._everything:
            entries = [entry for entry in entries if self._matches(entry.path)]
        if not entries:
            return
        base = entries[0].record_time
        rows = [
            (
                names[entry.path],
                entry.value if type(entry.value) in PLAIN else pack(entry.value),
                names[entry.origin],
                entry.event_time - base,
                entry.record_time - base,
                entry.version,
            )
            for entry in entries
        ]
        self._with_names(parts, [4, at, base, rows])
        self.totals.samples += len(rows)
        self.totals.at = at

    def _write_commit(self, parts: list[bytes], at: int, transaction: Transaction) -> None:
        names = self._names
        rows = []
        for event in transaction.events:
            entry, previous = event.entry, event.previous
            if not (self._matches(entry.path) or (event.source and self._matches(event.source))):
                continue
            changed = previous is None or not _same(previous.value, entry.value)
            rows.append(
                (
                    _TYPES[event.type],
                    names[entry.path],
                    pack(entry.value),
                    changed,
                    entry.signal,
                    entry.event_time,
                    entry.status.value,
                    pack(entry.reported),
                    event.source,
                )
            )
        if not rows:
            return
        t = transaction
        record = [3, at, t.revision, t.record_time, names[t.origin], t.cause, t.group, t.label, rows]
        self._with_names(parts, record)
        self.totals.transactions += 1
        self.totals.events += len(rows)
        self.totals.at = at


_SMALL = frozenset((float, int, bool, type(None)))


def _same(left: Any, right: Any) -> bool:
    return type(left) is type(right) and (left == right or (left != left and right != right))  # noqa: PLR0124  (nan)
