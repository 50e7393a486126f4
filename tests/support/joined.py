"""A daemon process with one application on it, looked at through the client: what the tests of real programs share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.daemon import Daemon
from tests.support.waiting import until

from lightfast.api.v1.apps_pb2 import APP_STATE_DEGRADED, APP_STATE_GONE, APP_STATE_LIVE
from lightfast.client import Client
from lightfast.core.errors import LightfastError
from lightfast_link.value import Value, close

PATIENCE = 60.0
"""The most seconds to wait for anything."""
BRIDGES = (
    *("ableton", "ardour", "hydrogen", "midi", "obs", "osc", "oscquery"),
    *("puredata", "reaper", "supercollider", "touchdesigner"),
)


def daemon_with(home: Path, plugin: str, **settings: Any) -> Daemon:
    """Return a daemon, not started, on which of the bridges only *plugin* runs, with *settings*."""
    flags = [f"plugins.{name}.enabled=false" for name in BRIDGES if name != plugin]
    return Daemon(home, flags=[*flags, *(f"plugins.{plugin}.{key}={value}" for key, value in settings.items())])


class Desk:
    """The daemon, a client, and the mount of the application."""

    def __init__(self, daemon: Daemon, client: Client, mount: str) -> None:
        self.daemon, self.client, self.mount = daemon, client, mount

    def app(self) -> Any:
        """Return the application as the daemon shows it; None where it is not known."""
        return next((app for app in self.client.list_apps() if app.mount == self.mount), None)

    def live(self, within: float = PATIENCE) -> Any:
        """Wait until it is in step."""
        return self._state({APP_STATE_LIVE}, "in step", within, pending=False)

    def troubled(self, within: float = PATIENCE) -> str:
        """Wait until the daemon says that something is wrong, and return what."""
        return str(self._state({APP_STATE_DEGRADED, APP_STATE_GONE}, "in trouble", within).state_reason)

    def gone(self, within: float = PATIENCE) -> str:
        """Wait until it is gone, and return why."""
        return str(self._state({APP_STATE_GONE}, "gone", within).state_reason)

    def _state(self, states: set[int], what: str, within: float, *, pending: bool = True) -> Any:
        seen: list[str] = []

        def look() -> Any:
            app = self.app()
            if app is not None:
                seen[:] = [f"{app.state} {app.state_reason}"]
            return app if app is not None and app.state in states and (pending or not app.pending) else None

        try:
            return until(look, f"{self.mount} {what}", within)
        except AssertionError as error:
            raise AssertionError(f"{error}; last seen: {seen}\n{self.daemon.log()[-6000:]}") from None

    def path(self, relative: str) -> str:
        """Return the path below the mount."""
        return f"{self.mount}/{relative}"

    def value(self, relative: str) -> Any:
        """Return the value of an entry; None where there is none."""
        try:
            return self.client.get(self.path(relative)).value
        except LightfastError:
            return None

    def set(self, relative: str, value: Value) -> Any:
        """Wish a value, wait for the answer, and return the entry."""
        self.client.set(self.path(relative), value)
        return until(
            lambda: (e := self.client.get(self.path(relative))).status in {"SETTLED", "REJECTED"} and e,
            f"an answer about {relative}",
        )

    def holds(self, relative: str, value: Value, tolerance: float = 1e-5) -> None:
        """Wait until the application is known to hold *value*."""

        def look() -> bool:
            try:
                entry = self.client.get(self.path(relative))
            except LightfastError:
                return False
            return entry.status == "SETTLED" and entry.reported is not None and close(entry.reported, value, tolerance)

        try:
            until(look, f"{relative} at {value!r}")
        except AssertionError as error:
            raise AssertionError(f"{error}: it is {self.value(relative)!r}\n{self.daemon.log()[-4000:]}") from None

    def invoke(self, command: str, **arguments: Any) -> Any:
        """Run a command and return its result."""
        return self.client.invoke(self.mount, command, **arguments)


@contextmanager
def desk(daemon: Daemon, mount: str) -> Iterator[Desk]:
    """Run *daemon* with a client for the length of a block."""
    with daemon, Client(home=daemon.home) as client:
        yield Desk(daemon, client, mount)


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop a process for the length of a block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
