"""What the user settled for one application: the tables `[apps.NAME]` of the configuration."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from lightfast.context.policies import MAX_OWNER_HOLD, OWNER_HOLD, Policy
from lightfast.context.policies import POLICIES as CONFLICT_POLICIES
from lightfast.core.errors import InvalidArgument
from lightfast.engine.apps.wishes import TIMEOUT
from lightfast_link.path import compile_pattern, decode_segment

POLICIES = ("", "app", "daemon", "newest", "ask")


@dataclass(frozen=True, slots=True)
class AppSettings:
    """*resync_policy* is `app`, `daemon`, `newest`, `ask` or empty (decided by the document); times in seconds.

    *allow_code* lets commands with the effect `code` through. *wish_timeout_s* bounds the wait for the
    answer to a wish, *resync_timeout_s* the silence during a full report. *policies* are conflict policies
    by pattern below the mount (`tracks/*/volume`), *owner_hold_s* goes with those that are `owner`.
    """

    resync_policy: str = ""
    allow_code: bool = False
    wish_timeout_s: float = TIMEOUT
    resync_timeout_s: float = 30.0
    policies: Mapping[str, str] = field(default_factory=dict)
    owner_hold_s: float = OWNER_HOLD

    def policies_of(self, mount: str) -> dict[str, Policy]:
        """Return the conflict policies by absolute pattern."""
        return {
            f"{mount}/{pattern.lstrip('/')}" if not pattern.startswith("//") else mount + pattern: Policy(
                name, self.owner_hold_s
            )
            for pattern, name in self.policies.items()
        }


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
        """Return what holds for *mount*; its table is named like the application, or like its segment."""
        segment = mount.strip("/")
        found = self._tables.get(segment) or self._tables.get(decode_segment(segment))
        return found or self._tables.get(kind) or AppSettings()


def check_policies(value: Any) -> None:
    """Raise `ValueError` naming what was expected unless *value* gives conflict policies by pattern."""
    if not isinstance(value, Mapping):
        raise ValueError('a table such as {"tracks/*/volume" = "owner"}')  # noqa: TRY004  # the one error of a check
    for pattern, name in value.items():
        try:
            compile_pattern("/" + str(pattern).lstrip("/"))
        except ValueError as error:
            raise ValueError(f"patterns of paths below the mount: {pattern!r}: {error}") from None
        if name not in CONFLICT_POLICIES:
            near = difflib.get_close_matches(str(name), CONFLICT_POLICIES, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"one of {', '.join(CONFLICT_POLICIES)} for {pattern!r}, not {name!r}{hint}")


def _read(name: str, table: Any, mistakes: list[str]) -> AppSettings:
    if not isinstance(table, Mapping):
        mistakes.append(f"apps.{name} must be a table")
        return AppSettings()
    known = {field.name: field for field in fields(AppSettings)}
    taken: dict[str, Any] = {}
    for key, value in table.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            mistakes.append(f"apps.{name}.{key} is not known: {hint}")
        elif wrong := _wrong(key, value):
            mistakes.append(f"apps.{name}.{key} is {value!r}: it must be {wrong}")
        else:
            taken[key] = float(value) if key.endswith("_s") else value
    return AppSettings(**taken)


def _wrong(key: str, value: Any) -> str:
    """Return what *value* should have been; empty where it is right."""
    if key == "resync_policy":
        return "" if value in POLICIES else "'app', 'daemon', 'newest', 'ask' or ''"
    if key == "allow_code":
        return "" if isinstance(value, bool) else "true or false"
    if key == "policies":
        try:
            check_policies(value)
        except ValueError as error:
            return str(error)
        return ""
    most = MAX_OWNER_HOLD
    return "" if type(value) in (int, float) and 0 < value <= most else f"a number of seconds up to {most:g}"
