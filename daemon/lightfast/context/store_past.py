"""What the store says of the past, and how it takes things back."""

from __future__ import annotations

from collections.abc import Sequence

from lightfast.context.compaction import compact
from lightfast.context.entry import Transaction
from lightfast.context.reader import Bounds, Reader
from lightfast.context.records import Compacted, HistoryPage, Page, RequestKey, Undone
from lightfast.context.tiers.prefetcher import Prefetcher
from lightfast.context.tiers.tiers import Tiers
from lightfast.context.undoer import Target, Undoer
from lightfast.storage.database import Database


class PastMethods:
    """Part of `lightfast.context.store.Store`."""

    tiers: Tiers
    """Where history lies, and what moves it."""
    _bounds: Bounds
    _db: Database
    _reader: Reader
    _undoer: Undoer

    @property
    def ahead(self) -> Prefetcher:
        """Return what reads ahead."""
        return self._reader.ahead

    async def read(
        self,
        paths: Sequence[str] = (),
        pattern: str = "",
        at_revision: int | None = None,
        at_time: int | None = None,
        event_axis: bool = False,
        page_size: int = 0,
        page_token: str = "",
        client: str = "",
    ) -> Page:
        """Return one page of entries; all pages of one reading show one revision.

        *at_time* is in nanoseconds since 1970, of recording or, with *event_axis*, of happening. What *client* has
        read before tells what is read ahead.
        Raises `NotFound` (a path that does not exist, unless a pattern is given), `InvalidArgument`,
        `OutOfRange` (REVISION_COMPACTED, REVISION_FUTURE).
        """
        return await self._reader.read(paths, pattern, at_revision, at_time, event_axis, page_size, page_token, client)

    async def history(
        self, pattern: str, after: int = 0, until: int = 0, page_size: int = 0, page_token: str = ""
    ) -> HistoryPage:
        """Return one page of past transactions, newest first, with the events that match.

        An entry's history goes on along its moves. What cannot be read is left out, and named.
        """
        return await self._reader.history(pattern, after, until, page_size, page_token)

    async def replay(self, after_revision: int, until_revision: int, limit: int) -> list[Transaction]:
        """Return whole transactions after *after_revision*, oldest first: at most *limit*, about 2 MiB, at least one.

        Raises `OutOfRange` where they are no longer kept.
        """
        return await self._reader.replay(after_revision, until_revision, limit)

    async def undo(
        self,
        *,
        group: str = "",
        run: str = "",
        revision: int = 0,
        origin: str,
        validate_only: bool = False,
        request: RequestKey | None = None,
    ) -> Undone:
        """Take back a group, a run or a revision, with all that it caused.

        Where others have written the same paths since, nothing is done and their entries are returned. Under a
        mount it is an ordinary wish. Raises `NotFound` (UNDO_TARGET_UNKNOWN), `OutOfRange` for what was compacted,
        `Conflict` (PATH_OWNED), and `FailedPrecondition` (ALREADY_UNDONE, UNDO_OF_HOUSEKEEPING for what the daemon
        wrote of itself, or NOT_UNDONE for a redo).
        """
        return await self._undoer.run(Target(group, run, revision), origin, validate_only, request)

    async def redo(
        self,
        *,
        group: str = "",
        run: str = "",
        revision: int = 0,
        origin: str,
        validate_only: bool = False,
        request: RequestKey | None = None,
    ) -> Undone:
        """Take an undo back; *revision* is the undone one, or that of the undo."""
        return await self._undoer.run(Target(group, run, revision, redo=True), origin, validate_only, request)

    async def compact(self, revision: int) -> Compacted:
        """Drop what only revisions before *revision* need, and return the oldest one left and the rows dropped."""
        return await compact(self._db, self._bounds, self.tiers, revision)
