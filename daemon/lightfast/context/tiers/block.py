"""Blocks: about a thousand changes, one after the other, as they are read back from the archive."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from lightfast.context.codec import decode
from lightfast.context.entry import Entry
from lightfast.context.kinds import GONE
from lightfast.context.tiers.block_form import FORMAT, Columns, Head, Row, cause_of, fields_of, pack, text_of

__all__ = ["KIND", "Block", "Head", "Label", "Row", "pack"]

KIND = "history"
"""The kind of the frames that blocks lie in."""
_parse = msgspec.json.Decoder().decode


class Label(msgspec.Struct, frozen=True):
    """Which block a frame holds: that of the rows from *first* to *last* of the store *store*; no other has them.

    Of two that cover the same rows the one with the higher *serial* holds. *token* is that of the work which wrote it.
    It is the frame's metadata.
    """

    store: str
    first: int
    last: int
    serial: int
    token: str
    format: int = FORMAT

    def metadata(self) -> dict[str, Any]:
        """Return it as the metadata of a frame."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Label | None:
        """Return the label that *metadata* holds, if any."""
        try:
            return msgspec.convert({name: metadata[name] for name in cls.__struct_fields__}, cls)
        except (KeyError, msgspec.ValidationError):
            return None


class Block:
    """A block, decoded as far as it takes to find rows in it; it never changes. Rows are named by place, from 0."""

    __slots__ = ("_columns", "_spans", "numbers", "size")

    def __init__(self, data: bytes) -> None:
        """Decode *data*; raise `ValueError` where it is no block, or one of a newer form."""
        self._columns = columns = Columns(data)
        self.numbers = columns.rows
        """The numbers of the rows, growing."""
        self.size = 4 * len(data) + 250 * len(columns.rows)
        """About how many bytes it takes in memory."""
        self._spans: dict[str, tuple[int, int]] = {}
        start = 0
        for place, index in enumerate(columns.order):
            if place and columns.paths[index] != columns.paths[columns.order[place - 1]]:
                self._spans[self.path(columns.order[start])] = (start, place)
                start = place
        if columns.order:
            self._spans[self.path(columns.order[start])] = (start, len(columns.order))

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def paths(self) -> Mapping[str, tuple[int, int]]:
        """Return the paths, and where the rows of each stand in the order by path."""
        return self._spans

    def path(self, index: int) -> str:
        """Return the path of a row."""
        return self._columns.texts[self._columns.paths[index]]

    def kind(self, index: int) -> int:
        """Return the `Kind` of a row."""
        return self._columns.shapes[self._columns.shape[index]].kind

    def source(self, index: int) -> str | None:
        """Return the old path of a move."""
        number = self._columns.sources.get(index)
        return None if number is None else self._columns.texts[number]

    def revision(self, index: int) -> int:
        """Return the revision of a row."""
        return self._columns.revisions[index]

    def event_time(self, index: int) -> int:
        """Return when it happened, in nanoseconds since 1970."""
        return self._columns.records[index] - self._columns.lags[self._columns.places[index]]

    def gone(self, index: int) -> bool:
        """Say whether there is no entry after it."""
        return self.kind(index) in GONE

    def rows_of(self, path: str) -> list[int]:
        """Return the rows of *path*, oldest first."""
        start, end = self._spans.get(path, (0, 0))
        return self._columns.order[start:end]

    def before(self, path: str, limit: int) -> int | None:
        """Return the last row of *path* before the row number *limit*."""
        rows = self.rows_of(path)
        at = bisect_left(rows, limit, key=self.numbers.__getitem__)
        return rows[at - 1] if at else None

    def happened(self, path: str, limit: int, time: int) -> int | None:
        """Return the row of *path* before *limit* that happened last by *time*; of those at once the last one."""
        best, when = None, 0
        for index in self.rows_of(path):
            if self.numbers[index] >= limit:
                break
            event_time = self.event_time(index)
            if event_time <= time and (best is None or event_time >= when):
                best, when = index, event_time
        return best

    def within(self, low: int, high: int) -> range:
        """Return the rows whose number is at least *low* and less than *high*."""
        return range(bisect_left(self.numbers, low), bisect_left(self.numbers, high))

    def row(self, index: int) -> Row:
        """Return one row as it was in the table."""
        columns = self._columns
        kind = self.kind(index)
        text = columns.rest.get(index)
        if text is None:
            text = text_of(*self._parts(index))
        return Row(
            self.numbers[index],
            columns.revisions[index],
            self.path(index),
            kind,
            self.source(index),
            self.event_time(index),
            text,
        )

    def entry(self, index: int) -> Entry:
        """Return what a row left at its path, gone or not."""
        columns = self._columns
        text = columns.rest.get(index)
        fields = fields_of(*self._parts(index)) if text is None else _parse(text)
        return decode(self.path(index), columns.revisions[index], fields)

    def rows(self) -> Iterator[Row]:
        """Yield every row."""
        return (self.row(index) for index in range(len(self.numbers)))

    def heads(self) -> Iterator[Head]:
        """Yield every transaction."""
        return (self.head(index) for index in range(len(self._columns.head_revisions)))

    @property
    def head_count(self) -> int:
        """Return how many transactions there are."""
        return len(self._columns.head_revisions)

    def find(self, revision: int) -> Head | None:
        """Return the transaction *revision*."""
        revisions = self._columns.head_revisions
        index = bisect_left(revisions, revision)
        return self.head(index) if index < len(revisions) and revisions[index] == revision else None

    def recorded(self, time: int) -> int:
        """Return the last revision recorded by *time*, or 0."""
        index = bisect_right(self._columns.head_times, time)
        return self._columns.head_revisions[index - 1] if index else 0

    def head(self, index: int) -> Head:
        """Return one transaction."""
        columns, texts = self._columns, self._columns.texts
        revision, cause = columns.head_revisions[index], columns.head_causes[index]
        return Head(
            revision,
            columns.head_times[index],
            texts[columns.head_origins[index]],
            cause_of(revision, cause),
            texts[columns.head_groups[index]],
            texts[columns.head_labels[index]],
            columns.undone.get(index),
            columns.head_firsts[index],
            columns.head_rows[index],
        )

    def _parts(self, index: int) -> tuple[Any, ...]:
        columns = self._columns
        place = columns.places[index]
        revision = columns.revisions[index]
        record = columns.records[index]
        cause = columns.causes[place]
        parts = (
            columns.values[place],
            revision - columns.ages[place],
            columns.versions[place],
            cause_of(revision, cause),
            record - columns.lags[place],
            record,
        )
        age = columns.reported_ages.get(place, 0)
        return columns.shapes[columns.shape[index]], parts, columns.reported.get(place), revision - age
