"""From a secret to keys: PBKDF2-HMAC-SHA512 once for each layer and weight, HKDF for each frame.

The weight of a frame (the pattern factor of the source) multiplies the iterations; it is a number from 0 to 4,
the mean of the frame's `thought_patterns`, 1 without any. A layer takes

    round(max(100,000 × factor, FLOOR) × {1, 1.3, 1.7})

iterations, so that the three always differ. Up to a factor of 2.1 the floor decides, so those share their keys;
above it the factor is rounded up to a half. So there are at most five sets of keys to derive after an unlock, at
most 2 s of work in all on a machine that makes a million iterations a second per set: a frame from elsewhere
cannot cost more.

`SEED` is the digest of the seed that the source documents: SHA-512 over pi, e, phi and gamma to 50 decimals, joined by
underscores, and six sentences. Everybody knows it, as they know the salts: it separates these keys from all others
derived in the same way, and protects nothing by itself. Only the secret does.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import unicodedata
from collections.abc import Mapping
from typing import Any

from lightfast.core.errors import InvalidArgument

SEED = bytes.fromhex(
    "c2313904344a86d9c471ea19d4768bca75da3c32e87cbab0fe9f4b518e9169c8"
    "76d615aa650074924b4ba578b899cbea8177c54899e296d23f86461764318e90"
)
"""SHA-512 of the documented seed; a test derives it from its parts."""
BASE = 100_000
"""The iterations of the source, for a factor of 1."""
FLOOR = 210_000
"""What OWASP recommends for PBKDF2-HMAC-SHA512 (Password Storage Cheat Sheet); it is part of the format."""
MULTIPLIERS = (1.0, 1.3, 1.7)
LAYERS = len(MULTIPLIERS)
MAX_FACTOR = 4.0
KEY = 64
"""Bytes of a key of a layer."""
SHORTEST = 8
LONGEST = 1024
"""Bounds of a secret, in characters."""
PATTERNS = "thought_patterns"
"""The name in a frame's metadata."""

Keys = tuple[bytearray, ...]
"""One key for each layer, innermost first; a bytearray, so that it can be wiped."""


def factor_of(metadata: Mapping[str, Any] | None) -> float:
    """Return the factor of a frame: the mean of its thought patterns, rounded as above."""
    patterns = (metadata or {}).get(PATTERNS)
    if not isinstance(patterns, Mapping):
        return 1.0
    numbers = [float(value) for value in patterns.values() if _is_number(value)]
    if not numbers:
        return 1.0
    return settle(sum(numbers) / len(numbers))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and abs(value) < 1e9


def settle(factor: float) -> float:
    """Return *factor* as it is kept: from 0 to 4, two decimals while the floor decides, then halves, rounded up."""
    factor = min(max(factor, 0.0), MAX_FACTOR)
    if factor * BASE <= FLOOR:
        return round(factor, 2)
    return min(math.ceil(factor * 2) / 2, MAX_FACTOR)


def base_of(factor: float) -> int:
    """Return the iterations of the first layer: what tells one set of keys from another."""
    return round(max(BASE * factor, FLOOR))


def iterations(factor: float) -> tuple[int, ...]:
    """Return the iterations of each layer."""
    return tuple(round(max(BASE * factor, FLOOR) * multiplier) for multiplier in MULTIPLIERS)


BASES = tuple(sorted({base_of(settle(half / 2)) for half in range(int(MAX_FACTOR * 2) + 1)}))
"""All sets of keys there can be."""


def read_secret(text: str) -> bytearray:
    """Return the bytes of a secret, in Unicode's normal form C; raise `InvalidArgument` where it cannot be one."""
    if not SHORTEST <= len(text) <= LONGEST:
        raise InvalidArgument(
            f"the secret has {len(text)} characters: use {SHORTEST} to {LONGEST}, best a few random words",
            reason="SECRET_LENGTH",
            field="secret",
        )
    try:
        return bytearray(unicodedata.normalize("NFC", text).encode())
    except UnicodeEncodeError:
        raise InvalidArgument("the secret is not Unicode text", reason="SECRET_LENGTH", field="secret") from None


def derive(secret: bytearray, salt: bytes, base: int) -> Keys:
    """Return the keys of the set *base*: this is the slow step, some tenths of a second. Call it off the loop.

    Each key depends on all three derivations, so that trying a secret costs all of them whichever layer is tried.
    """
    from cryptography.hazmat.primitives.hashes import SHA512
    from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

    masters = []
    for layer, multiplier in enumerate(MULTIPLIERS, 1):
        salted = hashlib.sha512(SEED + salt + bytes((layer,))).digest()
        slow = PBKDF2HMAC(algorithm=SHA512(), length=KEY, salt=salted, iterations=round(base * multiplier))
        masters.append(bytearray(slow.derive(secret)))
    joined = bytearray().join(masters)
    keys = tuple(
        bytearray(hmac.digest(master, joined + b"lightfast layer" + bytes((layer,)), "sha512"))
        for layer, master in enumerate(masters, 1)
    )
    for used in (*masters, joined):
        wipe(used)
    return keys


def verifier(keys: Keys) -> bytes:
    """Return what tells the right secret from a wrong one: as costly to try as the keys themselves."""
    joined = bytearray().join(keys)
    found = hmac.digest(joined, b"lightfast verifier", "sha512")[:32]
    wipe(joined)
    return found


def wipe(secret: bytearray) -> None:
    """Overwrite *secret*. Copies that Python or a library made on the way are out of reach."""
    secret[:] = bytes(len(secret))
