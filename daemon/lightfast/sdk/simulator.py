"""A stand-in for an application that cannot be had: real protocol, real sockets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable


class Simulator(ABC):
    """One simulated application; `lightfast sim NAME --listen HOST:PORT --reply-port N` runs it."""

    name: str
    description: str
    default_listen: tuple[str, int]
    default_reply_port: int = 0

    @abstractmethod
    async def run(self, listen: tuple[str, int], reply_port: int, ready: Callable[[tuple[str, int]], None]) -> None:
        """Serve until cancelled; call *ready* with the bound address once. Port 0 binds any."""
