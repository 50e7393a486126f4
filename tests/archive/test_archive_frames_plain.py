"""Frames that are appended the short way are what the general way makes of them, byte by byte."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
from hypothesis import given

from lightfast.storage.archive import codec
from lightfast.storage.archive.ids import NOISE, Ids
from lightfast.storage.archive.plain import encode_texts
from lightfast.storage.archive.records import NewFrame
from lightfast.storage.archive.rows import Rows
from lightfast.storage.archive.sidecar import Columns

NOW_MS = 1_800_000_000_000
TIMES = st.sampled_from([0, 0, 0, 7, -1, (1 << 63) - 1, -(1 << 63)])
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=150)
FRAMES = st.builds(lambda text, time_ms: NewFrame(text, time_ms=time_ms), TEXTS, TIMES)
CALLS = st.lists(st.lists(FRAMES, min_size=1, max_size=6), max_size=5)


class Still(Ids):
    """The same noise again and again."""

    def noise(self, count: int) -> bytes:
        return b"\x07" * NOISE * count


@given(CALLS, st.sampled_from([0, 5, 96, 998, 123_456]))
def test_both_ways_make_the_same(calls: list[list[NewFrame]], number: int) -> None:
    ids = Still()
    together = [new for frames in calls for new in frames]
    found = encode_texts(together, number, NOW_MS, ids, [len(frames) for frames in calls])
    assert found is not None
    expected: list[bytes] = []
    names: list[str] = []
    rows = Rows()
    for frames in calls:
        for at, new in enumerate(frames):
            time_ms = new.time_ms or NOW_MS
            own: dict[str, Any] = {"_number": number + len(expected)}
            if not at and len(frames) > 1:
                own["_group"] = len(frames)
            names.append(ids.new(new.content, time_ms))
            data, size = codec.fresh(new, names[-1], time_ms, own, None)
            expected.append(data)
            rows.add(int(names[-1], 16), time_ms, len(data), size, new.kind, private=False)
    parts, noted, told = found
    assert parts == expected
    assert noted == rows
    assert (told.ids, told.number, told.times) == (names, number, rows.times)
    together_noted, one_by_one = Columns(), Columns()
    together_noted.add_rows(noted, number, 100)
    offset = 100
    for at, data in enumerate(expected):
        one_by_one.add(number + at, rows.keys[at], rows.times[at], offset, len(data), rows.sizes[at], "note", False)
        offset += len(data)
    assert together_noted.dump(0, len(expected)) == one_by_one.dump(0, len(expected))


def test_what_is_no_plain_text_goes_the_general_way() -> None:
    for other in (
        NewFrame(b"bytes"),
        NewFrame("\ud800"),
        NewFrame("x", kind="log"),
        NewFrame("x", metadata={"a": 1}),
        NewFrame("x", private=True),
        NewFrame("x", delta=False),
    ):
        assert encode_texts([other], 0, NOW_MS, Ids()) is None
        assert encode_texts([NewFrame("x"), other, NewFrame("y")], 0, NOW_MS, Ids()) is None
