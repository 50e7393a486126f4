"""Reads a recording in a thread, one page ahead of who plays it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

from lightfast.engine.journal.reader import Commit, Reader, Samples

PAGE_ITEMS = 500
PAGE_EVENTS = 10_000
"""A page ends with the one that is reached first."""

Page = list[Commit | Samples]


async def pages(path: Path, start: int, end: int) -> AsyncGenerator[Page, None]:
    """Yield what was recorded from *start* up to *end* (in ns since the recording began; below 0: to its end)."""
    reader = await asyncio.to_thread(Reader, path)
    with reader:
        source = _pages(reader, start, end)
        loop = asyncio.get_running_loop()
        coming = loop.run_in_executor(None, next, source, None)
        try:
            while (page := await coming) is not None:
                coming = loop.run_in_executor(None, next, source, None)
                yield page
        finally:
            await asyncio.wait([coming])  # the thread must not read a file that is closed


def _pages(reader: Reader, start: int, end: int) -> Iterator[Page]:
    page: Page = []
    events = 0
    for item in reader.items():
        if not isinstance(item, (Commit, Samples)) or item.at < start:
            continue
        if 0 <= end < item.at:
            break
        page.append(item)
        events += len(item.changes) if isinstance(item, Commit) else len(item.samples)
        if len(page) >= PAGE_ITEMS or events >= PAGE_EVENTS:
            yield page
            page, events = [], 0
    if page:
        yield page
