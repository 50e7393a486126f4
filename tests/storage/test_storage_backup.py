"""Backups: one revision of everything in one file, made beside writers, and put back to the letter."""

from __future__ import annotations

import asyncio
import io
import json
import os
import random
import shutil
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from tests.support.archives import all_frames, finished, still
from tests.support.disk import fill, small_disk
from tests.support.keeping import Keep, keeping

from lightfast.context.memory.records import NewMemory
from lightfast.context.scenes.records import Wanted
from lightfast.core.errors import (
    AlreadyExists,
    Cancelled,
    Exhausted,
    FailedPrecondition,
    InvalidArgument,
    LightfastError,
)
from lightfast.core.paths import find
from lightfast.storage import backup_copy
from lightfast.storage.archive.records import NewFrame, Query
from lightfast.storage.backup_file import MANIFEST, BackupWriter, is_safe
from lightfast.storage.backup_restore import Restored, restore
from lightfast.storage.blobs import Provenance

CRASHES = int(os.environ.get("LIGHTFAST_CRASHES", "4"))
SECRET = "the secret of private frames"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightfast.security.sealing.derive.MULTIPLIERS", (0.001, 0.0013, 0.0017))


async def fill_with(keep: Keep) -> None:
    """Put something into every room."""
    for number in range(30):
        await keep.set((f"/a/{number % 7}", {"number": number, "text": "x" * number}), ("/b", float(number)), label="l")
    await keep.scenes.save(Wanted("evening", patterns=("//",)), origin="me")
    await keep.memory.remember(NewMemory(text="the cat sat on the mat", key="cat"), origin="me")
    await keep.archive.append([NewFrame(f"frame {number}", metadata={"n": number}) for number in range(120)])
    await keep.vault.unlock(SECRET, create=not keep.vault.seals.created)
    await keep.archive.append([NewFrame("nobody else reads this", private=True)])
    await keep.store.tiers.demote(20)
    for number in range(3):
        await keep.blobs.put(os.urandom(1000 * number + 1), "image/png", f"{number}.png", Provenance(origin="me"))
    recordings = keep.home / "state/recordings"
    recordings.mkdir(exist_ok=True)
    (recordings / "show.lfrec").write_bytes(b"LFREC" + os.urandom(500))
    (keep.home / "config").mkdir(exist_ok=True)
    (keep.home / "config/lightfast.toml").write_text("[backups]\nkeep = 3\n")


async def seen(keep: Keep) -> dict[str, Any]:
    """Return everything a client could see."""
    await keep.vault.unlock(SECRET)
    page = await keep.store.history("//", page_size=1000)
    past = [await keep.store.read(pattern="//", at_revision=n, page_size=10_000) for n in range(1, 31)]
    assets = await keep.blobs.list()
    return {
        "revision": keep.store.revision,
        "live": keep.store.select("//"),
        "past": [each.entries for each in past],
        "history": page.transactions,
        "frames": await keep.archive.run(lambda reader: list(reader.scan())),
        "found": [hit.frame.frame_id for hit in await keep.archive.search(Query(text="frame"))],
        "memory": await keep.db.query("SELECT * FROM memory_versions ORDER BY row"),
        "scenes": await keep.db.query("SELECT name, version, body FROM scenes ORDER BY name, version"),
        "assets": [(asset.sha256, asset.name, asset.size, asset.path.read_bytes()) for asset in assets],
        "recording": (keep.home / "state/recordings/show.lfrec").read_bytes(),
        "settings": (keep.home / "config/lightfast.toml").read_text(),
    }


async def values_at(keep: Keep, revision: int) -> list[Any]:
    """Return all entries at *revision*, however many pages that takes."""
    found: list[Any] = []
    token = ""
    while True:
        page = await keep.store.read(pattern="//", at_revision=revision, page_size=10_000, page_token=token)
        found += page.entries
        token = page.next_page_token
        if not token:
            return found


def put_back(path: Path, home: Path) -> Restored:
    stages: dict[str, int] = {}

    def told(stage: str, size: int) -> None:
        stages[stage] = stages.get(stage, 0) + size

    found = restore(path, find(home), told=told)
    assert stages["check"] == stages["unpack"] > 0
    return found


async def test_what_comes_back_is_what_was_there(tmp_path: Path) -> None:
    async with keeping(tmp_path / "one") as keep:
        await fill_with(keep)
        before = await seen(keep)
        await keep.db.commit(_token(keep))
        made = await keep.backup()
        assert made.revision == keep.store.revision
        assert made.store_id == keep.store.store_id
        assert made.size == made.path.stat().st_size
        assert made.path.stat().st_mode & 0o077 == 0
        assert await seen(keep) == before  # it changed nothing
        assert await keep.backups.listed() == [made]
        old_id = keep.store.store_id
        assert not list(made.path.parent.glob(".*"))
    restored = put_back(made.path, tmp_path / "two")
    assert restored.before is None
    assert restored.store_id != old_id
    async with keeping(tmp_path / "two") as keep:
        assert keep.store.store_id == restored.store_id
        assert await seen(keep) == before
        assert await keep.db.query("SELECT * FROM tokens") == []
        assert keep.integrity() == ["ok"]
        assert await keep.set(("/after", 1)) == before["revision"] + 1


def _token(keep: Keep) -> Any:
    unit = keep.db.unit()
    unit.execute("INSERT OR REPLACE INTO tokens VALUES('t', 'n', 'a hash nobody gets', 'admin', 1, NULL)")
    return unit


async def test_no_secret_of_the_daemon_is_in_it(tmp_path: Path) -> None:
    async with keeping(tmp_path) as keep:
        (tmp_path / "state/token").write_text("lf_the-owners-token")
        (tmp_path / "state/link.key").write_text("0123456789abcdef")
        await keep.set(("/a", 1))
        await keep.db.commit(_token(keep))
        made = await keep.backup()
        data = made.path.read_bytes()
        for secret in (b"lf_the-owners-token", b"0123456789abcdef", b"a hash nobody gets"):
            assert secret not in data
        with tarfile.open(made.path) as tar:
            assert tar.getnames()[0] == "backup.json"
            assert tar.getnames()[-1] == "manifest.json"


async def test_it_shows_one_revision_while_others_write(tmp_path: Path) -> None:
    async with keeping(tmp_path / "one") as keep:
        await keep.set(*[(f"/bulk/{number}", "x" * 2000) for number in range(1000)])
        stop = asyncio.Event()

        async def write(name: str) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                await keep.set((f"/w/{name}/a", number), (f"/w/{name}/b", number))
                if number % 20 == 0:
                    await keep.archive.append([NewFrame(f"{name} {number}")])

        writers = [asyncio.ensure_future(write(f"w{index}")) for index in range(8)]
        made = []
        for _ in range(3):
            revision = keep.store.revision
            made.append(await keep.backup())
            assert made[-1].revision >= revision
        while keep.store.revision < made[-1].revision + 50:
            await asyncio.sleep(0.001)
        stop.set()
        await asyncio.gather(*writers)
        pasts = [await values_at(keep, each.revision) for each in made]
    for number, (each, past) in enumerate(zip(made, pasts, strict=True)):
        home = tmp_path / f"restored{number}"
        put_back(each.path, home)
        async with keeping(home) as keep:
            assert keep.store.revision == each.revision
            assert keep.store.select("//") == past
            values = {entry.path: entry.value for entry in past}
            assert all(
                values[f"/w/w{index}/a"] == values[f"/w/w{index}/b"] for index in range(8) if f"/w/w{index}/a" in values
            )


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no room is reserved here")
async def test_a_file_that_the_archive_seals_meanwhile_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive then gives back the room it had reserved: the file is shorter than when it was looked at."""
    loop, sizes = asyncio.get_running_loop(), list[int]()

    async def sealed() -> None:
        (path,) = (tmp_path / "one/state/archive/shards").glob("*/*/*.frames")
        sizes.append(path.stat().st_size)
        await keep.archive._writing().run(lambda: iter([keep.archive._stock.seal()]))  # type: ignore[arg-type,return-value,func-returns-value]
        sizes.append(path.stat().st_size)

    class Late(BackupWriter):
        def add(self, name: str, *rest: Any, **more: Any) -> None:
            if name.endswith(".frames"):
                asyncio.run_coroutine_threadsafe(sealed(), loop).result(60)
            super().add(name, *rest, **more)

    still(monkeypatch)
    monkeypatch.setattr(backup_copy, "BackupWriter", Late)
    async with keeping(tmp_path / "one") as keep:
        await keep.archive.append([NewFrame(f"frame {number}") for number in range(9)])
        frames = await all_frames(keep.archive)
        made = await keep.backup()
    assert sizes[1] < sizes[0]
    put_back(made.path, tmp_path / "two")
    async with keeping(tmp_path / "two") as keep:
        assert await all_frames(keep.archive) == frames
        assert (await finished(keep.archive.verify()))[1] == []


async def test_parts_are_left_out_where_asked_and_old_ones_go(tmp_path: Path) -> None:
    async with keeping(tmp_path, keep=2) as keep:
        await fill_with(keep)
        made = await keep.backup(assets=False, recordings=False)
        with tarfile.open(made.path) as tar:
            names = tar.getnames()
        assert not [name for name in names if "assets" in name or "recordings" in name]
        assert "state/archive/archive.json" in names
        assert "state/archive/private.json" in names
        elsewhere = tmp_path / "elsewhere/mine.lfbackup"
        with pytest.raises(InvalidArgument):
            await keep.backup(str(elsewhere))
        with pytest.raises(InvalidArgument):
            await keep.backup("relative.lfbackup")
        elsewhere.parent.mkdir()
        other = await keep.backup(str(elsewhere))
        with pytest.raises(AlreadyExists):
            await keep.backup(str(elsewhere))
        later = [await keep.backup() for _ in range(2)]
        assert [each.path for each in await keep.backups.listed()] == [later[1].path, later[0].path, other.path]
        elsewhere.unlink()
        assert len(await keep.backups.listed()) == 2
        (tmp_path / "state/backups/strange.lfbackup").write_bytes(b"not a backup")
        assert len(await keep.backups.listed()) == 2


async def test_who_stops_listening_stops_it(tmp_path: Path) -> None:
    async with keeping(tmp_path) as keep:
        await keep.set(*[(f"/bulk/{number}", "x" * 1000) for number in range(1000)])
        steps = keep.backups.make()
        await anext(steps)
        await steps.aclose()
        folder = tmp_path / "state/backups"
        if listed := await keep.backups.listed():  # it was faster
            assert len(listed) == 1
        else:
            assert list(folder.iterdir()) == []
        await keep.backup()
        steps = keep.backups.make()
        first = asyncio.ensure_future(anext(steps))
        await asyncio.sleep(0)
        with pytest.raises(FailedPrecondition) as refused:
            await keep.backup()
        assert refused.value.reason == "BACKUP_UNDER_WAY"
        await first
        async for _ in steps:
            pass


def rebuilt(path: Path, target: Path, change: Any) -> Path:
    """Write the backup at *path* to *target* as *change* makes it of (name, bytes)."""
    with tarfile.open(path) as old, tarfile.open(target, "w") as new:
        for member in old:
            content = old.extractfile(member)
            assert content is not None
            for name, data in change(member.name, content.read()):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                new.addfile(info, io.BytesIO(data))
    return target


async def test_a_damaged_or_hostile_backup_changes_nothing(tmp_path: Path) -> None:
    async with keeping(tmp_path / "one") as keep:
        await fill_with(keep)
        made = await keep.backup()
    home = tmp_path / "two"
    shutil.copytree(tmp_path / "one", home)
    sound = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    data = made.path.read_bytes()
    bad = tmp_path / "bad.lfbackup"

    def refused() -> FailedPrecondition:
        with pytest.raises(FailedPrecondition) as found:
            put_back(bad, home)
        assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == sound
        assert found.value.reason in {"BACKUP_DAMAGED", "BACKUP_TOO_NEW", "STORE_TOO_NEW"}
        return found.value

    chance = random.Random(5)
    with tarfile.open(made.path) as tar:
        places = [(member.offset_data, member.size) for member in tar if member.size]
    for offset, size in places[:12]:
        changed = bytearray(data)
        changed[offset + chance.randrange(size)] ^= 1
        bad.write_bytes(changed)
        refused()
    for size in (0, 100, 512, len(data) // 3, len(data) - 11_000):
        bad.write_bytes(data[:size])
        refused()
    bad.write_bytes(b"no tar at all" * 100)
    refused()
    for name in ("../evil", "/etc/evil", "state/../../evil", "elsewhere/x", "state/a\\b"):
        assert not is_safe(name)
        rebuilt(made.path, bad, lambda n, d, name=name: [(n, d), (name, b"x")] if n == "backup.json" else [(n, d)])
        refused()
    for change in (
        lambda n, d: [] if n == MANIFEST else [(n, d)],
        lambda n, d: [] if n.endswith("lightfast.db") else [(n, d)],
        lambda n, d: [(n, d), (n, d)] if n.endswith("lightfast.db") else [(n, d)],
        lambda n, d: [(n, d), ("state/more", b"x")] if n == "backup.json" else [(n, d)],
        lambda n, d: [(n, d), ("state/more", b"x")] if n == MANIFEST else [(n, d)],
    ):
        rebuilt(made.path, bad, change)
        refused()
    rebuilt(
        made.path,
        bad,
        lambda n, d: [(n, json.dumps({**json.loads(d), "format": 2}).encode() if n == "backup.json" else d)],
    )
    assert refused().reason == "BACKUP_TOO_NEW"
    with pytest.raises(InvalidArgument):
        put_back(tmp_path / "not there", home)
    put_back(made.path, home)


async def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    async with keeping(tmp_path / "one") as keep:
        await keep.set(("/a", 1))
        await keep.db.alone(lambda connection: list(connection.execute("PRAGMA user_version = 99")))
        made = await keep.backup()
    with pytest.raises(FailedPrecondition) as refused:
        put_back(made.path, tmp_path / "two")
    assert refused.value.reason == "STORE_TOO_NEW"
    assert not (tmp_path / "two/state").exists()


async def test_what_was_there_before_stays_beside_it(tmp_path: Path) -> None:
    async with keeping(tmp_path / "one") as keep:
        await keep.set(("/a", "saved"))
        made = await keep.backup(str(tmp_path / "b.lfbackup"))
        await keep.set(("/a", "later"))
    (tmp_path / "one/config").mkdir()
    (tmp_path / "one/config/lightfast.toml").write_text("# mine\n")
    found = put_back(made.path, tmp_path / "one")
    assert found.before is not None
    async with keeping(tmp_path / "one") as keep:
        entry = keep.store.get("/a")
        assert entry is not None
        assert entry.value == "saved"
    assert (found.before / "lightfast.db").is_file()
    assert (tmp_path / "one/config/lightfast.toml").read_text() == "# mine\n"
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["config", "state", found.before.name]


async def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "8m") as disk:
        async with keeping(tmp_path / "home") as keep:
            await keep.set(*[(f"/bulk/{number}", "x" * 2000) for number in range(500)])
            await keep.blobs.put(os.urandom(1 << 20), "image/png", "a", Provenance())
            ballast = fill(disk)
            for room in (0, 200_000, 2_000_000):
                os.truncate(ballast, ballast.stat().st_size - room)
                with pytest.raises(Exhausted) as refused:
                    await keep.backup(str(disk / "b.lfbackup"))
                assert refused.value.reason == "DISK_FULL"
                assert str(disk) in refused.value.message
                assert [path.name for path in disk.iterdir()] == ["ballast"]
            assert await keep.backups.listed() == []
            ballast.unlink()
            made = await keep.backup(str(disk / "b.lfbackup"))
        put_back(made.path, tmp_path / "two")


BACKUP = """
import asyncio, sys
from pathlib import Path
from tests.support.keeping import keeping

async def main(home):
    async with keeping(home) as keep:
        print("ready", flush=True)
        while True:
            async for step in keep.backups.make():
                print(step.done, flush=True)

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.mark.limit(60 + 10 * CRASHES)
async def test_a_kill_in_the_middle_leaves_no_half_backup(tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with keeping(home) as keep:
        await fill_with(keep)
        await keep.set(*[(f"/bulk/{number}", "x" * 1500) for number in range(1000)])
        await keep.blobs.put(os.urandom(6 << 20), "image/png", "big", Provenance())
        before = await seen(keep)
    chance = random.Random(9)
    for round_ in range(CRASHES):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", BACKUP, str(home)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert process.stdout is not None
        try:
            assert (await process.stdout.readline()).strip() == b"ready"
            for _ in range(chance.randrange(3)):
                await process.stdout.readline()
            await asyncio.sleep(chance.uniform(0.0, 0.15))
        finally:
            process.kill()
            await process.communicate()  # a pipe that nobody reads would keep its end to itself
        async with keeping(home) as keep:
            assert await seen(keep) == before
            listed = await keep.backups.listed()
            whole = list((home / "state/backups").glob("*.lfbackup")) if (home / "state/backups").is_dir() else []
            assert {each.path for each in listed} == set(whole)
        for number, path in enumerate(whole[:2]):
            put_back(path, tmp_path / f"{round_}-{number}")
            shutil.rmtree(tmp_path / f"{round_}-{number}")
    async with keeping(home) as keep:
        made = await keep.backup()
        assert not list(made.path.parent.glob(".*"))


async def test_the_last_step_has_the_backup_and_a_closed_room_stops(tmp_path: Path) -> None:
    async with keeping(tmp_path) as keep:
        await keep.set(*[(f"/bulk/{number}", "x" * 1000) for number in range(1000)])
        steps = [step async for step in keep.backups.make()]
        assert steps[-1].backup is not None
        assert [step.done for step in steps] == sorted(step.done for step in steps)
        keep.backups._stop = True
        with pytest.raises((Cancelled, LightfastError)):
            await keep.backup()
        assert len(await keep.backups.listed()) == 1
