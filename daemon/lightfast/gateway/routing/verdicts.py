"""What an attempt says about a service: the verdict that its circuit and its health are told."""

from __future__ import annotations

from enum import StrEnum

from lightfast.core.errors import Cancelled, DeadlineExceeded, LightfastError
from lightfast.gateway.ports import Attempt
from lightfast.sdk import PluginError, ProviderError

PATIENCE_S = 10.0
"""A service that said nothing for so long has failed, when the deadline passes; a shorter deadline is the caller's."""
_OF_SERVICE = frozenset(("unavailable", "timeout", "overloaded"))
"""Kinds that speak against the service as a whole."""
_OF_MODEL = frozenset(("malformed", "too_large", "not_found"))
"""Kinds that speak against one model only."""
_REASONS = {
    "PROVIDER_UNAVAILABLE": "unavailable",
    "PROVIDER_OVERLOADED": "overloaded",
    "PROVIDER_TIMEOUT": "timeout",
    "PROVIDER_MALFORMED": "malformed",
    "PLUGIN_CRASHED": "unavailable",
    "ANSWER_TOO_LARGE": "too_large",
    "MODEL_NOT_FOUND": "not_found",
}


class Verdict(StrEnum):
    """What an attempt says: it works, the model fails, the whole service fails, or nothing."""

    WORKS = "works"
    MODEL = "model"
    SERVICE = "service"
    NOTHING = "nothing"


def verdict(attempt: Attempt) -> Verdict:
    """Return what *attempt* says about its service.

    Nothing: it was cancelled; the request was wrong, too long or filtered; the account is at its limit or is refused; a
    failure that the provider itself calls final, for this request. What a provider did not raise on purpose speaks
    against its model.
    """
    if attempt.outcome == "ok":
        return Verdict.WORKS
    error = attempt.error
    if attempt.outcome != "error" or error is None or isinstance(error, Cancelled):
        return Verdict.NOTHING
    told = provider_error(error)
    if told is not None:
        if told.kind == "failed":
            return Verdict.MODEL if told.retryable else Verdict.NOTHING
        return _of_kind(told.kind)
    if isinstance(error, DeadlineExceeded | TimeoutError):
        return Verdict.SERVICE if not attempt.first and attempt.duration >= PATIENCE_S else Verdict.NOTHING
    if isinstance(error, LightfastError):
        return _of_kind(_REASONS.get(error.reason, ""))
    return Verdict.NOTHING if isinstance(error, PluginError) else Verdict.MODEL


def provider_error(error: BaseException) -> ProviderError | None:
    """Return what the provider raised: *error*, or the nearest of its causes."""
    seen: BaseException | None = error
    for _ in range(8):
        if seen is None or isinstance(seen, ProviderError):
            return seen
        seen = seen.__cause__
    return None


def _of_kind(kind: str) -> Verdict:
    if kind in _OF_SERVICE:
        return Verdict.SERVICE
    return Verdict.MODEL if kind in _OF_MODEL else Verdict.NOTHING
