"""From a failed call to one of the typed errors of `lightfast.core.errors`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode
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
        if error.code() is StatusCode.CANCELLED and is_closed():
            raise _closed() from None
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


class Source:
    """The messages of a caller for a call, and what went wrong in them: gRPC ends the call and says nothing of that."""

    def __init__(self, messages: AsyncIterator[Any]) -> None:
        self._messages = messages
        self._error: Exception | None = None

    async def each(self) -> AsyncIterator[Any]:
        """Yield the messages, to gRPC."""
        try:
            async for message in self._messages:
                yield message
        except Exception as error:
            self._error = error
            raise

    @contextmanager
    def told(self) -> Iterator[None]:
        """Raise in the block, which makes the call, what was raised in the messages."""
        try:
            yield
        except (asyncio.CancelledError, errors.LightfastError):  # how the call ends depends on who hears of it first
            task = asyncio.current_task()
            if self._error is None or (task and task.cancelling()):
                raise
            raise self._error from None


def _closed() -> errors.Cancelled:
    return errors.Cancelled("the client is closed: open a new one", reason="CLIENT_CLOSED")


_NOT_REACHED = re.compile(r"(?:ipv4:|ipv6:|unix:)([^ ]+): Failed to connect to remote host: (.+)$")


def _gone(details: str) -> str:
    found = _NOT_REACHED.search(details)
    if found:
        return f"no daemon answers at {found[1]} ({found[2]}): is it running? Start one with 'lightfastd'"
    return f"the connection to the daemon broke ({details}): is it still running? See 'lightfast status'"


_TOO_LARGE = re.compile(r"message larger than max \((\d+) vs\. (\d+)\)")


def _told(kind: type[errors.LightfastError], details: str) -> str:
    """Return what to say of an error that gRPC itself raised, in its own terse words; empty to leave it at those."""
    if kind is errors.DeadlineExceeded:
        return "the daemon did not answer in time: it is busy, or hangs. Try again, and look at 'lightfast doctor'"
    if found := _TOO_LARGE.search(details):
        size, most = (f"{int(number):,}" for number in found.groups())
        return f"a message of {size} bytes is too large for one call, which may carry {most}: send or ask for less"
    return ""


def translate(error: AioRpcError) -> errors.LightfastError:
    """Return the typed error of *error*, with the reason, the metadata and the entries the daemon sent."""
    kind = _BY_STATUS.get(error.code().name, errors.LightfastError)
    status = status_pb2.Status()
    for key, blob in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(blob, bytes):
            status.ParseFromString(blob)
    # A daemon gives its reasons. One that stops cancels, without a word, the calls that come to it just then.
    if kind in (errors.Unavailable, errors.Cancelled) and not status.details:
        return DaemonGone(_gone(error.details() or ""))
    if not status.details and (told := _told(kind, error.details() or "")):
        return kind(told)
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
