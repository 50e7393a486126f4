"""From a failed call to one of the typed errors of `lightfast.core.errors`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from google.rpc import error_details_pb2, status_pb2
from grpc.aio import AioRpcError, UsageError

from lightfast.api.v1 import types_pb2
from lightfast.core import errors

_BY_STATUS: dict[str, type[errors.LightfastError]] = {
    "INVALID_ARGUMENT": errors.InvalidArgument,
    "NOT_FOUND": errors.NotFound,
    "ALREADY_EXISTS": errors.AlreadyExists,
    "ABORTED": errors.Conflict,
    "OUT_OF_RANGE": errors.OutOfRange,
    "FAILED_PRECONDITION": errors.FailedPrecondition,
    "UNAUTHENTICATED": errors.Unauthenticated,
    "PERMISSION_DENIED": errors.Denied,
    "RESOURCE_EXHAUSTED": errors.Exhausted,
    "UNAVAILABLE": errors.Unavailable,
    "DEADLINE_EXCEEDED": errors.DeadlineExceeded,
    "CANCELLED": errors.Cancelled,
    "UNIMPLEMENTED": errors.Unimplemented,
}
_BY_REASON = {"VALUE_OUT_OF_RANGE": errors.OutOfBounds}


class DaemonGone(errors.Unavailable):
    """No daemon answers at the address."""

    reason = "NO_DAEMON"


@contextmanager
def translated(is_closed: Callable[[], bool]) -> Iterator[None]:
    """Turn what gRPC raises in the block into typed errors; `Cancelled` where the client was closed meanwhile."""
    try:
        yield
    except AioRpcError as error:
        raise translate(error) from None
    except UsageError:
        raise _closed() from None
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if is_closed() and not (task and task.cancelling()):
            raise _closed() from None  # not the task was cancelled, but the call, by the closing of its channel
        raise


async def stream(start: Callable[[], Any], is_closed: Callable[[], bool]) -> AsyncGenerator[Any, None]:
    """Start a streaming call and yield its messages, with typed errors; whoever leaves early ends the call, too."""
    with translated(is_closed):
        call = start()
    try:
        with translated(is_closed):
            async for message in call:
                yield message
    finally:
        call.cancel()


def _closed() -> errors.Cancelled:
    return errors.Cancelled("the client is closed: open a new one", reason="CLIENT_CLOSED")


_NOT_REACHED = re.compile(r"(?:ipv4:|ipv6:|unix:)([^ ]+): Failed to connect to remote host: (.+)$")


def _gone(details: str) -> str:
    found = _NOT_REACHED.search(details)
    if found:
        return f"no daemon answers at {found[1]} ({found[2]}): is it running? Start one with 'lightfastd'"
    return f"the connection to the daemon broke ({details}): is it still running? See 'lightfast status'"


def translate(error: AioRpcError) -> errors.LightfastError:
    """Return the typed error of *error*, with the reason, the metadata and the entries the daemon sent."""
    kind = _BY_STATUS.get(error.code().name, errors.LightfastError)
    status = status_pb2.Status()
    for key, blob in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(blob, bytes):
            status.ParseFromString(blob)
    if kind is errors.Unavailable and not status.details:
        return DaemonGone(_gone(error.details() or ""))
    reason: str | None = None
    metadata: dict[str, str] = {}
    retry_after: float | None = None
    entries = []
    info, retry, entry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo(), types_pb2.Entry()
    for detail in status.details:
        if detail.Unpack(info):
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
        elif detail.Unpack(entry):
            copy = types_pb2.Entry()
            copy.CopyFrom(entry)
            entries.append(copy)
    kind = _BY_REASON.get(reason or "", kind)
    return kind(
        error.details() or error.code().name,
        reason=reason or kind.reason,
        metadata=metadata,
        retry_after=retry_after,
        details=tuple(entries),
    )
