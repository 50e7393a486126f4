"""Who is at the other end of a TCP link: both sides prove that they hold the key, which never travels.

    application → daemon   auth_start      {nonce}
    daemon → application   auth_challenge  {nonce, proof}      proof of the daemon
    application → daemon   auth_proof      {proof}             proof of the application
    daemon → application   auth_ok         {}

A proof is HMAC-SHA256, under the key, of the prover's role and both nonces. The role keeps a
proof from being played back to its maker. The daemon proves itself first: whoever squats on
its port gets a random number and nothing else.
"""

from __future__ import annotations

import hashlib
import hmac
import os

NONCE_BYTES = 32
_LABEL = b"lightfast-link auth 1 "
_DAEMON = b"daemon"
_APPLICATION = b"application"


class AuthError(Exception):
    """The other side does not hold our key, or does not speak the handshake."""


def _proof(key: bytes, role: bytes, first: bytes, second: bytes) -> str:
    return hmac.new(key, _LABEL + role + b"\0" + first + second, hashlib.sha256).hexdigest()


def _nonce(text: object) -> bytes:
    try:
        nonce = bytes.fromhex(text) if isinstance(text, str) else b""
    except ValueError:
        nonce = b""
    if len(nonce) != NONCE_BYTES:
        raise AuthError("the nonce must be %d bytes in hex" % NONCE_BYTES)
    return nonce


def _same(left: str, right: object) -> bool:
    return isinstance(right, str) and right.isascii() and hmac.compare_digest(left, right)


class Challenger:
    """The daemon's half."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._expected: str | None = None

    def challenge(self, nonce: object) -> dict[str, str]:
        """Return the header of `auth_challenge` for the *nonce* of `auth_start`; raise `AuthError`."""
        if self._expected is not None:
            raise AuthError("auth_start was sent twice")
        theirs, ours = _nonce(nonce), os.urandom(NONCE_BYTES)
        self._expected = _proof(self._key, _APPLICATION, theirs, ours)
        return {"nonce": ours.hex(), "proof": _proof(self._key, _DAEMON, theirs, ours)}

    def verify(self, proof: object) -> None:
        """Raise `AuthError` unless *proof* of `auth_proof` is right; each challenge is good for one try."""
        expected, self._expected = self._expected, None
        if expected is None or not _same(expected, proof):
            raise AuthError("the link key of the application is not the one of this daemon")


class Responder:
    """The application's half."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._ours = os.urandom(NONCE_BYTES)

    def start(self) -> dict[str, str]:
        """Return the header of `auth_start`."""
        return {"nonce": self._ours.hex()}

    def respond(self, nonce: object, proof: object) -> dict[str, str]:
        """Return the header of `auth_proof`, or raise `AuthError` when the daemon's *proof* is wrong.

        Nothing made with the key is sent to a daemon that has not proved itself.
        """
        theirs = _nonce(nonce)
        if not _same(_proof(self._key, _DAEMON, self._ours, theirs), proof):
            raise AuthError("the daemon does not hold this link key")
        return {"proof": _proof(self._key, _APPLICATION, self._ours, theirs)}
