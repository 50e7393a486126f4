"""Packed recordings: the same records in a fraction of the bytes, for the same reader."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from lightfast.core.errors import FailedPrecondition
from lightfast.engine.journal.form import OPENING, PACKED_OPENING, TAIL, TAIL_MAGIC, Kind, frame, pack
from lightfast.engine.journal.pack import pack_file, thinned
from lightfast.engine.journal.reader import Commit, Item, Reader, Samples, summary
from lightfast_link.value import Asset

HEAD = {
    "name": "one", "by": "client:test", "started": 1, "store_id": "s", "revision": 1, "patterns": ["//"],
    "declarations": [], "links": [], "mounts": [], "version": "1",
}  # fmt: skip
TEXT = st.sampled_from(["/a", "/b/é", "/c", "", "app:x"])
NUMBER = st.integers(0, 1 << 62)
VALUE = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.lists(st.floats(), max_size=3).map(tuple)
    | st.just([1, "x", (0.5,)])
    | st.just({"m": b"\xff"})
    | st.just(Asset("asset:1", "image/png", "0" * 64, 3))
)
PACKED_VALUE = VALUE.map(pack)
SAMPLE = st.tuples(TEXT, PACKED_VALUE, TEXT, st.integers(-(10**9), 0), st.integers(0, 10**9), st.integers(1, 99))
CHANGE = st.tuples(
    st.sampled_from([0, 1, 2]), TEXT, PACKED_VALUE, st.booleans(), st.booleans(), NUMBER, TEXT, PACKED_VALUE, TEXT
)
RECORD = st.one_of(
    st.tuples(st.just(Kind.SAMPLES), NUMBER, NUMBER, st.lists(SAMPLE, max_size=5)),
    st.tuples(st.just(Kind.COMMIT), NUMBER, NUMBER, NUMBER, TEXT, NUMBER, TEXT, TEXT, st.lists(CHANGE, max_size=4)),
    st.tuples(st.just(Kind.GAP), NUMBER, st.integers(1, 9)),
    st.tuples(
        st.just(Kind.ENTRIES),
        st.just(0),
        st.lists(st.tuples(TEXT, PACKED_VALUE, st.booleans(), TEXT, NUMBER, NUMBER, TEXT), min_size=1, max_size=3),
    ),
)


def written(path: Path, records: list[Any], *, end: bool = True) -> Path:
    """Write a recording of *records*."""
    data = OPENING + frame([Kind.HEAD, HEAD]) + b"".join([frame(list(record)) for record in records])
    if end:
        totals = {"reason": "asked", "incomplete": False, "transactions": 0, "events": 0, "samples": 9, "dropped": 0}
        last = frame([Kind.END, 5, totals])
        data += last + TAIL.pack(len(last) + TAIL.size, TAIL_MAGIC)
    path.write_bytes(data)
    return path


def items(path: Path) -> list[Item]:
    """Return what a recording holds, but for its end."""
    with Reader(path) as reader:
        found = list(reader.items())
        assert reader.whole
    return found[:-1]


def told(found: Any) -> bytes:
    """Return *found* as bytes that tell every difference, of not-a-numbers too."""
    if isinstance(found, list | tuple):
        return b"(" + b",".join([told(each) for each in found]) + b")"
    return type(found).__name__.encode() + msgspec.msgpack.encode(pack(found))


@given(st.lists(RECORD, max_size=12))
def test_a_packed_recording_holds_the_same(records: list[Any]) -> None:
    # The state at the beginning comes first.
    records.sort(key=lambda record: record[0] != Kind.ENTRIES)
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder) / "one.lfrec", records)
        before = items(path)
        pack_file(path, 0)
        assert path.read_bytes().startswith(PACKED_OPENING)
        assert told(items(path)) == told(before)
        assert summary(path).name == "one"
        assert list(Path(folder).iterdir()) == [path]


def session(seconds: float, signals: int = 4) -> list[Any]:
    """Return records of signals at 60 Hz, and a commit a second."""
    records: list[Any] = []
    for tick in range(round(seconds * 60)):
        at = round(tick * 1e9 / 60)
        rows = [
            (f"/td/lfo/{index}", math.sin(tick / 30 + index), "app:td", -1_000_000, 0, tick) for index in range(signals)
        ]
        records.append((Kind.SAMPLES, at, 10**18 + at, rows))
        if not tick % 60:
            change = (0, "/td/cue", tick // 60, True, False, 10**18 + at, "SETTLED", tick // 60, "")
            records.append((Kind.COMMIT, at, tick + 1, 10**18 + at, "app:td", 0, "", "", [change]))
    return records


def test_a_session_packs_to_a_fraction(tmp_path: Path) -> None:
    path = written(tmp_path / "one.lfrec", session(60))
    before, after = pack_file(path, 0)
    assert after == path.stat().st_size
    assert after < before / 3


def test_thinned_signals_keep_their_rate_and_all_state(tmp_path: Path) -> None:
    path = written(tmp_path / "one.lfrec", session(10))
    whole = items(path)
    pack_file(path, 5)
    found = items(path)
    assert told(found) == told(list(thinned(whole, 5)))
    assert [each for each in found if isinstance(each, Commit)] == [each for each in whole if isinstance(each, Commit)]
    samples = [sample for each in found if isinstance(each, Samples) for sample in each.samples]
    assert len(samples) == 4 * 10 * 5
    assert summary(path).samples == 200


def test_what_cannot_be_packed_stays_as_it_is(tmp_path: Path) -> None:
    path = written(tmp_path / "cut.lfrec", session(1), end=False)
    data = path.read_bytes()
    with pytest.raises(FailedPrecondition) as caught:
        pack_file(path, 0)
    assert caught.value.reason == "RECORDING_INCOMPLETE"
    assert path.read_bytes() == data
    whole = written(tmp_path / "one.lfrec", session(1))
    pack_file(whole, 0)
    with pytest.raises(FailedPrecondition) as caught:
        pack_file(whole, 0)
    assert caught.value.reason == "RECORDING_PACKED"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["cut.lfrec", "one.lfrec"]


def test_texts_can_be_found_in_a_packed_file(tmp_path: Path) -> None:
    records = session(1)
    change = (0, "/note", "a secret text", True, False, 1, "", None, "")
    records.append((Kind.COMMIT, 10**9, 99, 1, "client:me", 0, "group", "label", [change]))
    path = written(tmp_path / "one.lfrec", records)
    pack_file(path, 0)
    data = path.read_bytes()
    for text in (b"a secret text", b"/note", b"client:me", b"label"):
        assert text in data


def test_a_damaged_packed_record_ends_the_reading_in_good_order(tmp_path: Path) -> None:
    path = written(tmp_path / "one.lfrec", session(2))
    pack_file(path, 0)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x40
    path.write_bytes(data)
    with Reader(path) as reader:
        assert list(reader.items()) == []
        assert not reader.whole
