"""Recordings: what is in the file, in every kind of ending, and what never gets lost in silence."""

from __future__ import annotations

import asyncio
import json
import math
import os
import struct
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.desk import App, Desk, hello, open_desk, until

from lightfast.context.entry import Declaration, Delete, Move, Set
from lightfast.context.watch import Bus
from lightfast.core.clock import SYSTEM
from lightfast.core.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from lightfast.engine.journal import writer
from lightfast.engine.journal.form import MAGIC, TAIL, VERSION, decode, frame, pack
from lightfast.engine.journal.journal import Journal
from lightfast.engine.journal.reader import Commit, Gap, Item, Reader, Samples
from lightfast.engine.links.links import Link
from lightfast_link.value import Asset, Value, close

ASSET = Asset("asset:x", "image/png", "a" * 64, 12)


@asynccontextmanager
async def journal(desk: Desk, **options: Any) -> AsyncIterator[Journal]:
    """Open the journal of *desk*."""
    found = Journal(desk.store, desk.links, SYSTEM, desk.folder / "recordings", **options)
    try:
        yield found
    finally:
        await found.close()


def items(desk: Desk, name: str = "take") -> list[Item]:
    """Return what a recording holds."""
    with Reader(desk.folder / "recordings" / f"{name}.lfrec") as reader:
        found = list(reader.items())
        assert reader.whole
        return found


def commits(found: list[Item]) -> list[Commit]:
    return [item for item in found if isinstance(item, Commit)]


def sampled(found: list[Item]) -> list[tuple[str, Value | None]]:
    return [(one.path, one.value) for item in found if isinstance(item, Samples) for one in item.samples]


async def signal(desk: Desk, pattern: str) -> None:
    await desk.store.declare([Declaration(pattern, signal=True, kind="double")], owner="client:test")


async def test_a_recording_begins_with_the_state_and_holds_every_sample(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk, journal(desk) as found:
        await signal(desk, "/fader/*")
        await desk.store.apply([Set("/a", 1.0), Set("/asset", ASSET), Set("/v", (1.0, 2.0))], origin="client:test")
        assert isinstance(desk.store.bus, Bus)
        assert desk.store.bus.tap is None, "nothing is tapped while nothing records"
        active = found.recorder.start("take", "client:me")
        assert active.name == "take"
        for number in range(100):  # in one tick: a watcher sees the last only
            desk.store.publish([Set("/fader/1", float(number)), Set("/fader/2", -float(number))], origin="client:knob")
        revision = await desk.set("/a", 2.0, group="gesture", label="louder")
        await desk.store.apply([Move("/v", "/w")], origin="client:test")
        await desk.store.apply([Delete("/w")], origin="client:test")
        assert await found.recorder.stop() == "take"
        assert desk.store.bus.tap is None
        told = await found.get("take")
        assert (told.complete, told.dropped, told.samples, told.by) == (True, 0, 200, "client:me")
        seen = items(desk)
        first = [state for item in seen if isinstance(item, list) for state in item]
        assert {state.path: state.value for state in first} == {"/a": 1.0, "/asset": ASSET, "/v": (1.0, 2.0)}
        assert sampled(seen) == [
            (path, value) for n in range(100) for path, value in (("/fader/1", float(n)), ("/fader/2", -float(n)))
        ]
        assert next(item for item in seen if isinstance(item, Samples)).samples[0].origin == "client:knob"
        written = next(item for item in commits(seen) if item.revision == revision)
        assert (written.origin, written.group, written.label) == ("client:test", "gesture", "louder")
        assert (written.changes[0].path, written.changes[0].value, written.changes[0].changed) == ("/a", 2.0, True)
        assert [change.type for item in commits(seen) for change in item.changes if change.path == "/w"] == [2, 1]
        assert told.transactions == len(commits(seen))


async def test_causes_reports_and_the_class_are_kept(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk, journal(desk) as found:
        live = App({"song/tempo": 120.0})
        await desk.live(live, hello())
        link = await desk.links.create(Link("/knob", "/live/song/tempo"))
        found.recorder.start("take", "local", ("/knob", "/live//"))
        cause = await desk.set("/knob", 90.0)
        await until(lambda: live.values["song/tempo"] == 90.0)
        await until(lambda: desk.entry("/live/song/tempo").status == "SETTLED")
        await desk.set("/elsewhere", 1.0)
        live.turn("song/tempo", 100.0)
        await desk.holds("/live/song/tempo", 100.0)
        await found.recorder.stop()
        seen = commits(items(desk))
        assert not [change for item in seen for change in item.changes if change.path == "/elsewhere"]
        carried = next(item for item in seen if item.origin == f"link:{link.link_id}")
        assert carried.cause == cause
        answers = [item for item in seen if item.origin == "app:live"]
        assert answers[0].cause == carried.revision
        assert (answers[-1].cause, answers[-1].changes[0].reported) == (0, 100.0)


async def test_the_names_of_recordings_lead_nowhere_else(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk, journal(desk) as found:
        for name in ("", "../x", "a/b", ".hidden", "a\\b", "x" * 101, "a b", "ä", "a\n", "a\0"):
            with pytest.raises(InvalidArgument, match="no name of a recording"):
                found.recorder.start(name, "local")
            with pytest.raises(InvalidArgument):
                await found.delete(name)
        with pytest.raises(NotFound, match="there is none yet"):
            await found.get("nothing")
        found.recorder.start("take.1", "local")
        with pytest.raises(FailedPrecondition, match=r"'take\.1' is being recorded by local"):
            found.recorder.start("take-2", "local")
        with pytest.raises(FailedPrecondition, match="stop it first"):
            await found.delete("take.1")
        await found.recorder.stop("take.1")
        with pytest.raises(AlreadyExists, match="already"):
            found.recorder.start("take.1", "local")
        with pytest.raises(NotFound, match="nothing is being recorded"):
            await found.recorder.stop()
        assert [one.name for one in await found.list()] == ["take.1"]
        await found.delete("take.1")
        assert await found.list() == []


async def test_time_up_and_a_stop_of_the_daemon_end_a_recording(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        async with journal(desk) as found:
            found.recorder.start("short", "local", seconds=0.05)
            await until(lambda: found.recorder.active is None)
            assert (await found.get("short")).reason == "its time was up"
            found.recorder.start("long", "local")
        told = await found.get("long")
        assert (told.complete, told.reason) == (True, "the daemon was stopped")


async def test_a_cut_file_is_read_up_to_its_last_whole_record(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk, journal(desk) as found:
        found.recorder.start("take", "local")
        for number in range(20):
            await desk.set("/a", number)
        await found.recorder.stop()
    path = tmp_path / "recordings" / "take.lfrec"
    whole = path.read_bytes()
    last = -2
    for length in range(40, len(whole) - TAIL.size, 13):
        path.write_bytes(whole[:length])
        try:
            with Reader(path) as reader:
                seen = [item for item in reader.items() if isinstance(item, Commit)]
                values = [item.changes[0].value for item in seen]
                assert values == list(range(len(values)))
                assert len(values) - 1 >= last, "a longer file holds no less"
                assert not reader.whole
                last = len(values) - 1
        except FailedPrecondition:  # cut in its head
            assert last == -2
    assert last == 19
    path.write_bytes(whole[: whole.index(b"it was stopped")])
    async with open_desk(tmp_path) as desk, journal(desk) as found:
        (told,) = await found.list()
        assert not told.complete
        assert told.transactions == 20
        assert "its end is missing" in told.reason


async def test_a_flipped_bit_ends_what_is_believed(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk, journal(desk) as found:
        found.recorder.start("take", "local")
        for number in range(20):
            await desk.set("/a", f"value-{number}")
        await found.recorder.stop()
        path = tmp_path / "recordings" / "take.lfrec"
        data = bytearray(path.read_bytes())
        data[data.index(b"value-10")] ^= 1
        path.write_bytes(data)
        with Reader(path) as reader:
            values = [item.changes[0].value for item in reader.items() if isinstance(item, Commit)]
        assert values == [f"value-{number}" for number in range(10)]


async def test_a_newer_format_and_another_file_are_refused(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk, journal(desk) as found:
        folder = tmp_path / "recordings"
        folder.mkdir()
        (folder / "newer.lfrec").write_bytes(MAGIC + struct.pack(">H", VERSION + 1) + b"whatever")
        (folder / "other.lfrec").write_bytes(b"PK\3\4")
        (folder / "empty.lfrec").write_bytes(b"")
        (folder / "strange.lfrec").write_bytes(MAGIC + struct.pack(">H", VERSION) + frame([0, {"name": "x"}]))
        with pytest.raises(FailedPrecondition, match="newer Lightfast") as refused:
            await found.get("newer")
        assert refused.value.reason == "RECORDING_TOO_NEW"
        for name in ("other", "empty"):
            with pytest.raises(FailedPrecondition, match="no recording"):
                await found.get(name)
        assert [(one.name, one.complete) for one in await found.list()] == [
            ("empty", False), ("newer", False), ("other", False), ("strange", False)
        ]  # fmt: skip
        await found.delete("other")


async def test_a_full_recording_ends_and_says_so(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk, journal(desk, max_size=20_000) as found:
        found.recorder.start("take", "local")
        number = 0
        while found.recorder.active is not None and number < 5000:
            number += 1
            await desk.set("/a", "x" * 500 + str(number))
        told = await found.get("take")
        assert not told.complete
        assert told.reason == "it reached its largest size"
        assert told.size <= 20_500
        values = [item.changes[0].value for item in commits(items(desk))]
        assert values == ["x" * 500 + str(n) for n in range(1, len(values) + 1)], "no hole, only an end"
        await desk.set("/a", "later")


def stuck(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Let the disk hang until the event is set."""
    go = threading.Event()
    really = os.write

    def write(handle: int, data: Any) -> int:
        assert go.wait(30)
        return int(really(handle, data))

    monkeypatch.setattr(os, "write", write)
    return go


async def test_on_a_slow_disk_samples_are_dropped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_desk(tmp_path) as desk, journal(desk) as found:
        await signal(desk, "/s")
        monkeypatch.setattr(writer, "MAX_SAMPLES", 100)
        go = stuck(monkeypatch)
        found.recorder.start("take", "local")
        for number in range(500):
            desk.store.publish([Set("/s", float(number))], origin="client:knob")
        await desk.set("/a", 1.0)
        go.set()
        await found.recorder.stop()
        told = await found.get("take")
        seen = items(desk)
        assert told.complete, "all state is there"
        assert told.samples + told.dropped == 500
        assert told.dropped >= 300
        assert sum(item.dropped for item in seen if isinstance(item, Gap)) == told.dropped
        assert [c.value for item in commits(seen) for c in item.changes if c.path == "/a"] == [1.0]


async def test_state_is_never_dropped_the_recording_is_incomplete_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_desk(tmp_path) as desk, journal(desk) as found:
        monkeypatch.setattr(writer, "MAX_STATE_BYTES", 2000)
        go = stuck(monkeypatch)
        found.recorder.start("take", "local")
        for number in range(50):
            await desk.set("/a", number)
        go.set()
        await until(lambda: found.recorder.active is None)
        told = await found.get("take")
        assert not told.complete
        assert "the disk was too slow" in told.reason
        values = [item.changes[0].value for item in commits(items(desk))]
        assert 0 < len(values) < 50
        assert values == list(range(len(values))), "no hole, only an end"


async def test_a_broken_disk_ends_the_recording_not_the_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_desk(tmp_path) as desk, journal(desk) as found:
        really = os.write
        broken = threading.Event()

        def write(handle: int, data: Any) -> int:
            if broken.is_set():
                raise OSError(28, "No space left on device")
            return int(really(handle, data))

        monkeypatch.setattr(os, "write", write)
        found.recorder.start("take", "local")
        await desk.set("/a", 1)
        await asyncio.to_thread(lambda: None)
        broken.set()
        await desk.set("/a", 2)
        await until(lambda: found.recorder.active is None)
        await desk.set("/a", 3)
        (told,) = await found.list()
        assert not told.complete


async def test_the_export_is_lines_of_json(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk, journal(desk) as found:
        await signal(desk, "/s")
        await desk.set("/a", (1.0, math.inf))
        found.recorder.start("take", "local")
        await desk.set("/b", {"x": [1, "two", ASSET]})
        desk.store.publish([Set("/s", 0.5)], origin="client:knob")
        await found.recorder.stop()
        text = "".join([part async for part in found.export("take")])
        lines = [json.loads(line) for line in text.splitlines()]
        assert [line["record"] for line in lines][:2] == ["head", "state"]
        assert {line["record"] for line in lines} == {"head", "state", "commit", "samples", "end"}
        assert lines[1]["value"] == {"$v": [1.0, "inf"]}
        change = next(line for line in lines if line["record"] == "commit")["changes"][0]
        assert (change["type"], change["path"]) == ("set", "/b")


VALUES = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(-(1 << 63), (1 << 63) - 1),
        st.floats(),
        st.text(max_size=20),
        st.binary(max_size=20),
        st.lists(st.floats(), max_size=5).map(tuple),
        st.just(ASSET),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)),
    max_leaves=8,
)


def same(left: Any, right: Any) -> bool:
    if isinstance(left, (list, tuple)):
        return type(left) is type(right) and len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return type(right) is dict and left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    return type(left) is type(right) and (close(left, right, 5e-324) or left == right)


@settings(deadline=None)
@given(VALUES)
def test_every_value_comes_back_as_it_was(value: Value) -> None:
    record = frame([1, 0, [pack(value)]])
    back = decode(record[8:])[2][0]
    assert same(value, back), (value, back)
