"""Identities: short, random, safe in paths and file names."""

from __future__ import annotations

import secrets

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: nothing to mistake when read aloud


def new_id(prefix: str, length: int = 16) -> str:
    """Return `prefix-` and *length* random characters, 5 bits each."""
    return prefix + "-" + "".join(secrets.choice(_ALPHABET) for _ in range(length))
