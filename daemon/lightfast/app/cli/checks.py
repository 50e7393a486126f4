"""What `lightfast doctor` looks at. Each check yields findings; what asks other programs is in `ports`."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightfast import __version__
from lightfast.core.paths import Paths
from lightfast.core.ports import holder

OK = "ok"
WARN = "warn"
BAD = "bad"
VERSION_S = 4.0
"""Seconds an application has to tell its version."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: *level* is `ok`, `warn` or `bad`, *advice* says what to do."""

    level: str
    what: str
    advice: str = ""


def check_python() -> Iterator[Finding]:
    """Look at the interpreter."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding(OK, f"Python {version}, Lightfast {__version__}")


def check_folders(paths: Paths) -> Iterator[Finding]:
    """Look at owners, modes and free space of the daemon's folders."""
    for name, folder in (("config", paths.config), ("state", paths.state), ("runtime", paths.runtime)):
        if not folder.exists():
            yield Finding(OK, f"{name} folder {folder} will be made at the first start")
            continue
        found = folder.stat()
        if sys.platform != "win32" and found.st_uid != os.geteuid():
            yield Finding(
                BAD, f"{name} folder {folder} belongs to user {found.st_uid}", f"run: sudo chown -R $(id -u) {folder}"
            )
        elif not os.access(folder, os.W_OK):
            yield Finding(BAD, f"{name} folder {folder} cannot be written", f"run: chmod u+rwx {folder}")
        elif name != "config" and stat.S_IMODE(found.st_mode) & 0o007:
            yield Finding(WARN, f"{name} folder {folder} is open to other users", f"run: chmod o-rwx {folder}")
        else:
            yield Finding(OK, f"{name} folder {folder}")
    for file in (paths.token_file, paths.link_key_file):
        if file.exists() and stat.S_IMODE(file.stat().st_mode) & 0o077 and sys.platform != "win32":
            yield Finding(BAD, f"{file} can be read by other users", f"run: chmod 600 {file}, and restart the daemon")
    where = paths.state if paths.state.exists() else Path.home()
    free = shutil.disk_usage(where).free
    if free < 1 << 30:
        yield Finding(
            BAD if free < 100 << 20 else WARN, f"{free >> 20} MiB free at {where}", "make room: writes will be refused"
        )
    else:
        yield Finding(OK, f"{free >> 30} GiB free at {where}")


def check_daemon(info: dict[str, Any] | None, trouble: str) -> Iterator[Finding]:
    """Compare the running daemon with this command line."""
    if info is None:
        yield Finding(WARN, "no daemon answers" + (f" ({trouble})" if trouble else ""), "start it: lightfastd")
        return
    if info.get("version") != __version__:
        yield Finding(
            BAD,
            f"the daemon is version {info.get('version')}, this command line {__version__}",
            "restart the daemon after an upgrade: systemctl --user restart lightfast",
        )
    else:
        yield Finding(OK, f"the daemon answers: process {info.get('pid')}, revision {info.get('revision', 0)}")


def check_ports(wanted: list[tuple[str, str, str]], own_pid: int) -> Iterator[Finding]:
    """Look whether the daemon's ports are free, its own, or taken; *wanted* is (key, HOST:PORT, tcp|udp)."""
    for key, address, kind in wanted:
        port = int(address.rpartition(":")[2])
        if not port:
            continue
        found = holder(port, kind)
        if found is None:
            yield Finding(OK, f"{key}: {kind} port {port} is free")
        elif found.pid == own_pid:
            yield Finding(OK, f"{key}: {kind} port {port} is the daemon's")
        else:
            yield Finding(
                BAD,
                f"{key}: {kind} port {port} is taken by {found}",
                f'end that program, or set another port: {key} = "127.0.0.1:0" in lightfast.toml',
            )


def check_apps() -> Iterator[Finding]:
    """Look for applications that can be found."""
    blender = shutil.which("blender")
    if blender is None:
        yield Finding(
            WARN,
            "Blender is not on the PATH",
            "install it (Debian: apt install blender), or use the simulator: lightfast sim blender",
        )
    else:
        try:
            done = subprocess.run(
                [blender, "--version"], capture_output=True, text=True, timeout=VERSION_S, check=False
            )
            yield Finding(OK, f"{blender}: {done.stdout.splitlines()[0] if done.stdout else 'no version'}")
        except (OSError, subprocess.TimeoutExpired) as error:
            yield Finding(WARN, f"{blender} does not run: {error}", "start it by hand and read what it says")


def check_plugins(plugins: list[dict[str, Any]]) -> Iterator[Finding]:
    """Name the plugins that cannot be used, and why."""
    for plugin in plugins:
        state = plugin.get("state", "").removeprefix("PLUGIN_STATE_").lower()
        if state == "ready":
            yield Finding(OK, f"plugin {plugin['name']}: {', '.join(plugin.get('brings', []))}")
        else:
            level = BAD if state == "failed" else WARN
            yield Finding(level, f"plugin {plugin['name']} is {state}", plugin.get("reason", ""))


def check_joined(apps: list[dict[str, Any]]) -> Iterator[Finding]:
    """Name the applications that are not in step."""
    for item in apps:
        state = item.get("state", "").removeprefix("APP_STATE_").lower()
        level = OK if state == "live" else WARN
        yield Finding(level, f"{item['mount']} is {state}", item.get("state_reason", "") if level != OK else "")
