"""CURVE: the keys of a ZMQ door on TCP, and the files they live in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import structlog
import zmq

from lightfast.core.errors import FailedPrecondition
from lightfast.security.keys import read_private, write_private

log = structlog.get_logger("lightfast.wire.zmq")

DOMAIN = b"lightfast"
"""The ZAP domain of our doors; another one is refused."""
MAX_ALLOWED = 1000

_LINE = re.compile(r'^\s*(public-key|secret-key)\s*=\s*"([!-~]{40})"\s*$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Pair:
    """A CURVE key pair in Z85."""

    public: bytes
    secret: bytes


def new_pair() -> Pair:
    """Return a fresh pair."""
    return Pair(*zmq.curve_keypair())


class CurveKeys:
    """The keys in one folder: `server.curve`, `client.curve` (this user's own applications), `allowed/*.pub`.

    A paired machine's public key is one line `public-key = "…"` in a file of `allowed/`; taking the file
    away shuts it out at its next connection.
    """

    def __init__(self, folder: Path) -> None:
        """Read the keys, and make those that are missing (0600)."""
        self._folder = folder
        self.server = _ensure(folder / "server.curve")
        self.client = _ensure(folder / "client.curve")

    def allows(self, public: bytes) -> bool:
        """Say whether the holder of *public* (Z85) may connect; the files are read anew each time."""
        return public == self.client.public or public in self._allowed()

    def _allowed(self) -> set[bytes]:
        keys: set[bytes] = set()
        for path in sorted((self._folder / "allowed").glob("*.pub"))[:MAX_ALLOWED]:
            try:
                keys.update(
                    key.encode() for kind, key in _LINE.findall(path.read_text("utf-8")) if kind == "public-key"
                )
            except (OSError, UnicodeDecodeError) as error:
                log.warning("allowed key not readable", path=str(path), error=str(error))
        return keys

    def guard(self, sock: zmq.Socket[bytes]) -> None:
        """Make *sock* a CURVE server; before bind."""
        sock.setsockopt(zmq.CURVE_SERVER, 1)
        sock.setsockopt(zmq.CURVE_SECRETKEY, self.server.secret)
        sock.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)


def _ensure(path: Path) -> Pair:
    if not path.exists():
        pair = new_pair()
        text = f'public-key = "{pair.public.decode()}"\nsecret-key = "{pair.secret.decode()}"\n'
        write_private(path, text.encode())
        return pair
    found = dict(_LINE.findall(read_private(path).decode("utf-8", "replace")))
    if len(found) != 2:
        raise FailedPrecondition(
            f"{path} holds no CURVE key pair: delete it so that a new one is made, and pair again",
            reason="KEY_FILE",
            metadata={"path": str(path)},
        )
    return Pair(found["public-key"].encode(), found["secret-key"].encode())
