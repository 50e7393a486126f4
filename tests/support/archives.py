"""Archives for tests: small segments, a clock that stands still, a shell around open and close."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from lightfast.core.clock import StillClock
from lightfast.storage.archive import stock
from lightfast.storage.archive.archive import Archive
from lightfast.storage.archive.holdings import Holdings
from lightfast.storage.archive.progress import Progress
from lightfast.storage.archive.records import Frame, NewFrame, Options

NOW_MS = 1_794_000_000_000
"""2026-11-06."""


@asynccontextmanager
async def opened(folder: Path, **options: Any) -> AsyncIterator[Archive]:
    """Open an archive, and close it."""
    clock = options.pop("clock", None) or StillClock(NOW_MS * 1_000_000)
    sealer = options.pop("sealer", None)
    archive = await Archive.open(folder, options=Options(**options), clock=clock, sealer=sealer)
    try:
        yield archive
    finally:
        await archive.close()


def small(monkeypatch: pytest.MonkeyPatch, frames: int = 64, length: int = 1 << 20) -> None:
    """Seal open segments early."""
    monkeypatch.setattr(stock, "MAX_TAIL_FRAMES", frames)
    monkeypatch.setattr(stock, "MAX_TAIL_LENGTH", length)


def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nothing packed by itself: files stay as they are while a test, which may be slow, looks at them."""
    monkeypatch.setattr(Holdings, "has_upkeep", False)


async def all_frames(archive: Archive, **options: Any) -> list[Frame]:
    """Return all frames of a scan."""
    return await archive.run(lambda reader: list(reader.scan(**options)))


async def fill(archive: Archive, count: int, *, size: int = 8, kind: str = "note", group: int = 20) -> list[str]:
    """Append *count* frames with texts that differ."""
    ids: list[str] = []
    for begin in range(0, count, group):
        frames = [NewFrame(text(at, size), kind=kind) for at in range(begin, min(begin + group, count))]
        ids += await archive.append(frames)
    return ids


def text(number: int, words: int = 8) -> str:
    """Return a text of its own for a number; neighbours are not alike."""
    state = number * 2_654_435_761 + 12_345
    found = []
    for _ in range(words):
        state = (state * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % (1 << 64)
        found.append(VOCABULARY[(state >> 33) % len(VOCABULARY)])
    return f"{number} " + " ".join(found)


VOCABULARY = [
    "light",
    "tempo",
    "camera",
    "shader",
    "mixer",
    "cube",
    "warm",
    "blue",
    "render",
    "track",
    "loop",
    "bar",
    "beat",
    "filter",
    "scene",
    "palette",
    "cursor",
    "layer",
    "gate",
    "chorus",
    "reverb",
    "frame",
    "mesh",
    "curve",
    "noise",
    "grid",
    "lens",
    "ink",
    "paper",
    "cloud",
    "river",
    "stone",
    "copper",
    "velvet",
    "amber",
]


async def finished(steps: Any) -> tuple[Progress, list[Any]]:
    """Return the last step of long work, and all damage that was told."""
    last: Progress | None = None
    damage: list[Any] = []
    async for step in steps:
        damage += step.damage
        last = step
    assert last is not None
    assert last.done
    return last, damage


def files(folder: Path, suffix: str = ".frames") -> Sequence[Path]:
    """Return the files of all shards."""
    return sorted((folder / "shards").glob(f"*/*/*{suffix}"))
