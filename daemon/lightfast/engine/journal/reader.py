"""Reading recordings: record by record, up to the last one that is whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec

from lightfast.core.errors import FailedPrecondition, LightfastError
from lightfast.engine.journal.form import HEAD, MAX_RECORD, OPENING, TAIL, TAIL_MAGIC, Kind, crc32, decode, opened
from lightfast_link.value import Value

CUT = "its end is missing: the daemon was killed, or the disk was full"


class Change(NamedTuple):
    """One event of a transaction; *type* is 0 for set, 1 for delete, 2 for move (from *source*)."""

    type: int
    path: str
    value: Value | None
    changed: bool
    signal: bool
    event_time: int
    status: str
    reported: Value | None
    source: str


class Commit(NamedTuple):
    """One transaction, *at* in ns since the recording began."""

    at: int
    revision: int
    record_time: int
    origin: str
    cause: int
    group: str
    label: str
    changes: tuple[Change, ...]


class Sample(NamedTuple):
    """One update of a signal."""

    path: str
    value: Value | None
    origin: str
    event_time: int
    record_time: int
    version: int


class Samples(NamedTuple):
    """The samples of one moment."""

    at: int
    samples: list[Sample]


class State(NamedTuple):
    """One entry of the state at the beginning."""

    path: str
    value: Value | None
    signal: bool
    origin: str
    event_time: int
    record_time: int
    status: str


class Gap(NamedTuple):
    """So many samples are missing before *at*."""

    at: int
    dropped: int


class End(NamedTuple):
    """The end: why, and the totals."""

    at: int
    totals: dict[str, Any]


Item = list[State] | Commit | Samples | Gap | End


class Summary(msgspec.Struct, frozen=True):
    """What a recording is. *complete* says that nothing of the state is missing, up to *seconds*; else *reason* why."""

    name: str
    by: str
    started: int
    patterns: tuple[str, ...]
    store_id: str
    seconds: float
    transactions: int
    events: int
    samples: int
    dropped: int
    size: int
    complete: bool
    reason: str


class Reader:
    """Reads one file from its beginning; a context manager. `head` is there at once.

    Raises `FailedPrecondition` (RECORDING_CORRUPT, RECORDING_TOO_NEW). After the last `Item`, *whole* says
    whether the end was met.
    """

    def __init__(self, path: Path) -> None:
        self.whole = False
        self._names: list[str] = []
        self._file = path.open("rb")
        try:
            self.size = os.fstat(self._file.fileno()).st_size
            opened(self._file.read(len(OPENING)), path.stem)
            self.head: dict[str, Any] = self._first(path.stem)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _first(self, name: str) -> dict[str, Any]:
        record = self._next()
        if record is None or record[0] != Kind.HEAD:
            raise FailedPrecondition(
                f"the recording {name!r} was cut before its first record: delete it",
                reason="RECORDING_CORRUPT",
                metadata={"name": name},
            )
        head: dict[str, Any] = record[1]
        return head

    def items(self) -> Iterator[Item]:
        """Yield what was recorded, in order, up to the last record that is whole."""
        while (record := self._next()) is not None:
            kind = record[0]
            if kind == Kind.NAMES:
                if record[1] == len(self._names):
                    self._names += record[2]
                continue
            if kind == Kind.PACKED:
                from lightfast.engine.journal.pack_form import unpack  # it writes what is read here

                yield from unpack(record)
                continue
            item = self._item(kind, record)
            if item is not None:
                yield item
            if kind == Kind.END:
                self.whole = True
                return

    def _item(self, kind: int, record: list[Any]) -> Item | None:
        if kind == Kind.SAMPLES:
            _, at, base, rows = record
            name = self._name
            return Samples(at, [Sample(name(p), v, name(o), base + e, base + r, n) for p, v, o, e, r, n in rows])
        if kind == Kind.COMMIT:
            _, at, revision, record_time, origin, cause, group, label, rows = record
            changes = tuple([Change(row[0], self._name(row[1]), *row[2:]) for row in rows])
            return Commit(at, revision, record_time, self._name(origin), cause, group, label, changes)
        if kind == Kind.ENTRIES:
            return [State(*row) for row in record[2]]
        if kind == Kind.GAP:
            return Gap(record[1], record[2])
        if kind == Kind.END:
            return End(record[1], record[2])
        return None  # of a later minor form: what is not known does not matter

    def _name(self, number: Any) -> str:
        return self._names[number] if type(number) is int else number

    def _next(self) -> list[Any] | None:
        """Return the next record, or `None` where there is none that is whole."""
        head = self._file.read(HEAD.size)
        if len(head) < HEAD.size:
            return None
        length, checksum = HEAD.unpack(head)
        if length > min(MAX_RECORD, self.size):
            return None
        payload = self._file.read(length)
        if len(payload) < length or crc32(payload) != checksum:
            return None
        try:
            return decode(payload)
        except ValueError:
            return None


def summary(path: Path) -> Summary:
    """Return what the recording at *path* is: from its end at once, or by reading it where it has none.

    Raises `FailedPrecondition` (RECORDING_CORRUPT, RECORDING_TOO_NEW).
    """
    try:
        return _summary(path)
    except (LookupError, ValueError, TypeError) as error:
        raise FailedPrecondition(
            f"the recording {path.stem!r} holds what no Lightfast wrote ({error}): delete it",
            reason="RECORDING_CORRUPT",
            metadata={"name": path.stem},
        ) from error


def _summary(path: Path) -> Summary:
    with Reader(path) as reader:
        head = reader.head
        end = _end(path, reader.size)
        if end is None:
            end = _counted(reader)
    totals = end.totals
    return Summary(
        path.stem,
        head["by"],
        head["started"],
        tuple(head["patterns"]),
        head["store_id"],
        end.at / 1e9,
        totals["transactions"],
        totals["events"],
        totals["samples"],
        totals["dropped"],
        reader.size,
        not totals["incomplete"],
        totals["reason"],
    )


def broken(path: Path, error: LightfastError) -> Summary:
    """Return the summary of a file that cannot be read."""
    size = path.stat().st_size if path.exists() else 0
    return Summary(path.stem, "", 0, (), "", 0.0, 0, 0, 0, 0, size, complete=False, reason=error.message)


def _end(path: Path, size: int) -> End | None:
    with path.open("rb") as file:
        file.seek(max(0, size - TAIL.size))
        tail = file.read(TAIL.size)
        if len(tail) < TAIL.size:
            return None
        length, magic = TAIL.unpack(tail)
        if magic != TAIL_MAGIC or not HEAD.size + TAIL.size < length <= size:
            return None
        file.seek(size - length)
        data = file.read(length - TAIL.size)
    _, checksum = HEAD.unpack(data[: HEAD.size])
    payload = data[HEAD.size :]
    if crc32(payload) != checksum:
        return None
    record = decode(payload)
    return End(record[1], record[2]) if record[0] == Kind.END else None


def _counted(reader: Reader) -> End:
    totals = {"transactions": 0, "events": 0, "samples": 0, "dropped": 0, "incomplete": True, "reason": CUT}
    at = 0
    for item in reader.items():
        if isinstance(item, End):
            return item  # only the tail behind it is missing
        if isinstance(item, Commit):
            totals["transactions"] += 1  # type: ignore[operator]
            totals["events"] += len(item.changes)  # type: ignore[operator]
        elif isinstance(item, Samples):
            totals["samples"] += len(item.samples)  # type: ignore[operator]
        elif isinstance(item, Gap):
            totals["dropped"] += item.dropped  # type: ignore[operator]
        if not isinstance(item, list):
            at = max(at, item.at)
    return End(at, totals)
