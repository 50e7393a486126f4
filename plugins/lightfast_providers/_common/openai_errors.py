"""Errors of OpenAI's dialect, which many servers speak, as `ProviderError`.

The body is `{"error": {"message", "type", "param", "code"}}`
(https://platform.openai.com/docs/guides/error-codes); llama.cpp, vLLM and OpenRouter differ in details that are
named where they are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightfast.sdk import ProviderError, Session
from lightfast_providers._common.limits import openai_limits, retry_after

_BY_CODE = {
    "context": (
        *("context_length_exceeded", "string_above_max_length", "input_too_long"),
        "exceed_context_size_error",  # llama.cpp
    ),
    "filtered": (
        *("content_policy_violation", "content_filter", "moderation_blocked", "image_content_policy_violation"),
        *("bio_policy", "misalignment_policy_violation", "cyber_policy", "safety_violation"),
    ),
    "spent": (
        *("insufficient_quota", "billing_not_active", "billing_hard_limit_reached", "access_terminated"),
        *("credit_balance_too_low", "spend_limit_exceeded"),
    ),
    "auth": ("invalid_api_key", "invalid_organization", "account_deactivated", "authentication_error"),
    "not_found": ("model_not_found", "model_not_supported", "model_deprecated"),
    "limit": ("rate_limit_exceeded", "rate_limit_error"),
    "overloaded": ("slow_down", "server_overloaded", "engine_overloaded", "overloaded_error"),
    "unavailable": ("server_error", "internal_error", "unavailable_error", "vector_store_timeout"),
    "invalid": ("invalid_prompt", "invalid_request_error", "invalid_value", "unsupported_parameter"),
}
_KIND_OF = {code: kind for kind, codes in _BY_CODE.items() for code in codes}
_WEAK = frozenset(_BY_CODE["invalid"])
"""Said of many things: the status counts first."""
_BY_STATUS = {
    400: "invalid",
    401: "auth",
    402: "spent",  # OpenRouter: no credits left
    403: "denied",
    404: "not_found",
    408: "timeout",
    413: "context",
    422: "invalid",
    501: "invalid",  # llama.cpp: not what it was started for
    429: "limit",
    503: "overloaded",
    529: "overloaded",
}
_CONTEXT_WORDS = ("maximum context length", "context window", "context size")
"""vLLM and others have no code for it: their messages say one of these."""
_DAILY_WORDS = ("per day", "(rpd)", "(tpd)", "daily limit")
_REMEDIES = {
    "auth": "set a valid key",
    "denied": "ask the owner of the account for access",
    "not_found": "see the models the account may use",
    "context": "shorten the request, or use a model with a longer window",
    "limit": "wait, or raise the tier of the account",
    "spent": "add credit to the account, or use another",
    "filtered": "ask for something else",
}
LONGEST = 400


def explain(
    service: str,
    session: Session,
    *,
    status: int = 0,
    body: object = None,
    headers: Mapping[str, str] | None = None,
    message: str = "",
) -> ProviderError:
    """Return the error for an answer with *status* (0: it came within a stream) and the decoded *body* of its error."""
    said = body if isinstance(body, Mapping) else {}
    if isinstance(said.get("error"), Mapping):
        said = said["error"]
    text = _text(said, body, message)
    kind = _kind(status, said, text)
    known = headers or {}
    spent = kind == "spent"
    terminal = spent or (kind == "limit" and any(word in text.lower() for word in _DAILY_WORDS))
    where = f" (HTTP {status}{_code(said)})" if status else _code(said)
    trace = known.get("x-request-id", "")
    remedy = f": {_REMEDIES[kind]}" if kind in _REMEDIES else ""
    shown = hidden(text, session)
    return ProviderError(
        f"{service} says{where}: {shown or 'nothing more'}{f' [request {trace[:64]}]' if trace else ''}{remedy}",
        kind="limit" if spent else kind,
        retry_after=retry_after(known) if kind in {"limit", "spent", "overloaded", "unavailable"} else -1.0,
        terminal=terminal,
        limits=openai_limits(known),
    )


def hidden(text: str, session: Session) -> str:
    """Return *text* on one line, without the key of *session*, and not too long."""
    key = session.key.reveal()
    if key:
        text = text.replace(key, "***")
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


def _text(said: Mapping[str, Any], body: object, message: str) -> str:
    for name in ("message", "detail", "error"):
        found = said.get(name)
        if isinstance(found, str) and found:
            return found
    return body if isinstance(body, str) else message


def _code(said: Mapping[str, Any]) -> str:
    code = said.get("code") or said.get("type")
    return f", {str(code)[:60]}" if code else ""


def _kind(status: int, said: Mapping[str, Any], text: str) -> str:
    codes = [str(said.get(name)) for name in ("code", "type") if said.get(name)]
    for code in codes:
        if code in _KIND_OF and code not in _WEAK:
            return _KIND_OF[code]
    lower = text.lower()
    if status in {0, 400, 413, 422} and any(words in lower for words in _CONTEXT_WORDS):
        return "context"
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= 500:
        return "unavailable"
    if any(code in _WEAK for code in codes):
        return "invalid"
    return "failed"
