"""Makes drafts of many changes: in slices, between which the loop does what else there is to do.

A transaction is checked against one state of the store, so a draft is worth nothing once that has moved on: then it is
made anew, the last time all at once. Signals move without a commit: from the first one on there is no pause any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from weakref import WeakValueDictionary

from lightfast.context.draft import Draft
from lightfast.context.entry import Event, Mutation
from lightfast.context.ledger import Ledger
from lightfast.core.errors import InvalidArgument, LightfastError

MAX_MUTATIONS = 10_000
"""The most mutations of one transaction."""
SLICE = 500
"""After so many changes the loop gets its turn."""
TRIES = 4


class Turns:
    """Keeps the writes of one origin in the order they came: while a large one is made, the next ones wait."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # as long as somebody has one

    def of(self, origin: str, *, large: bool) -> AbstractAsyncContextManager[None]:
        """Return what to hold while a write of *origin* is made and `put`."""
        lock = self._locks.get(origin)
        if lock is None:
            if not large:
                return _AT_ONCE
            lock = self._locks[origin] = asyncio.Lock()
        return lock


_AT_ONCE = nullcontext()


async def made(
    ledger: Ledger, begin: Callable[[], Draft], fill: Callable[[Draft], Iterator[None]], tries: int = TRIES
) -> Draft:
    """Return a draft that *begin* returned and *fill* filled; it must be `put` before the loop goes on.

    *begin* checks what the draft depends on, and is called for each new one. What *fill* yields are the ends of slices.
    What either raises was found against the state as it is now.
    """
    while True:
        tries -= 1
        draft = begin()
        if await _filled(draft, ledger, fill, pausing=tries > 0):
            return draft


async def _filled(draft: Draft, ledger: Ledger, fill: Callable[[Draft], Iterator[None]], *, pausing: bool) -> bool:
    """Fill *draft*; return `False` where it was overtaken."""
    stamp = ledger.stamp
    seen = 0
    for _ in fill(draft):
        pausing = pausing and not any(_moves(event) for event in draft.events[seen:])
        seen = len(draft.events)
        if pausing:
            await asyncio.sleep(0)
            if ledger.stamp != stamp:
                return False
    return True


def _moves(event: Event) -> bool:
    return event.entry.signal or (event.previous is not None and event.previous.signal)


def add(draft: Draft, mutations: Sequence[Mutation]) -> Iterator[None]:
    """Add all *mutations*, or raise what is wrong with the first bad one, naming its position; yields after slices."""
    if len(mutations) > MAX_MUTATIONS:
        raise InvalidArgument(
            f"{len(mutations)} mutations in one transaction, the most is {MAX_MUTATIONS}: split it",
            reason="TRANSACTION_TOO_LARGE",
            field="mutations",
        )
    for index, mutation in enumerate(mutations):
        if index and not index % SLICE:
            yield
        try:
            draft.change(mutation)
        except LightfastError as error:
            error.field = f"mutations[{index}]" + (f".{error.field}" if error.field else "")
            raise
        except ValueError as error:
            raise InvalidArgument(f"mutations[{index}]: {error}", field=f"mutations[{index}]") from None
