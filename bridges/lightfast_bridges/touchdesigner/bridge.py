"""The daemon's half: TouchDesigner joins by itself, so this says how its kind behaves and what may be in the way."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk import Bridge, BridgeHost, Command, Dialect, Finding, Parameter, Term, Timeline
from lightfast_bridges.touchdesigner import inside

NEIGHBORS = {
    9980: "a TouchDesigner bridge over a Web Server DAT (Pantani/tdmcp uses this port)",
    9981: "a TouchDesigner bridge over a Web Server DAT (8beeeaaat/touchdesigner-mcp uses this port)",
    13316: "TDMCP, Derivative's own MCP server in TouchDesigner",
}
"""Ports of others that drive TouchDesigner, and whose they are."""
LOOK_S = 3.0
"""The longest look at one port, in seconds: on this machine nothing but its being busy makes it long."""


class TouchDesignerBridge(Bridge):
    """TouchDesigner 2022 and later, with the component that `lightfast pack touchdesigner` writes."""

    kind = "touchdesigner"
    title = "TouchDesigner"
    link = True
    timeline = Timeline(
        playing="time/play",
        position="time/frame",
        unit="frames",
        tempo="time/tempo",
        rate="time/rate",
        first="time/start",
        last="time/end",
    )
    dialect = Dialect(
        (
            Term("object.location", ("**/{}/par/tx", "**/{}/par/ty", "**/{}/par/tz"), unit="distance.m"),
            Term("object.rotation", ("**/{}/par/rx", "**/{}/par/ry", "**/{}/par/rz"), unit="angle.degree"),
            Term("object.scale", ("**/{}/par/sx", "**/{}/par/sy", "**/{}/par/sz")),
        ),
        up="y",
        home="project1",
    )

    def parameters(self) -> Sequence[Parameter]:
        """Return what is known of every project's paths; what it holds, it says itself when it joins."""
        return inside.parameters()

    def commands(self) -> Sequence[Command]:
        """Return the commands the component runs."""
        return inside.commands()

    async def diagnose(self, config: Mapping[str, Any]) -> Sequence[Finding]:
        """Return what else drives TouchDesigner on this machine, and what to look at when it does not join.

        The ports are connected to and left at once; nothing is sent. *config* may name other `neighbors` (ports).
        """
        wanted = [int(port) for port in config.get("neighbors", NEIGHBORS)]
        open_ports = await asyncio.gather(*(_answers("127.0.0.1", port) for port in wanted))
        only_six = await asyncio.gather(*(_answers("::1", port) for port in wanted))
        findings = []
        for port, four, six in zip(wanted, open_ports, only_six, strict=True):
            who = NEIGHBORS.get(port, "something")
            if four:
                findings.append(
                    Finding(
                        "note",
                        f"TCP port {port}",
                        f"something answers at 127.0.0.1:{port}: usually {who}. It changes the same project; "
                        "Lightfast sees its changes and records them as TouchDesigner's own",
                        "none, unless two of them are to set the same parameter: then switch one off"
                        + ("" if six else "; clients of it must write 127.0.0.1, as localhost may mean ::1"),
                    )
                )
        if not findings:
            ports = ", ".join(map(str, wanted))
            findings.append(Finding("ok", f"TCP ports {ports}", "no other program drives TouchDesigner here"))
        findings.append(
            Finding(
                "note",
                "the component",
                f"this daemon packs version {inside.version()}; a joined TouchDesigner tells its own in "
                "lightfast/component below its mount, and another one is flagged there",
                "where they differ, rebuild with lightfast pack touchdesigner; where TouchDesigner does not join, "
                "the Status of its component says why (Active is off, another Home, no daemon)",
            )
        )
        return findings

    async def run(self, host: BridgeHost) -> None:
        """Do nothing: the link protocol's door takes TouchDesigner in."""


async def _answers(host: str, port: int) -> bool:
    """Say whether something takes connections there; nothing is sent to it."""
    try:
        async with asyncio.timeout(LOOK_S):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
