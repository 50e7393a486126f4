"""doctor: finds what is wrong on this desk, and says what to do."""

from __future__ import annotations

from typing import Any

import typer

from lightfast.app.cli import checks
from lightfast.app.cli.session import CURRENT, EXIT_FAILED, hush, say
from lightfast.core.errors import LightfastError

app = typer.Typer()
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


def examine() -> list[checks.Finding]:
    """Return all findings, with or without a daemon."""
    hush()
    from lightfast.core import paths as where

    paths = where.find(CURRENT.home)
    info: dict[str, Any] | None = None
    plugins: list[dict[str, Any]] = []
    joined: list[dict[str, Any]] = []
    trouble = ""
    try:
        with CURRENT.client(timeout=3.0) as client:
            info = client.call_json("AdminService.GetInfo", {})
            plugins = client.call_json("AdminService.ListPlugins", {}).get("plugins", [])
            joined = client.call_json("AppService.ListApps", {"page_size": 1000}).get("apps", [])
    except LightfastError as error:
        trouble = error.message
    wanted, config_findings = _wanted_ports(paths, info)
    return [
        *checks.check_python(),
        *checks.check_folders(paths),
        *config_findings,
        *checks.check_daemon(info, trouble),
        *checks.check_ports(wanted, int(info["pid"]) if info else 0),
        *checks.check_app_ports(),
        *checks.check_apps(),
        *checks.check_plugins(plugins),
        *checks.check_joined(joined),
    ]


def _wanted_ports(paths: Any, info: dict[str, Any] | None) -> tuple[list[tuple[str, str, str]], list[checks.Finding]]:
    """Return the ports the settings ask for, and what is wrong with the settings."""
    from lightfast.app.settings import Settings
    from lightfast.core.config_load import load

    try:
        settings = load(Settings, file=paths.config_file).settings
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
