"""What is to go, and the port by which a room takes part."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from lightfast.context.reader import compiled
from lightfast.context.upkeep.purge_needles import Needles
from lightfast.core.errors import InvalidArgument
from lightfast_link.path import Pattern

Item = int | str
"""The identity of one thing that goes: a row number, a frame's id; never anything of its content."""
BATCH = 1000
"""The most items that a room yields at once."""
MAX_NAMED = 10_000


@dataclass(frozen=True, slots=True)
class Target:
    """What is to go. *before_row* bounds what goes by its path: history rows from there on came after the purge.

    History rows before *after_row* were looked at in an earlier round, and need not be looked at again.
    """

    patterns: tuple[Pattern, ...] = ()
    memories: tuple[str, ...] = ()
    frame_ids: tuple[str, ...] = ()
    assets: tuple[str, ...] = ()
    needles: Needles | None = None
    before_row: int = 0
    after_row: int = 0

    def path_matches(self, path: str) -> bool:
        """Say whether one of the patterns means *path*."""
        return any(pattern.matches(path) for pattern in self.patterns)


class Purgeable(Protocol):
    """One room that may hold what is to go: a table, a tier, an index with its caches.

    A purge first asks every room for all it has, writes the items down, and only then lets the rooms erase them: when
    the daemon dies in between, the next start goes on from the items alone, for the text itself is written nowhere.
    """

    name: str
    """A word for people: `history`, `assets`, `frames`."""

    def find(self, target: Target) -> AsyncIterator[Sequence[Item]]:
        """Yield the items of what *target* means, at most `BATCH` at once, without a change to anything."""
        ...

    async def erase(self, items: Sequence[Item], purge_id: str) -> int:
        """Remove *items* with what was derived from them; return how many there still were.

        It may be called again for the same items, by another process that knows nothing else of the purge.
        """
        ...

    async def remaining(self, target: Target) -> list[str]:
        """Say what this room may still hold and cannot remove, each with what to do about it."""
        ...


def make_target(
    patterns: Sequence[str] = (),
    memories: Sequence[str] = (),
    frame_ids: Sequence[str] = (),
    text: str = "",
    assets: Sequence[str] = (),
) -> Target:
    """Return the target of a request; raise `InvalidArgument` for one that names nothing or is malformed."""
    if not (patterns or memories or frame_ids or text or assets):
        raise InvalidArgument("say what to purge: patterns, memories, frame_ids, text or assets", field="patterns")
    for name, listed in (
        ("patterns", patterns),
        ("memories", memories),
        ("frame_ids", frame_ids),
        ("assets", assets),
    ):
        if len(listed) > MAX_NAMED:
            raise InvalidArgument(f"{len(listed)} {name}, the most is {MAX_NAMED}: split the purge", field=name)
        if not all(listed):
            raise InvalidArgument(f"one of the {name} is empty", field=name)
    return Target(
        tuple(compiled(pattern) for pattern in patterns),
        tuple(memories),
        tuple(frame_ids),
        tuple(assets),
        Needles(text) if text else None,
    )
