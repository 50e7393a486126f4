"""How a command that was run is taken back: by the verb that its application has for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lightfast.sdk import Command, Undoing
from lightfast_link.value import Value

_REFERENCE = re.compile(r"\$(?P<root>result|arguments)(?P<rest>(?:\.\w+|\[\d+\])*)(?P<more>\+\d+)?")
_PART = re.compile(r"\.(\w+)|\[(\d+)\]")


class _NotThereError(Exception):
    """Something that the way back needs is not there."""


def undoing(app: str, command: Command, given: Mapping[str, Value], result: Value | None) -> tuple[Undoing | None, str]:
    """Return what takes the command back, and why that cannot be.

    Both are empty for one that only reads, and for one whose changes are values that the application reported: the
    store sets those back.
    """
    if command.effect == "read":
        return None, ""
    if command.undo is None:
        if command.effect == "reversible":
            return None, ""
        return None, f"{app} cannot take {command.name} back: what it took away is gone"
    try:
        arguments = {name: _taken(text, given, result) for name, text in command.undo.arguments.items()}
    except _NotThereError as gap:
        return None, f"{app} cannot take {command.name} back: {gap}"
    return Undoing("app.command", {"app": app, "command": command.undo.command, "arguments": arguments}), ""


def _taken(text: Any, given: Mapping[str, Value], result: Value | None) -> Any:
    """Return what *text* stands for: `$result.name`, `$arguments.object`, `$arguments.track+1`, or itself."""
    found = _REFERENCE.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return text
    value: Any = result if found["root"] == "result" else given
    for name, index in _PART.findall(found["rest"]):
        try:
            value = value[name] if name else value[int(index)]
        except (KeyError, IndexError, TypeError):
            raise _NotThereError(f"its {found['root']} has no {name or index}") from None
    if value is None:
        raise _NotThereError(f"it has no {found['root']}")
    if type(value) is int and value < 0:
        raise _NotThereError(f"it was given {text.lstrip('$')} as {value}, which counts from the end")
    return value + int(found["more"]) if found["more"] and type(value) is int else value
