"""The settings of one Live."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightfast.sdk import BridgeError
from lightfast_bridges.ableton.asking import WINDOW
from lightfast_bridges.ableton.layout import Depth

_KINDS: dict[str, type[Any]] = {
    "reply_port": int,
    "name": str,
    "meters": bool,
    "parameters": int,
    "poll": float,
    "silence": float,
    "budget": int,
    "share_reply_port": int,
}
_DEPTHS = {one.name.lower(): one for one in Depth}
_DAEMONS = frozenset({"enabled", "instances"})
"""Keys of a plugin's table that the daemon itself reads."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How one Live is joined; *poll* and *silence* in seconds.

    *depth* is how much of a set is followed, *parameters* how many of each device are listened to, *budget* how many
    messages are sent per tick of Live (0.1 s). *share* is where other AbletonOSC clients are served, if anywhere;
    what they are told goes to the port they send from, and to *share_reply_port*, too, if that is not 0.
    """

    remote: tuple[str, int] = ("127.0.0.1", 11_000)
    reply_port: int = 11_001
    name: str = ""
    meters: bool = False
    parameters: int = 64
    poll: float = 2.0
    silence: float = 6.0
    depth: Depth = Depth.PARAMETERS
    budget: int = WINDOW
    share: tuple[str, int] | None = None
    share_reply_port: int = 0


def settings_of(config: Mapping[str, Any]) -> Settings:
    """Return the settings in a plugin's table; raise `BridgeError` that names a wrong one."""
    known: dict[str, Any] = {}
    names = ("remote", "depth", "share", *_KINDS)
    for name in config:
        if name not in names and name not in _DAEMONS:
            close = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"there is {', '.join(names)}"
            raise BridgeError(f"ableton.{name} is no setting of this plugin: {hint}")
    for name, example in (("remote", 11_000), ("share", 11_010)):
        if config.get(name):
            known[name] = _address(name, config[name], example)
    if "depth" in config:
        if config["depth"] not in _DEPTHS:
            raise BridgeError(f"ableton.depth is {config['depth']!r}: write one of {', '.join(_DEPTHS)}")
        known["depth"] = _DEPTHS[config["depth"]]
    for name, kind in _KINDS.items():
        if name in config:
            value = config[name]
            with contextlib.suppress(TypeError, ValueError):
                if isinstance(value, bool) == (kind is bool):
                    known[name] = kind(value)
                    continue
            raise BridgeError(f"ableton.{name} is {value!r}: write a value of type {kind.__name__}")
    if known.get("budget", 1) < 1:
        raise BridgeError(f"ableton.budget is {known['budget']}: at least one message per tick is needed")
    return Settings(**known)


def _address(name: str, value: Any, example: int) -> tuple[str, int]:
    host, _, port = str(value).rpartition(":")
    if not host or not port.isdigit() or not int(port) < 65_536 or (name == "remote" and port == "0"):
        raise BridgeError(f"ableton.{name} is {value!r}: write HOST:PORT, like 127.0.0.1:{example}")
    return host, int(port)
