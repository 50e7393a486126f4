"""Secrets made unreadable in text that is about to be seen: logs, reasons, errors of plugins."""

from __future__ import annotations

import re

HIDDEN = "***"
SHORTEST = 8
"""Shorter secrets than this many characters are not looked for: they would blot out harmless words."""
_TOKEN = re.compile(r"\blf_[A-Za-z0-9_-]{16,}")
_known: list[str] = []


def remember(secret: str) -> None:
    """Hide *secret* wherever it shows from now on; a few are expected, those that the settings refer to."""
    if len(secret) >= SHORTEST and secret not in _known:
        _known.append(secret)


def hide(text: str) -> str:
    """Return *text* without anything that looks like one of our tokens, and without the secrets we know of."""
    for secret in _known:
        if secret in text:
            text = text.replace(secret, HIDDEN)
    return _TOKEN.sub(HIDDEN, text) if "lf_" in text else text
