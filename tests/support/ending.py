"""The end of what a test has begun: within a bound, and where that is not kept, with what it stands at."""

from __future__ import annotations

import asyncio
import io
from typing import Any

END_S = 60.0


async def ended(task: asyncio.Future[Any], what: str, within: float = END_S) -> None:
    """Cancel *task* and see that it ends; what it raised is let be."""
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=within)
    if not done:
        stack = io.StringIO()
        if isinstance(task, asyncio.Task):
            task.print_stack(file=stack)
        raise AssertionError(f"{what} did not end within {within:g} s of its cancellation:\n{stack.getvalue()}")
    if not task.cancelled():
        task.exception()  # looked at: else it is told when it is thrown away
