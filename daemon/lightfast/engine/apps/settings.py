"""What the user settled for one application: the tables `[apps.NAME]` of the configuration."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from lightfast.core.errors import InvalidArgument
from lightfast.engine.apps.wishes import TIMEOUT

POLICIES = ("", "app", "daemon", "newest")


@dataclass(frozen=True, slots=True)
class AppSettings:
    """*resync_policy* is `app`, `daemon`, `newest` or empty (decided by the document); times in seconds.

    *allow_code* lets commands with the effect `code` through. *wish_timeout_s* bounds the wait for the
    answer to a wish, *resync_timeout_s* the silence during a full report.
    """

    resync_policy: str = ""
    allow_code: bool = False
    wish_timeout_s: float = TIMEOUT
    resync_timeout_s: float = 30.0


class AppsConfig:
    """The tables by name; the one of the mount counts before the one of the kind."""

    def __init__(self, tables: Mapping[str, Any] | None = None) -> None:
        """Raise `InvalidArgument` that names every mistake."""
        self._tables: dict[str, AppSettings] = {}
        mistakes: list[str] = []
        for name, table in (tables or {}).items():
            self._tables[name] = _read(name, table, mistakes)
        if mistakes:
            raise InvalidArgument("; ".join(mistakes), reason="CONFIG_INVALID", field="apps")

    def of(self, mount: str, kind: str) -> AppSettings:
        """Return what holds for *mount*."""
        return self._tables.get(mount.strip("/")) or self._tables.get(kind) or AppSettings()


def _read(name: str, table: Any, mistakes: list[str]) -> AppSettings:
    if not isinstance(table, Mapping):
        mistakes.append(f"apps.{name} must be a table")
        return AppSettings()
    known = {field.name: field for field in fields(AppSettings)}
    taken: dict[str, Any] = {}
    for key, value in table.items():
        wanted = _wanted(key)
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            mistakes.append(f"apps.{name}.{key} is not known: {hint}")
        elif not wanted[0](value):
            mistakes.append(f"apps.{name}.{key} is {value!r}: it must be {wanted[1]}")
        else:
            taken[key] = float(value) if key.endswith("_s") else value
    return AppSettings(**taken)


def _wanted(key: str) -> tuple[Any, str]:
    if key == "resync_policy":
        return (lambda value: value in POLICIES), "'app', 'daemon', 'newest' or ''"
    if key == "allow_code":
        return (lambda value: isinstance(value, bool)), "true or false"
    return (lambda value: type(value) in (int, float) and 0 < value <= 3600), "a number of seconds up to 3600"
