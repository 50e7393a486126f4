"""What Gemini's errors mean: those of google.rpc, with details and without headers about limits.

https://ai.google.dev/gemini-api/docs/troubleshooting and /rate-limits: a day's quota is whole again at midnight,
Pacific time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from lightfast.sdk import Limit, Limits, ProviderError, Session
from lightfast_providers._common import bounded
from lightfast_providers._common.limits import duration
from lightfast_providers._common.rest import hidden

if TYPE_CHECKING:
    from google.genai.errors import APIError

SERVICE = "Gemini"
_STATUSES = {
    "INVALID_ARGUMENT": "invalid", "FAILED_PRECONDITION": "denied", "OUT_OF_RANGE": "invalid",
    "UNAUTHENTICATED": "auth", "PERMISSION_DENIED": "denied", "NOT_FOUND": "not_found",
    "RESOURCE_EXHAUSTED": "limit", "CANCELLED": "unavailable", "INTERNAL": "unavailable", "UNKNOWN": "unavailable",
    "UNAVAILABLE": "overloaded", "DEADLINE_EXCEEDED": "timeout", "ABORTED": "unavailable",
}  # fmt: skip
_CODES = {
    400: "invalid", 401: "auth", 403: "denied", 404: "not_found", 413: "context", 429: "limit", 499: "unavailable",
    503: "overloaded", 504: "timeout",
}  # fmt: skip
_KEY_REASONS = frozenset(("API_KEY_INVALID", "API_KEY_EXPIRED", "ACCESS_TOKEN_EXPIRED", "CREDENTIALS_MISSING"))
_BAD_KEY = re.compile(r"API key (?:not valid|expired|not found)", re.IGNORECASE)
_LONG = re.compile(r"token count .*exceeds|exceeds the maximum number of tokens", re.IGNORECASE)
_RETRY = re.compile(r"retry in (\d+(?:\.\d+)?)s", re.IGNORECASE)
_ZERO = re.compile(r"\blimit: 0\b")
_ENDS = {
    **dict.fromkeys(("STOP", "FINISH_REASON_UNSPECIFIED"), "stop"),
    **dict.fromkeys(("MAX_TOKENS", "CONTINUATION"), "length"),
    **dict.fromkeys(
        (
            *("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR"),
            *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"),
        ),
        "filtered",
    ),
}


def ending(reason: Any) -> str:
    """Return why an answer ended, of `finishReason`: as `Finish` says, or `failed` where there is no answer."""
    return _ENDS.get(str(getattr(reason, "value", reason)), "failed")


def stopped(reason: Any) -> ProviderError:
    """Return the error for an answer that ended, or was blocked, by *reason*."""
    name = str(getattr(reason, "value", reason))
    if ending(reason) == "failed":
        return ProviderError(f"{SERVICE} ended without an answer ({name})", kind="failed", retryable=True)
    return ProviderError(f"{SERVICE} gave no answer, by its policy ({name})", kind="filtered")


def blocked(reason: Any) -> ProviderError:
    """Return the error for a prompt that was blocked: `promptFeedback.blockReason`."""
    name = str(getattr(reason, "value", reason))
    return ProviderError(f"{SERVICE} takes no such prompt, by its policy ({name})", kind="filtered")


def explained(error: BaseException, session: Session, *, paid: bool = False) -> ProviderError:
    """Return what an error of the SDK, or of the HTTP client under it, means; its key is hidden.

    *paid*: what was asked for costs, and goes on although its answer is lost: to ask again could cost twice.
    """
    import httpx2
    from google.genai import errors

    if wrapped := bounded.found_in(error):
        return wrapped
    if isinstance(error, errors.APIError):
        return _refused(error, session)
    if isinstance(error, httpx2.TimeoutException | TimeoutError):
        return ProviderError(f"{SERVICE} did not answer in time", kind="timeout", retryable=False if paid else None)
    if isinstance(error, httpx2.HTTPError | OSError):
        what = hidden(" ".join(str(error).split()), session.key) or type(error).__name__
        sent = paid and not isinstance(error, httpx2.ConnectError)
        return ProviderError(
            f"the connection to {SERVICE} failed: {what}", kind="unavailable", retryable=False if sent else None
        )
    return unreadable(type(error).__name__)


def unreadable(what: str) -> ProviderError:
    """Return the error for an answer that is none."""
    return ProviderError(f"{SERVICE} answered with what cannot be read ({what})", kind="malformed")


def _refused(error: APIError, session: Session) -> ProviderError:
    code = error.code or 0
    message = " ".join(str(error.message or "").split())
    kind = _STATUSES.get(str(error.status)) or _CODES.get(code, "unavailable" if code >= 500 else "failed")
    details = list(_details(error.details))
    if kind in {"invalid", "denied"}:
        reasons = {str(each.get("reason")) for each in details}
        if reasons & _KEY_REASONS or _BAD_KEY.search(message):
            kind = "auth"
        elif _LONG.search(message):
            kind = "context"
    shown = hidden(message, session.key)[:300] or "it says nothing more"
    said = f"{SERVICE} refused ({error.status or code}): {shown}"
    if kind != "limit":
        return ProviderError(said, kind=kind)
    return _limited(said, message, details, _headers(error))


def _limited(said: str, message: str, details: list[Mapping[str, Any]], headers: Mapping[str, str]) -> ProviderError:
    """Return a 429: how long to wait is in `RetryInfo`, what ran out in `QuotaFailure`; a limit of 0 is never whole."""
    wait = _wait(message, details)
    found, daily = [], False
    never = bool(_ZERO.search(message))
    for each in (each for detail in details for each in _tables(detail.get("violations"))):
        name = str(each.get("quotaId", ""))
        of_a_day = "PerDay" in name
        daily = daily or of_a_day
        limit = _number(each.get("quotaValue"))
        never = never or limit == 0
        reset = until_midnight(headers) if of_a_day else wait
        window = 86400.0 if of_a_day else 60.0
        found.append(Limit(_kind(f"{each.get('quotaMetric', '')} {name}"), window, limit, 0.0, reset))
    if daily:
        wait = until_midnight(headers)
    limits = Limits(tuple(found)) if found else None
    if never:
        # No waiting helps: the account may not use this model at all, others it may.
        return ProviderError(f"{said} (this tier has none of it)", kind="denied", terminal=True, limits=limits)
    return ProviderError(said, kind="limit", retry_after=wait, terminal=daily, limits=limits)


def _kind(name: str) -> str:
    plain = name.lower()
    if "token" not in plain:
        return "requests"
    return "input_tokens" if "input" in plain else "output_tokens" if "output" in plain else "tokens"


def _wait(message: str, details: list[Mapping[str, Any]]) -> float:
    for each in details:
        if "retryDelay" in each and (found := duration(str(each["retryDelay"]))) >= 0:
            return found
    told = _RETRY.search(message)
    return float(told[1]) if told else -1.0


def until_midnight(headers: Mapping[str, str]) -> float:
    """Return the seconds until the next midnight in California, by the service's own clock (the header `date`)."""
    try:
        now = parsedate_to_datetime(headers["date"])
    except (KeyError, ValueError):
        now = datetime.now(UTC)
    there = now.astimezone(_pacific())
    midnight = (there + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return (midnight.astimezone(UTC) - there.astimezone(UTC)).total_seconds()


def _pacific() -> tzinfo:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo("America/Los_Angeles")
    except ZoneInfoNotFoundError:
        return timezone(timedelta(hours=-8))  # without a table of zones: an hour late in summer


def _details(body: Any) -> Iterator[Mapping[str, Any]]:
    error = body.get("error", body) if isinstance(body, Mapping) else {}
    yield from _tables(error.get("details") if isinstance(error, Mapping) else None)


def _tables(found: Any) -> Iterator[Mapping[str, Any]]:
    yield from (each for each in (found if isinstance(found, list) else ()) if isinstance(each, Mapping))


def _number(text: Any) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return -1.0


def _headers(error: APIError) -> Mapping[str, str]:
    found: Any = getattr(error.response, "headers", None) or {}
    return {str(name).lower(): str(value) for name, value in found.items()}
