"""The database: atomic units, group commit, refusals, crashes."""

from __future__ import annotations

import asyncio
import shutil
import threading
from pathlib import Path

import apsw
import pytest

from lightfast.core.clock import StillClock
from lightfast.core.errors import Conflict, Exhausted, FailedPrecondition, Unavailable
from lightfast.storage import writer
from lightfast.storage.database import Chain, ChainBroken, Database, Unit
from lightfast.storage.peek import peek
from lightfast.storage.schema import APPLICATION_ID, MIGRATIONS


async def put(db: Database, key: str, value: object) -> None:
    unit = db.unit()
    unit.execute("INSERT INTO settings VALUES(?, ?)", (key, value))
    await db.commit(unit)


async def settings(db: Database) -> dict[str, object]:
    return dict(await db.query("SELECT key, value FROM settings"))


async def test_a_unit_is_written_whole_and_survives(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "store.db")
    store_id = db.store_id
    unit = db.unit()
    unit.execute("INSERT INTO settings VALUES('a', 1)")
    unit.insert("INSERT INTO settings VALUES(?, ?)", [("b", 2), ("c", b"\x00")])
    await db.commit(unit)
    await db.close()
    await db.close()
    again = await Database.open(tmp_path / "store.db")
    assert again.store_id == store_id
    assert await settings(again) == {"a": 1, "b": 2, "c": b"\x00"}
    await again.close()
    assert not (tmp_path / "store.db-wal").exists()


async def test_what_is_acknowledged_is_in_the_files_at_once(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "store.db")
    await put(db, "a", 1)
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("store.db", "store.db-wal"):
        shutil.copy(tmp_path / name, copy / name)
    await db.close()
    crashed = await Database.open(copy / "store.db")
    assert await settings(crashed) == {"a": 1}
    await crashed.close()


async def test_writes_are_durable_by_full_sync(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "store.db")
    connection = db._write_connection
    assert connection is not None
    assert connection.pragma("synchronous") == 2
    assert connection.pragma("journal_mode") == "wal"
    assert connection.pragma("wal_autocheckpoint") == 0
    await db.close()


async def test_a_violated_constraint_fails_its_unit_alone(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "store.db")
    await put(db, "taken", 0)
    units = []
    for key in ("a", "taken", "b"):
        unit = db.unit()
        unit.execute("INSERT INTO settings VALUES(?, 1)", (key + "-first",))
        unit.execute("INSERT INTO settings VALUES(?, 1)", (key,))
        units.append(unit)
    results = await asyncio.gather(*[db.commit(unit) for unit in units], return_exceptions=True)
    assert results[0] is None
    assert results[2] is None
    assert isinstance(results[1], Conflict)
    assert results[1].reason == "ROW_CONFLICT"
    assert set(await settings(db)) == {"taken", "a", "a-first", "b", "b-first"}
    await db.close()


async def test_savepoints_are_made_only_where_a_unit_fails(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "store.db")
    assert db._write_connection is not None
    said: list[str] = []

    def heard(_: apsw.Cursor, sql: str, bindings: object) -> bool:
        said.append(sql)
        return True

    db._write_connection.exec_trace = heard
    await asyncio.gather(put(db, "a", 1), put(db, "b", 2))
    assert "COMMIT" in said
    assert "SAVEPOINT one" not in said
    results = await asyncio.gather(put(db, "c", 3), put(db, "a", 9), put(db, "d", 4), return_exceptions=True)
    assert isinstance(results[1], Conflict)
    assert "SAVEPOINT one" in said
    assert await settings(db) == {"a": 1, "b": 2, "c": 3, "d": 4}
    await db.close()


async def test_a_mistake_in_a_statement_fails_its_unit_alone(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "store.db")
    bad = db.unit()
    bad.execute("INSERT INTO no_such_table VALUES(1)")
    unbound = db.unit()
    unbound.execute("INSERT INTO settings VALUES(?, ?)", ("x", object()))
    results = await asyncio.gather(
        db.commit(bad),
        db.commit(unbound),
        put(db, "a", 1),
        put(db, "b", "lone \ud800"),
        put(db, "c", 1 << 70),
        return_exceptions=True,
    )
    assert isinstance(results[0], apsw.SQLError)
    assert isinstance(results[1], TypeError)
    assert [type(result) for result in results[2:]] == [type(None), UnicodeEncodeError, OverflowError]
    assert await settings(db) == {"a": 1}
    await db.close()


async def test_what_was_acknowledged_is_read_at_once(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "store.db")
    for number in range(3):
        await put(db, f"k{number}", number)
        assert db.query_now("SELECT max(value) FROM settings") == [(number,)]
    with pytest.raises(apsw.SQLError):
        db.query_now("SELECT * FROM no_such_table")
    # It holds no older state of the file: the log can be cut back.
    assert await db.alone(lambda connection: connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)) == (0, 0)
    await db.close()
    with pytest.raises(Unavailable) as refused:
        db.query_now("SELECT 1")
    assert refused.value.reason == "STORE_CLOSED"


async def test_units_of_a_broken_chain_are_not_written(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "store.db")
    await put(db, "taken", 0)
    chain = Chain()
    outcomes: list[tuple[str, BaseException | None]] = []
    ended = asyncio.Event()
    for key in ("first", "taken", "later"):
        unit = db.unit()
        unit.execute("INSERT INTO settings VALUES(?, 1)", (key,))
        unit.chain = chain

        def done(error: BaseException | None, key: str = key) -> None:
            outcomes.append((key, error))
            if key == "later":
                ended.set()

        db.enqueue(unit, done)
    await put(db, "other", 1)
    await ended.wait()
    assert [key for key, _ in outcomes] == ["first", "taken", "later"]
    assert outcomes[0][1] is None
    assert isinstance(outcomes[1][1], Conflict)
    assert isinstance(outcomes[2][1], ChainBroken)
    assert outcomes[2][1].alone
    assert set(await settings(db)) == {"taken", "first", "other"}
    await db.close()


async def test_acknowledgements_come_in_the_order_of_commits(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "store.db")
    order: list[int] = []
    ended = asyncio.Event()

    def noted(number: int, error: BaseException | None) -> None:
        assert error is None
        order.append(number)
        if number == 499:
            ended.set()

    for number in range(500):
        unit = db.unit()
        unit.execute("INSERT INTO settings VALUES(?, 1)", (f"k{number}",))
        db.enqueue(unit, lambda error, number=number: noted(number, error))  # type: ignore[misc]
    await ended.wait()
    assert order == list(range(500))
    await db.close()


async def test_a_callback_that_raises_does_not_rob_the_others(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "store.db")
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(str(context["exception"])))

    def bad(error: BaseException | None) -> None:
        raise RuntimeError("no good")

    db.enqueue(db.unit(), bad)
    await put(db, "a", 1)
    await put(db, "b", 1)
    assert complaints == ["no good"]
    await db.close()


async def test_a_read_sees_one_state_throughout(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "store.db")
    await put(db, "a", 1)
    reading, written = threading.Event(), threading.Event()

    def read(connection: apsw.Connection) -> tuple[int, int]:
        (before,) = next(iter(connection.execute("SELECT count(*) FROM settings")))
        reading.set()
        assert written.wait(60)
        (after,) = next(iter(connection.execute("SELECT count(*) FROM settings")))
        return before, after

    task = asyncio.ensure_future(db.read(read))
    assert await asyncio.to_thread(reading.wait, 60)
    await put(db, "b", 1)
    written.set()
    assert await task == (1, 1)
    assert await db.query("SELECT count(*) FROM settings") == [(2,)]
    await db.close()


async def test_readers_cannot_write(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "store.db")
    with pytest.raises(Unavailable) as caught:
        await db.query("INSERT INTO settings VALUES('a', 1)")
    assert caught.value.reason == "STORE_IO"
    await db.close()


@pytest.mark.parametrize("checkpointed", [True, False])
async def test_a_newer_store_is_refused_untouched(tmp_path: Path, checkpointed: bool) -> None:
    db = await Database.open(tmp_path / "store.db")
    await put(db, "a", 1)
    await db.close()
    connection = apsw.Connection(str(tmp_path / "store.db"))
    connection.pragma("wal_autocheckpoint", 0)
    connection.execute("PRAGMA user_version = 99")
    folder = tmp_path / "copy"
    folder.mkdir()
    if checkpointed:
        connection.close()
    for name in ("store.db", "store.db-wal"):
        if (tmp_path / name).exists():
            shutil.copy(tmp_path / name, folder / name)
    assert (folder / "store.db-wal").exists() != checkpointed
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(FailedPrecondition) as caught:
        await Database.open(folder / "store.db")
    assert caught.value.reason == "STORE_TOO_NEW"
    assert f"format 99, this one knows up to {len(MIGRATIONS)}" in caught.value.message
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


async def test_files_of_others_are_refused_untouched(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"not a database at all" * 50)
    foreign = tmp_path / "foreign.db"
    connection = apsw.Connection(str(foreign))
    connection.execute("CREATE TABLE t(a); PRAGMA user_version = 3")
    connection.close()
    for path in (garbage, foreign):
        before = path.read_bytes()
        with pytest.raises(FailedPrecondition) as caught:
            await Database.open(path)
        assert caught.value.reason == "STORE_CORRUPT"
        assert str(path) in caught.value.message
        assert path.read_bytes() == before


async def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        await Database.open(tmp_path / "missing" / "store.db")
    assert caught.value.reason == "STORE_IO"
    assert str(tmp_path / "missing") in caught.value.message


async def test_the_header_is_read_from_the_log_too(tmp_path: Path) -> None:
    assert peek(tmp_path / "store.db") is None
    db = await Database.open(tmp_path / "store.db")
    header = peek(tmp_path / "store.db")
    assert header == (len(MIGRATIONS), APPLICATION_ID)
    await db.close()
    assert peek(tmp_path / "store.db") == header


async def test_an_old_sqlite_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.40.1")
    with pytest.raises(FailedPrecondition) as caught:
        await Database.open(tmp_path / "store.db")
    assert caught.value.reason == "SQLITE_TOO_OLD"
    assert not (tmp_path / "store.db").exists()


async def test_too_much_waiting_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_WAITING_UNITS", 10)
    db = await Database.open(tmp_path / "store.db")
    acknowledged: list[int] = []
    for number in range(10):
        db.enqueue(db.unit(), lambda _, number=number: acknowledged.append(number))  # type: ignore[misc]
    with pytest.raises(Exhausted) as caught:
        db.enqueue(db.unit(), lambda _: None)
    assert caught.value.reason == "STORE_BUSY"
    assert caught.value.retry_after
    await db.close()
    assert acknowledged == list(range(10))


async def test_check_finds_a_stuck_writer(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "store.db")
    await db.check(timeout=60.0)
    holding, release = threading.Event(), threading.Event()
    assert db._write_connection is not None

    def hold(*_: object) -> int:
        holding.set()
        return int(release.wait(60))

    db._write_connection.create_scalar_function("hold", hold, 0)
    unit = db.unit()
    unit.execute("INSERT INTO settings VALUES('a', hold())")
    task = asyncio.ensure_future(db.commit(unit))
    assert await asyncio.to_thread(holding.wait, 60)
    with pytest.raises(Unavailable) as caught:
        await db.check(timeout=0.05)
    assert caught.value.reason == "STORE_STUCK"
    release.set()
    await task
    await db.check(timeout=60.0)
    await db.close()


async def test_a_closed_database_says_so(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "store.db")
    await db.close()
    for call in (db.commit(db.unit()), db.query("SELECT 1")):
        with pytest.raises(Unavailable) as caught:
            await call
        assert caught.value.reason == "STORE_CLOSED"


async def test_the_log_is_checkpointed_beside_the_writer(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "store.db", clock=StillClock())
    size = (tmp_path / "store.db").stat().st_size
    for number in range(6):
        unit = db.unit()
        unit.insert("INSERT INTO settings VALUES(?, ?)", [(f"{number}-{i}", "x" * 1000) for i in range(1000)])
        await db.commit(unit)
    deadline = asyncio.get_running_loop().time() + 60
    while (tmp_path / "store.db").stat().st_size == size:
        assert asyncio.get_running_loop().time() < deadline, "no checkpoint came"
        await put(db, f"more-{asyncio.get_running_loop().time()}", 1)
    await db.close()


async def test_writes_of_neighboring_ticks_share_a_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[int] = []
    write = writer.Writer._write

    def counted(mine: writer.Writer, group: list[Unit]) -> list[writer.Outcome]:
        groups.append(len(group))
        return write(mine, group)

    monkeypatch.setattr(writer.Writer, "_write", counted)
    monkeypatch.setattr(writer, "GATHER_SECONDS", 60.0)
    db = await Database.open(tmp_path / "store.db")
    commits = []
    for _ in range(20):
        commits.append(asyncio.ensure_future(db.commit(db.unit())))
        for _ in range(3):  # ticks that bring nothing
            await asyncio.sleep(0)
    await asyncio.gather(*commits)
    assert groups == [20]
    await db.close()


async def test_one_who_writes_alone_does_not_wait_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[int] = []
    write, gather, ticks = writer.Writer._write, writer.Writer._gather, 0

    def counted(mine: writer.Writer, group: list[Unit]) -> list[writer.Outcome]:
        groups.append(len(group))
        return write(mine, group)

    def ticked(mine: writer.Writer, seen: int, quiet: int, latest: float, first: int) -> None:
        nonlocal ticks
        ticks += bool(mine._collected)
        gather(mine, seen, quiet, latest, first)

    monkeypatch.setattr(writer.Writer, "_write", counted)
    monkeypatch.setattr(writer.Writer, "_gather", ticked)
    monkeypatch.setattr(writer, "GATHER_SECONDS", 60.0)
    db = await Database.open(tmp_path / "store.db")
    waited = []
    for _ in range(8):
        ticks = 0
        await db.commit(db.unit())
        waited.append(ticks)
    assert waited[0] > writer.QUIET_TICKS >= 16 * writer.FEWEST_TICKS
    assert max(waited[-3:]) <= writer.FEWEST_TICKS + 1
    assert groups == [1] * 8

    first = asyncio.ensure_future(db.commit(db.unit()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # within the few ticks another one comes: there may be a crowd again
    await asyncio.gather(first, db.commit(db.unit()))
    assert groups[8:] == [2]
    ticks = 0
    await db.commit(db.unit())
    assert ticks > writer.QUIET_TICKS
    await db.close()


async def test_writes_that_never_pause_are_written_all_the_same(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "store.db")
    first = asyncio.ensure_future(db.commit(db.unit()))
    others = []
    async with asyncio.timeout(60):
        while not first.done():
            others.append(asyncio.ensure_future(db.commit(db.unit())))
            await asyncio.sleep(0)
    # While a slow disk takes its time there may be more than can wait: those are refused.
    done = await asyncio.gather(first, *others, return_exceptions=True)
    assert all(each is None or isinstance(each, Exhausted) for each in done)
    await db.close()
