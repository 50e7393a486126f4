"""The ports of creative applications: who is expected there, how to recognize it, what to do about a stranger."""

from __future__ import annotations

from dataclasses import dataclass

from lightfast.app.cli.ports import json_bridges, osc, web
from lightfast.app.cli.ports.asking import Recognizer


@dataclass(frozen=True, slots=True)
class Known:
    """One port; *names* are what the processes expected there are called, in lower case, in parts.

    *shared* says that all sorts of programs use the port, so that a stranger there is no mistake. *told* is what
    to know of it once its holder is recognized by name alone.
    """

    port: int
    kind: str
    who: str
    names: tuple[str, ...]
    recognize: Recognizer | None = None
    advice: str = ""
    told: str = ""
    shared: bool = False


PORTS = (
    Known(
        9876,
        "tcp",
        "blender-mcp, Blender Lab MCP or djeada/blender-mcp-server",
        ("blender",),
        json_bridges.recognizer(),
        "four programs use this port and do not mix: give one of them another port, for example by BLENDER_PORT",
    ),
    Known(
        9877,
        "tcp",
        "ableton-mcp",
        ("live", "ableton", "blender"),
        json_bridges.recognizer(ableton_first=True),
        "ableton-mcp has it, and often a second Blender bridge: give one of them another port",
    ),
    Known(
        11000,
        "udp",
        "AbletonOSC",
        ("live", "ableton"),
        osc.abletonosc(11001),
        "end that program, or AbletonOSC cannot start: it has no other port",
    ),
    Known(
        11001,
        "udp",
        "the program that hears AbletonOSC",
        ("lightfast",),
        told="AbletonOSC answers here, and nowhere else",
        advice="AbletonOSC answers to this port only: end that program, and the daemon can join Live",
    ),
    Known(
        3819,
        "udp",
        "Ardour (OSC)",
        ("ardour", "mixbus"),
        told="it is not asked: it would have to be told first where to answer, for every program on this machine",
        advice="Ardour then takes one of 3820 to 3838: set the port of its bridge",
    ),
    Known(3818, "tcp", "Ardour (WebSockets)", ("ardour", "mixbus")),
    Known(
        8000,
        "udp",
        "Ardour's answers, TouchOSC, REAPER",
        ("touchosc", "reaper", "protokol"),
        told="Ardour answers here unless it is told otherwise",
        shared=True,
    ),
    Known(8000, "tcp", "Companion's pages", ("companion",), web.companion(), shared=True),
    Known(57110, "udp", "scsynth", ("scsynth", "supernova"), osc.scsynth(), "start scsynth with another -u port"),
    Known(57120, "udp", "sclang", ("sclang",), advice="sclang then takes the next port: look at NetAddr.langPort"),
    Known(
        9980,
        "tcp",
        "a web bridge of TouchDesigner (tdmcp)",
        ("touchdesigner", "touchplayer"),
        web.touchdesigner(),
        "set the port of the Web Server DAT to another one",
    ),
    Known(
        9981,
        "tcp",
        "a web bridge of TouchDesigner (touchdesigner-mcp)",
        ("touchdesigner", "touchplayer"),
        web.touchdesigner(),
        "set the port of the Web Server DAT to another one",
    ),
    Known(13316, "tcp", "TouchDesigner's own MCP server", ("touchdesigner",), web.tdmcp()),
    Known(7000, "udp", "Resolume (OSC)", ("arena", "avenue"), shared=True),
    Known(8080, "tcp", "Resolume (REST)", ("arena", "avenue"), web.resolume(), shared=True),
    Known(53000, "tcp", "QLab (OSC)", ("qlab",), osc.qlab()),
    Known(53000, "udp", "QLab (OSC)", ("qlab",)),
    Known(53001, "udp", "the program that hears QLab", ("lightfast",), told="QLab answers here", shared=True),
    Known(12321, "udp", "Companion (OSC)", ("companion",)),
    Known(12000, "udp", "Chataigne (OSC in)", ("chataigne",), shared=True),
    Known(
        9000,
        "udp",
        "Chataigne (OSC out), TouchOSC, REAPER, Hydrogen",
        ("chataigne", "touchosc", "reaper", "hydrogen"),
        shared=True,
    ),
    Known(50157, "udp", "the program that hears Pure Data", ("lightfast",), told="patches send here", shared=True),
    Known(50158, "udp", "the program that hears REAPER", ("lightfast",), told="REAPER's device", shared=True),
    Known(1234, "udp", "an OSCQuery server (OSC)", ("score", "ossia", "rnbo"), shared=True),
    Known(5678, "tcp", "an OSCQuery server", ("score", "ossia", "rnbo"), web.oscquery(), shared=True),
    Known(4455, "tcp", "OBS", ("obs",), web.obs(), "set another port in OBS: Tools, WebSocket Server Settings"),
)
"""All ports that are looked at."""
