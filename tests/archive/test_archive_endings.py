"""The end of an archive and of its layers: whatever goes wrong in their threads, nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from tests.support.archives import opened

from lightfast.storage.archive import layer as layers
from lightfast.storage.archive.archive import Archive
from lightfast.storage.archive.holdings import Holdings
from lightfast.storage.archive.records import NewFrame
from lightfast.storage.archive.significance.layer import SignificanceLayer


async def test_files_that_cannot_be_closed_do_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asyncio.timeout(120):
        async with opened(tmp_path / "archive") as archive:
            await archive.append([NewFrame("one")])
            with monkeypatch.context() as patch:

                def fails(_: Any) -> None:
                    raise OSError(5, "Input/output error")

                patch.setattr(Holdings, "close", fails)
                await archive.close()
            archive._stock.close()
        async with opened(tmp_path / "archive") as archive:
            assert [frame.content for frame in (await archive.get(await ids(archive))).values()] == ["one"]


async def ids(archive: Archive) -> list[str]:
    return await archive.run(lambda reader: [frame.frame_id for frame in reader.scan()])


async def test_work_that_cannot_be_cut_off_in_order_does_not_hold_up_the_end(tmp_path: Path) -> None:
    def stubborn() -> Generator[int, None, None]:
        try:
            while True:
                yield 1
        finally:
            raise ValueError("it does not like to be cut off")

    async with asyncio.timeout(120), opened(tmp_path / "archive") as archive:
        await archive.append([NewFrame("one")])
        told: asyncio.Event = asyncio.Event()
        work = archive._writing().run(stubborn, lambda _: told.set())
        await told.wait()
        await archive.close()
        with pytest.raises(asyncio.CancelledError):
            await work


async def test_frames_that_come_while_a_layer_reads_are_taken_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than wait in memory: the layer has to read again, though what it was reading had ended."""
    monkeypatch.setattr(layers, "WAITING", 4)
    async with asyncio.timeout(120), opened(tmp_path / "archive") as archive:
        await archive.append([NewFrame("the first")])
        layer = SignificanceLayer(archive, archive.folder, rest=0.0)
        read, came = archive.run, list[bool]()

        async def run(function: Any) -> Any:
            found = await read(function)
            if not came:
                came.append(True)
                await archive.append([NewFrame(f"number {number}") for number in range(10)])
            return found

        monkeypatch.setattr(archive, "run", run)
        layer.start()
        try:
            await layer.settled()
            assert came
            assert layer.position == 10
        finally:
            await layer.close()
