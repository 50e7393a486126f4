"""What an error means for a step: its reason, what a person reads, and whether trying again may help.

Tried again are errors that pass by themselves: something away for now, too slow, or with a time after which to come
back; of an error that says itself whether it is `retryable`, what it says.
"""

from __future__ import annotations

import asyncio

import structlog

from lightfast.core.errors import DeadlineExceeded, Exhausted, LightfastError, Unavailable
from lightfast.core.redaction import hide
from lightfast.engine.pipeline.slots import Fault
from lightfast.host.guard import failure_of

log = structlog.get_logger("lightfast.pipeline")

LONGEST = 2_000
"""So many characters of an error are kept."""


def fault_of(error: BaseException, step_id: str = "") -> Fault:
    """Return the fault of *error*; what nobody raises on purpose is logged with its trace."""
    said = getattr(error, "retryable", None)
    wait = getattr(error, "retry_after", None)
    after = max(0.0, float(wait)) if isinstance(wait, (int, float)) else 0.0
    if isinstance(error, LightfastError):
        passing = isinstance(error, (Unavailable, DeadlineExceeded)) or (isinstance(error, Exhausted) and after > 0)
        retryable = said if isinstance(said, bool) else passing
        return Fault(error.reason, hide(error.message)[:LONGEST], retryable, after)
    if isinstance(error, asyncio.CancelledError):
        return Fault("CANCELLED", "the operation gave up by itself")
    failure = failure_of(error)
    reason = getattr(error, "reason", "")
    if not isinstance(reason, str) or not reason:
        reason = "OPERATION_FAILED"
        log.warning("operation failed", step=step_id, reason=failure.reason, trace=failure.trace)
    terminal = getattr(error, "terminal", False) is True
    return Fault(reason, failure.reason[:LONGEST], said is True and not terminal, after)
