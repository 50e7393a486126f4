"""doctor: finds what is wrong on this desk, and says what to do."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import typer

from lightfast.app.cli import checks
from lightfast.app.cli.session import CURRENT, EXIT_FAILED, hush, say
from lightfast.core.errors import LightfastError

if TYPE_CHECKING:
    from lightfast.app.cli.ports.table import Known

app = typer.Typer()
T = TypeVar("T")
BUDGET = 4.8
"""Seconds for what is looked at side by side."""
DAEMON_BUDGET = 3.0
"""Seconds the daemon has to answer."""
_MARKS = {checks.OK: "ok  ", checks.WARN: "warn", checks.BAD: "BAD "}


@app.command()
def doctor() -> None:
    """Check folders, ports, applications, plugins and versions."""
    findings = examine()
    if CURRENT.as_json:
        CURRENT.show(
            {"findings": [{"level": f.level, "what": f.what, "advice": f.advice} for f in findings]}, lambda _: None
        )
    else:
        for finding in findings:
            say(f"{_MARKS[finding.level]} {finding.what}")
            if finding.advice:
                say(f"       {finding.advice}")
    if any(finding.level == checks.BAD for finding in findings):
        raise typer.Exit(EXIT_FAILED)


def examine(table: Sequence[Known] | None = None) -> list[checks.Finding]:
    """Return all findings, with or without a daemon; *table* has the ports of applications, all known ones by default.

    What takes time is looked at side by side, and given up after `BUDGET` seconds.
    """
    hush()
    from lightfast.app.cli.ports.survey import survey
    from lightfast.app.cli.ports.table import PORTS
    from lightfast.core import paths as where

    paths = where.find(CURRENT.home)
    daemon_pid = _daemon_pid(paths.endpoints_file)
    ports = _Aside("the ports of applications", lambda: survey(daemon_pid, PORTS if table is None else table))
    apps = _Aside("the applications on the PATH", lambda: list(checks.check_apps()))
    desk = _Aside("the daemon", _ask_daemon)
    info, plugins, joined, trouble = desk.result() or (None, [], [], "it does not answer in time")
    wanted, config_findings = _wanted_ports(paths, info)
    return [
        *checks.check_python(),
        *checks.check_folders(paths),
        *config_findings,
        *checks.check_daemon(info, trouble),
        *checks.check_ports(wanted, int(info["pid"]) if info else daemon_pid),
        *ports.findings("no port of an application is in use"),
        *apps.findings("no application is on the PATH"),
        *checks.check_plugins(plugins),
        *checks.check_joined(joined),
    ]


def _daemon_pid(endpoints: Path) -> int:
    """Return the process that wrote *endpoints*, 0 where none did; whether it lives is asked elsewhere."""
    try:
        return int(json.loads(endpoints.read_text(encoding="utf-8"))["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _ask_daemon() -> tuple[dict[str, Any] | None, list[dict[str, Any]], list[dict[str, Any]], str]:
    """Return what the daemon says of itself, its plugins and applications, and why it does not."""
    try:
        with CURRENT.client(timeout=DAEMON_BUDGET) as client:
            return (
                client.call_json("AdminService.GetInfo", {}),
                client.call_json("AdminService.ListPlugins", {}).get("plugins", []),
                client.call_json("AppService.ListApps", {"page_size": 1000}).get("apps", []),
                "",
            )
    except LightfastError as error:
        return None, [], [], error.message


class _Aside(Generic[T]):
    """Work in a thread of its own, which is left behind when it takes too long."""

    def __init__(self, what: str, work: Callable[[], T]) -> None:
        self._what = what
        self._work = work
        self._found: T | None = None
        self._error: BaseException | None = None
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=what, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._found = self._work()
        except BaseException as error:  # noqa: BLE001  # it is raised where the result is asked for
            self._error = error

    def result(self, budget: float = BUDGET) -> T | None:
        """Return the result, `None` where it is not there *budget* seconds after the start."""
        self._thread.join(max(0.0, self._began + budget - time.monotonic()))
        if self._error is not None:
            raise self._error
        return self._found

    def findings(self: _Aside[list[checks.Finding]], nothing: str) -> list[checks.Finding]:
        """Return the findings that the work gave, or one: that there is *nothing*, or that it took too long."""
        found = self.result()
        if found is None:
            what = f"{self._what} could not be looked at in time"
            return [checks.Finding(checks.WARN, what, "try again when the machine is quiet")]
        return found or [checks.Finding(checks.OK, nothing)]


def _wanted_ports(paths: Any, info: dict[str, Any] | None) -> tuple[list[tuple[str, str, str]], list[checks.Finding]]:
    """Return the ports the settings ask for, and what is wrong with the settings."""
    from lightfast.app.settings import Settings
    from lightfast.core.config_load import load

    try:
        settings = load(Settings, file=paths.config_file if paths.config_file.exists() else None).settings
    except LightfastError as error:
        lines = error.message.splitlines()
        return [], [checks.Finding(checks.BAD, lines[0], "\n       ".join(lines[1:]))]
    keys = [
        ("grpc.listen", settings.grpc.listen, "tcp"),
        ("http.listen", settings.http.listen, "tcp"),
        ("link.tcp", settings.link.tcp, "tcp"),
        ("osc.listen", settings.osc.listen, "udp"),
    ]
    return [(key, address, kind) for key, address, kind in keys if address], []
