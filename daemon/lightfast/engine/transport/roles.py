"""Who is meant to lead and to follow: entries of the context, so that they are kept, undone and recalled with it."""

from __future__ import annotations

import math

from lightfast.context.store import Store
from lightfast.core.errors import InvalidArgument
from lightfast.engine.transport.records import INTERNAL, Follow
from lightfast_link.path import check_path
from lightfast_link.value import Value

ROOT = "/transport"
"""Below it lies all that the transport shows and takes."""
LEADER = ROOT + "/leader"
FOLLOWS = ROOT + "/follows"
MAX_OFFSET_S = 86_400.0


def leader_of(store: Store) -> str:
    """Return who is meant to lead: `internal`, or a mount."""
    entry = store.get(LEADER)
    return check_leader(entry.value) if entry is not None else INTERNAL


def check_leader(value: Value | None) -> str:
    """Return *value* as a leader; raise `InvalidArgument` for what cannot be one."""
    if value in {INTERNAL, ""}:
        return INTERNAL
    try:
        mount = check_path(value) if isinstance(value, str) else ""
    except ValueError:
        mount = ""
    if mount.count("/") != 1:
        raise InvalidArgument(f"{value!r:.60} cannot lead: write internal, or a mount such as /ardour", field="leader")
    return mount


def follows_of(store: Store) -> dict[str, Follow | str]:
    """Return how each mount is meant to follow; a text says what is wrong with it."""
    found: dict[str, Follow | str] = {}
    for entry in store.select(FOLLOWS + "/*"):
        mount = entry.path[len(FOLLOWS) :]
        try:
            found[mount] = check_follow(entry.value)
        except InvalidArgument as error:
            found[mount] = error.message
    return found


def check_follow(value: Value | None) -> Follow:
    """Return *value* as the way to follow; raise `InvalidArgument` for a map that is none."""
    if not isinstance(value, dict) or set(value) - {"offset", "tempo"}:
        raise InvalidArgument("it takes a map with offset (seconds) and tempo (true or false)", field="follows")
    offset, tempo = value.get("offset", 0.0), value.get("tempo", True)
    if isinstance(offset, bool) or not isinstance(offset, int | float) or not isinstance(tempo, bool):
        raise InvalidArgument("offset is a number of seconds, tempo is true or false", field="follows")
    if not math.isfinite(offset) or abs(offset) > MAX_OFFSET_S:
        raise InvalidArgument(f"an offset of {offset} s is out of range: a day at most", field="follows")
    return Follow(float(offset), tempo)
