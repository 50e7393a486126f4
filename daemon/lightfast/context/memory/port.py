"""The memory as its users see it: a port, so that another implementation can take the place of ours.

`lightfast.context.memory.store` keeps it in the database, `lightfast.context.memory.twin` in a dictionary; both
pass the same tests. A server of another maker is a third one behind the same calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lightfast.context.memory.records import (
    Forgotten,
    Found,
    Kind,
    Listing,
    NewMemory,
    NewRelation,
    Question,
    Recalled,
    Related,
    Remembered,
)
from lightfast.context.records import RequestKey


class TemporalMemory(Protocol):
    """Facts, notes and relations on two time axes: when they are true, and when they were known.

    Later knowledge wins over what it covers: where two statements about one thing overlap in valid time, the one that
    was recorded later holds there, and the earlier one keeps the rest. Nothing is deleted: what was known before can
    be asked for by its record time. Every call raises `InvalidArgument` with the field for what is malformed.
    """

    async def remember(self, new: NewMemory, *, origin: str, request: RequestKey | None = None) -> Remembered:
        """Remember a fact or a note; what it is about is its key, or else its exact text.

        Saying the same again, of a time for which it is known, adds no version; a higher *strength*, where one is
        given, is taken over, everything else that differs makes the next version. Nothing else ever raises a strength.
        """

    async def relate(self, new: NewRelation, *, origin: str, request: RequestKey | None = None) -> Related:
        """Relate two things, in the same manner; the three names are what it is about."""

    async def forget(
        self,
        memories: Sequence[str],
        relations: Sequence[str] = (),
        *,
        valid_to: int | None = None,
        reason: str = "",
        origin: str,
        request: RequestKey | None = None,
    ) -> Forgotten:
        """End the validity of memories (by id or key) and relations (by id) at *valid_to*, without one now.

        All or nothing; raises `NotFound` (MEMORY_NOT_FOUND, RELATION_NOT_FOUND). What had ended by then stays as it is.
        """

    async def recall(self, question: Question) -> Recalled:
        """Return what matches and was true and known at the times asked for; all pages show one state."""

    async def get(self, memory: str) -> Found:
        """Return one memory by its id or key; raises `NotFound` (MEMORY_NOT_FOUND)."""

    async def memories(
        self,
        *,
        tags: Sequence[str] = (),
        kind: Kind = Kind.NONE,
        include_closed: bool = False,
        page_size: int = 0,
        page_token: str = "",
    ) -> Listing:
        """Return the present version of each memory (with *include_closed*, else the last one), newest first."""
