"""Packing: deltas, dictionaries, and what is left as it is because nothing would be gained."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from tests.support import plain_frames
from tests.support.archives import NOW_MS, VOCABULARY, all_frames, files, fill, opened, small, text

from lightfast.core.clock import StillClock
from lightfast.storage.archive import coder, pack, similar
from lightfast.storage.archive.archive import Archive
from lightfast.storage.archive.records import NewFrame


def edits(count: int, words: int = 120, seed: int = 5) -> list[str]:
    """Return the versions of a text: each has a word or two changed, put in or taken out."""
    rng = random.Random(seed)
    current = [rng.choice(VOCABULARY) + str(rng.randrange(90)) for _ in range(words)]
    found = []
    for _ in range(count):
        for _ in range(rng.randrange(1, 3)):
            at = rng.randrange(len(current))
            action = rng.randrange(3)
            if action == 0:
                current[at] = rng.choice(VOCABULARY) + str(rng.randrange(900))
            elif action == 1:
                current.insert(at, rng.choice(VOCABULARY))
            elif len(current) > words // 2:
                del current[at]
        found.append(" ".join(current))
    return found


async def packed_size(folder: Path, texts: list[Any], **options: Any) -> int:
    """Append, pack with a `Coder` of these *options*, check, and return the bytes of the packed files."""
    async with opened(folder) as archive:
        await archive.append([NewFrame(one, time_ms=NOW_MS) for one in texts])
        frames = await all_frames(archive)
        await archive._writing().run(lambda: sealed(archive, options))
        assert await all_frames(archive) == frames
        assert [one.content for one in frames] == texts
        picked = [len(frames) - 1, len(frames) // 2]
        assert await archive.run(lambda reader: list(reader.many(picked))) == [frames[number] for number in picked]
        assert {one: plain.content for one, plain in plain_frames.read_folder(folder).items()} == {
            one.frame_id: one.content for one in frames
        }
        return sum(path.stat().st_size for path in files(folder) if path.with_suffix(".index").exists())


def sealed(archive: Archive, options: dict[str, Any]) -> Any:
    archive._stock.seal()
    segment = archive._stock.view.segments[0]
    return pack.rewrite(archive._stock, [segment], coder=lambda: coder.Coder(**options))


async def test_an_edit_history_takes_at_most_half_as_deltas(tmp_path: Path) -> None:
    texts = edits(400)
    raw = sum(len(one) for one in texts)
    full = await packed_size(tmp_path / "full", texts, delta=False, with_dictionaries=False)
    known = await packed_size(tmp_path / "dictionary", texts, delta=False)
    deltas = await packed_size(tmp_path / "deltas", texts)
    print(f"raw {raw}, full frames {full}, with a dictionary {known}, deltas {deltas} bytes")
    assert deltas * 2 <= full
    assert deltas < known < full < raw
    chains: dict[str, int] = {}
    for one in plain_frames.read_folder(tmp_path / "deltas").values():
        coding = one.metadata.get("enc", [""])[0]
        chains[one.frame_id] = chains.get(coding[6:], 0) + 1 if coding.startswith("delta:") else 0
    assert 1 < max(chains.values()) <= similar.MAX_CHAIN


async def test_long_contents_and_bytes_become_deltas(tmp_path: Path) -> None:
    rng = random.Random(3)
    block = rng.randbytes(60_000)
    contents = []
    for at in range(12):
        contents.append(block[: at * 4000] + rng.randbytes(500) + block[at * 4000 :])
    assert await packed_size(tmp_path / "archive", contents) < 2.2 * len(block)


async def test_what_is_not_alike_is_no_delta(tmp_path: Path) -> None:
    rng = random.Random(4)
    contents: list[Any] = [" ".join(rng.choices(VOCABULARY, k=60)) for _ in range(50)]
    contents += [rng.randbytes(900) for _ in range(5)] + ["", b"", "short", "short", "a" * 63]
    await packed_size(tmp_path / "archive", contents)
    found = plain_frames.read_folder(tmp_path / "archive").values()
    assert not [one for one in found if one.metadata.get("enc", [""])[0].startswith("delta:")]
    assert all(one.metadata["enc"] == ["raw"] for one in found if isinstance(one.content, bytes))  # noise stays noise
    assert all(one.version == 1 for one in found if isinstance(one.content, str) and len(one.content) < 64)


def test_similarity_is_of_contents() -> None:
    base = (" ".join(edits(1, 400))).encode()
    other = base.replace(base[100:110], b"0123456789", 1)
    assert similar.similarity(base, other) > 0.9
    assert similar.may_be_alike(base, other)
    noise = random.Random(1).randbytes(len(base))
    assert similar.similarity(base, noise) < 0.5
    assert not similar.may_be_alike(base, noise)
    assert not similar.may_be_alike(base, base + base)
    short = b"the quick brown fox jumps over the lazy dog, again and again and again"
    assert similar.similarity(short, short.replace(b"lazy", b"late")) > 0.9
    assert similar.similarity(short, short[::-1]) <= 0.9


async def test_delta_false_is_kept_whole(tmp_path: Path) -> None:
    async with opened(tmp_path / "archive") as archive:
        await archive.append([NewFrame(one, delta=False) for one in edits(20)])
        async for _ in archive.migrate():
            pass
        assert len(await all_frames(archive)) == 20
    found = plain_frames.read_folder(tmp_path / "archive").values()
    assert not [one for one in found if one.metadata.get("enc", [""])[0].startswith("delta:")]


async def test_dictionaries_are_of_a_kind_and_survive_the_loss_of_one_copy(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    async with opened(folder) as archive:
        for kind in ("note", "log"):
            await archive.append([NewFrame(text(at, 40), kind=kind, time_ms=NOW_MS) for at in range(500)])
        frames = await all_frames(archive)
        async for _ in archive.migrate():
            pass
        stats = await archive.stats()
        for share in stats.kinds:
            assert share.bytes < share.raw_bytes * 0.9
    path = next(path for path in files(folder) if path.with_suffix(".index").exists())
    plain = plain_frames.read(path.read_bytes())
    dictionaries = [one for one in plain if one.metadata.get("_kind") == "_dictionary"]
    assert len(dictionaries) == 4  # of two kinds, each twice
    data = bytearray(path.read_bytes())
    data[dictionaries[0].offset + 100] ^= 1
    path.write_bytes(data)
    async with opened(folder) as archive:
        assert await all_frames(archive) == frames
        damage = [one async for step in archive.verify() for one in step.damage]
        assert [(one.offset, one.frame_id) for one in damage] == [(dictionaries[0].offset, "")]
        assert "dictionary" in damage[0].reason
    data[dictionaries[2].offset + 100] ^= 1
    path.write_bytes(data)
    name = dictionaries[0].metadata["_name"]
    gone = {one.frame_id for one in plain if f"zstd:{name}" in one.metadata.get("enc", [])}
    assert len(gone) > 400
    async with opened(folder) as archive:
        assert [one.frame_id for one in await all_frames(archive)] == [
            one.frame_id for one in frames if one.frame_id not in gone
        ]
        told = await archive.why(sorted(gone))
        assert set(told) == gone
        assert all("dictionary" in why for why in told.values())
        damage = [one async for step in archive.verify() for one in step.damage]
        assert {one.frame_id for one in damage} == gone | {""}


async def test_packing_happens_by_itself_when_it_is_quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, 300)
    folder = tmp_path / "archive"
    async with opened(folder, clock=StillClock(NOW_MS * 1_000_000)) as archive:
        await fill(archive, 700, group=50)
        frames = await all_frames(archive)
        await until_packed(archive)
        assert all(segment.info.packed for segment in archive._stock.view.segments)
        assert await all_frames(archive) == frames
    async with opened(folder) as archive:
        await archive.load()
        await until_packed(archive)


def seal(archive: Archive) -> Generator[int, None, None]:
    archive._stock.seal()
    yield 0


async def until_packed(archive: Archive) -> None:
    for _ in range(5000):
        if not archive._stock.unpacked:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it was not packed")


async def test_small_segments_are_put_together(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    async with opened(folder) as archive:
        for at in range(5):
            await archive.append([NewFrame(text(at * 10 + one), time_ms=NOW_MS) for one in range(10)])
            await archive._writing().run(lambda: seal(archive))
        frames = await all_frames(archive)
        async for _ in archive.migrate():
            pass
        assert len(archive._stock.view.segments) == 1
        assert await all_frames(archive) == frames
