"""Commands: REAPER's verbs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightfast.sdk import Argument, Command, Value

REFRESH = 41743
"""*Control surface: Refresh all surfaces*: REAPER tells everything anew."""
_ADDRESSES: Mapping[str, tuple[Any, ...]] = {
    "play": ("/play", 1.0),
    "stop": ("/stop", 1.0),
    "pause": ("/pause", 1.0),
    "record": ("/record", 1.0),
    "solo_reset": ("/soloreset", 1.0),
    "save": ("/action", 40026),
    "undo": ("/action", 40029),
    "redo": ("/action", 40030),
}
_MARK = "Its number, as REAPER shows it."
COMMANDS = (
    Command("play", "Play.", idempotent=True),
    Command("stop", "Stop playing and recording.", idempotent=True),
    Command("pause", "Pause, or go on."),
    Command("record", "Record on the armed tracks, or stop recording.", effect="destructive"),
    Command("solo_reset", "Unsolo all tracks.", idempotent=True),
    Command("goto_marker", "Go to a marker.", (Argument("marker", "int", True, _MARK),), idempotent=True),
    Command(
        "goto_region", "Go to a region, when the one that plays is over.", (Argument("region", "int", True, _MARK),)
    ),
    Command("save", "Save the project; REAPER asks for a file where it has none.", effect="destructive"),
    Command("undo", "Undo the last step in REAPER, whoever made it.", effect="destructive"),
    Command("redo", "Redo what was undone in REAPER.", effect="destructive"),
    Command(
        "action",
        "Run any action of REAPER's action list; some cannot be undone. REAPER says nothing of what became of it.",
        (Argument("action", "", True, "Its command ID: a number, or a name such as _SWS_ABOUT."),),
        "destructive",
    ),
)
BY_NAME = {command.name: command for command in COMMANDS}


def message_of(name: str, arguments: Mapping[str, Value], held: Mapping[str, Value]) -> tuple[Any, ...]:
    """Return the message of a command; raise `ValueError` that says what is wrong."""
    command = BY_NAME.get(name)
    if command is None:
        raise ValueError(f"REAPER has no command {name}: there are {', '.join(BY_NAME)}")
    known = [argument.name for argument in command.arguments]
    if unknown := [one for one in arguments if one not in known]:
        raise ValueError(f"{name} takes no {unknown[0]}: it takes {', '.join(known) or 'no arguments'}")
    if missing := [one for one in command.arguments if one.name not in arguments]:
        raise ValueError(f"{name} needs {missing[0].name}: {missing[0].description}")
    if name in _ADDRESSES:
        return _ADDRESSES[name]
    value = arguments[known[0]]
    if name == "action" and isinstance(value, str) and value.startswith("_") and value.isascii() and "\0" not in value:
        return ("/action/str", value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not float(value).is_integer() or value < 1:
        raise ValueError(f"{known[0]} wants a number above 0, not {value!r:.60}: {command.arguments[0].description}")
    if name == "action":
        if value >= 1 << 31:
            raise ValueError(f"{value:g} is no command ID")
        return ("/action", int(value))
    return (f"/{known[0]}", _place(f"{known[0]}s", int(value), held))


def _place(folder: str, number: int, held: Mapping[str, Value]) -> int:
    """Return the place in time of a marker or region, from 1: that is what REAPER goes to."""
    times = {
        int(path.split("/")[1]): float(value)
        for path, value in held.items()
        if path.startswith(f"{folder}/") and path.endswith("/time") and isinstance(value, float)
    }
    if number not in times:
        raise ValueError(
            f"there is no {folder}/{number} in REAPER: there are {', '.join(map(str, sorted(times))) or 'none'}"
        )
    return sorted(times, key=lambda one: (times[one], one)).index(number) + 1
