"""The history around a block of the archive that cannot be read: all the rest is told, and the gap is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.context.test_context_tiers import filled, tiered
from tests.support.frames import Frames
from tests.support.grpc_daemon import running
from tests.support.store import House

from lightfast.api.v1 import context_pb2 as pb
from lightfast.app.cli import past
from lightfast.context.entry import Transaction
from lightfast.context.records import Gap, HistoryPage


async def pages(house: House, pattern: str, size: int, **bounds: int) -> tuple[list[Transaction], list[Gap]]:
    """Return the history page by page, and what was missing of it."""
    found: list[Transaction] = []
    missing: list[Gap] = []
    token = ""
    while True:
        page = await house.store.history(pattern, page_size=size, page_token=token, **bounds)
        found += page.transactions
        missing += page.missing
        token = page.next_page_token
        if not token:
            return found, missing


@pytest.mark.parametrize("size", [1000, 7, 1])
async def test_the_history_around_a_block_that_cannot_be_read_is_told(tmp_path: Path, size: int) -> None:
    frames = Frames()
    async with tiered(tmp_path, frames) as house:
        await filled(house)
        await house.store.tiers.demote(40)
        blocks = await house.db.query("SELECT frame, first_revision, last_revision FROM blocks ORDER BY first DESC")
        assert len(blocks) >= 3
        whole, nothing = await pages(house, "//", size)
        assert nothing == []
        newest, second, last = blocks[0], blocks[1], blocks[-1]
        for hurt in ([newest], [last], [newest, second], [newest, last]):
            frames.lost = {frame: "damaged: the checksum does not fit" for frame, _, _ in hurt}
            house.store.tiers.forget()
            gone = {revision for _, begin, end in hurt for revision in range(begin, end + 1)}
            found, missing = await pages(house, "//", size)
            assert missing == [Gap(begin, end, frame, frames.lost[frame]) for frame, begin, end in hurt]
            assert [each.revision for each in found] == [each.revision for each in whole if each.revision not in gone]
            for was, now in zip([each for each in whole if each.revision not in gone], found, strict=True):
                assert [event.entry for event in now.events] == [event.entry for event in was.events]
                for old, new in zip(was.events, now.events, strict=True):
                    lies_there = old.previous is not None and old.previous.revision in gone
                    assert new.previous == (None if lies_there else old.previous)
            # Bounds that lie in what cannot be read.
            begin, end = hurt[0][1:]
            found, missing = await pages(house, "/a", size, after=begin, until=end)
            assert (found, [gap.frame for gap in missing]) == ([], [hurt[0][0]])
            found, missing = await pages(house, "/a", size, after=end)
            assert len(found) == house.store.revision - end
            assert [gap.frame for gap in missing] == [hurt[0][0]]  # what was there before the first of them


async def test_a_gap_is_sent_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gap = Gap(3, 7, "0123456789abcdef", "damaged: the checksum does not fit")

    async def history(*_: Any) -> HistoryPage:
        return HistoryPage((), 9, "", 0, (gap,))

    async with running(tmp_path) as daemon:
        monkeypatch.setattr(daemon.store, "history", history)
        response = await (await daemon.stub()).History(pb.HistoryRequest())
    (sent,) = response.missing
    assert Gap(sent.first_revision, sent.last_revision, sent.frame_id, sent.reason) == gap
    past._history(
        {"missing": [{"first_revision": "3", "last_revision": "7", "frame_id": gap.frame, "reason": gap.why}]}, {}
    )
    shown = capsys.readouterr().err
    assert "the revisions 3 to 7 cannot be read" in shown
    assert gap.frame in shown
    assert gap.why in shown
