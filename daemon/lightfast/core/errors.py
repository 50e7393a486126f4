"""The errors of Lightfast.

    LightfastError
    ├── InvalidArgument        what was asked is malformed
    │   └── OutOfBounds        a value lies outside its declared range
    ├── NotFound
    ├── AlreadyExists          a request id was reused with another payload, a name is taken
    ├── Conflict               a precondition failed, others built on a change
    ├── OutOfRange             a revision is gone, belongs to another store, or lies in the future
    ├── FailedPrecondition     it cannot be done in this state
    ├── Unauthenticated        no token, or one that is not known
    ├── Denied                 the token may not
    ├── Exhausted              a bound was reached: a queue, a quota, a disk
    ├── Unavailable            away for now: an application, the store
    ├── DeadlineExceeded       it took longer than it may
    ├── Cancelled              the caller took it back
    └── Unimplemented

Each carries a canonical *status* (the name of a gRPC code), a machine-readable *reason*
(AIP-193) and *metadata* of strings. The edges translate them once per protocol. Wrong
arguments from our own code are bugs and stay `TypeError` and `ValueError`.
"""

from __future__ import annotations

from typing import Any


class LightfastError(Exception):
    """The root; *message* says what was wrong, where, and what to do."""

    status = "INTERNAL"
    reason = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        metadata: dict[str, str] | None = None,
        retry_after: float | None = None,
        field: str | None = None,
        details: tuple[Any, ...] = (),
    ) -> None:
        """*retry_after* is in seconds, *field* names the wrong field, *details* are entries that explain."""
        super().__init__(message)
        self.message = message
        if reason is not None:
            self.reason = reason
        self.metadata = metadata or {}
        self.retry_after = retry_after
        self.field = field
        self.details = details


class InvalidArgument(LightfastError):
    """What was asked is malformed."""

    status = "INVALID_ARGUMENT"
    reason = "INVALID_ARGUMENT"


class OutOfBounds(InvalidArgument):
    """A value lies outside its declared range, or has another type than declared."""

    reason = "VALUE_OUT_OF_RANGE"


class NotFound(LightfastError):
    """There is no such thing."""

    status = "NOT_FOUND"
    reason = "NOT_FOUND"


class AlreadyExists(LightfastError):
    """The name is taken, or a request id was reused with another payload."""

    status = "ALREADY_EXISTS"
    reason = "ALREADY_EXISTS"


class Conflict(LightfastError):
    """A precondition failed, or others built on a change; *details* hold the conflicting entries."""

    status = "ABORTED"
    reason = "PRECONDITION_FAILED"


class OutOfRange(LightfastError):
    """A revision was compacted, lies in the future, or belongs to another store."""

    status = "OUT_OF_RANGE"
    reason = "REVISION_COMPACTED"


class FailedPrecondition(LightfastError):
    """It cannot be done in this state."""

    status = "FAILED_PRECONDITION"
    reason = "FAILED_PRECONDITION"


class Unauthenticated(LightfastError):
    """No token was sent, or one that is not known."""

    status = "UNAUTHENTICATED"
    reason = "TOKEN_REQUIRED"


class Denied(LightfastError):
    """The token does not have the scope."""

    status = "PERMISSION_DENIED"
    reason = "SCOPE_MISSING"


class Exhausted(LightfastError):
    """A bound was reached: a queue, a quota, a disk."""

    status = "RESOURCE_EXHAUSTED"
    reason = "RESOURCE_EXHAUSTED"


class Unavailable(LightfastError):
    """Away for now; trying again later may help."""

    status = "UNAVAILABLE"
    reason = "UNAVAILABLE"


class DeadlineExceeded(LightfastError):
    """It took longer than it may."""

    status = "DEADLINE_EXCEEDED"
    reason = "DEADLINE_EXCEEDED"


class Cancelled(LightfastError):
    """The caller took it back."""

    status = "CANCELLED"
    reason = "CANCELLED"


class Unimplemented(LightfastError):
    """It is not built, or not in this installation."""

    status = "UNIMPLEMENTED"
    reason = "UNIMPLEMENTED"
