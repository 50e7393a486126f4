"""What the index does in the background gives way, and ends its rest for whoever waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.archive.test_archive_search_archive import Toy
from tests.support.archives import opened, text

from lightfast.storage.archive.records import NewFrame, Query
from lightfast.storage.archive.search import index, pace
from lightfast.storage.archive.search.pace import Pace


def resting(monkeypatch: pytest.MonkeyPatch) -> tuple[Pace, threading.Thread]:
    """Return a pace with a thread that rests for an hour."""
    monkeypatch.setattr(pace, "LONGEST_S", 3600.0)
    monkeypatch.setattr(pace, "FEW_SHARE", 1e12)
    monkeypatch.setattr(pace, "HOT_S", 3600.0)
    found = Pace()
    found.appended()
    found.begin()
    thread = threading.Thread(target=found.rest, args=(1,), daemon=True)
    thread.start()
    return found, thread


def hurried(found: Pace) -> Callable[[], None]:
    def hurry() -> None:
        with found.hurry(), found.hurry():
            pass
        with found.hurry():
            found.rest(1)  # nobody rests meanwhile

    return hurry


@pytest.mark.parametrize("how", ["hurry", "stop"])
def test_a_rest_ends_for_whoever_waits(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found, thread = resting(monkeypatch)
    assert thread.is_alive()
    if how == "hurry":
        with found.hurry():
            thread.join(60)
        hurried(found)()
    else:
        found.stop()
        thread.join(60)
        found.rest(1)
    assert not thread.is_alive()


async def test_a_search_does_not_wait_for_the_rest_of_the_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index is far behind and rests for an hour after each slice; what was appended is found all the same."""
    for name, value in (("LONGEST_S", 3600.0), ("HOT_S", 3600.0), ("FEW_SHARE", 1e12)):
        monkeypatch.setattr(pace, name, value)
    monkeypatch.setattr(index, "MAX_UNSEEN", 50)
    monkeypatch.setattr(index, "MAX_BEHIND", 50)
    async with opened(tmp_path / "archive") as archive:
        for begin in range(0, 600, 100):
            await archive.append([NewFrame(text(begin + at)) for at in range(99)] + [NewFrame(f"needle n{begin}")])
            async with asyncio.timeout(60):
                found = await archive.search(Query("needle", limit=100))
            assert len(found) == begin // 100 + 1


async def test_far_behind_it_catches_up_a_stride_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Private frames among the others, which come first when the index is brought up to date, are not forgotten."""
    monkeypatch.setattr(index, "STRIDE", 7)
    async with opened(tmp_path / "archive", sealer=Toy()) as archive:
        await archive.append([NewFrame("needle")])
        assert len(await archive.search(Query("needle"))) == 1
        for begin in range(0, 60, 20):
            frames = [NewFrame(f"needle {at}", private=at % 3 == 0) for at in range(begin, begin + 20)]
            await archive.append(frames)
        assert len(await archive.search(Query("needle", limit=100))) == 61
        assert archive.index.figures()["index.open"] == 61
