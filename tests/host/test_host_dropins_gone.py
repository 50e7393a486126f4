"""A watched folder that is deleted and made again is watched again."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from lightfast.host.dropins import DropinWatch


async def test_a_folder_that_comes_back_is_watched_again(tmp_path: Path) -> None:
    folder = tmp_path / "watched"
    folder.mkdir()
    changed: list[str] = []
    watch = DropinWatch(folder, lambda path: changed.append(path.name), debounce=0.01, suffixes=())
    await asyncio.to_thread(watch.start)

    async def told(name: str) -> None:
        async with asyncio.timeout(60):
            while name not in changed:
                await asyncio.sleep(0.01)

    try:
        (folder / "first").write_text("1")
        await told("first")
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / "meanwhile").write_text("2")
        await told("meanwhile")
        (folder / "later").write_text("3")
        await told("later")
    finally:
        await asyncio.to_thread(watch.close)


async def test_a_folder_that_stays_away_does_not_keep_the_watch_from_ending(tmp_path: Path) -> None:
    folder = tmp_path / "watched"
    folder.mkdir()
    watch = DropinWatch(folder, lambda _: None, debounce=0.01)
    await asyncio.to_thread(watch.start)
    shutil.rmtree(folder)
    async with asyncio.timeout(60):
        while watch._mending is None:
            await asyncio.sleep(0.01)
    mending = watch._mending
    await asyncio.to_thread(watch.close)
    assert mending.cancelled() or watch._mending is not mending  # or it looked for the last time at that moment
    assert not folder.exists()
