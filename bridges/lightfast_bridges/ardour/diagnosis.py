"""What can be wrong between the daemon and Ardour."""

from __future__ import annotations

import asyncio
import socket

from lightfast.sdk import Finding
from lightfast.sdk.osc import encode

ENABLE = (
    "In Ardour: Edit > Preferences > Control Surfaces, tick Open Sound Control (OSC); "
    "where Lightfast looks for it, `ardour.remote` says"
)
PORTS = range(3819, 3839)
"""The ports Ardour tries in turn: where the first is taken, it silently takes the next."""
PATIENCE = 2.0
"""Seconds to wait for an answer; it takes less than a millisecond, but a machine may have much else to do."""

ANSWERS, SILENT, CLOSED = "answers", "silent", "closed"


async def look(remote: tuple[str, int]) -> list[Finding]:
    """Return the findings for an Ardour that is looked for at *remote*."""
    host, port = remote
    subject = f"UDP {host}:{port}"
    state = await ask(remote)
    if state == ANSWERS:
        return [Finding("ok", subject, "Ardour answers there")]
    findings = []
    if state == SILENT:
        findings.append(
            Finding(
                "warning",
                subject,
                "a program listens there and does not answer as Ardour does: it is another one, or an Ardour that "
                "is frozen, loading, or without a session",
                "open a session in Ardour, or find out which program holds the port",
            )
        )
    else:
        findings.append(Finding("error", subject, "nothing listens there", ENABLE))
    if host == "localhost" or host.startswith("127."):
        others = [other for other in PORTS if other != port]
        states = await asyncio.gather(*(ask((host, other)) for other in others))
        findings += [
            Finding(
                "warning",
                f"UDP {host}:{other}",
                "an Ardour answers there: the port it wanted was taken when it started",
                f"set plugins.ardour.remote = '{host}:{other}', or end the program on {port} and restart Ardour",
            )
            for other, found in zip(others, states, strict=True)
            if found == ANSWERS
        ]
    return findings


async def ask(remote: tuple[str, int]) -> str:
    """Say whether Ardour answers at *remote*.

    The two messages are those with which the bridge looks for it: answer to the port that asked (without that, Ardour
    as delivered answers to port 8000), and say how this surface is set up.
    """
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setblocking(False)
        try:
            await loop.sock_connect(probe, remote)
            for message in (encode("/set_surface/port", 0), encode("/set_surface")):
                await loop.sock_sendall(probe, message)
            async with asyncio.timeout(PATIENCE):
                answer = await loop.sock_recv(probe, 4096)
        except TimeoutError:
            return SILENT
        except OSError:  # nobody has the port: the system says so to a connected socket
            return CLOSED
    return ANSWERS if answer.startswith(b"/set_surface\0") else SILENT
