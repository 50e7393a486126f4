"""The settings of one REAPER, as the plugin's table gives them."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightfast.sdk import BridgeError


@dataclass(frozen=True, slots=True)
class Settings:
    """How one REAPER is joined; *poll* and *silence* in seconds, *top* in dB.

    *tracks*, *sends*, *fx*, *parameters* and *marks* are the most that is followed; *parameter_slots* is the most
    places for parameters that REAPER tells of: tracks times FX times parameters. The usual device port, 9000, is
    Hydrogen's own, so it is not the default here.
    """

    remote: tuple[str, int] = ("127.0.0.1", 8000)
    reply_port: int = 50158
    name: str = ""
    resource_path: str = ""
    tracks: int = 512
    sends: int = 32
    fx: int = 32
    parameters: int = 64
    parameter_slots: int = 4096
    marks: int = 256
    top: float = 12.0
    poll: float = 1.0
    silence: float = 8.0


_LOWEST: Mapping[str, float] = {
    "reply_port": 1, "tracks": 1, "sends": 1, "fx": 1, "parameters": 0, "parameter_slots": 0, "marks": 0,
    "top": -150, "poll": 0.05, "silence": 0.2,
}  # fmt: skip
_HIGHEST: Mapping[str, float] = {
    "reply_port": 65_535, "tracks": 2000, "sends": 128, "fx": 128, "parameters": 1024, "parameter_slots": 100_000,
    "marks": 4096, "top": 150,
}  # fmt: skip
_KINDS: Mapping[str, type[Any]] = {
    "name": str, "resource_path": str, "top": float, "poll": float, "silence": float,
    **dict.fromkeys(("reply_port", "tracks", "sends", "fx", "parameters", "parameter_slots", "marks"), int),
}  # fmt: skip
_DAEMONS = frozenset({"enabled", "instances"})
"""Keys of a plugin's table that the daemon itself reads."""


def settings_of(config: Mapping[str, Any]) -> Settings:
    """Return the settings in a plugin's table; raise `BridgeError` that names a wrong one."""
    known: dict[str, Any] = {}
    names = ("remote", *_KINDS)
    for name in config:
        if name not in names and name not in _DAEMONS:
            close = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"there is {', '.join(names)}"
            raise BridgeError(f"reaper.{name} is no setting of this plugin: {hint}")
    if "remote" in config:
        host, _, port = str(config["remote"]).rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65_536:
            raise BridgeError(f"reaper.remote is {config['remote']!r}: write HOST:PORT, like 127.0.0.1:8000")
        known["remote"] = ("127.0.0.1" if host == "localhost" else host, int(port))
    for name, kind in _KINDS.items():
        if name in config:
            known[name] = _value(name, kind, config[name])
    return Settings(**known)


def _value(name: str, kind: type[Any], value: Any) -> Any:
    with contextlib.suppress(TypeError, ValueError):
        if not isinstance(value, bool):
            found = kind(value)
            low, high = _LOWEST.get(name), _HIGHEST.get(name)
            if (low is not None and found < low) or (high is not None and found > high):
                raise BridgeError(
                    f"reaper.{name} is {value!r}: write {low:g} or more{f', up to {high:g}' if high else ''}"
                )
            return found
    raise BridgeError(f"reaper.{name} is {value!r}: write a value of type {kind.__name__}")
