"""What Claude's errors and headers mean.

Errors: https://platform.claude.com/docs/en/api/errors; limits: https://platform.claude.com/docs/en/api/rate-limits;
codes in `error.details.error_code` as SDK 2.11 has them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from lightfast.sdk import Limit, Limits, ProviderError, Session
from lightfast_providers._common import bounded
from lightfast_providers._common.limits import number, retry_after
from lightfast_providers._common.rest import hidden

if TYPE_CHECKING:
    from anthropic import APIStatusError

SERVICE = "Anthropic"
_KINDS = {
    "authentication_error": "auth",
    "billing_error": "limit",
    "permission_error": "denied",
    "not_found_error": "not_found",
    "request_too_large": "context",
    "rate_limit_error": "limit",
    "timeout_error": "timeout",
    "overloaded_error": "overloaded",
    "invalid_request_error": "invalid",
}
_STATUSES = {
    400: "invalid", 401: "auth", 402: "limit", 403: "denied", 404: "not_found", 408: "timeout", 413: "context",
    422: "invalid", 429: "limit", 503: "overloaded", 504: "timeout", 529: "overloaded",
}  # fmt: skip
_SPENT = frozenset(
    (
        *("enforced_spend_limit_reached", "contract_spend_limit_reached"),
        *("linked_organization_spend_limit_reached", "linked_organization_billing_unavailable"),
    )
)
"""Codes of limits on money; an answer with one has no `retry-after`, and waiting a little does not help."""
_LONG = re.compile(r"prompt is too long|exceeds? the (?:\w+ )?context|context (?:window|limit)", re.IGNORECASE)
_POOR = re.compile(r"credit balance is too low", re.IGNORECASE)
_BLOCKED = re.compile(r"blocked by content filtering", re.IGNORECASE)
_BACK = re.compile(r"regain access on (\d{4}-\d\d-\d\d) at (\d\d:\d\d) UTC")
_HEADERS = {
    "requests": "requests", "tokens": "tokens", "input-tokens": "input_tokens", "output-tokens": "output_tokens",
}  # fmt: skip


def explained(error: BaseException, session: Session, *, paid: bool = False) -> ProviderError:
    """Return what an error of the SDK, or of the HTTP client under it, means; its key is hidden.

    *paid*: what was asked for costs, and goes on although its answer is lost: to ask again could cost twice.
    """
    import anthropic
    import httpx2

    if wrapped := bounded.found_in(error):
        return wrapped
    if isinstance(error, anthropic.APIStatusError):
        return _refused(error, session)
    if isinstance(error, anthropic.APITimeoutError | httpx2.TimeoutException | TimeoutError):
        return ProviderError(f"{SERVICE} did not answer in time", kind="timeout", retryable=False if paid else None)
    if isinstance(error, anthropic.APIResponseValidationError):
        return unreadable(error)
    if isinstance(error, anthropic.APIConnectionError | httpx2.HTTPError | OSError):
        under = error.__cause__ or error
        what = hidden(" ".join(str(under).split()), session.key) or type(under).__name__
        sent = paid and not isinstance(under, httpx2.ConnectError)
        return ProviderError(
            f"the connection to {SERVICE} failed: {what}", kind="unavailable", retryable=False if sent else None
        )
    return unreadable(error)


def unreadable(error: BaseException | None = None, what: str = "") -> ProviderError:
    """Return the error for an answer that is none."""
    told = what or type(error).__name__
    return ProviderError(f"{SERVICE} answered with what cannot be read ({told})", kind="malformed")


def _refused(error: APIStatusError, session: Session) -> ProviderError:
    headers = error.response.headers
    code = error.error_code or ""
    message = " ".join((error.api_message or _begin(error.body) or f"status {error.status_code}").split())[:300]
    kind = _KINDS.get(error.type or "") or _STATUSES.get(error.status_code, "")
    if error.status_code >= 500 and error.type in {None, "api_error"}:
        kind = _STATUSES.get(error.status_code, "unavailable")
    kind = kind or ("unavailable" if error.type in {"api_error", "conflict_error"} else "failed")
    terminal = kind == "limit" and (code in _SPENT or error.type == "billing_error" or error.status_code == 402)
    wait = retry_after(headers)
    if kind == "invalid":
        if _LONG.search(message):
            kind = "context"
        elif _POOR.search(message):
            kind, terminal = "limit", True
        elif _BLOCKED.search(message):
            kind = "filtered"
        elif code == "organization_on_hold":
            kind = "denied"
    limits = told(headers) if error.status_code < 500 else None
    if terminal:
        wait = _until_back(message, headers)
        spend = Limit("spend", 30 * 86400.0, remaining=0.0, reset_after=wait)
        limits = Limits((*(limits.limits if limits else ()), spend))
    name = error.type or error.status_code
    return ProviderError(
        f"{SERVICE} refused ({hidden(str(name), session.key)}): {hidden(message, session.key)}",
        kind=kind,
        retry_after=wait,
        terminal=terminal,
        limits=limits,
    )


def _begin(body: object) -> str:
    return body if isinstance(body, str) else json.dumps(body) if body else ""


def told(headers: Mapping[str, str]) -> Limits | None:
    """Return what `anthropic-ratelimit-*` say; `None` where they say nothing.

    The resets are RFC 3339 and are measured by the service's own clock, in the header `date`. They tell when the limit
    of a minute is whole again.
    """
    now = _now(headers)
    found = []
    for name, kind in _HEADERS.items():
        start = f"anthropic-ratelimit-{name}-"
        limit, remaining = number(headers.get(start + "limit")), number(headers.get(start + "remaining"))
        if limit >= 0 or remaining >= 0:
            found.append(Limit(kind, 60.0, limit, remaining, _after(headers.get(start + "reset", ""), now)))
    return Limits(tuple(found)) if found else None


def _now(headers: Mapping[str, str]) -> datetime:
    try:
        return parsedate_to_datetime(headers["date"])
    except (KeyError, ValueError):
        return datetime.now(UTC)


def _after(text: str, now: datetime) -> float:
    try:
        moment = datetime.fromisoformat(text)
        return max(0.0, (moment - now).total_seconds())
    except (ValueError, TypeError):
        return -1.0


def _until_back(message: str, headers: Mapping[str, str]) -> float:
    """Return the seconds until money may be spent again: as the message says, -1 where it does not."""
    found = _BACK.search(message)
    return _after(f"{found[1]}T{found[2]}:00+00:00", _now(headers)) if found else -1.0
