"""A store of every earlier format is opened, brought to this one, and has everything it had."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.storage.fixtures.hierarchy import (
    BACKUP,
    DEMOTED_UNTIL,
    HIDDEN,
    LEFT,
    LEFT_VALUE,
    ME,
    NOTE,
    PURGED,
    SECRET,
    UNFINISHED,
)
from tests.support.files import holding
from tests.support.store import News

from lightfast.context.entry import EventType, Set, Status
from lightfast.context.leases import Leases
from lightfast.context.memory.embedders import EmbedderBook
from lightfast.context.memory.records import FOREVER, Question, Relation
from lightfast.context.memory.store import MemoryStore
from lightfast.context.records import RequestKey, Undone
from lightfast.context.scenes.scenes import Scenes
from lightfast.context.store import Store
from lightfast.context.upkeep.purge import Purger
from lightfast.context.upkeep.purge_history import HistoryRoom
from lightfast.core.clock import StillClock
from lightfast.security.sealing.vault import Vault
from lightfast.security.tokens import Scope
from lightfast.storage.archive.archive import Archive
from lightfast.storage.archive.records import Query
from lightfast.storage.database import Database
from lightfast.storage.schema import MIGRATIONS
from lightfast.storage.schema_engine import FORMAT_4
from lightfast.storage.tokens import TokenRows
from lightfast_link.value import Asset

FIXTURES = Path(__file__).with_name("fixtures")
LAST = {"store-v1.db": 11, "store-v2.db": 18, "store-v3.db": 18, "store-v4.db": 18}
"""The last revision of each."""
VALUES = {
    "/app/level": 0.25,
    "/app/tempo": 120.0,
    "/once": 1,
    "/presence/me": "here",
    "/thing/name": "one",
    "/values/asset": Asset("asset:" + "a" * 64, "image/png", "a" * 64, 3),
    "/values/bool": True,
    "/values/bytes": b"\x00\xff",
    "/values/double": 0.1,
    "/values/int": -(1 << 63),
    "/values/list": [1, "a", [True]],
    "/values/map": {"x": 2.0, "y": {"z": b"b"}},
    "/values/nan": float("inf"),
    "/values/string": "Grüße, 世界",
    "/values/vector": (1.0, 2.5),
}
OF_FORMAT_3 = [
    *("batch_items", "batches", "cost_budgets", "cost_days", "cost_holds", "cost_ledger", "cost_marks", "cost_runs"),
    *("failures", "kept_answers", "limit_use", "operations", "prompts"),
]
OF_FORMAT_4 = ["sqlite_sequence", *re.findall(r"CREATE (?:VIRTUAL )?TABLE (\w+)", FORMAT_4)]
EMPTY = {
    "store-v2.db": sorted(["links", "mounts", "settings", *OF_FORMAT_3, *OF_FORMAT_4]),
    "store-v3.db": sorted(["links", "mounts", "settings", *OF_FORMAT_4]),
    "store-v4.db": ["links", "mounts", "settings"],
}
"""The tables of which nothing is in the fixture."""
_BOX = {"/box/image": VALUES["/values/asset"], "/box/size": 2.0}
MORE = {"store-v1.db": {}, "store-v2.db": _BOX, "store-v3.db": _BOX, "store-v4.db": _BOX}
BURIED = {"store-v1.db": 0, "store-v2.db": 1, "store-v3.db": 1, "store-v4.db": 1}
"""How many tombstones of purges the tree holds."""
FROM_2 = pytest.mark.parametrize("name", ["store-v2.db", "store-v3.db", "store-v4.db"])
"""What format 2 brought is in all that follow."""


def test_every_format_has_its_fixture() -> None:
    kept = {path.name for path in FIXTURES.glob("store-v*.db")}
    assert kept >= {f"store-v{number}.db" for number in range(1, len(MIGRATIONS) + 1)}, "run make_store.py"


@pytest.mark.parametrize("name", sorted(path.name for path in FIXTURES.glob("store-v*.db")))
async def test_a_store_of_an_earlier_format_is_read(tmp_path: Path, name: str) -> None:
    path = Path(shutil.copy(FIXTURES / name, tmp_path / "store.db"))
    archived = (FIXTURES / name).with_suffix(".archive")
    if archived.exists():
        shutil.copytree(archived, tmp_path / "archive")
    clock = StillClock()  # where it stood when the store was written: the request is not a day old
    last = LAST[name]
    db = await Database.open(path, clock=clock)
    archive = await Archive.open(tmp_path / "archive", clock=clock)
    store = await Store.open(db, clock=clock, bus=News(), archive=archive)
    try:
        assert (await db.query("PRAGMA user_version")) == [(len(MIGRATIONS),)]
        assert (store.revision, store.oldest_revision) == (last, 0)
        values = {entry.path: entry.value for entry in store.select("//")}
        buried = {path for path in values if path.startswith("/lightfast/purges/")}
        assert len(buried) == BURIED[name]
        assert {path: value for path, value in values.items() if path not in buried} == VALUES | MORE[name]
        await _check_entries(store)
        await _check_past(store)
        assert [d.pattern for d in store.describe()] == ["/app/level", "/app/tempo"]
        assert [(token.name, token.scopes) for token in await TokenRows(db).load()] == [
            ("fixture", frozenset({Scope.WATCH}))
        ]
        key = RequestKey(ME, "Apply", "request-1", "hash")
        again = await store.apply([Set("/once", 1)], origin=ME, request=key)
        assert again.revision == 10
        leases = Leases(store, db, clock)
        await leases.start()
        (lease,) = store.leases
        assert await leases.close(lease, by=ME) == last + 1
        await leases.stop()
        assert store.get("/presence/me") is None
    finally:
        await store.close()
        await archive.close()
        await db.close()


@pytest.mark.parametrize("name", sorted(path.name for path in FIXTURES.glob("store-v*.db")))
async def test_the_same_tables_whatever_the_format_was(tmp_path: Path, name: str) -> None:
    db = await Database.open(Path(shutil.copy(FIXTURES / name, tmp_path / "old.db")))
    new = await Database.open(tmp_path / "new.db")
    try:
        query = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name"
        assert await db.query(query) == await new.query(query)
        assert await db.query("SELECT count(*) FROM live WHERE revision = 0 OR size = 0") == [(0,)]
    finally:
        await db.close()
        await new.close()


@pytest.mark.parametrize("name", sorted(EMPTY))
async def test_nothing_of_a_format_is_missing_in_its_fixture(tmp_path: Path, name: str) -> None:
    db = await Database.open(Path(shutil.copy(FIXTURES / name, tmp_path / "store.db")))
    try:
        tables = [name for (name,) in await db.query("SELECT name FROM pragma_table_list WHERE type IN ('table', 'virtual') AND schema = 'main'")]  # fmt: skip
        empty = [name for name in tables if not (await db.query(f"SELECT count(*) FROM {name}"))[0][0]]
        assert sorted(empty) == EMPTY[name]
    finally:
        await db.close()


@FROM_2
async def test_scenes_of_format_2(tmp_path: Path, name: str) -> None:
    async with opened(tmp_path, name) as (db, store, _):
        scenes = Scenes(store, db, StillClock())
        newest, first = await scenes.get("verse"), await scenes.get("verse", 1)
        assert (newest.version, newest.description, newest.patterns) == (2, "the first verse", ("/cube//",))
        held = {entry.path: entry.value for entry in await scenes.entries(newest)}
        assert held == {"/box/image": VALUES["/values/asset"], "/box/size": 2.0}
        assert {entry.path: entry.value for entry in await scenes.entries(first)}["/box/size"] == 1.0
        assert await scenes.assets() == {"a" * 64}


@FROM_2
async def test_memories_of_format_2(tmp_path: Path, name: str) -> None:
    async with opened(tmp_path, name) as (db, store, archive):
        book, later = EmbedderBook(), StillClock()
        later.advance(86_400)
        memory = await MemoryStore.open(db, store.requests, book, clock=later, archive=archive)
        try:
            found = await memory.get("look")
            assert [(one.text, one.version) for one in found.versions if one.superseded_time == FOREVER] == [
                ("the cube is lit cold", 2),
                ("the cube is lit warm", 1),
            ]
            assert (found.versions[0].tags, found.versions[0].metadata) == (("light",), {"lux": 200})
            cut = found.versions[0].valid_from
            before = await memory.recall(Question(query="cube lit", subjects=("the cube",), valid=cut - 1))
            assert "the cube is lit warm" in [getattr(hit.thing, "text", "") for hit in before.hits]
            now = await memory.recall(Question(query="what is the cube lit by"))
            assert [hit.thing.object for hit in now.hits if isinstance(hit.thing, Relation)] == ["a flood"]
            assert await db.query("SELECT count(*) FROM memory_versions WHERE closed_by <> ''") == [(1,)]
            late = await memory.get("late")  # which is in the archive
            assert [one.text for one in late.versions] == ["the rehearsal began late"]
        finally:
            await memory.close()
            await book.close()


@FROM_2
async def test_the_archive_of_format_2(tmp_path: Path, name: str) -> None:
    async with opened(tmp_path, name) as (db, store, archive):
        page = await store.read(pattern="/values//", at_revision=2)
        assert {page.tier_of(entry) for entry in page.entries} <= {"archive", "history"}
        assert "archive" in {page.tier_of(entry) for entry in page.entries}
        blocks = await db.query("SELECT frame, last_revision FROM blocks")
        assert [last for _, last in blocks] == [DEMOTED_UNTIL]
        assert set(await archive.get([frame for frame, _ in blocks])) == {frame for frame, _ in blocks}
        assert [hit.frame.content for hit in await archive.search(Query("fog machine"))] == [NOTE]
        assert await db.query("SELECT sha256 FROM asset_refs ORDER BY sha256 LIMIT 1") == [("a" * 64,)]
        assert (await archive.stats()).private_frames == 1


@FROM_2
async def test_the_private_frames_of_format_2(tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree((FIXTURES / name).with_suffix(".archive"), tmp_path / "archive"))
    (folder / "private.json").chmod(0o600)  # as the daemon wrote it; a checkout does not keep that
    vault = Vault(folder, StillClock())
    archive = await Archive.open(folder, clock=StillClock(), sealer=vault.seals)
    try:
        await vault.unlock(SECRET)
        assert [hit.frame.content for hit in await archive.search(Query("rack"))] == [HIDDEN]
    finally:
        await archive.close()
        await vault.close()


@FROM_2
async def test_upkeep_of_format_2(tmp_path: Path, name: str) -> None:
    async with opened(tmp_path, name) as (db, store, _archive):
        assert holding(tmp_path, [PURGED.encode()]) == []
        assert await db.query("SELECT path FROM backups") == [(BACKUP,)]
        purger = Purger(db, store, [HistoryRoom(db, store.tiers)], [tmp_path], StillClock())
        await purger.start()
        await purger.settled()
        try:
            stones = await purger.tombstones()
        finally:
            await purger.close()
        assert [(stone.reason, stone.origin) for stone in stones] == [
            ("it was a password", ME),
            ("left by a crash", ME),
        ]
        assert UNFINISHED in [stone.purge_id for stone in stones]
        assert await db.query("SELECT row FROM history WHERE path = ?", (LEFT,)) == []
        assert LEFT_VALUE.encode() not in b"".join(path.read_bytes() for path in tmp_path.glob("store.db*"))
        await store.tiers.blocks.recover()
        for table in ("purge_work", "block_work", "block_waste"):
            assert await db.query(f"SELECT count(*) FROM {table}") == [(0,)]


@asynccontextmanager
async def opened(folder: Path, name: str) -> AsyncIterator[tuple[Database, Store, Archive]]:
    """Open a copy of a fixture, its private frames locked."""
    path = Path(shutil.copy(FIXTURES / name, folder / "store.db"))
    shutil.copytree((FIXTURES / name).with_suffix(".archive"), folder / "archive")
    clock = StillClock()
    db = await Database.open(path, clock=clock)
    vault = Vault(folder / "archive", clock)
    archive = await Archive.open(folder / "archive", clock=clock, sealer=vault.seals)
    store = await Store.open(db, clock=clock, bus=News(), archive=archive)
    try:
        yield db, store, archive
    finally:
        await store.close()
        await archive.close()
        await vault.close()
        await db.close()


async def _check_entries(store: Store) -> None:
    tempo, name, level = store.get("/app/tempo"), store.get("/thing/name"), store.get("/app/level")
    assert tempo is not None
    assert (tempo.status, tempo.reported, tempo.reported_revision, tempo.cause) == (Status.SETTLED, 120.000002, 6, 5)
    assert name is not None
    assert (name.object_id, name.create_revision, name.version, name.revision) == ("id-1", 2, 2, 4)
    assert level is not None
    assert (level.signal, level.revision > 9) == (True, True)


async def _check_past(store: Store) -> None:
    then = await store.read(pattern="//", at_revision=2)
    assert [entry.path for entry in then.entries if not entry.path.startswith("/values")] == ["/gone", "/object/name"]
    by_time = await store.read(["/values/map"], at_time=1_800_000_060_000_000_000)
    assert [(entry.value, by_time.revision) for entry in by_time.entries] == [({"x": 1.0, "y": {"z": b"b"}}, 2)]
    (moved,) = (await store.history("/thing/name", after=3)).transactions
    assert [(event.type, event.source) for event in moved.events] == [(EventType.MOVE, "/object/name")]
    assert [transaction.undone for transaction in await store.replay(7, 8, 10)] == [(7,)]
    assert await store.undo(revision=3, origin=ME, validate_only=True) == Undone(0, (3,))
