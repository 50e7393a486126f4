"""A look at whether a program has a UDP port, that the program does not notice.

The datagram is an OSC bundle with nothing in it: a program that listens takes nothing from it, and does not even take
down who sent it. Where nobody has the port, the system says so to a connected socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket

EMPTY = b"#bundle\0\0\0\0\0\0\0\0\1"
WORD_S = 0.1
"""Seconds that the system has to say that nobody has a port; on loopback it says so at once."""
SHORT = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
"""What a machine says that is short of something: it is no word on the port."""


async def is_open(remote: tuple[str, int]) -> bool:
    """Say whether the port may be open: only on this machine is the answer sure."""
    loop = asyncio.get_running_loop()
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.setblocking(False)
            await loop.sock_connect(probe, remote)
            await loop.sock_sendall(probe, EMPTY)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WORD_S):  # `wait_for` of Python 3.11 keeps a cancellation to itself
                    await loop.sock_recv(probe, 1)
    except OSError as error:
        return error.errno in SHORT
    return True
