"""The PACKED records of a packed recording: many records in one, as columns.

    PACKED   [7, at, plain, columns]  several COMMIT, SAMPLES and GAP records; *at* of the last one

*plain* lists whatever is no number: names, texts, assets, each once and not compressed, so that a search through the
file for a text finds it. *columns* is a Zstandard frame with a msgpack array of the columns of `_Columns`, each made
as `lightfast.context.tiers.columns` and `series` say, where a value that is no number is one of *plain*.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from lightfast.context.tiers.columns import pack_floats, pack_ints, unpack_floats, unpack_ints
from lightfast.context.tiers.series import runs_of, split_vectors
from lightfast.core.compression import zstd
from lightfast.engine.journal.form import Kind, pack
from lightfast.engine.journal.reader import Change, Commit, Gap, Item, Sample, Samples

LEVEL = 9
_PLAIN, _INT, _FLOAT, _VECTOR = range(4)
_encode = msgspec.msgpack.Encoder().encode


def unpack(record: Sequence[Any]) -> Iterator[Item]:
    """Yield the items of a PACKED record; raise `ValueError` where it is malformed."""
    try:
        plain = record[2]
        columns = msgspec.msgpack.decode(zstd().decompress(record[3]), type=_Columns)
        yield from _Unpacker(columns, plain).items()
    except (msgspec.MsgspecError, LookupError, TypeError, OverflowError, zstd().ZstdError) as error:
        raise ValueError(f"a packed record is malformed: {error}") from error


class _Columns(msgspec.Struct, array_like=True):
    """The columns of a PACKED record: one value for each record, commit, sample or change."""

    kinds: bytes
    ats: bytes
    counts: bytes
    """Samples, changes, or what was dropped."""
    revisions: bytes
    record_times: bytes
    origins: bytes
    causes: bytes
    groups: bytes
    labels: bytes
    sample_paths: bytes
    sample_values: list[bytes]
    sample_origins: bytes
    sample_events: bytes
    """After the record time."""
    sample_records: bytes
    sample_versions: bytes
    change_types: bytes
    change_paths: bytes
    change_values: list[bytes]
    change_flags: bytes
    change_events: bytes
    change_statuses: bytes
    change_reported: list[bytes]
    change_sources: bytes


class _Plain(dict[bytes, int]):
    """Numbers what is no number; `items` is the list of it."""

    def __init__(self) -> None:
        super().__init__()
        self.items_: list[Any] = []

    def number(self, value: Any) -> int:
        """Return the number of *value*."""
        packed = pack(value)
        key = _encode(packed)
        found = self.get(key)
        if found is None:
            found = self[key] = len(self)
            self.items_.append(packed)
        return found


def packed(batch: Sequence[Commit | Samples | Gap]) -> list[Any]:
    """Return the PACKED record of *batch*, which is not empty."""
    plain = _Plain()
    commits = [item for item in batch if isinstance(item, Commit)]
    samples = [sample for item in batch if isinstance(item, Samples) for sample in item.samples]
    changes = [change for item in commits for change in item.changes]
    by_path = sorted(range(len(samples)), key=lambda index: samples[index].path)
    path_changes = sorted(range(len(changes)), key=lambda index: changes[index].path)
    owners = [plain.number(samples[index].path) for index in by_path]
    change_owners = [plain.number(changes[index].path) for index in path_changes]
    mine = [samples[index] for index in by_path]
    columns = _Columns(
        bytes([_kind(item) for item in batch]),
        pack_ints([item.at for item in batch]),
        pack_ints([_count(item) for item in batch]),
        pack_ints([item.revision for item in commits]),
        pack_ints([item.record_time for item in commits]),
        pack_ints([plain.number(item.origin) for item in commits]),
        pack_ints([item.cause for item in commits]),
        pack_ints([plain.number(item.group) for item in commits]),
        pack_ints([plain.number(item.label) for item in commits]),
        pack_ints([plain.number(sample.path) for sample in samples]),
        _series([sample.value for sample in mine], owners, plain),
        pack_ints([plain.number(sample.origin) for sample in mine]),
        pack_ints([sample.record_time - sample.event_time for sample in mine]),
        pack_ints([sample.record_time for sample in mine]),
        pack_ints([sample.version for sample in mine]),
        bytes([change.type for change in changes]),
        pack_ints([plain.number(change.path) for change in changes]),
        _series([changes[index].value for index in path_changes], change_owners, plain),
        bytes([change.changed | change.signal << 1 for change in changes]),
        pack_ints([change.event_time for change in changes]),
        pack_ints([plain.number(change.status) for change in changes]),
        _series([changes[index].reported for index in path_changes], change_owners, plain),
        pack_ints([plain.number(change.source) for change in changes]),
    )
    packed = zstd().compress(_encode(columns), LEVEL)
    return [Kind.PACKED, batch[-1].at, plain.items_, packed]


def _kind(item: Commit | Samples | Gap) -> int:
    return Kind.COMMIT if isinstance(item, Commit) else Kind.SAMPLES if isinstance(item, Samples) else Kind.GAP


def _count(item: Commit | Samples | Gap) -> int:
    if isinstance(item, Commit):
        return len(item.changes)
    return len(item.samples) if isinstance(item, Samples) else item.dropped


def _series(values: Sequence[Any], owners: Sequence[int], plain: _Plain) -> list[bytes]:
    """Return *values* as columns; *owners* has the path of each, equal ones together."""
    kinds = bytearray()
    ints: list[int] = []
    floats: list[float] = []
    others: list[int] = []
    lengths: list[int] = []
    vectors: list[tuple[int, tuple[float, ...]]] = []
    for value, owner in zip(values, owners, strict=True):
        kind = type(value)
        if kind is float:
            kinds.append(_FLOAT)
            floats.append(value)
        elif kind is int:
            kinds.append(_INT)
            ints.append(value)
        elif kind is tuple:
            kinds.append(_VECTOR)
            lengths.append(len(value))
            vectors.append((owner, value))
        else:
            kinds.append(_PLAIN)
            others.append(plain.number(value))
    for run in runs_of([(owner, len(vector)) for owner, vector in vectors]):
        for component in zip(*[vector for _, vector in vectors[run]], strict=True):
            floats += component
    return [bytes(kinds), pack_ints(ints), pack_floats(floats), pack_ints(lengths), pack_ints(others)]


def _unseries(packed: Sequence[bytes], owners: Sequence[int], plain: Sequence[Any]) -> list[Any]:
    kinds, packed_ints, packed_floats, packed_lengths, packed_others = packed
    counts = [kinds.count(kind) for kind in range(4)]
    ints = iter(unpack_ints(packed_ints, counts[_INT]))
    lengths = unpack_ints(packed_lengths, counts[_VECTOR])
    floats = unpack_floats(packed_floats, counts[_FLOAT] + sum(lengths))
    others = iter(unpack_ints(packed_others, counts[_PLAIN]))
    singles = iter(floats[: counts[_FLOAT]])
    mine = [owner for owner, kind in zip(owners, kinds, strict=True) if kind == _VECTOR]
    vectors = map(tuple, split_vectors(mine, lengths, floats[counts[_FLOAT] :]))
    sources: list[Iterator[Any]] = [(plain[number] for number in others), ints, singles, vectors]
    return [next(sources[kind]) for kind in kinds]


class _Unpacker:
    """Makes the items of one record anew."""

    def __init__(self, columns: _Columns, plain: Sequence[Any]) -> None:
        self._columns = columns
        self._plain = plain

    def _texts(self, data: bytes, count: int) -> list[Any]:
        return [self._plain[number] for number in unpack_ints(data, count)]

    def items(self) -> Iterator[Item]:
        """Yield them in their order."""
        columns = self._columns
        kinds = columns.kinds
        ats, counts = unpack_ints(columns.ats, len(kinds)), unpack_ints(columns.counts, len(kinds))
        commits = kinds.count(Kind.COMMIT)
        heads = zip(
            unpack_ints(columns.revisions, commits),
            unpack_ints(columns.record_times, commits),
            self._texts(columns.origins, commits),
            unpack_ints(columns.causes, commits),
            self._texts(columns.groups, commits),
            self._texts(columns.labels, commits),
            strict=True,
        )
        samples = iter(self._samples(sum(self._of(Kind.SAMPLES, counts))))
        changes = iter(self._changes(sum(self._of(Kind.COMMIT, counts))))
        for kind, at, count in zip(kinds, ats, counts, strict=True):
            if kind == Kind.COMMIT:
                revision, record_time, origin, cause, group, label = next(heads)
                mine = tuple([next(changes) for _ in range(count)])
                yield Commit(at, revision, record_time, origin, cause, group, label, mine)
            elif kind == Kind.SAMPLES:
                yield Samples(at, [next(samples) for _ in range(count)])
            else:
                yield Gap(at, count)

    def _of(self, wanted: int, counts: Sequence[int]) -> list[int]:
        return [count for kind, count in zip(self._columns.kinds, counts, strict=True) if kind == wanted]

    def _samples(self, count: int) -> list[Sample]:
        columns = self._columns
        paths = unpack_ints(columns.sample_paths, count)
        names = [self._plain[number] for number in paths]
        order = sorted(range(count), key=names.__getitem__)
        owners = [paths[index] for index in order]
        records = unpack_ints(columns.sample_records, count)
        rows = zip(
            order,
            _unseries(columns.sample_values, owners, self._plain),
            self._texts(columns.sample_origins, count),
            unpack_ints(columns.sample_events, count),
            records,
            unpack_ints(columns.sample_versions, count),
            strict=True,
        )
        found: list[Any] = [None] * count
        for index, value, origin, lag, record, version in rows:
            found[index] = Sample(names[index], value, origin, record - lag, record, version)
        return found

    def _changes(self, count: int) -> list[Change]:
        columns = self._columns
        paths = unpack_ints(columns.change_paths, count)
        names = [self._plain[number] for number in paths]
        order = sorted(range(count), key=names.__getitem__)
        owners = [paths[index] for index in order]
        values: list[Any] = [None] * count
        reported: list[Any] = [None] * count
        series = zip(
            order,
            _unseries(columns.change_values, owners, self._plain),
            _unseries(columns.change_reported, owners, self._plain),
            strict=True,
        )
        for index, value, other in series:
            values[index], reported[index] = value, other
        rows = zip(
            columns.change_types,
            names,
            values,
            columns.change_flags,
            unpack_ints(columns.change_events, count),
            self._texts(columns.change_statuses, count),
            reported,
            self._texts(columns.change_sources, count),
            strict=True,
        )
        return [
            Change(kind, name, value, bool(flags & 1), bool(flags & 2), event, status, other, source)
            for kind, name, value, flags, event, status, other, source in rows
        ]
