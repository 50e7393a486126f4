"""Secrets made unreadable in text that is about to be seen: logs, reasons, errors of plugins.

What somebody wrote into a program, an intent or a payload is kept as it was given, for it is what is carried out, also
by the next daemon; where it is shown (runs and their steps, events, jobs, MCP) what looks like a secret in it is not.
A secret that was written there is taken out of the store by a purge; it belongs into the keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
SHORTEST = 8
"""Shorter secrets than this many characters are not looked for: they would blot out harmless words."""
_TOKEN = re.compile(r"\blf_[A-Za-z0-9_-]{16,}")
_KEY = re.compile(
    r"\b(?:sk-[A-Za-z0-9_-]{16,}|AIza[A-Za-z0-9_-]{30,}|r8_[A-Za-z0-9]{30,}|gsk_[A-Za-z0-9]{30,}|xai-[A-Za-z0-9]{30,})"
    r"|\b(?i:bearer) [A-Za-z0-9._~+/-]{20,}=*"
)
"""How keys of AI services look: one that is not ours, in what a service says, is nobody's business either."""
_known: list[str] = []


def remember(secret: str) -> None:
    """Hide *secret* wherever it shows from now on; a few are expected, those that the settings refer to."""
    if len(secret) >= SHORTEST and secret not in _known:
        _known.append(secret)


def hide(text: str) -> str:
    """Return *text* without what looks like one of our tokens or a service's key, and without secrets we know of."""
    for secret in _known:
        if secret in text:
            text = text.replace(secret, HIDDEN)
    return _KEY.sub(HIDDEN, _TOKEN.sub(HIDDEN, text) if "lf_" in text else text)


def hide_in(value: Any) -> Any:
    """Return *value* with `hide` done to all texts in it, those that are keys of maps, too."""
    if isinstance(value, str):
        return hide(value)
    if isinstance(value, Mapping):
        return {hide(str(name)): hide_in(item) for name, item in value.items()}
    return [hide_in(item) for item in value] if isinstance(value, list) else value
