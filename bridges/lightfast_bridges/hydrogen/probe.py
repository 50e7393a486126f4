"""A look at whether a program has a UDP port, that the program does not notice.

The datagram is an OSC bundle with nothing in it: a program that listens takes nothing from it, and Hydrogen does not
even take down who sent it. Where nobody has the port, the system says so to a connected socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

EMPTY = b"#bundle\0\0\0\0\0\0\0\0\1"
WORD_S = 0.1
"""Seconds that the system has to say that nobody has a port; on loopback it says so at once."""


async def is_open(remote: tuple[str, int]) -> bool:
    """Say whether the port may be open: only on this machine is the answer sure."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setblocking(False)
        try:
            await loop.sock_connect(probe, remote)
            await loop.sock_sendall(probe, EMPTY)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(loop.sock_recv(probe, 1), WORD_S)
        except OSError:
            return False
    return True
