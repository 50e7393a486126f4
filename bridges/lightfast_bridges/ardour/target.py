"""From a path under the mount to the messages that set it and ask for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightfast.sdk import Value
from lightfast_bridges.ardour.leaves import (
    LEAVES,
    MONITOR,
    PARAMETER,
    PLUGINS,
    ROUTES,
    SENDS,
    TRANSPORTS,
    Follow,
    Leaf,
    check,
)
from lightfast_bridges.ardour.strips import Strip

Message = tuple[Any, ...]
"""An address and its arguments."""
MAX_POSITION = (1 << 31) - 1
AT_ONCE = 0.01
"""Seconds to wait before asking for what Ardour does not tell by itself."""
ECHO = 0.3
"""Seconds to wait for Ardour to tell a change."""
LAST_WORD = 1.5
"""Seconds to wait for it where Ardour cannot be asked afterwards."""

_TOGGLES = {
    "record_enable": "/rec_enable_toggle",
    "loop": "/loop_toggle",
    "click": "/toggle_click",
    "punch_in": "/toggle_punch_in",
    "punch_out": "/toggle_punch_out",
}
_MONITOR = {leaf.name: leaf for leaf in MONITOR} | {"mute": LEAVES["mute"]}


@dataclass(frozen=True, slots=True)
class Target:
    """One thing that can be set.

    *set* leads to the value; *ask* has Ardour say what it holds, and is empty where it cannot be asked. *toggles*:
    *set* turns it over, so it is sent only where it differs. *echo* in seconds.
    """

    leaf: Leaf
    value: Value
    set: Message
    ask: Message = ()
    toggles: bool = False
    echo: float = ECHO
    twin: str = ""
    """Another path that holds the same thing in another unit."""


def target_of(path: str, value: Value | None, strips: Mapping[str, Strip], held: Mapping[str, Value]) -> Target:
    """Return what sets *path* to *value*; raise `ValueError` that says why it cannot be set."""
    head, _, name = path.partition("/")
    if head == "transport":
        return _transport(path, name, value, held)
    if head == "session":
        raise ValueError(f"{path} can only be read")
    if head == "monitor" and name in _MONITOR:
        leaf = _MONITOR[name]
        good = check(leaf, value, path)
        if path not in held:
            raise ValueError("the session has no monitor section")
        return Target(leaf, good, (f"/monitor/{name}", _osc(good)), (f"/monitor/{name}",))
    strip, rest = _strip(path, strips)
    match rest:
        case [name]:
            return _property(path, strip, name, value, held)
        case ["sends", number, name] if name in SENDS and number.isdigit():
            _there(path, held)
            return _send(path, strip, int(number), name, value)
        case ["plugins", number, "active"] if number.isdigit():
            _there(path, held)
            on = check(PLUGINS["active"], value, path)
            word = "activate" if on else "deactivate"
            listed = ("/strip/plugin/list", strip.ssid)
            return Target(
                PLUGINS["active"], on, (f"/strip/plugin/{word}", strip.ssid, int(number)), listed, echo=AT_ONCE
            )
        case ["plugins", plugin, "parameters", number, "value"] if plugin.isdigit() and number.isdigit():
            _there(path, held)
            return _parameter(path, strip, (int(plugin), int(number)), value, held)
    raise ValueError(f"Ardour has nothing to set at {path}")


def _strip(path: str, strips: Mapping[str, Strip]) -> tuple[Strip, list[str]]:
    parts = path.split("/")
    cut = 2 if parts[0] == "strips" else 1
    base = "/".join(parts[:cut])
    strip = strips.get(base)
    if strip is None:
        raise ValueError(f"there is no strip {base} in Ardour: it has {', '.join(list(strips)[:12]) or 'none'}")
    return strip, parts[cut:]


def _there(path: str, held: Mapping[str, Value]) -> None:
    if path not in held:
        raise ValueError(f"there is no {path} in Ardour")


def _property(path: str, strip: Strip, name: str, value: Value | None, held: Mapping[str, Value]) -> Target:
    leaf = LEAVES.get(name)
    if leaf is None:
        raise ValueError(f"a strip has no property {name}: it has {', '.join(LEAVES)}")
    good = check(leaf, value, path)
    if path not in held and leaf.follow is not Follow.POLL:
        raise ValueError(f"{strip.name} has no {name}")
    if leaf.follow is Follow.POLL and strip.code not in ROUTES:
        raise ValueError(f"{strip.name} has no {name}")
    base = path[: -len(name) - 1]
    twin = {"gain": f"{base}/fader", "fader": f"{base}/gain"}.get(name, "")
    if name == "name":
        if not good:
            raise ValueError("a strip needs a name")
        return Target(leaf, good, (f"/strip/name/{strip.ssid}", good), ("/strip",))
    ask = "fader" if name == "gain" else name  # asked for the gain, Ardour says it to 0.05 dB only
    echo = AT_ONCE if leaf.follow is Follow.POLL else ECHO
    setting = (f"/strip/{name}/{strip.ssid}", _osc(good))
    return Target(leaf, good, setting, (f"/strip/{strip.ssid}/{ask}",), echo=echo, twin=twin)


def _send(path: str, strip: Strip, number: int, name: str, value: Value | None) -> Target:
    good = check(SENDS[name], value, path)
    base = path[: -len(name) - 1]
    twin = {"gain": f"{base}/fader", "fader": f"{base}/gain"}.get(name, "")
    setting = (f"/strip/send/{name}", strip.ssid, number, _osc(good))
    return Target(SENDS[name], good, setting, ("/strip/sends", strip.ssid), echo=AT_ONCE, twin=twin)


def _parameter(
    path: str, strip: Strip, place: tuple[int, int], value: Value | None, held: Mapping[str, Value]
) -> Target:
    leaf = PARAMETER[1]
    good = check(leaf, value, path)
    base = path[: -len("/value")]
    low, high = held.get(f"{base}/min"), held.get(f"{base}/max")
    number = float(good)  # type: ignore[arg-type]
    if isinstance(low, float) and isinstance(high, float) and not low <= number <= high:
        raise ValueError(f"{number:g} lies outside {low:g} to {high:g}, the range of {path}")
    setting = ("/strip/plugin/parameter", strip.ssid, *place, number)
    return Target(leaf, good, setting, ("/strip/plugin/descriptor", strip.ssid, place[0]), echo=AT_ONCE)


def _transport(path: str, name: str, value: Value | None, held: Mapping[str, Value]) -> Target:
    leaf = TRANSPORTS.get(name)
    if leaf is None:
        what = "the tempo cannot be reached over OSC; " if name == "tempo" else ""
        raise ValueError(f"{what}Ardour's transport has {', '.join(TRANSPORTS)}")
    good = check(leaf, value, path)
    if name in _TOGGLES:
        ask: Message = ("/record_enabled",) if name == "record_enable" else ()
        return Target(leaf, good, (_TOGGLES[name],), ask, toggles=True, echo=ECHO if ask else LAST_WORD)
    match name:
        case "playing":
            return Target(leaf, good, ("/transport_play" if good else "/transport_stop",), ("/transport_speed",))
        case "position":
            if not 0 <= float(good) <= MAX_POSITION:  # type: ignore[arg-type]
                raise ValueError(f"{good!r} lies outside 0 to {MAX_POSITION}, what a 32-bit OSC integer holds")
            rolls = int(held.get("transport/playing") is True)
            return Target(leaf, good, ("/locate", int(good), rolls), ("/transport_frame",))  # type: ignore[arg-type]
        case "speed":
            return Target(leaf, good, ("/set_transport_speed", good), ("/transport_speed",), echo=AT_ONCE * 5)
    return Target(leaf, good, ("/click/level", good), echo=LAST_WORD)


def _osc(value: Value) -> Any:
    """Return *value* as an OSC argument: Ardour takes floats everywhere, ints only in some places."""
    return float(value) if isinstance(value, (bool, int)) else value
