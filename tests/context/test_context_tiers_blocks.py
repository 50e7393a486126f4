"""Blocks of history: they give back to the letter what they were given, and stay small."""

from __future__ import annotations

import math
from collections.abc import Sequence

import hypothesis.strategies as st
import pytest
from hypothesis import given

from lightfast.context.codec import encode
from lightfast.context.entry import Entry, Status
from lightfast.context.kinds import Kind
from lightfast.context.tiers.block import Block, Head, Label, Row, pack
from lightfast.context.tiers.columns import pack_floats, pack_ints, unpack_floats, unpack_ints
from lightfast.core.compression import zstd
from lightfast_link.value import Asset

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
SCALAR = st.none() | st.booleans() | INT64 | st.floats() | st.text(max_size=8) | st.binary(max_size=8)
VALUE = st.recursive(
    SCALAR | st.lists(st.floats(), max_size=4).map(tuple) | st.just(Asset("asset:x", "image/png", "0" * 64, 7)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
NUMBER = st.integers(0, 1 << 61)
PATH = st.sampled_from(["/a", "/a/é", "/b/c", "/%20"])


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Head], list[Row]]:
    heads: list[Head] = []
    rows: list[Row] = []
    revision = draw(st.integers(1, 1 << 40))
    row = draw(st.integers(1, 1 << 40))
    time = draw(NUMBER)
    for _ in range(draw(st.integers(0, 6))):
        revision += draw(st.integers(1, 3))
        time += draw(st.integers(0, 1 << 40))
        mine = draw(st.integers(0, 4))
        undone = draw(st.none() | st.just("[1,2]"))
        if draw(st.booleans()):
            origin, group, label = [draw(st.text(max_size=6)) for _ in range(3)]
            cause = draw(st.integers(0, revision))
            heads.append(Head(revision, time, origin, cause, group, label, undone, row, mine))
        for _ in range(mine):
            if draw(st.integers(0, 5)):  # some rows may be gone
                rows.append(draw(changes(row, revision, time)))
            row += 1
    return heads, rows


@st.composite
def changes(draw: st.DrawFn, number: int, revision: int, time: int) -> Row:
    entry = Entry(
        draw(PATH),
        draw(VALUE),
        revision,
        draw(st.integers(0, revision)),
        draw(NUMBER),
        draw(st.sampled_from(["app:blender", "", "client:é"])),
        draw(st.integers(0, revision)),
        draw(NUMBER | st.just(time)),
        draw(NUMBER | st.just(time)),
        draw(st.booleans()),
        draw(st.sampled_from(["", "cube"])),
        draw(st.none() | VALUE),
        draw(NUMBER),
        draw(st.sampled_from(list(Status))),
        draw(st.sampled_from(["", "too large"])),
        draw(st.sampled_from(["", "lease"])),
    )
    kind = draw(st.sampled_from(list(Kind)))
    text = encode(entry)
    if not draw(st.integers(0, 7)):
        text = draw(st.sampled_from(['[1.50,1,1,"a",0,5,6]', "[]", "not JSON", '[null,1,1,"",0,1,1,{"new":1}]']))
    return Row(number, revision, entry.path, int(kind), draw(st.none() | PATH), entry.event_time, text)


@given(histories())
def test_a_block_gives_back_to_the_letter_what_it_was_given(history: tuple[list[Head], list[Row]]) -> None:
    heads, rows = history
    block = Block(pack(heads, rows))
    assert list(block.rows()) == rows
    assert list(block.heads()) == heads
    for head in heads:
        assert block.find(head.revision) == head
    for path in {row.path for row in rows}:
        mine = [row for row in rows if row.path == path]
        for limit in (mine[0].row, mine[-1].row, mine[-1].row + 1):
            index = block.before(path, limit)
            before = [row for row in mine if row.row < limit]
            assert (block.row(index) if index is not None else None) == (before[-1] if before else None)
        index = block.happened(path, mine[-1].row + 1, mine[0].event_time)
        by_then = [row for row in mine if row.event_time <= mine[0].event_time]
        assert index is not None
        assert block.row(index) == max(by_then, key=lambda row: (row.event_time, row.row))


@given(st.lists(INT64))
def test_columns_of_integers_are_exact(values: list[int]) -> None:
    assert list(unpack_ints(pack_ints(values), len(values))) == values


@given(st.lists(st.floats(), max_size=30) | st.lists(st.integers(-9999, 9999).map(lambda n: n / 100), max_size=30))
def test_columns_of_doubles_are_exact_to_the_bit(values: list[float]) -> None:
    found = unpack_floats(pack_floats(values), len(values))
    assert [(repr(value), math.copysign(1, value)) for value in found] == [
        (repr(value), math.copysign(1, value)) for value in values
    ]


@given(st.binary(max_size=200))
def test_bytes_that_are_no_block_are_refused_by_name(data: bytes) -> None:
    with pytest.raises(ValueError, match="block"):
        Block(data)


@given(histories(), st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_block_is_refused_or_read_but_never_breaks(
    history: tuple[list[Head], list[Row]], at: int, byte: int
) -> None:
    data = bytearray(zstd().decompress(pack(*history)))
    data[at % len(data)] = byte
    try:
        block = Block(zstd().compress(bytes(data)))
    except ValueError:
        return
    assert len(block) == len(block.numbers)


def test_a_newer_format_is_named() -> None:
    data = zstd().decompress(pack([], []))
    assert data[3] == 1
    with pytest.raises(ValueError, match="format 9, and this version knows 1: update it"):
        Block(zstd().compress(data[:3] + b"\x09" + data[4:]))


def session(count: int) -> tuple[Sequence[Head], list[Row]]:
    heads, rows = [], []
    for index in range(count):
        time = 1_800_000_000_000_000_000 + index * 16_666_667
        value = round(math.sin(index / 30), 3)
        entry = Entry("/ableton/tracks/0/volume", value, index + 1, 1, index + 1, "app:ableton", 0, time, time)
        heads.append(Head(index + 1, time, "app:ableton", 0, "", "", None, index + 1, 1))
        rows.append(Row(index + 1, index + 1, entry.path, int(Kind.SET), None, time, encode(entry)))
    return heads, rows


def test_what_changes_evenly_takes_a_few_bytes() -> None:
    heads, rows = session(1000)
    raw = sum(len(row.text) + len(row.path) for row in rows)
    assert len(pack(heads, rows)) < raw / 30


def test_a_label_survives_the_metadata() -> None:
    label = Label("store-1", 1, 9, 7, "work-1")
    assert Label.of(label.metadata()) == label
    assert Label.of({"store": "store-1"}) is None
    assert Label.of({**label.metadata(), "first": "x"}) is None
