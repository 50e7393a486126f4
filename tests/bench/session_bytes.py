"""Bytes of a session: what an hour takes, from a raw log of JSON lines to what is stored in the end.

Four applications as they are in a rehearsal: 40 signals at 60 Hz (meters, low-frequency oscillators, faders, poses),
and 20 changes of state a second, each wished and reported. Three minutes are made (`LIGHTFAST_BENCH_SECONDS`) and
counted as an hour. All state and, unless it says otherwise, every sample comes out again exactly; that is checked.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import struct
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from tests.bench.measure import Row
from tests.bench.world import World

from lightfast.context.entry import Declaration, Event, Mutation, Report, Set, Status, Transaction
from lightfast.context.store import Store
from lightfast.context.tiers.tiers import TierOptions
from lightfast.context.watch import Bus
from lightfast.context.watch_batch import Filter
from lightfast.core.clock import StillClock
from lightfast.engine.journal.export import lines
from lightfast.engine.journal.pack import pack_file
from lightfast.engine.journal.reader import Reader
from lightfast.engine.journal.writer import Pen
from lightfast.storage.archive.archive import Archive
from lightfast.storage.database import Database
from lightfast_link.value import to_json

SECONDS = int(os.environ.get("LIGHTFAST_BENCH_SECONDS", "180"))
RATE = 60
APPS = ("/blender", "/ableton", "/touchdesigner", "/reaper")


def single_precision(value: float) -> float:
    """Return *value* as an application that computes in 32 bits reports it."""
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def signals(tick: int, chance: random.Random) -> list[Mutation]:
    """Return the samples of one tick."""
    found: list[Mutation] = []
    time = tick / RATE
    for index in range(10):
        level = abs(math.sin(time * 3 + index)) * chance.uniform(0.7, 1)
        pose = tuple([single_precision(math.sin(time * (axis + 1) / 7 + index)) for axis in range(3)])
        found += [
            Set(f"/ableton/meters/{index}", single_precision(level)),
            Set(f"/touchdesigner/lfo/{index}", math.sin(time * (index + 1))),
            Set(f"/reaper/faders/{index}", round(-12 + 6 * math.sin(time / 5 + index), 2)),
            Set(f"/blender/objects/Cube{index}/location", pose),
        ]
    return found


def states(tick: int, chance: random.Random) -> list[tuple[str, Any]]:
    """Return the changes of state of one tick."""
    if tick % 3:
        return []
    app = chance.choice(APPS)
    index = chance.randrange(20)
    if app == "/ableton":
        return [(f"{app}/tracks/{index}/volume", round(chance.random(), 3))]
    if app == "/blender":
        rotation = (0.0, single_precision(tick / 100), single_precision(math.cos(tick / 90)))
        return [(f"{app}/objects/Light{index}/rotation_euler", rotation)]
    if app == "/reaper":
        return [(f"{app}/tracks/{index}/mute", bool(chance.randrange(2)))]
    return [(f"{app}/cue", f"scene {index}: warm")]


class Tap:
    """Writes the recording, and the raw log of everything."""

    def __init__(self, pen: Pen, log: Path, clock: StillClock) -> None:
        self._pen, self._clock, self._began = pen, clock, clock.now_ns()
        self._log = log.open("wb")
        self.changes = self.samples_seen = 0

    def _line(self, event: Event, origin: str, group: str = "") -> None:
        entry = event.entry
        record = {
            "type": event.type.value, "path": entry.path, "value": to_json(entry.value), "revision": entry.revision,
            "version": entry.version, "origin": origin, "cause": entry.cause, "group": group,
            "event_time": entry.event_time, "record_time": entry.record_time, "status": entry.status.value,
        }  # fmt: skip
        if entry.reported is not None:
            record["reported"] = to_json(entry.reported)
        self._log.write(msgspec.json.encode(record) + b"\n")

    def transaction(self, transaction: Transaction) -> None:
        """Take state."""
        self._pen.commit(self._clock.now_ns() - self._began, transaction)
        for event in transaction.events:
            self.changes += 1
            self._line(event, transaction.origin, transaction.group)

    def samples(self, events: Any) -> None:
        """Take signals."""
        self._pen.samples(self._clock.now_ns() - self._began, events)
        for event in events:
            self.samples_seen += 1
            self._line(event, event.entry.origin)

    def close(self) -> None:
        """Close the log."""
        self._log.close()


async def session(store: Store, clock: StillClock) -> None:
    """Let it happen."""
    chance = random.Random(3)
    for app in APPS:
        store.add_mount(app)
    declared = [Declaration(pattern, signal=True) for pattern in (
        "/ableton/meters/*", "/touchdesigner/lfo/*", "/reaper/faders/*", "/blender/objects/*/location",
    )]  # fmt: skip
    declared += [Declaration(f"{app}//") for app in APPS]
    await store.declare(declared, owner="bench")
    for tick in range(SECONDS * RATE):
        clock.advance(1 / RATE)
        store.publish(signals(tick, chance), origin="app:simulated#1")
        for path, value in states(tick, chance):
            wished = await store.apply([Set(path, value)], origin="client:desk", group=f"gesture{tick // 30}")
            clock.advance(0.002)
            report = Report(path, Status.SETTLED, reported=value, value=value)
            await store.apply([report], origin=f"app:{path.split('/')[1]}#1", cause=wished.revision, trusted=True)
        if not tick % 10:
            await asyncio.sleep(0)


def size_of(folder: Path) -> int:
    """Return the bytes of all files in *folder*."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


async def _bytes(db: Database, *names: str) -> int:
    query = "SELECT coalesce(sum(pgsize), 0) FROM dbstat WHERE name IN (SELECT value FROM json_each(?))"
    ((found,),) = await db.query(query, (msgspec.json.encode(names).decode(),))
    return int(found)


async def measure(folder: Path) -> list[Row]:
    """Make the session and count."""
    clock = StillClock()
    db = await Database.open(folder / "store.db", clock=clock)
    archive = await Archive.open(folder / "archive")
    bus = Bus(db.store_id)
    store = await Store.open(db, clock=clock, bus=bus, settle_after=3600, archive=archive, tiers=TierOptions())
    path, log, state_log = folder / "session.lfrec", folder / "log.jsonl", folder / "state.jsonl"
    began = clock.now_ns()
    pen = Pen(path, Filter(["//"]), 1 << 40, lambda: clock.now_ns() - began, lambda: None)
    pen.start({"name": "session", "by": "bench", "started": began, "store_id": db.store_id, "revision": 0,
               "patterns": ["//"], "declarations": [], "links": [], "mounts": [], "version": "1"}, [])  # fmt: skip
    tap = Tap(pen, log, clock)
    bus.tap = tap
    try:
        await session(store, clock)
        await store.drain()
        bus.tap = None
        tap.close()
        pen.end("the bench is over")
        await asyncio.to_thread(pen.join, 60)
        state_lines = [line for line in log.read_bytes().splitlines(keepends=True) if b'"revision":0,' not in line]
        state_log.write_bytes(b"".join(state_lines))
        raw, raw_state = log.stat().st_size, state_log.stat().st_size
        tables = ("history", "transactions", "history_path", "history_event", "history_moves",
                  "transactions_group", "transactions_cause", "transactions_undone")  # fmt: skip
        in_history = await _bytes(db, *tables)
        before = await _everything(store)
        await store.tiers.demote(store.revision - 1)
        archive_tables = ("blocks", "block_paths", "block_moves", "block_names", "block_undos", "blocks_revision",
                          "blocks_time", "sqlite_autoindex_blocks_1")  # fmt: skip
        index = await _bytes(db, *archive_tables)
        assert await _everything(store) == before, "the archive gives back something else"
        recorded = path.stat().st_size
        exported = sum(len(line) for line in lines(path))
        items = _items(path)
        thin = folder / "thin.lfrec"
        thin.write_bytes(path.read_bytes())
        await asyncio.to_thread(pack_file, path, 0)
        assert _items(path) == items, "the packed recording gives back something else"
        packed = path.stat().st_size
        await asyncio.to_thread(pack_file, thin, 10)
        packed_thin = thin.stat().st_size
    finally:
        await store.close()
        await archive.close()
        await db.close()
    in_archive = size_of(folder / "archive") + index  # once it is closed: an open file has room to grow
    hour = 3600 / SECONDS / 1e6
    each = f"{tap.changes:,} changes, {tap.samples_seen:,} samples in {SECONDS} s"

    def row(name: str, ours: float, peer: float, *, least: float = 0.0, note: str = "") -> Row:
        ratio = peer / ours
        goal = f"≥ {least:g}× fewer" if least else "—"
        return Row(name, ours * hour, peer * hour, "MB/h", ratio, goal, ratio >= least if least else None, note)

    changes = max(1, tap.changes)
    return [
        row("state in SQLite, against its JSON log", in_history, raw_state,
            note=f"{in_history / changes:.0f} bytes a change, the log {raw_state / changes:.0f}"),
        row("state in the archive, against its JSON log", in_archive, raw_state, least=10,
            note=f"{in_archive / changes:.1f} bytes a change, {index / changes:.1f} of them the index"),
        row("the recording of everything, against the JSON log", recorded, raw, note=each),
        row("the packed recording, exact, against the JSON log", packed, raw, least=10,
            note=f"{packed / (tap.changes + tap.samples_seen):.1f} bytes a change or sample"),
        row("the packed recording at 10 Hz, against the JSON log", packed_thin, raw),
        row("the packed recording, exact, against its export", packed, exported, least=10),
        row("all that is kept: archive and packed recording, against the JSON log", in_archive + packed, raw, least=10),
    ]  # fmt: skip


async def _everything(store: Store) -> list[Transaction]:
    found: list[Transaction] = []
    while len(found) < store.revision:
        found += await store.replay(len(found), store.revision, 10**6)
    return found


def _items(path: Path) -> list[str]:
    with Reader(path) as reader:
        return [repr(item) for item in reader.items()][:-1]


async def run(world: World, pairs: int) -> list[Row]:
    """Measure in a folder of its own."""
    del world, pairs
    with tempfile.TemporaryDirectory(prefix="lightfast-bench-") as folder:
        return await measure(Path(folder))
