"""What an event is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lightfast.core.errors import InvalidArgument

MOST_KINDS = 32
_KIND = re.compile(r"[a-z_]+(?:\.[a-z_]+)*(?:\.\*)?|\*")


@dataclass(frozen=True, slots=True)
class Event:
    """One event: *kind* such as `run.succeeded`; *payload* is what JSON can hold; *time* in ns since 1970."""

    sequence: int
    time: int
    kind: str
    entity_kind: str
    entity_id: str
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events: *kinds* are names or `run.*`, none for all; *entity_id* empty for all."""

    kinds: tuple[str, ...] = ()
    entity_id: str = ""

    def matches(self, event: Event) -> bool:
        """Say whether *event* is wanted."""
        if self.entity_id and event.entity_id != self.entity_id:
            return False
        return not self.kinds or any(_matches(kind, event.kind) for kind in self.kinds)


@lru_cache(maxsize=1024)
def _matches(pattern: str, kind: str) -> bool:
    if pattern == "*":
        return True
    return kind.startswith(pattern[:-1]) if pattern.endswith(".*") else kind == pattern


def wanted(kinds: Sequence[str] = (), entity_id: str = "") -> Wanted:
    """Return a checked `Wanted`; raise `InvalidArgument` for what no kind looks like."""
    if len(kinds) > MOST_KINDS:
        raise InvalidArgument(
            f"{len(kinds)} kinds are too many: ask for at most {MOST_KINDS}, or for all", field="kinds"
        )
    for kind in kinds:
        if not _KIND.fullmatch(kind):
            raise InvalidArgument(f"{kind!r:.80} is no kind of event: write run.succeeded, run.* or *", field="kinds")
    return Wanted(tuple(kinds), entity_id)
