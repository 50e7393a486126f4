"""Private frames in the archive: unreadable and unsearchable while locked, and never in plain on the disk."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.files import content, files
from tests.support.keeping import Keep, keeping

from lightfast.core.errors import Denied, FailedPrecondition
from lightfast.storage.archive.records import NewFrame, Query

SECRET = "correct horse battery staple"
OTHER = "another secret entirely"
WORDS = "xylophone quartz zeppelin"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Derive keys with a thousandth of the work: what that costs is tested with the seals."""
    monkeypatch.setattr("lightfast.security.sealing.derive.MULTIPLIERS", (0.001, 0.0013, 0.0017))


async def found(keep: Keep, text: str) -> list[str]:
    hits = await keep.archive.search(Query(text=text))
    return sorted(str(hit.frame.content) for hit in hits)


def plain(home: Path) -> list[str]:
    """Return the files that hold any of the private words, in whatever case."""
    forms = [word.encode() for word in WORDS.split()]
    return [str(path.relative_to(home)) for path in files(home) if any(form in content(path).lower() for form in forms)]


async def test_locked_frames_are_neither_readable_nor_searchable(tmp_path: Path) -> None:
    async with keeping(tmp_path) as keep:
        with pytest.raises(Denied) as refused:
            await keep.archive.append([NewFrame("too early", private=True)])
        assert refused.value.reason == "ARCHIVE_LOCKED"
        await keep.vault.unlock(SECRET, create=True)
        (secret,) = await keep.archive.append([NewFrame(f"a {WORDS} frame", private=True, metadata={"tag": WORDS})])
        (plain_id,) = await keep.archive.append([NewFrame("an open frame")])
        assert await found(keep, "quartz") == [f"a {WORDS} frame"]
        assert (await keep.archive.get([secret]))[secret].metadata["tag"] == WORDS

        await keep.vault.lock()
        assert await found(keep, "quartz") == []
        assert await found(keep, "frame") == ["an open frame"]
        assert list(await keep.archive.get([secret, plain_id])) == [plain_id]
        assert "locked" in (await keep.archive.why([secret]))[secret]
        scanned = await keep.archive.run(lambda reader: [frame.frame_id for frame in reader.scan()])
        assert scanned == [plain_id]
        with pytest.raises(Denied):
            await keep.archive.append([NewFrame("again", private=True)])
        with pytest.raises(Denied) as refused:
            await keep.vault.unlock("this is not the one")
        assert refused.value.reason == "SECRET_WRONG"
        assert await found(keep, "quartz") == []

        await keep.vault.unlock(SECRET)
        assert await found(keep, "quartz") == [f"a {WORDS} frame"]
        assert keep.vault.count is not None
        assert await keep.vault.count() == 1


async def test_nothing_private_is_ever_on_the_disk(tmp_path: Path) -> None:
    async with keeping(tmp_path) as keep:
        await keep.vault.unlock(SECRET, create=True)
        for number in range(60):  # more than a chunk: what is indexed is indexed
            await keep.archive.append(
                [
                    NewFrame(f"{WORDS} number {number}", private=True, metadata={"note": WORDS}),
                    NewFrame(f"public number {number}"),
                ]
            )
        assert plain(tmp_path) == []
        assert len(await found(keep, "zeppelin")) == 20
        assert plain(tmp_path) == []
        await keep.vault.lock()
        assert plain(tmp_path) == []
    assert plain(tmp_path) == []
    async with keeping(tmp_path) as keep:
        assert await found(keep, "zeppelin") == []
        await keep.vault.unlock(SECRET)
        assert len(await found(keep, "zeppelin")) == 20
        made = await keep.backup()
        assert not any(word.encode() in made.path.read_bytes() for word in WORDS.split())
    assert plain(tmp_path) == []
    assert not any(SECRET.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


async def test_a_new_secret_opens_old_and_new_frames(tmp_path: Path) -> None:
    async with keeping(tmp_path) as keep:
        await keep.vault.unlock(SECRET, create=True)
        await keep.archive.append([NewFrame("quartz of old", private=True, metadata={"thought_patterns": {"a": 3}})])
        assert [step.done async for step in keep.vault.rotate(SECRET, OTHER)][-1] == 11
        await keep.archive.append([NewFrame("quartz of now", private=True)])
        assert await found(keep, "quartz") == ["quartz of now", "quartz of old"]
    async with keeping(tmp_path) as keep:
        with pytest.raises(Denied):
            await keep.vault.unlock(SECRET)
        await keep.vault.unlock(OTHER)
        assert await found(keep, "quartz") == ["quartz of now", "quartz of old"]


async def test_a_lost_file_of_keys_is_not_replaced_by_a_new_secret(tmp_path: Path) -> None:
    """With new keys the frames would look broken, and a repair would put them aside."""
    async with keeping(tmp_path) as keep:
        await keep.vault.unlock(SECRET, create=True)
        await keep.archive.append([NewFrame("quartz", private=True)])
        (keys,) = tmp_path.rglob("private.json")
    kept = keys.read_bytes()
    keys.unlink()
    async with keeping(tmp_path) as keep:
        for create in (True, False):
            with pytest.raises(FailedPrecondition) as refused:
                await keep.vault.unlock(OTHER, create=create)
            assert refused.value.reason == "SEAL_KEYS_MISSING"
        assert not keys.exists()
        keys.write_bytes(kept)
        keys.chmod(0o644)
        with pytest.raises(FailedPrecondition) as refused:
            await keep.vault.unlock(SECRET)
        assert "delete" not in refused.value.message  # there is no other: what they seal would be lost
        keys.chmod(0o600)
        await keep.vault.unlock(SECRET)
        assert await found(keep, "quartz") == ["quartz"]


async def test_locking_while_others_read_and_write_never_shows_nor_loses_anything(tmp_path: Path) -> None:
    async with keeping(tmp_path) as keep:
        await keep.vault.unlock(SECRET, create=True)
        written: list[str] = []
        stop = asyncio.Event()

        async def write() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                text = f"{WORDS} {number}"
                try:
                    await keep.archive.append([NewFrame(text, private=True)])
                    written.append(text)
                except Denied:
                    await asyncio.sleep(0.001)

        writers = [asyncio.ensure_future(write()) for _ in range(3)]
        for _ in range(10):
            while not keep.vault.unlocked:
                await keep.vault.unlock(SECRET)
            size = len(written)
            while len(written) < size + 5:
                await asyncio.sleep(0.001)
            await keep.vault.lock()
            assert await found(keep, "zeppelin") == []
        stop.set()
        await asyncio.gather(*writers)
        await keep.vault.unlock(SECRET)
        contents = await keep.archive.run(lambda reader: [frame.content for frame in reader.scan()])
        assert sorted(map(str, contents)) == sorted(written)
        assert plain(tmp_path) == []
