"""Ports that nobody has now, and that the system gives to nobody who asks for any one.

A port that the system chose, and that was given back, may be chosen again before a test takes it: by the other worker,
or by the test itself. Those below the range that systems choose from are only taken by who names them.
"""

from __future__ import annotations

import itertools
import random
import socket

FIRST, COUNT = 20_000, 12_000
_next = itertools.count(random.SystemRandom().randrange(COUNT))


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    """Return a port of this machine that nobody has now, another one each time."""
    for _ in range(COUNT):
        port = FIRST + next(_next) % COUNT
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("no port is free")
