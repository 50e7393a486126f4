"""Page tokens: opaque, tied to one query, pinned to one revision, and refused where they were changed.

A token gives no right to anything, so it needs no secret: its seal only finds out that it is not
what was handed out. It stays good over a restart.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib

import msgspec

from lightfast.core.errors import InvalidArgument

_SEAL = 8
"""The bytes in front of a token by which a change shows."""


class Token(msgspec.Struct, array_like=True, frozen=True):
    """Where the next page goes on: after *after*, as of *revision*.

    *number* is the time of a reading by event time, the revision of a history, the place in a list.
    """

    query: int
    revision: int
    after: str
    number: int | None = None


def fingerprint(*query: object) -> int:
    """Return a number that tells one query from another."""
    return zlib.crc32(repr(query).encode("utf-8", "surrogatepass"))


def write_token(token: Token) -> str:
    """Return the text of *token*."""
    packed = msgspec.msgpack.encode(token)
    return base64.urlsafe_b64encode(_seal(packed) + packed).decode("ascii")


def read_token(text: str, query: int) -> Token:
    """Return the token of *text*, or raise `InvalidArgument` if it is not one of *query*, or was changed."""
    token = _opened(text)
    if token is None or token.query != query:
        raise InvalidArgument(
            "page_token does not belong to this request: repeat the request that gave it, with the token alone changed",
            reason="PAGE_TOKEN_INVALID",
            field="page_token",
        )
    return token


def _opened(text: str) -> Token | None:
    try:
        raw = base64.urlsafe_b64decode(text.encode("ascii"))
        # Base64 overlooks some characters, and the last bits: only what we would write counts.
        if raw[:_SEAL] == _seal(raw[_SEAL:]) and base64.urlsafe_b64encode(raw).decode("ascii") == text:
            return msgspec.msgpack.decode(raw[_SEAL:], type=Token)
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        pass
    return None


def _seal(packed: bytes) -> bytes:
    return hashlib.blake2b(packed, digest_size=_SEAL, person=b"lightfast page").digest()


def page_size(asked: int, default: int, most: int) -> int:
    """Return the size of a page: *default* for 0, at most *most*; negative ones raise `InvalidArgument`."""
    if asked < 0:
        raise InvalidArgument(f"page_size is {asked}: use 0 for the default of {default}", field="page_size")
    return min(asked or default, most)
