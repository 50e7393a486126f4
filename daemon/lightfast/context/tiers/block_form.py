"""The bytes of a block: what lies in the archive for about a thousand changes.

They are one Zstandard frame, and in it a MessagePack array of the fields of `Form`, in their order; see `columns` and
`series` for the parts. The archive compresses when it packs a month; this way it is small from the first day. The
columns whose name begins with `by_path` are ordered by path, then row: what belongs to one path changes little from
one to the next. Whatever would not come out of the columns to the letter is kept besides them (*rest*), so that a
block gives back exactly what it was given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from lightfast.context.tiers.columns import differences, pack_ints, unpack_ints
from lightfast.context.tiers.series import Packed, pack_series, unpack_series
from lightfast.core.compression import zstd

FORMAT = 1
LEVEL = 9
"""Of compression: twice as long as the default, for a tenth fewer bytes; a block is written once."""
NONE, SAME, OWN = range(3)
"""What was reported for a row: nothing, the same as its value, something else."""

_MALFORMED = (msgspec.MsgspecError, OverflowError, LookupError, TypeError, StopIteration)
_encode = msgspec.json.Encoder().encode
_parse = msgspec.json.Decoder().decode
_RARE = ("signal", "object", "reported", "reported_revision", "status", "reason", "lease")


class Head(NamedTuple):
    """One transaction: its rows are those from *first* up to before *first* + *rows*. *undone* is a JSON array."""

    revision: int
    record_time: int
    origin: str
    cause: int
    group: str
    label: str
    undone: str | None
    first: int
    rows: int


class Row(NamedTuple):
    """One change, as it is in the table `history`; *text* is the entry, see `lightfast.context.codec`."""

    row: int
    revision: int
    path: str
    kind: int
    source: str | None
    event_time: int
    text: str


class Form(msgspec.Struct, array_like=True, frozen=True):
    """The fields of a block. *texts* are looked up by number."""

    format: int
    head_count: int
    row_count: int
    texts: list[str]
    head_revisions: bytes
    head_times: bytes
    head_origins: bytes
    head_causes: bytes
    """How many revisions before its effect, counted from 1; 0 for none."""
    head_groups: bytes
    head_labels: bytes
    head_firsts: bytes
    head_rows: bytes
    undone: dict[int, str]
    rows: bytes
    revisions: bytes
    paths: bytes
    shapes: bytes
    shape_list: list[tuple[int, int, int, int, int, int, int, int]]
    """What most rows of a path have in common; see `Shape`. Its texts are numbers here."""
    sources: dict[int, int]
    record_times: bytes
    """After the time of its transaction, or else after the row before it."""
    by_path_lags: bytes
    """The event time before the record time."""
    by_path_ages: bytes
    """The revision after that of the creation."""
    by_path_versions: bytes
    by_path_causes: bytes
    """How many revisions before its own, counted from 1; 0 for none."""
    by_path_values: Packed
    by_path_reported: Packed
    """Where there is one of its own."""
    by_path_reported_ages: bytes
    """Where anything was reported: how many revisions before its own."""
    rest: dict[int, str]


class Shape(NamedTuple):
    """The parts of a row that seldom change. *kind* is a `Kind`, *reported* one of the three above."""

    kind: int
    origin: str
    signal: int
    object_id: str
    reported: int
    status: str
    reason: str
    lease: str


class _Texts(dict[str, int]):
    """Numbers texts as they come."""

    def __missing__(self, text: str) -> int:
        number = self[text] = len(self)
        return number


def pack(heads: Sequence[Head], rows: Sequence[Row]) -> bytes:
    """Return the bytes of a block; *heads* and *rows* are in the order of the store."""
    texts = _Texts()
    rest: dict[int, str] = {}
    fields = [_fields(row, rest, index) for index, row in enumerate(rows)]
    order = sorted(range(len(rows)), key=lambda index: rows[index].path)  # a stable order: then by row
    paths = [texts[row.path] for row in rows]
    shapes: dict[Shape, int] = {}
    shape = [shapes.setdefault(_shape(row, parts), len(shapes)) for row, parts in zip(rows, fields, strict=True)]
    kinds = list(shapes)
    events = [row.event_time for row in rows]
    records = [parts[6] for parts in fields]
    owners = [paths[index] for index in order]
    own = [place for place, index in enumerate(order) if kinds[shape[index]].reported == OWN]
    there = [index for index in order if kinds[shape[index]].reported]
    form = Form(
        FORMAT,
        len(heads),
        len(rows),
        [],
        pack_ints([head.revision for head in heads]),
        pack_ints([head.record_time for head in heads]),
        pack_ints([texts[head.origin] for head in heads]),
        pack_ints([behind(head.revision, head.cause) for head in heads]),
        pack_ints([texts[head.group] for head in heads]),
        pack_ints([texts[head.label] for head in heads]),
        pack_ints([head.first for head in heads]),
        pack_ints([head.rows for head in heads]),
        {index: head.undone for index, head in enumerate(heads) if head.undone is not None},
        pack_ints([row.row for row in rows]),
        pack_ints([row.revision for row in rows]),
        pack_ints(paths),
        pack_ints(shape),
        [
            (k.kind, texts[k.origin], k.signal, texts[k.object_id], k.reported, texts[k.status], texts[k.reason],
             texts[k.lease])
            for k in kinds
        ],
        {index: texts[row.source] for index, row in enumerate(rows) if row.source is not None},
        pack_ints(differences(records, _bases(heads, [row.revision for row in rows], records))),
        pack_ints([records[index] - events[index] for index in order]),
        pack_ints([rows[index].revision - fields[index][1] for index in order]),
        pack_ints([fields[index][2] for index in order]),
        pack_ints([behind(rows[index].revision, fields[index][4]) for index in order]),
        pack_series([fields[index][0] for index in order], owners),
        pack_series([fields[order[place]][7]["reported"] for place in own], [owners[place] for place in own]),
        pack_ints([rows[index].revision - fields[index][7]["reported_revision"] for index in there]),
        rest,
    )  # fmt: skip
    form.texts.extend(texts)
    packed: bytes = zstd().compress(msgspec.msgpack.encode(form), LEVEL)
    return packed


def behind(revision: int, cause: int) -> int:
    """Return how far *cause* is behind *revision*, as it is written: 0 is for no cause, and nothing else."""
    if not cause:
        return 0
    return revision - cause + (cause <= revision)


def cause_of(revision: int, written: int) -> int:
    """Return what `behind` was given."""
    if not written:
        return 0
    return revision - written + (written > 0)


def text_of(shape: Shape, parts: tuple[Any, int, int, int, int, int], reported: Any, reported_revision: int) -> str:
    """Return the text of an entry; *parts* are value, creation, version, cause, event time and record time."""
    return _encode(fields_of(shape, parts, reported, reported_revision)).decode()


def fields_of(
    shape: Shape, parts: tuple[Any, int, int, int, int, int], reported: Any, reported_revision: int
) -> list[Any]:
    """Return the fields of an entry, as `codec.decode` takes them; see `text_of`."""
    value, created, version, cause, event_time, record_time = parts
    fields = [value, created, version, shape.origin, cause, event_time, record_time]
    if shape.signal or shape.status or shape.object_id or shape.lease or shape.reported or shape.reason:
        rare: dict[str, Any] = {}
        if shape.signal:
            rare["signal"] = 1
        if shape.object_id:
            rare["object"] = shape.object_id
        if shape.reported:
            rare["reported"] = value if shape.reported == SAME else reported
            rare["reported_revision"] = reported_revision
        if shape.status:
            rare["status"] = shape.status
        if shape.reason:
            rare["reason"] = shape.reason
        if shape.lease:
            rare["lease"] = shape.lease
        fields.append(rare)
    return fields


_PLAIN = [None, 0, 0, "", 0, 0, 0]


def _fields(row: Row, rest: dict[int, str], index: int) -> list[Any]:
    """Return the fields of *row*; where they would not give back its text, note that in *rest*."""
    try:
        fields = _parse(row.text)
    except msgspec.DecodeError:
        fields = None
    if _regular(fields, row):
        shape = _shape(row, fields)
        value, created, version, _, cause, event_time, record_time = fields[:7]
        rare = fields[7] if len(fields) > 7 else {}
        reported, revision = rare.get("reported"), rare.get("reported_revision", 0)
        parts = (value, created, version, cause, event_time, record_time)
        if text_of(shape, parts, reported, revision) == row.text:
            return fields  # type: ignore[no-any-return]
    rest[index] = row.text
    return [*_PLAIN[:5], row.event_time, row.event_time]


_INT64 = 1 << 62
"""So that no difference of two numbers leaves the 64 bits."""


def _regular(fields: Any, row: Row) -> bool:
    if type(fields) is not list or not 7 <= len(fields) <= 8:
        return False
    numbers = [fields[1], fields[2], fields[4], fields[5], fields[6]]
    if fields[5] != row.event_time or type(fields[3]) is not str:
        return False
    if len(fields) == 8:
        rare = fields[7]
        if (
            type(rare) is not dict
            or not rare.keys() <= set(_RARE)
            or ("reported" in rare) != ("reported_revision" in rare)
        ):
            return False
        numbers.append(rare.get("reported_revision", 0))
        if any(type(rare.get(name, "")) is not str for name in ("object", "status", "reason", "lease")):
            return False
    return all(type(number) is int and -_INT64 < number < _INT64 for number in numbers)


def _shape(row: Row, fields: list[Any]) -> Shape:
    rare = fields[7] if len(fields) > 7 else {}
    mode = NONE
    if "reported" in rare:
        value, reported = fields[0], rare["reported"]
        mode = SAME if type(value) is type(reported) and _encode(value) == _encode(reported) else OWN
    return Shape(
        row.kind,
        fields[3],
        int("signal" in rare),
        rare.get("object", ""),
        mode,
        rare.get("status", ""),
        rare.get("reason", ""),
        rare.get("lease", ""),
    )


def _bases(heads: Sequence[Head], revisions: Sequence[int], records: Sequence[int]) -> list[int]:
    """Return the time that the record time of each row is told from."""
    times = {head.revision: head.record_time for head in heads}
    before = [0, *records[:-1]] if records else []
    return [times.get(revision, known) for revision, known in zip(revisions, before, strict=True)]


class Columns:
    """The columns of a block as numbers; *order* has the rows by path, *places* where each row is in there."""

    def __init__(self, data: bytes) -> None:
        """Decode *data*; raise `ValueError` where it is no block, or one of a newer form."""
        try:
            self._load(msgspec.msgpack.decode(zstd().decompress(data), type=Form))
        except _MALFORMED as error:
            raise ValueError(f"it is no block of history: {error}") from error
        except zstd().ZstdError as error:
            raise ValueError(f"it is no block of history: {error}") from error

    def _load(self, form: Form) -> None:
        if form.format != FORMAT:
            raise ValueError(f"it is a block of format {form.format}, and this version knows {FORMAT}: update it")
        count, heads, texts = form.row_count, form.head_count, form.texts
        self.texts = texts
        self.head_revisions = unpack_ints(form.head_revisions, heads)
        self.head_times = unpack_ints(form.head_times, heads)
        self.head_origins = unpack_ints(form.head_origins, heads)
        self.head_causes = unpack_ints(form.head_causes, heads)
        self.head_groups = unpack_ints(form.head_groups, heads)
        self.head_labels = unpack_ints(form.head_labels, heads)
        self.head_firsts = unpack_ints(form.head_firsts, heads)
        self.head_rows = unpack_ints(form.head_rows, heads)
        self.undone = form.undone
        self.rows = unpack_ints(form.rows, count)
        self.revisions = unpack_ints(form.revisions, count)
        self.paths = unpack_ints(form.paths, count)
        self.shape = unpack_ints(form.shapes, count)
        self.shapes = [
            Shape(kind, texts[origin], signal, texts[object_id], reported, texts[status], texts[reason], texts[lease])
            for kind, origin, signal, object_id, reported, status, reason, lease in form.shape_list
        ]
        self.sources = form.sources
        named = [texts[number] for number in self.paths]
        self.order = sorted(range(count), key=named.__getitem__)
        self.places = [0] * count
        for place, index in enumerate(self.order):
            self.places[index] = place
        self.records = self._records(unpack_ints(form.record_times, count))
        self.lags = unpack_ints(form.by_path_lags, count)
        self.ages = unpack_ints(form.by_path_ages, count)
        self.versions = unpack_ints(form.by_path_versions, count)
        self.causes = unpack_ints(form.by_path_causes, count)
        owners = [self.paths[index] for index in self.order]
        self.values = unpack_series(form.by_path_values, owners)
        modes = [self.shapes[self.shape[index]].reported for index in self.order]
        own = [place for place, mode in enumerate(modes) if mode == OWN]
        self.reported = dict(
            zip(own, unpack_series(form.by_path_reported, [owners[place] for place in own]), strict=True)
        )
        there = [place for place, mode in enumerate(modes) if mode]
        self.reported_ages = dict(zip(there, unpack_ints(form.by_path_reported_ages, len(there)), strict=True))
        self.rest = form.rest

    def _records(self, told: Sequence[int]) -> list[int]:
        times = dict(zip(self.head_revisions, self.head_times, strict=True))
        records: list[int] = []
        before = 0
        for revision, difference in zip(self.revisions, told, strict=True):
            before = times.get(revision, before) + difference
            records.append(before)
        return records
