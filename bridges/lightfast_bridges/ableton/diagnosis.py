"""What can be wrong between the daemon and Live."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

from lightfast.sdk import Finding
from lightfast.sdk.osc import OscError, decode, encode
from lightfast_bridges.ableton.settings import Settings

ENABLE = (
    "start Live and choose AbletonOSC as a control surface (Settings > Link, Tempo & MIDI); if it is not in the list, "
    "put its folder into Live's Remote Scripts and start Live again"
)
OTHER_SCRIPT = 9877
"""The TCP port of ableton-mcp's remote script."""
PATIENCE = 0.6
"""Seconds to wait for an answer: Live looks at its socket every 0.1 s."""
OLDEST = 11
"""The oldest Live that AbletonOSC runs in."""


async def look(settings: Settings) -> list[Finding]:
    """Return what there is to say about the Live of *settings*. It is asked for its version, nothing else."""
    here = _is_here(settings.remote[0])
    findings = [await _ports(settings, here=here)]
    if here:
        other = await _listens(OTHER_SCRIPT)
        if other:
            findings.append(
                Finding(
                    "note",
                    f"TCP port {OTHER_SCRIPT}",
                    "a program listens there, as ableton-mcp's remote script does: that is another script than "
                    "AbletonOSC, and does not serve here",
                    "both can be chosen as control surfaces of one Live, side by side",
                )
            )
    return findings


async def _ports(settings: Settings, *, here: bool) -> Finding:
    host, port = settings.remote
    where = f"UDP {host}:{port}"
    if here and not await _is_open(host, port):
        return Finding("error", where, "nothing listens there", ENABLE)
    try:
        said = await _ask(settings, "/live/application/get/version")
    except OSError:
        return _taken(settings)
    if said is None:
        return Finding(
            "error" if here else "warning",
            where,
            "AbletonOSC does not answer: another program has the port, or Live is loading or shows a dialog"
            if here
            else "AbletonOSC does not answer",
            f"{ENABLE}; its log is in the folder `logs` beside it",
        )
    version = ".".join(str(part) for part in said)
    if isinstance(said[0], int) and said[0] < OLDEST:
        return Finding("warning", where, f"AbletonOSC answers, in Live {version}", f"use Live {OLDEST} or newer")
    return Finding("ok", where, f"AbletonOSC answers, in Live {version}")


def _taken(settings: Settings) -> Finding:
    """Say who has the reply port."""
    subject = f"UDP port {settings.reply_port}"
    pid, name = _holder(settings.reply_port)
    if pid == os.getpid():
        return Finding("ok", subject, "this daemon holds it, and hears what AbletonOSC answers")
    return Finding(
        "error",
        subject,
        f"{name} has it, and AbletonOSC answers to this port only: one program can listen to Live",
        "end that program; or start the daemon first, set plugins.ableton.share = '127.0.0.1:11010', and let the "
        "program send there",
    )


def _holder(port: int) -> tuple[int, str]:
    import psutil

    try:
        for connection in psutil.net_connections("udp"):
            if connection.laddr and connection.laddr.port == port and connection.pid:
                return connection.pid, f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass
    return 0, "a program that this user may not see"


async def _ask(settings: Settings, address: str) -> tuple[Any, ...] | None:
    """Ask one getter and return its answer, `None` for silence; raise `OSError` where the reply port is taken."""
    loop = asyncio.get_running_loop()
    local = "127.0.0.1" if _is_here(settings.remote[0]) else "0.0.0.0"  # noqa: S104
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        ear.setblocking(False)
        ear.bind((local, settings.reply_port))
        try:
            await loop.sock_sendto(ear, encode(address), settings.remote)
            async with asyncio.timeout(PATIENCE):
                while True:
                    for message in decode(await loop.sock_recv(ear, 65_536)):
                        if message.address == address and message.args:
                            return tuple(message.args)
        except (TimeoutError, OSError, OscError):
            return None


async def _is_open(host: str, port: int) -> bool:
    """Say whether a program has a UDP port of this machine: the system tells a connected socket if not."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setblocking(False)
        try:
            await loop.sock_connect(probe, (host, port))
            await loop.sock_sendall(probe, encode("/live/test"))
            async with asyncio.timeout(PATIENCE / 2):
                await loop.sock_recv(probe, 4096)
        except TimeoutError:
            return True
        except OSError:
            return False
    return True


async def _listens(port: int) -> bool:
    try:
        async with asyncio.timeout(PATIENCE / 2):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
    except (TimeoutError, OSError):
        return False
    writer.close()
    return True


def _is_here(host: str) -> bool:
    return host == "localhost" or host.startswith("127.")
