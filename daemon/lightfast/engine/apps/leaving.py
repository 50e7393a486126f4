"""How an application leaves the tree: what it reported last is committed, and what was settled becomes stale."""

from __future__ import annotations

import asyncio

import structlog

from lightfast.context.entry import Mutation, Report, Status
from lightfast.context.store import Store
from lightfast.engine.apps.presence import ORIGIN as DAEMON
from lightfast.engine.apps.recorder import Recorder

log = structlog.get_logger("lightfast.apps")

LEAVE_BUDGET = 10.0
"""Seconds in which what an application reported last must be committed when it leaves."""


async def leave(store: Store, recorder: Recorder, mount: str, reason: str) -> None:
    """Commit what *recorder* holds and show the settled entries of *mount* as stale, within `LEAVE_BUDGET`.

    From then on its values stay in memory only as long as there is room.
    """
    why = f"{mount} is away: {reason}"
    try:
        async with asyncio.timeout(LEAVE_BUDGET):
            await recorder.drained()
            stale: list[Mutation] = [
                Report(entry.path, Status.STALE, reason=why)
                for entry in store.resident(mount + "//")
                if entry.status is Status.SETTLED
            ]
            if stale:
                recorder.add_together(stale, origin=DAEMON, label=why, compared=store.revision)
                await recorder.drained()
    except TimeoutError:
        log.exception("the last reports of an application are not committed", mount=mount)
    await store.cache.release(mount)
