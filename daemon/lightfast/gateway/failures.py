"""What the errors of attempts mean: which are tried again, which end it, and how the caller sees them."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from lightfast.core.errors import (
    Exhausted,
    FailedPrecondition,
    InvalidArgument,
    LightfastError,
    NotFound,
    Unavailable,
)
from lightfast.core.redaction import hide
from lightfast.host.guard import failure_of
from lightfast.sdk import PluginError, ProviderError

log = structlog.get_logger("lightfast.gateway")

_ENDING = frozenset(("invalid", "too_large"))
"""No other model can help: it is the request."""
_OF_ACCOUNT = frozenset(("auth", "denied", "limit"))
"""Another account of the same service may help."""
_CLASSES: dict[str, type[LightfastError]] = {
    "invalid": InvalidArgument,
    "context": InvalidArgument,
    "not_found": NotFound,
    "limit": Exhausted,
}


LONGEST = 2000
"""So many characters of an error are told: some services answer with a whole page."""


def ends(error: BaseException, *, filtered_too: bool) -> bool:
    """Say whether no other model is to be tried after *error*; *filtered_too*: also after a filtered answer."""
    kind = getattr(error, "kind", "") if isinstance(error, ProviderError) else ""
    return kind in _ENDING or (filtered_too and kind == "filtered")


def is_of_account(error: BaseException) -> bool:
    """Say whether *error* is about the account that was used."""
    return isinstance(error, ProviderError) and (error.kind in _OF_ACCOUNT or error.terminal)


def may_try_again(error: BaseException) -> bool:
    """Say whether the same may be tried again, after a while."""
    if isinstance(error, ProviderError):
        return error.retryable and not error.terminal
    return isinstance(error, LightfastError) and error.reason in {"CIRCUIT_OPEN", "MEDIA_POOL_FULL"}


def wait_asked(error: BaseException) -> float:
    """Return how long a service asks to wait, in seconds; 0 where it does not say."""
    return max(0.0, getattr(error, "retry_after", None) or 0.0)


def translated(model: str, error: BaseException) -> LightfastError:
    """Translate what a provider raised into the error its caller sees."""
    if isinstance(error, LightfastError):  # a room's: it says itself what to do
        return error
    metadata = {"model": model}
    if isinstance(error, ProviderError):
        kind = _CLASSES.get(error.kind) or (Unavailable if error.retryable else FailedPrecondition)
        metadata["kind"] = error.kind
        wait = error.retry_after if error.retry_after >= 0 else None
        said = hide(f"{model} failed: {error}")[:LONGEST]
        found = kind(said, reason=error.reason, metadata=metadata, retry_after=wait)
        found.__cause__ = error
        return found
    failure = failure_of(error)
    if not isinstance(error, PluginError):
        log.error("a provider raised", model=model, reason=failure.reason, trace=failure.trace)
    reason = "PLUGIN_UNAVAILABLE" if failure.missing else "PROVIDER_FAILED"
    return FailedPrecondition(f"{model} failed: {failure.reason}", reason=reason, metadata=metadata)


def together(failures: Sequence[tuple[str, LightfastError]]) -> LightfastError:
    """Return the one error of all models that failed, each with its last error."""
    _, first = failures[0]
    if len(failures) == 1:
        return first
    said = "; ".join(_short(model, error) for model, error in failures)
    alike = all(error.reason == first.reason for _, error in failures)
    waits = [error.retry_after for _, error in failures if error.retry_after is not None]
    found = (type(first) if alike else Unavailable)(
        f"none of {len(failures)} models has answered: {said}",
        reason=first.reason if alike else "ALL_MODELS_FAILED",
        metadata={"models": ",".join(model for model, _ in failures)},
        retry_after=min(waits, default=None),
    )
    found.__cause__ = first
    return found


def _short(model: str, error: LightfastError) -> str:
    text = error.message.removeprefix(f"{model} failed: ")
    return f"{model}: {text:.300}"
