"""What can be wrong between the daemon and REAPER, looked at without sending anything."""

from __future__ import annotations

import shlex
import socket
from dataclasses import dataclass
from pathlib import Path

from lightfast.sdk import Finding
from lightfast_bridges.reaper.guids import SheetFile, resource_path
from lightfast_bridges.reaper.pack import PATTERNS
from lightfast_bridges.reaper.settings import Settings

MAX_INI = 4 << 20
"""The most bytes of reaper.ini that are read."""


@dataclass(slots=True)
class Heard:
    """What was heard on one reply port: REAPER has *joined*, uses *our* patterns, or *speaks* without answering."""

    joined: bool = False
    ours: bool = False
    speaks: bool = False


@dataclass(frozen=True, slots=True)
class Device:
    """One OSC device as reaper.ini has it; a port of 0 stands for that of the other side."""

    name: str
    receives: bool
    sends: bool
    listen: int
    ip: str
    port: int
    patterns: str


def steps(settings: Settings) -> str:
    """Say how REAPER is set up."""
    host, port = settings.remote
    ip = "127.0.0.1" if host.startswith("127.") else "this machine's address"
    return (
        "Preferences > Control/OSC/web > Add > OSC (Open Sound Control): pattern config Lightfast "
        "(`lightfast pack reaper --output FOLDER` writes it), mode 'Configure device IP+local port', device IP "
        f"{ip}, device port {settings.reply_port}, local listen port {port}; then OK. Without REAPER: "
        "`lightfast sim reaper`"
    )


def look(settings: Settings, heard: Heard | None) -> list[Finding]:
    """Return the findings; *heard* is None where the daemon does not listen."""
    findings = [_reply_port(settings, listening=heard is not None)]
    here = settings.remote[0].startswith("127.")
    if here:
        findings.append(_remote_port(settings))
    findings.append(_joined(settings, heard))
    if here:
        findings += _installed(settings)
    return findings


def _reply_port(settings: Settings, *, listening: bool) -> Finding:
    subject = f"UDP port {settings.reply_port}"
    if listening:
        return Finding("ok", subject, "the daemon listens there for REAPER")
    if _taken(settings.reply_port):
        remedy = "stop it, or choose another device port in REAPER and set it as plugins.reaper.reply_port"
        return Finding(
            "error", subject, f"{_holder(settings.reply_port)} has it; REAPER's feedback comes there", remedy
        )
    return Finding("warning", subject, "nobody listens there", "start the daemon with this plugin enabled")


def _remote_port(settings: Settings) -> Finding:
    port = settings.remote[1]
    subject = f"UDP port {port}"
    if not _taken(port):
        return Finding("error", subject, "nothing listens there: REAPER is not running, or has no OSC device on it",
                       steps(settings))  # fmt: skip
    return Finding("ok", subject, f"{_holder(port)} listens there")


def _joined(settings: Settings, heard: Heard | None) -> Finding:
    if heard is None:
        return Finding("note", "REAPER", "the daemon does not listen for it")
    if heard.joined and heard.ours:
        return Finding("ok", "REAPER", "it answers, and uses Lightfast's pattern file")
    if heard.joined:
        return Finding("warning", "REAPER", "it answers, but uses another pattern file", steps(settings))
    if heard.speaks:
        return Finding("error", "REAPER", "it is heard, but does not answer: its local listen port or its pattern file "
                       "is another one", steps(settings))  # fmt: skip
    return Finding("error", "REAPER", "nothing is heard of it", steps(settings))


def _installed(settings: Settings) -> list[Finding]:
    """Look what REAPER's own folder says, where there is one."""
    folder = resource_path(settings.resource_path)
    if not folder.is_dir():
        remedy = "set plugins.reaper.resource_path where it lies elsewhere (Options > Show REAPER resource path)"
        return [Finding("note", "REAPER's resource path", f"there is no {folder}", remedy)]
    found = []
    if not (folder / "OSC" / PATTERNS).is_file():
        remedy = f"run `lightfast pack reaper --output FOLDER` and copy {PATTERNS} there"
        found.append(Finding("warning", "pattern file", f"there is no {PATTERNS} in {folder / 'OSC'}", remedy))
    found += _devices(settings, read_devices(folder / "reaper.ini"))
    running = SheetFile(folder).look() is not None
    what = "it runs: tracks keep their identity" if running else "it does not run: tracks are told apart by name only"
    found.append(Finding("ok" if running else "note", "script lightfast_guids.lua", what))
    return found


def _devices(settings: Settings, devices: list[Device] | None) -> list[Finding]:
    if devices is None:
        return []
    for device in devices:
        if device.receives and device.listen == settings.remote[1]:
            wrong = []
            if not device.sends or device.port not in {0, settings.reply_port}:
                wrong.append(f"it sends to port {device.port}, the daemon listens on {settings.reply_port}")
            if device.sends and device.port and not device.ip.startswith("127."):
                wrong.append(f"it sends to {device.ip}, not to 127.0.0.1")
            if device.patterns.removesuffix(".ReaperOSC") != PATTERNS.removesuffix(".ReaperOSC"):
                wrong.append(f"its pattern config is {device.patterns or 'Default'}")
            subject = f"OSC device {device.name or device.listen} in reaper.ini"
            if wrong:
                return [Finding("warning", subject, "; ".join(wrong), steps(settings))]
            return [Finding("ok", subject, "it is set up for this daemon")]
    there = ", ".join(str(device.listen) for device in devices if device.receives) or "none"
    what = f"no OSC device listens on {settings.remote[1]}; there are those on: {there}"
    return [Finding("warning", "reaper.ini", what, steps(settings))]


def read_devices(path: Path) -> list[Device] | None:
    """Return the OSC devices in a reaper.ini; None where it cannot be read.

    A line is `csurf_0=OSC "name" flags listen "ip" port size sleep "patterns"`; of the flags 1 receives, 2 sends.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_INI).decode("utf-8", "replace")
    except OSError:
        return None
    found = []
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if not key.startswith("csurf_") or not value.startswith("OSC "):
            continue
        try:
            _, name, flags, listen, ip, port, *rest = shlex.split(value.replace("\\", "\\\\"))
            found.append(
                Device(name, bool(int(flags) & 1), bool(int(flags) & 2), int(listen), ip, int(port),
                       rest[2] if len(rest) > 2 else "")
            )  # fmt: skip
        except ValueError:
            continue
    return found


def _taken(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _holder(port: int) -> str:
    """Return who has a UDP port, as far as the system tells us."""
    import psutil

    try:
        for one in psutil.net_connections(kind="udp"):
            if one.laddr and one.laddr.port == port and one.pid:
                return f"{psutil.Process(one.pid).name()} (process {one.pid})"
    except (psutil.Error, OSError):
        pass
    return "a program that this user may not see"
