"""Identities: short, random, safe in paths and file names."""

from __future__ import annotations

import secrets

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: nothing to mistake when read aloud

_LETTERS = bytes(ord(_ALPHABET[byte % len(_ALPHABET)]) for byte in range(256))  # 32 divides 256: all are as likely


def new_id(prefix: str, length: int = 16) -> str:
    """Return `prefix-` and *length* random characters, 5 bits each."""
    return prefix + "-" + secrets.token_bytes(length).translate(_LETTERS).decode("ascii")
