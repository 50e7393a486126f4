"""Limits and waits as services tell them in the headers of an answer."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lightfast.sdk import Limit, Limits

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_WHOLE = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
MOST_WAIT = 30 * 86400.0
"""Seconds; a longer wait is taken for a mistake of the service."""


def duration(text: str) -> float:
    """Return the seconds of `1s`, `6m0s`, `120ms`, `1d2h` or a plain number; -1 where it is none of them."""
    text = text.strip()
    if _WHOLE.fullmatch(text):
        found = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    else:
        found = number(text)
    return found if 0.0 <= found <= MOST_WAIT else -1.0


def number(text: str | None) -> float:
    """Return the number of a header; -1 where there is none."""
    try:
        found = float(text) if text else -1.0
    except ValueError:
        return -1.0
    return found if 0.0 <= found < float("inf") else -1.0


def retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds that `retry-after-ms` or `retry-after` tell; -1 where neither does.

    A date is left alone: this machine's clock and the service's may differ by more than the wait.
    """
    milliseconds = number(headers.get("retry-after-ms"))
    if milliseconds >= 0:
        return min(milliseconds / 1000.0, MOST_WAIT)
    return duration(headers.get("retry-after", ""))


def openai_limits(headers: Mapping[str, str]) -> Limits | None:
    """Return what `x-ratelimit-{limit,remaining,reset}-{requests,tokens}` tell; `None`: nothing.

    They are about one minute (https://platform.openai.com/docs/guides/rate-limits).
    """
    found = []
    for kind in ("requests", "tokens"):
        limit = number(headers.get(f"x-ratelimit-limit-{kind}"))
        remaining = number(headers.get(f"x-ratelimit-remaining-{kind}"))
        reset = duration(headers.get(f"x-ratelimit-reset-{kind}", ""))
        if limit >= 0 or remaining >= 0:
            found.append(Limit(kind, 60.0, limit, remaining, reset))
    return Limits(tuple(found)) if found else None
