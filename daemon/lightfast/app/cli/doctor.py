"""doctor: finds what is wrong on this desk, and says what to do."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import typer

from lightfast.app.cli import checks, mirror_checks, room_checks, run_checks, work_checks
from lightfast.app.cli.session import CURRENT, EXIT_FAILED, hush, say
from lightfast.core.errors import LightfastError

if TYPE_CHECKING:
    from lightfast.app.cli.ports.table import Known
    from lightfast.client import Client

app = typer.Typer()
T = TypeVar("T")
BUDGET = 4.8
"""Seconds for what is looked at side by side."""
DAEMON_BUDGET = 3.0
"""Seconds the daemon has to answer."""
ONLINE_BUDGET = 25.0
"""Seconds for questions to AI services, all side by side."""
LATELY = timedelta(days=30)
"""A model counts as used that was asked since then."""
_MARKS = {checks.OK: "ok  ", checks.WARN: "warn", checks.BAD: "BAD "}


@app.command()
def doctor(
    online: Annotated[
        bool, typer.Option("--online", help="Ask the AI services, too: a cheap call with each account.")
    ] = False,
) -> None:
    """Check folders, ports, applications, plugins, versions, AI services and budgets."""
    findings = examine(online=online)
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


def examine(table: Sequence[Known] | None = None, *, online: bool = False) -> list[checks.Finding]:
    """Return all findings, with or without a daemon; *table* has the ports of applications, all known ones by default.

    What takes time is looked at side by side, and given up after `BUDGET` seconds. Only *online* are services asked.
    """
    hush()
    from lightfast.app.cli.gateway_checks import check_key_files
    from lightfast.app.cli.ports.survey import survey
    from lightfast.app.cli.ports.table import PORTS
    from lightfast.core import paths as where

    paths = where.find(CURRENT.home)
    daemon_pid = _daemon_pid(paths.endpoints_file)
    ports = _Aside("the ports of applications", lambda: survey(daemon_pid, PORTS if table is None else table))
    apps = _Aside("the applications on the PATH", lambda: list(checks.check_apps()))
    desk = _Aside("the daemon", _ask_daemon)
    rooms = _Aside("the archive and the backups", lambda: list(_look_at_rooms()))
    services = _Aside("the AI services", lambda: list(_look_at_services(online=online)))
    info, plugins, joined, trouble = desk.result() or (None, [], [], "it does not answer in time")
    wanted, config_findings = _wanted_ports(paths, info)
    return [
        *checks.check_python(),
        *checks.check_folders(paths),
        *check_key_files(paths.keys),
        *config_findings,
        *checks.check_daemon(info, trouble),
        *checks.check_ports(wanted, int(info["pid"]) if info else daemon_pid),
        *ports.findings("no port of an application is in use"),
        *apps.findings("no application is on the PATH"),
        *checks.check_plugins(plugins),
        *checks.check_joined(joined),
        *(rooms.findings("nobody was asked about the archive and the backups") if info else []),
        *(
            services.findings("nobody was asked about the AI services", BUDGET + (ONLINE_BUDGET if online else 0.0))
            if info
            else []
        ),
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


def _look_at_rooms() -> Iterator[checks.Finding]:
    """Ask the daemon's rooms; one that cannot be asked is a finding, and hides none of the others."""
    try:
        with CURRENT.client(timeout=DAEMON_BUDGET) as client:
            asked: list[Callable[[], Iterator[checks.Finding]]] = [
                lambda: room_checks.check_archive(client.call_json("MemoryService.ArchiveStats", {})),
                lambda: room_checks.check_backups(
                    client.call_json("AdminService.ListBackups", {}).get("backups", []), datetime.now(UTC)
                ),
                lambda: run_checks.check_runs(
                    client.call_json("EngineService.ListRuns", {"states": run_checks.WAITING}).get("runs", [])
                ),
                lambda: work_checks.check_jobs(
                    client.call_json("JobService.ListJobs", {"states": ["JOB_STATE_DEAD"]}).get("jobs", [])
                ),
                lambda: work_checks.check_queue(
                    client.call_json("JobService.ListJobs", {"page_size": 1}).get("stopped", "")
                ),
                lambda: work_checks.check_schedules(
                    client.call_json("JobService.ListSchedules", {}).get("schedules", []), datetime.now(UTC)
                ),
                lambda: work_checks.check_workflows(
                    client.call_json("JobService.ListWorkflows", {}).get("workflows", []),
                    client.call_json("JobService.ListTriggers", {}).get("triggers", []),
                ),
                lambda: mirror_checks.check_mirror(
                    _setting(client.call_json("AdminService.GetConfig", {}), "workspaces.mirror", "")
                ),
                lambda: room_checks.check_embedder(
                    _setting(client.call_json("AdminService.GetConfig", {}), "memory.embedder"),
                    client.call_json("AdminService.ListPlugins", {}).get("plugins", []),
                ),
            ]
            for ask in asked:
                try:
                    yield from ask()
                except LightfastError as error:
                    yield checks.Finding(checks.WARN, f"the daemon could not be asked: {error.message}")
    except LightfastError:
        return  # nobody answers, which is a finding of its own


def _look_at_services(*, online: bool) -> Iterator[checks.Finding]:
    """Ask the daemon about the AI services; *online* the services themselves, too."""
    from lightfast.app.cli import gateway_checks as of

    try:
        with CURRENT.client(timeout=BUDGET) as client:  # the first may wait for a keyring

            def ask(method: str, field: str, **request: Any) -> list[dict[str, Any]]:
                found: list[dict[str, Any]] = client.call_json(f"GenerationService.{method}", request).get(field, [])
                return found

            config = of.Configured(client.call_json("AdminService.GetConfig", {}).get("settings", []))
            models = ask("ListModels", "models", as_known=True)  # which has the keys looked for
            providers = ask("ListProviders", "providers", as_known=True)
            sessions = ask("ListSessions", "sessions")
            now = datetime.now(UTC)
            since = (now - LATELY).isoformat()
            used = {
                line.get("group", {}).get("model", "")
                for line in ask("GetUsage", "sums", group_by=["model"], after=since)
            }
            yield from of.check_services(providers, sessions, config)
            yield from of.check_chains(models, providers, config)
            yield from of.check_models(models, used, config, now)
            yield from of.check_budgets(ask("ListBudgets", "budgets"))
            yield from of.check_operations(
                ask("ListOperations", "operations", running_only=True, page_size=1000), providers, now
            )
            if online:
                yield from _asked_online(client, of.to_ask(providers, sessions, config))
    except LightfastError as error:
        yield checks.Finding(checks.WARN, f"the daemon could not be asked about AI services: {error.message}")


def _asked_online(client: Client, names: Sequence[str]) -> Iterator[checks.Finding]:
    """Ask the services with these names, all side by side."""
    from lightfast.app.cli.gateway_checks import check_answers

    def ask(name: str) -> list[checks.Finding]:
        try:
            found = client.call_json("GenerationService.CheckProvider", {"provider": name}, ONLINE_BUDGET)
        except LightfastError as error:
            return [checks.Finding(checks.BAD, f"{name} does not answer as it should", error.message)]
        return list(check_answers(name, found.get("sessions", [])))

    asked = [_Aside(name, partial(ask, name)) for name in names]
    for each in asked:
        yield from each.findings("", ONLINE_BUDGET)


def _setting(config: dict[str, Any], key: str, usual: str = room_checks.CORE_EMBEDDER) -> str:
    for row in config.get("settings", []):
        if row.get("key") == key:
            return str(row.get("value", "")).strip('"')
    return usual


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

    def findings(self: _Aside[list[checks.Finding]], nothing: str, budget: float = BUDGET) -> list[checks.Finding]:
        """Return the findings that the work gave, or one: that there is *nothing*, or that it took too long."""
        found = self.result(budget)
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
