"""What passes between an application's main thread and its link: wishes, calls, changes, counters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Optional

from lightfast_link.value import Value, check_value

MAX_RELATIVE_PATH = 1000
"""The longest path below a mount, in characters; the mount comes in front of it."""
MAX_OBJECT_ID = 256
"""The longest object id, in characters."""


class LinkError(Exception):
    """The link cannot go on; *reason* is a word for programs, the message is for people."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True)
class Wish:
    """One value that the context wants in the application; *path* is relative to the mount.

    Answer with `LinkClient.settled` or `LinkClient.rejected`, unless it is a *signal*. A value of
    `None` wants the path gone; with *moved_from* (relative, too) it wants the subtree there renamed to
    *path*, which only comes to applications with the capability `rename`.
    """

    id: int
    path: str
    value: Optional[Value]
    revision: int = 0
    signal: bool = False
    moved_from: str = ""


@dataclass(frozen=True)
class Call:
    """One command to run; answer with `LinkClient.result` or `LinkClient.error`. *timeout* in seconds.

    One with a *key* that was asked before does not come again: the link answers it with the result it had.
    """

    id: int
    command: str
    arguments: Dict[str, Value] = field(default_factory=dict)
    timeout: float = 60.0
    key: str = ""


@dataclass(frozen=True)
class Change:
    """One value that the application reports; *path* is relative to the mount, *event_time* in ns since 1970.

    A value of `None` says that the path is gone; *moved_from* (relative too) says that the subtree
    was renamed, and then the value is ignored. An *event_time* of 0 means now.
    """

    path: str
    value: Optional[Value] = None
    event_time: int = 0
    object_id: str = ""
    moved_from: str = ""


def check_relative(path: Any, where: str = "path") -> str:
    """Return *path* if it can lie below a mount, else raise `ValueError`.

    It is one or more non-empty segments joined by `/`, none of them `.` or `..`, and has no leading
    `/`: a link speaks only of its own mount.
    """
    if type(path) is not str or not path or len(path) > MAX_RELATIVE_PATH:
        raise ValueError("%s %.60r is not a path of 1 to %d characters" % (where, path, MAX_RELATIVE_PATH))
    if path.startswith("/"):
        raise ValueError("%s %.60r is absolute: paths of a link are relative to its mount" % (where, path))
    for segment in path.split("/"):
        if segment in ("", ".", ".."):
            raise ValueError("%s %.60r has the segment %r, which leads out of the mount" % (where, path, segment))
    return path


def check_change(change: Change) -> Change:
    """Return *change* if it can travel, else raise `ValueError` that says what to mend."""
    check_relative(change.path)
    if len(change.object_id) > MAX_OBJECT_ID:
        raise ValueError("%s: an object id has at most %d characters" % (change.path, MAX_OBJECT_ID))
    if change.moved_from:
        check_relative(change.moved_from, "moved_from")
    elif change.value is not None:
        check_value(change.value, change.path)
    return change
