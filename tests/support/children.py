"""Children whose words a test reads: one that falls silent is ended, so that the reader hears of it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_S = 120.0


@contextmanager
def watched(process: subprocess.Popen[str], what: str, within: float = PATIENCE_S) -> Iterator[None]:
    """Kill *process* if it is still read from after *within* seconds: a read that blocks ends then, and so do we.

    For reads that block a thread, or the loop with all its timeouts.
    """
    late = threading.Event()

    def end() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(within, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as error:
        if late.is_set():
            raise AssertionError(
                f"{what} did not say what was waited for within {within:g} s, and was ended"
            ) from error
        raise
    finally:
        timer.cancel()
        timer.join(10)
