"""The end of the process comes, whatever hangs: a thread that never returns must not hold up the next daemon.

The stages of the stop have budgets, but cannot bound a task that lets no cancellation through, nor what Python itself
waits for behind them: the threads of the executor, and each other that is no daemon thread.
"""

from __future__ import annotations

import contextlib
import os
import threading

import structlog

from lightfast.app.stages import APPS_S, CONTEXT_S, STORAGE_S, WIRES_S

log = structlog.get_logger("lightfast.daemon")

STOP_S = WIRES_S + APPS_S + CONTEXT_S + STORAGE_S + 5.0
"""So long after the signal the process is gone; the service manager's patience is longer."""
LAST_S = 15.0
"""So long after the last stage the process is gone."""
NAME = "lightfast-ending"
TELLING_S = 2.0
"""So long it may take to say that it had to be cut."""


def stop_within_budgets() -> None:
    """End this process, as it is to stop, when it has not stopped after the budgets of all stages."""
    end_within(STOP_S)


def end_within(seconds: float, code: int = 1) -> None:
    """End this process in *seconds* with *code*, unless it has ended by then."""
    timer = threading.Timer(seconds, _end, (seconds, code))
    timer.name = NAME
    timer.daemon = True
    timer.start()


def _end(seconds: float, code: int) -> None:
    # Whoever should read the log may be what hangs.
    with contextlib.suppress(RuntimeError):
        telling = threading.Thread(target=_tell, args=(seconds,), daemon=True, name=NAME)
        telling.start()
        telling.join(TELLING_S)
    os._exit(code)


def _tell(seconds: float) -> None:
    left = [thread.name for thread in threading.enumerate() if thread.name != NAME]
    log.error("the process did not end by itself and is cut", after_s=seconds, threads=left)
