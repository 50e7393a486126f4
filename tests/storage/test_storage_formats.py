"""A store of every earlier format is opened, brought to this one, and has everything it had."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.storage.fixtures.make_store import ME
from tests.support.store import News

from lightfast.context.entry import EventType, Set, Status
from lightfast.context.leases import Leases
from lightfast.context.records import RequestKey, Undone
from lightfast.context.store import Store
from lightfast.core.clock import StillClock
from lightfast.security.tokens import Scope
from lightfast.storage.database import Database
from lightfast.storage.schema import MIGRATIONS
from lightfast.storage.tokens import TokenRows
from lightfast_link.value import Asset

FIXTURES = Path(__file__).with_name("fixtures")
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


def test_every_format_has_its_fixture() -> None:
    kept = {path.name for path in FIXTURES.glob("store-v*.db")}
    assert kept >= {f"store-v{number}.db" for number in range(1, len(MIGRATIONS) + 1)}, "run make_store.py"


@pytest.mark.parametrize("name", sorted(path.name for path in FIXTURES.glob("store-v*.db")))
async def test_a_store_of_an_earlier_format_is_read(tmp_path: Path, name: str) -> None:
    path = Path(shutil.copy(FIXTURES / name, tmp_path / "store.db"))
    clock = StillClock()  # where it stood when the store was written: the request is not a day old
    db = await Database.open(path, clock=clock)
    store = await Store.open(db, clock=clock, bus=News())
    try:
        assert (await db.query("PRAGMA user_version")) == [(len(MIGRATIONS),)]
        assert (store.revision, store.oldest_revision) == (11, 0)
        assert {entry.path: entry.value for entry in store.select("//")} == VALUES
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
        assert await leases.close(lease, by=ME) == 12
        await leases.stop()
        assert store.get("/presence/me") is None
    finally:
        await store.close()
        await db.close()


async def _check_entries(store: Store) -> None:
    tempo, name, level = store.get("/app/tempo"), store.get("/thing/name"), store.get("/app/level")
    assert tempo is not None
    assert (tempo.status, tempo.reported, tempo.reported_revision, tempo.cause) == (Status.SETTLED, 120.000002, 6, 5)
    assert name is not None
    assert (name.object_id, name.create_revision, name.version, name.revision) == ("id-1", 2, 2, 4)
    assert level is not None
    assert (level.signal, level.revision) == (True, 11)


async def _check_past(store: Store) -> None:
    then = await store.read(pattern="//", at_revision=2)
    assert [entry.path for entry in then.entries if not entry.path.startswith("/values")] == ["/gone", "/object/name"]
    by_time = await store.read(["/values/map"], at_time=1_800_000_060_000_000_000)
    assert [(entry.value, by_time.revision) for entry in by_time.entries] == [({"x": 1.0, "y": {"z": b"b"}}, 2)]
    (moved,) = (await store.history("/thing/name", after=3)).transactions
    assert [(event.type, event.source) for event in moved.events] == [(EventType.MOVE, "/object/name")]
    assert [transaction.undone for transaction in await store.replay(7, 8, 10)] == [(7,)]
    assert await store.undo(revision=3, origin=ME, validate_only=True) == Undone(0, (3,))
