"""The layout, byte by byte: the example of the README, and a reader that shares no code with the writer."""

from __future__ import annotations

import re
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given
from tests.support import plain_frames
from tests.support.archives import NOW_MS, all_frames, opened, small, text

from lightfast.core.errors import InvalidArgument
from lightfast.storage.archive import codec
from lightfast.storage.archive import frame as layout
from lightfast.storage.archive.frame import BrokenFrame
from lightfast.storage.archive.records import Frame, NewFrame

README = Path(layout.__file__).with_name("README.md").read_text(encoding="utf-8")


def example() -> bytes:
    """Return the bytes that the README shows."""
    block = README.partition("fe ed    ")[2].partition("```")[0]
    lines = ("fe ed    " + block).splitlines()
    return bytes.fromhex("".join(re.split(r" {3,}", line)[0] for line in lines))


def test_the_example_of_the_readme_is_a_frame() -> None:
    data = example()
    assert len(data) == 63
    assert data == layout.encode(1, b"0123456789abcdef", 1_700_000_000_000, "Grüße".encode(), b'{"_number":7}')
    (plain,) = plain_frames.read(data)
    assert (plain.version, plain.frame_id, plain.time_ms) == (1, "0123456789abcdef", 1_700_000_000_000)
    assert plain_frames.decode([plain])["0123456789abcdef"].content == "Grüße"
    raw = layout.parse(data)
    assert (raw.frame_id, raw.content, raw.metadata, raw.end) == (
        plain.frame_id,
        "Grüße".encode(),
        b'{"_number":7}',
        63,
    )


@given(st.integers(0, 62), st.integers(0, 7))
def test_no_flipped_bit_goes_unseen(at: int, bit: int) -> None:
    data = bytearray(example())
    data[at] ^= 1 << bit
    with pytest.raises(BrokenFrame):
        layout.parse(bytes(data))


@given(st.integers(0, 62))
def test_a_frame_that_is_cut_is_no_frame(length: int) -> None:
    with pytest.raises(BrokenFrame) as caught:
        layout.parse(example()[:length])
    assert caught.value.cut


ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=200)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=6,
)
NAME = ANY_TEXT.filter(lambda name: name[:1] != "_" and name != "enc")


@given(
    ANY_TEXT | st.binary(max_size=200), st.integers(-(1 << 63), (1 << 63) - 1), st.dictionaries(NAME, JSON, max_size=3)
)
def test_whatever_goes_in_comes_back(content: str | bytes, time_ms: int, metadata: dict[str, object]) -> None:
    new = NewFrame(content, time_ms=time_ms, metadata=metadata)
    codec.check(new)
    data, _ = codec.fresh(new, "0123456789abcdef", time_ms, {"_number": 3}, None)

    class Nowhere:
        def dictionary(self, name: str) -> object:
            raise AssertionError

        def plain(self, frame_id: str) -> bytes:
            raise AssertionError

    found = codec.decode(layout.parse(data), 3, Nowhere())
    assert found == Frame("0123456789abcdef", 3, content, "note", time_ms, metadata)
    (plain,) = plain_frames.decode(plain_frames.read(data)).values()
    assert plain.content == content
    assert plain.user == metadata
    is_plain_text = isinstance(content, str) and not any("\ud800" <= char <= "\udfff" for char in content)
    assert plain.version == (1 if is_plain_text else 2)


@pytest.mark.parametrize(
    "new",
    [
        NewFrame("x", kind=""),
        NewFrame("x", kind="_own"),
        NewFrame("x", kind="a\nb"),
        NewFrame("x", kind="k" * 65),
        NewFrame("x", metadata={"_number": 1}),
        NewFrame("x", metadata={"enc": []}),
        NewFrame("x", metadata={"a": float("nan")}),
        NewFrame("x", metadata={"a": {"b": [float("inf")]}}),
        NewFrame("x", metadata={"a": b"bytes"}),
        NewFrame("x", metadata={"a": {1: 2}}),
        NewFrame("x", metadata={"a": {1, 2}}),
        NewFrame("x", time_ms=1 << 63),
    ],
)
async def test_what_would_not_come_back_is_refused(tmp_path: Path, new: NewFrame) -> None:
    async with opened(tmp_path / "archive") as archive:
        with pytest.raises(InvalidArgument):
            await archive.append([NewFrame("fine"), new])
        assert await all_frames(archive) == []  # all of a call or none


async def test_the_independent_reader_reads_every_coding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, 600)
    folder = tmp_path / "archive"
    new = [NewFrame(text(at, 30), metadata={"at": at}, time_ms=NOW_MS + at) for at in range(400)]
    base = " ".join(text(at, 20) for at in range(20))
    new += [NewFrame(base.replace("warm", f"warm{at}"), kind="edit", time_ms=NOW_MS - at) for at in range(30)]
    new += [NewFrame(bytes(range(256)) * 3, kind="blob"), NewFrame("lone \ud800 and 🎉"), NewFrame(b""), NewFrame("")]
    new += [NewFrame("long ago " * 20, time_ms=-62_135_596_800_001), NewFrame("far", time_ms=(1 << 63) - 1)]
    async with opened(folder) as archive:
        ids = await archive.append(new)
        expected = {frame.frame_id: frame for frame in await all_frames(archive)}
        assert [expected[one].content for one in ids] == [one.content for one in new]
        compare(plain_frames.read_folder(folder), expected)
        async for _ in archive.migrate():
            pass
        assert {frame.frame_id: frame for frame in await all_frames(archive)} == expected
        found = plain_frames.read_folder(folder)
        compare(found, expected)
    codings = {coding.partition(":")[0] for one in found.values() for coding in one.metadata.get("enc", ["utf8"])}
    assert {"utf8", "wtf8", "raw", "zstd", "delta"} <= codings
    assert any(coding.startswith("zstd:") for one in found.values() for coding in one.metadata.get("enc", []))


def compare(found: dict[str, plain_frames.Plain], expected: dict[str, Frame]) -> None:
    assert set(found) == set(expected)
    for frame_id, frame in expected.items():
        plain = found[frame_id]
        assert plain.content == frame.content
        assert plain.time_ms == frame.time_ms
        assert plain.user == frame.metadata
        assert plain.metadata["_number"] == frame.number
        assert plain.metadata.get("_kind", "note") == frame.kind
