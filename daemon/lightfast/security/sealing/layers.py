"""The three layers of a seal.

    sealed    := 01 | salt (24 random bytes) | AES-SIV( ChaCha20-Poly1305( AES-GCM( content ) ) )

Layer 1, innermost, is AES-256-GCM; layer 2 ChaCha20-Poly1305 (RFC 8439); layer 3 AES-256-SIV (RFC 5297). Three
different constructions, so that a flaw in one leaves two: a block cipher with GHASH, a stream cipher of additions
and rotations with Poly1305, and a block cipher with CMAC that stays sound even if a nonce came twice. GCM-SIV would
have been the other choice for the third: it runs at half the speed and needs OpenSSL 3.2.

For each layer, HKDF-Expand (SHA-512) over `lightfast frame`, the layer, the salt and the context gives a key and,
where the layer takes one, a nonce. A salt of 192 random bits makes both new for each sealing, even of the same frame:
a nonce never comes twice under one key. Every layer also authenticates what stands beside it: version, layer, epoch,
factor and context (the id of the frame), so that no sealed content can be moved to another frame.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Callable
from typing import Any

from lightfast.core.errors import FailedPrecondition
from lightfast.security.sealing.derive import Keys

VERSION = 1
SALT = 24
OVERHEAD = 1 + SALT + 3 * 16
"""Bytes that a seal adds."""
_HEAD = struct.Struct(">16sBBIHI")
_NONCE = 12


class Layers:
    """The three ciphers with the keys of one frame."""

    def __init__(self, keys: Keys, salt: bytes, context: bytes, epoch: int, factor: float) -> None:
        """Derive the keys of the frame; *keys* are not needed afterwards."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV, ChaCha20Poly1305
        from cryptography.hazmat.primitives.hashes import SHA512
        from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

        def expand(layer: int, length: int) -> bytes:
            info = b"lightfast frame" + bytes((layer,)) + salt + context
            return bytes(HKDFExpand(SHA512(), length, info).derive(keys[layer - 1]))

        def beside(layer: int) -> bytes:
            return _HEAD.pack(b"lightfast sealed", VERSION, layer, epoch, round(factor * 100), len(context)) + context

        first, second = expand(1, 32 + _NONCE), expand(2, 32 + _NONCE)
        self._ciphers: tuple[tuple[Any, tuple[Any, ...]], ...] = (
            (AESGCM(first[:32]), (first[32:], beside(1))),
            (ChaCha20Poly1305(second[:32]), (second[32:], beside(2))),
            (AESSIV(expand(3, 64)), ([beside(3)],)),
        )

    def seal(self, layer: int, content: bytes) -> bytes:
        """Return *content* under one layer."""
        return self._apply(layer, lambda cipher, nonce, rest: cipher.encrypt(*nonce, content, *rest))

    def open(self, layer: int, sealed: bytes) -> bytes:
        """Take one layer off; raises `cryptography.exceptions.InvalidTag` where it was changed."""
        return self._apply(layer, lambda cipher, nonce, rest: cipher.decrypt(*nonce, sealed, *rest))

    def _apply(self, layer: int, call: Callable[[Any, tuple[Any, ...], tuple[Any, ...]], bytes]) -> bytes:
        cipher, arguments = self._ciphers[layer - 1]
        return call(cipher, arguments[:-1], arguments[-1:])


def new_salt() -> bytes:
    """Return the salt of a new seal."""
    return secrets.token_bytes(SALT)


def close(layers: Layers, salt: bytes, content: bytes) -> bytes:
    """Return *content* under all three layers."""
    for layer in (1, 2, 3):
        content = layers.seal(layer, content)
    return bytes((VERSION,)) + salt + content


def salt_of(sealed: bytes, context: bytes) -> bytes:
    """Return the salt of a seal; raise `FailedPrecondition` (SEAL_BROKEN) where it cannot be one."""
    if len(sealed) < OVERHEAD or sealed[0] != VERSION:
        raise broken(context, "it does not begin like one")
    return sealed[1 : 1 + SALT]


def unclose(layers: Layers, sealed: bytes, context: bytes) -> bytes:
    """Take all three layers off; raise `FailedPrecondition` (SEAL_BROKEN) with the one that does not hold."""
    from cryptography.exceptions import InvalidTag

    content = sealed[1 + SALT :]
    for layer in (3, 2, 1):
        try:
            content = layers.open(layer, content)
        except (InvalidTag, ValueError):
            raise broken(context, f"layer {layer} does not hold") from None
    return content


def broken(context: bytes, why: str) -> FailedPrecondition:
    """Return the error for a seal that was tampered with."""
    frame_id = context.decode(errors="replace")
    return FailedPrecondition(
        f"the seal of frame {frame_id} is broken ({why}): its bytes were changed after it was sealed, or it belongs to "
        "another archive. Take the frame from a backup or an export",
        reason="SEAL_BROKEN",
        metadata={"frame_id": frame_id},
    )
