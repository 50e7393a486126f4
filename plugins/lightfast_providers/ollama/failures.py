"""What Ollama's errors mean: `{"error": "…"}` with a status, or as a line in the middle of an answer (status 200).

https://docs.ollama.com/api/errors
"""

from __future__ import annotations

import json
import re

from lightfast.sdk import ProviderError, Session
from lightfast_providers._common import bounded
from lightfast_providers._common.limits import retry_after
from lightfast_providers._common.rest import hidden

SERVICE = "Ollama"
_STATUSES = {
    400: "invalid", 401: "auth", 402: "limit", 403: "denied", 404: "not_found", 408: "timeout", 429: "limit",
    502: "unavailable", 503: "overloaded", 504: "timeout",
}  # fmt: skip
_LONG = re.compile(r"exceeds? the (?:available )?context|context (?:length|size|window)", re.IGNORECASE)
_LASTING = re.compile(r"\b(?:daily|weekly|monthly)\b", re.IGNORECASE)


def explained(error: BaseException, session: Session, model: str, where: str) -> ProviderError:
    """Return what an error of the SDK, or of the HTTP client under it, means; its key is hidden."""
    import httpx
    import ollama

    if wrapped := bounded.found_in(error):
        return wrapped
    if isinstance(error, ollama.ResponseError):
        return _refused(error, session, model)
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return ProviderError(f"{SERVICE} did not answer in time", kind="timeout")
    if isinstance(error, httpx.ConnectError | ConnectionError):
        start = "start it with `ollama serve`, or set base_url in [providers.ollama]"
        return ProviderError(f"{SERVICE} cannot be reached at {where}: {start}", kind="unavailable")
    if isinstance(error, httpx.HTTPError | OSError):
        what = hidden(" ".join(str(error).split()), session.key) or type(error).__name__
        return ProviderError(f"the connection to {SERVICE} broke: {what}", kind="unavailable")
    return unreadable(type(error).__name__)


def unreadable(what: str) -> ProviderError:
    """Return the error for an answer that is none."""
    return ProviderError(f"{SERVICE} answered with what cannot be read ({what})", kind="malformed")


def _refused(error: object, session: Session, model: str) -> ProviderError:
    status = int(getattr(error, "status_code", -1))
    text = hidden(" ".join(_said(str(getattr(error, "error", error))).split())[:300], session.key)
    if status < 0:  # a line in the middle of an answer
        return ProviderError(f"{SERVICE} broke off: {text}", kind="context" if _LONG.search(text) else "unavailable")
    kind = _STATUSES.get(status, "unavailable" if status >= 500 else "failed")
    if kind == "not_found":
        text = f"{text}: run `ollama pull {model}`"
    if kind == "invalid" and _LONG.search(text):
        kind = "context"
    # The SDK keeps only the text of a refusal; what was raised before has the answer with its headers.
    headers = getattr(getattr(getattr(error, "__context__", None), "response", None), "headers", {})
    terminal = status == 402 or (kind == "limit" and bool(_LASTING.search(text)))
    return ProviderError(
        f"{SERVICE} refused with status {status}: {text}",
        kind=kind,
        retry_after=retry_after(headers),
        terminal=terminal,
    )


def _said(text: str) -> str:
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return str(found.get("error", text)) if isinstance(found, dict) else text
