"""Frame ids: the first 16 hex digits of a SHA-256 over the content's head, the time and randomness.

The source's `generate_frame_id`: 64 bits, of which randomness alone decides. Among 10 million frames two meet with
a probability of 3 in a million; the writer looks, and draws again.
"""

from __future__ import annotations

import os
from hashlib import sha256

HEAD = 100
"""So many characters (or bytes) of the content go into the id."""
NOISE = 16
"""So many random bytes do."""
_BLOCK = 8192


class Ids:
    """Makes ids; one for each writer thread."""

    def __init__(self) -> None:
        self._pool = b""
        self._at = 0

    def noise(self, count: int) -> bytes:
        """Return random bytes for *count* ids."""
        size = count * NOISE
        if self._at + size > len(self._pool):
            self._pool, self._at = os.urandom(max(_BLOCK, size)), 0
        self._at += size
        return self._pool[self._at - size : self._at]

    def new(self, content: str | bytes, time_ms: int) -> str:
        """Return a new id for *content* at *time_ms*."""
        head = content[:HEAD]
        if isinstance(head, str):
            head = head.encode("utf-8", "surrogatepass")
        return sha256(b"%b\0%d\0%b" % (head, time_ms, self.noise(1))).hexdigest()[:16]
