"""Tells the service manager how the daemon does: ready, reloading, stopping, alive."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping

import structlog

from lightfast.core.clock import SYSTEM, Clock
from lightfast.core.errors import LightfastError

log = structlog.get_logger("lightfast.notify")

STEP_S = 0.5
"""How often the event loop is looked at, in seconds: a block is seen at its full length but for this."""


class Notifier:
    """Speaks sd_notify; without a service manager every message goes nowhere."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._socket: socket.socket | None = None
        usual = environ.get("WATCHDOG_PID") in {None, "", str(os.getpid())}
        microseconds = environ.get("WATCHDOG_USEC", "")
        self.watchdog_s = int(microseconds) / 1e6 if self._address and usual and microseconds.isdigit() else 0.0
        """How often a ping is due at the latest, in seconds; 0 where nobody waits for one."""
        if self._address[:1] in {"/", "@"} and hasattr(socket, "AF_UNIX"):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        elif self._address:
            log.warning("the address of the service manager is of no kind we know", address=self._address)

    def ready(self, status: str) -> None:
        """Say that the daemon serves."""
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """Say that the settings are read anew; `ready` follows."""
        import time

        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Say that the daemon drains and will end."""
        self._send("STOPPING=1\nSTATUS=stopping")

    def status(self, text: str) -> None:
        """Show one line in `systemctl status`."""
        self._send(f"STATUS={text}")

    def alive(self) -> None:
        """Ping the watchdog."""
        self._send("WATCHDOG=1")

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str) -> None:
        if self._socket is None:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            self._socket.sendto(message.encode(), address)
        except OSError as error:
            log.warning("the service manager cannot be reached", error=str(error), address=self._address)


class Health:
    """Checks the event loop and the store over and over; pings the watchdog while both are well.

    A loop that hangs cannot ping, and that is the point: the service manager then restarts the
    daemon. *check* is a trivial write to the store that raises `LightfastError` when it fails.
    """

    def __init__(
        self,
        notifier: Notifier,
        check: Callable[[float], Awaitable[None]],
        *,
        lag_limit_s: float,
        interval_s: float = 5.0,
        clock: Clock = SYSTEM,
    ) -> None:
        if notifier.watchdog_s:
            interval_s = min(interval_s, notifier.watchdog_s / 4)
        self._notifier = notifier
        self._check = check
        self._lag_limit = lag_limit_s
        self._interval = interval_s
        self._clock = clock
        self.lag_s = 0.0
        """How late the loop ran at the most between the last two checks, in seconds."""
        self.trouble = ""
        """What is wrong now; empty when all is well."""

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            trouble = await self._look()
            if trouble:
                log.error("the watchdog is not fed", why=trouble, interval_s=self._interval)
                self._notifier.status(f"in trouble: {trouble}")
            else:
                self._notifier.alive()
                if self.trouble:
                    log.info("all is well again")
                    self._notifier.status("serving")
            self.trouble = trouble

    async def _look(self) -> str:
        self.lag_s = await self._lag()
        if self.lag_s > self._lag_limit:
            return f"the event loop was blocked for {self.lag_s:.1f} s (limit {self._lag_limit:.1f} s)"
        try:
            await self._check(self._interval)
        except (LightfastError, TimeoutError) as error:
            return f"the store does not answer: {str(error) or 'no answer in time'}"
        return ""

    async def _lag(self) -> float:
        """Wait until the next check is due, and return how late the loop ran meanwhile, at the most."""
        steps = max(1, round(self._interval / STEP_S))
        most = 0.0
        for _ in range(steps):
            before = self._clock.monotonic()
            await asyncio.sleep(self._interval / steps)
            most = max(most, self._clock.monotonic() - before - self._interval / steps)
        return most
