"""What the frames of an application say, checked: nothing unchecked gets past here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from lightfast import sdk
from lightfast.core.errors import InvalidArgument
from lightfast_link.frame import VERSIONS
from lightfast_link.messages import MAX_OBJECT_ID, check_relative
from lightfast_link.path import check_path, compile_pattern
from lightfast_link.value import check_value, from_json, to_json

MALFORMED = (ValueError, KeyError, TypeError, AttributeError, OverflowError)
"""What reading a malformed header raises; `FrameError` and `msgspec.ValidationError` are `ValueError`s."""
MAX_CHANGES = 10_000
MAX_PARAMETERS = 4096
MAX_COMMANDS = 1024
MAX_TEXT = 2000

_KIND = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_FIELDS = [
    "instance_id",
    "name",
    "app_version",
    "document_id",
    "generation",
    "pid",
    "simulator",
    "parameters",
    "commands",
    "capabilities",
]


def read_versions(header: dict[str, Any]) -> Sequence[int]:
    """Return the protocol versions that a `hello` offers; raise `ValueError`."""
    versions = header.get("versions")
    if type(versions) is not list or not versions or any(type(version) is not int for version in versions):
        raise ValueError("versions must be a list of whole numbers")
    return versions


def choose_version(offered: Sequence[int], kind: object = "", spoken: Sequence[int] = VERSIONS) -> int:
    """Return the newest version that both sides speak; raise `InvalidArgument` that says which side is older.

    *kind* is what the application says it is: its pack is named where it is the older one.
    """
    common = set(offered) & set(spoken)
    if common:
        return max(common)
    theirs, ours = ", ".join(map(str, sorted(offered)[:8])), ", ".join(map(str, spoken))
    if max(offered) < max(spoken):
        named = f" {kind}" if isinstance(kind, str) and _KIND.fullmatch(kind) else ""
        older, remedy = "application", f"update Lightfast inside the application: 'lightfast pack{named}'"
    else:
        older, remedy = "daemon", "update the daemon ('pip install -U lightfast') and restart it"
    raise InvalidArgument(
        f"the application speaks version {theirs} of the link protocol, the daemon {ours}: "
        f"the {older} is older, {remedy}",
        reason="LINK_VERSION",
        metadata={"older": older, "application": theirs, "daemon": ours},
    )


def read_hello(header: dict[str, Any], transport: str) -> sdk.Hello:
    """Return the `Hello` of a header; raise `ValueError` that names the wrong field."""
    data = {name: header[name] for name in _FIELDS if name in header}
    data["kind"] = header.get("app")
    data["transport"] = transport
    hello = msgspec.convert(data, sdk.Hello)
    if not _KIND.fullmatch(hello.kind):
        raise ValueError(f"app {hello.kind!r:.60} must be a word like 'blender': {_KIND.pattern}")
    for name in ("instance_id", "name", "app_version", "document_id"):
        text = getattr(hello, name)
        if len(text) > MAX_OBJECT_ID or not text.isprintable():
            raise ValueError(f"{name} {text!r:.60} must be at most {MAX_OBJECT_ID} printable characters")
    if not 0 <= hello.pid < 1 << 32 or not 0 <= hello.generation < 1 << 63:
        raise ValueError("pid and generation must be whole numbers from 0 up that fit 32 and 63 bits")
    if not hello.instance_id:
        raise ValueError("instance_id is empty: give each running instance an id of its own")
    if len(hello.parameters) > MAX_PARAMETERS or len(hello.commands) > MAX_COMMANDS:
        raise ValueError(f"at most {MAX_PARAMETERS} parameters and {MAX_COMMANDS} commands can be described")
    for parameter in hello.parameters:
        compile_pattern("/" + check_relative(parameter.pattern, "pattern"))
        if parameter.access not in ("rw", "r", "w"):
            raise ValueError(f"access of {parameter.pattern} is {parameter.access!r}: use rw, r or w")
    return hello


@dataclass(frozen=True, slots=True)
class State:
    """A `state` frame: what could be read, and what was wrong with the rest."""

    sequence: int
    changes: list[sdk.Change]
    problems: list[str]
    synced: bool


def read_state(header: dict[str, Any]) -> State:
    """Return the content of a `state` frame; a malformed change spares the others, a malformed frame raises."""
    sequence, items = header["sequence"], header["changes"]
    if type(sequence) is not int or not 0 < sequence < 1 << 63:
        raise ValueError("sequence must be a positive number of 63 bits")
    if type(items) is not list or len(items) > MAX_CHANGES:
        raise ValueError(f"changes must be a list of at most {MAX_CHANGES}")
    changes, problems = [], []
    for item in items:
        try:
            changes.append(read_change(item))
        except MALFORMED as error:
            problems.append(f"{error} is missing" if type(error) is KeyError else str(error))
    return State(sequence, changes, problems, header.get("synced") is True)


def read_change(item: Any) -> sdk.Change:
    """Return one change of a `state` frame; raise `ValueError` that names its path."""
    path = check_path("/" + check_relative(item["path"]))[1:]
    event_time, object_id = item.get("event_time", 0), item.get("object_id", "")
    if type(event_time) is not int or not 0 <= event_time < 1 << 63:
        raise ValueError(f"{path}: event_time must be whole nanoseconds since 1970")
    if type(object_id) is not str or len(object_id) > MAX_OBJECT_ID:
        raise ValueError(f"{path}: object_id must be a text of at most {MAX_OBJECT_ID} characters")
    if "moved_from" in item:
        source = check_path("/" + check_relative(item["moved_from"], "moved_from"))[1:]
        return sdk.Change(path, None, event_time, object_id, source)
    return sdk.Change(path, read_value(item, path), event_time, object_id)


def read_value(item: Any, where: str) -> Any:
    """Return the value of a header, `None` when it has none; raise `ValueError` naming *where*."""
    data = item.get("value")
    return None if data is None else check_value(from_json(data, where), where)


def read_text(item: Any, name: str) -> str:
    """Return a text of a header, cut to a sensible length."""
    text = item.get(name, "")
    return text[:MAX_TEXT] if type(text) is str else ""


def write_wish(wish: sdk.Wish) -> dict[str, Any]:
    """Return a wish as it travels in `apply`."""
    item: dict[str, Any] = {"id": wish.wish_id, "path": wish.path, "revision": wish.revision}
    if wish.moved_from:
        item["moved_from"] = wish.moved_from
    elif wish.value is not None:
        item["value"] = to_json(wish.value)
    if wish.signal:
        item["signal"] = True
    return item
