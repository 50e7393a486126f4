"""The heap of the process: what stays is not looked at again, and what was freed goes back to the system."""

from __future__ import annotations

import asyncio
import gc

_M_ARENA_MAX = -8
"""A parameter of mallopt(3)."""
_ARENAS = 2
SETTLES_S = (5.0, 55.0, 240.0)
"""How long after the start, each counted from the one before, what is there by then is taken to stay."""


def share_arenas() -> None:
    """Let threads that start from now on share two arenas: of the many each would have, most would lie idle."""
    import ctypes

    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_M_ARENA_MAX, _ARENAS)


def give_back_memory() -> None:
    """Return freed memory of the C heap to the system; blocks for some ms."""
    import ctypes

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


async def settle_heap() -> None:
    """Take what is there some time after the start out of the collector's sight, a few times.

    Much is loaded by the first who needs it. A collection of everything would look at all of it again, and keep the
    event loop waiting for 50 to 100 ms each time. What becomes garbage in a cycle after that stays: a few modules.
    """
    for seconds in SETTLES_S:
        await asyncio.sleep(seconds)
        gc.collect()
        gc.freeze()
