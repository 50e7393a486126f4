"""Reads of the store: now, at a revision, at a time, page by page, and the history."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any

from lightfast.context import history
from lightfast.context.codec import size_of, text_size
from lightfast.context.entry import Entry, Transaction
from lightfast.context.paging import Token, fingerprint, page_size, read_token, write_token
from lightfast.context.records import HistoryPage, Page
from lightfast.context.tree import Tree
from lightfast.core.errors import InvalidArgument, NotFound, OutOfRange
from lightfast.storage.database import Database
from lightfast_link.path import Pattern, check_path, compile_pattern

MAX_PATHS = 10_000
SEARCH_OFF_LOOP = 20_000
"""With more entries than this, a pattern without a place to begin is looked for in a thread."""


class Bounds:
    """The revisions there are, kept up to date by the store: from *oldest* to *revision*."""

    __slots__ = ("oldest", "revision", "store_id")

    def __init__(self, store_id: str, revision: int, oldest: int) -> None:
        self.store_id = store_id
        self.revision = revision
        self.oldest = oldest

    def check(self, revision: int) -> None:
        """Raise `OutOfRange` unless *revision* can be read."""
        if revision < 0:
            raise InvalidArgument(f"revision {revision} is negative", field="at_revision")
        if revision > self.revision:
            raise OutOfRange(
                f"revision {revision} lies in the future, the last one is {self.revision}",
                reason="REVISION_FUTURE",
                metadata={"revision": str(self.revision), "store_id": self.store_id},
            )
        if revision < self.oldest:
            raise OutOfRange(
                f"revision {revision} is no longer kept: the oldest one is {self.oldest}",
                metadata={"compact_revision": str(self.oldest), "store_id": self.store_id},
            )


class Reader:
    """Answers from the live tree what it can, and from the database what lies in the past."""

    def __init__(self, db: Database, tree: Tree, bounds: Bounds, moving: Callable[[], Iterable[str]]) -> None:
        """Take *moving*, which names the signals that have not settled."""
        self._db = db
        self._moving = moving
        self._tree = tree
        self._bounds = bounds

    async def read(
        self,
        paths: Sequence[str],
        pattern: str,
        at_revision: int | None,
        at_time: int | None,
        event_axis: bool,
        asked: int,
        page_token: str,
    ) -> Page:
        """Return one page; see `Store.read`."""
        count = page_size(asked, 1000, 10_000)
        wanted = compiled(pattern) if pattern else None
        names = _checked(paths, wanted)
        if at_revision is not None and at_time is not None:
            raise InvalidArgument("give at_revision or at_time, not both", field="at_time")
        query = fingerprint("read", names, pattern, at_revision, at_time, event_axis)
        if page_token:
            token = read_token(page_token, query)
            live = at_revision is None and at_time is None
        else:
            live = at_revision is None and at_time is None
            if live:
                return await self._first_live(names, wanted, count, query)
            token = await self._start(at_revision, at_time, event_axis, query)
        self._bounds.check(token.revision)
        entries, more = await self._past(names, wanted, token, count)
        if live:
            entries = self._with_signals(entries, names, wanted, token.after, more)
        self._bounds.check(token.revision)  # it may have been dropped while it was read
        if wanted is None and not page_token:
            last = entries[-1].path if more else None
            _missing([name for name in names if last is None or name <= last], {entry.path for entry in entries})
        following = _replace(token, entries[-1].path) if more else ""
        return Page(tuple(entries), token.revision, following, self._bounds.oldest, "history")

    async def _start(self, at_revision: int | None, at_time: int | None, event_axis: bool, query: int) -> Token:
        bounds = self._bounds
        if at_revision is not None:
            return Token(query, at_revision, "")
        if at_time is None or event_axis:
            if at_time is not None and bounds.oldest:
                await self._check_kept(at_time)
            return Token(query, bounds.revision, "", at_time)
        last = bounds.revision
        revision = await self._db.read(lambda connection: history.revision_at(connection, at_time, last))
        return Token(query, revision, "")

    async def _check_kept(self, time: int) -> None:
        """Raise `OutOfRange` for an event time before what was dropped: what is left then tells half of it."""
        oldest = self._bounds.oldest
        rows = await self._db.query("SELECT record_time FROM transactions WHERE revision = ?", (oldest,))
        if rows and time < rows[0][0]:
            raise OutOfRange(
                f"history before revision {oldest} was dropped, and that time lies before it",
                metadata={"compact_revision": str(oldest), "store_id": self._bounds.store_id},
                field="at_time",
            )

    async def _first_live(self, names: list[str], wanted: Pattern | None, count: int, query: int) -> Page:
        revision = self._bounds.revision
        if wanted is not None and _is_search(wanted) and len(self._tree) > SEARCH_OFF_LOOP:
            known = self._tree.entries.copy()
            entries = await asyncio.get_running_loop().run_in_executor(None, _search, known, names, wanted)
        else:
            entries = self._live(names, wanted, count + 1)
        more = _cut(entries, count)
        if wanted is None:
            _missing(names, self._tree.entries)
        following = write_token(Token(query, revision, entries[-1].path)) if more else ""
        return Page(tuple(entries), revision, following, self._bounds.oldest, "live")

    def _live(self, names: list[str], wanted: Pattern | None, count: int) -> list[Entry]:
        entries = [] if wanted is None else self._tree.select(wanted, count)
        if names:
            tree = self._tree.entries
            entries += [tree[name] for name in names if name in tree]
            entries.sort(key=_path)
        return entries[:count]

    async def _past(
        self, names: list[str], wanted: Pattern | None, token: Token, count: int
    ) -> tuple[list[Entry], bool]:
        remaining = [name for name in names if name > token.after]

        def read(connection: Any) -> tuple[list[Entry], bool]:
            limit = history.limit_of(connection, token.revision)
            entries: list[Entry] = []
            more = False
            if wanted is not None:
                entries, more = history.page(connection, wanted, token.after, count, limit, token.number)
            if remaining:
                last = entries[-1].path if more else None
                named = [name for name in remaining if last is None or name <= last]
                entries += history.exact(connection, named, limit, token.number)
                entries.sort(key=_path)
            return entries, _cut(entries, count) or more

        return await self._db.read(read)

    def _with_signals(
        self, entries: list[Entry], names: list[str], wanted: Pattern | None, after: str, more: bool
    ) -> list[Entry]:
        """Put what has not settled into a page: such signals have no past, only the value they have now."""
        end = entries[-1].path if more else None
        found = {entry.path: entry for entry in entries}
        listed = set(names)
        for path in self._moving():
            entry = self._tree.entries.get(path)
            if entry is None or entry.revision or path <= after or (end is not None and path > end):
                continue
            if path in listed or (wanted is not None and wanted.matches(path)):
                found[path] = entry
        return sorted(found.values(), key=_path)

    async def history(self, pattern: str, after: int, until: int, asked: int, page_token: str) -> HistoryPage:
        """Return one page of the past; see `Store.history`."""
        count = page_size(asked, 100, 1000)
        wanted = compiled(pattern)
        for name, revision in (("after_revision", after), ("until_revision", until)):
            if revision < 0:
                raise InvalidArgument(f"{name} is {revision}: revisions begin at 0", field=name)
        query = fingerprint("history", pattern, after, until)
        bounds = self._bounds
        token = read_token(page_token, query) if page_token else Token(query, bounds.revision, "")
        first = max(after, bounds.oldest)
        last = min(token.revision, until) if until else token.revision
        before = last + 1 if token.number is None else token.number
        if first >= min(before - 1, last):
            return HistoryPage((), token.revision, "", bounds.oldest)

        def read(connection: Any) -> tuple[list[Transaction], bool]:
            floor = history.limit_of(connection, first) if first else 1
            limit = history.limit_of(connection, min(before - 1, last))
            found, more = history.newest(connection, wanted, floor, limit, count)
            rows = [row for _, listed in found for row in listed]
            return history.build(connection, [revision for revision, _ in found], rows), more

        transactions, more = await self._db.read(read)
        kept = [transaction for transaction in transactions if transaction.revision > bounds.oldest]
        following = ""
        if more and len(kept) == len(transactions):
            following = write_token(Token(query, token.revision, "", kept[-1].revision))
        return HistoryPage(tuple(kept), token.revision, following, bounds.oldest)

    async def replay(self, after: int, until: int, limit: int) -> list[Transaction]:
        """Return whole transactions, oldest first; see `Store.replay`."""
        self._bounds.check(after)
        until = min(until, self._bounds.revision)
        if until <= after or limit <= 0:
            return []
        found = await self._db.read(lambda connection: history.transactions(connection, after, until, limit))
        self._bounds.check(after)
        return found


def compiled(pattern: str) -> Pattern:
    """Return the compiled pattern, or raise `InvalidArgument`."""
    try:
        return compile_pattern(pattern)
    except ValueError as error:
        raise InvalidArgument(str(error), reason="PATTERN_INVALID", field="pattern") from None


def _checked(paths: Sequence[str], wanted: Pattern | None) -> list[str]:
    if not paths and wanted is None:
        raise InvalidArgument("give paths or a pattern; the pattern // is everything", field="pattern")
    if len(paths) > MAX_PATHS:
        raise InvalidArgument(f"{len(paths)} paths, the most is {MAX_PATHS}: use a pattern", field="paths")
    try:
        names = {check_path(path) for path in paths}
    except ValueError as error:
        raise InvalidArgument(str(error), field="paths") from None
    if wanted is not None:
        names = {name for name in names if not wanted.matches(name)}
    return sorted(names)


def _missing(names: list[str], found: Container[str]) -> None:
    for name in names:
        if name not in found:
            raise NotFound(
                f"there is no entry at {name}", reason="PATH_NOT_FOUND", metadata={"path": name}, field="paths"
            )


def _cut(entries: list[Entry], count: int) -> bool:
    """Shorten *entries* to a page; say whether anything was cut off."""
    size = 0
    for index, entry in enumerate(entries):
        size += 200 + text_size(entry.path) + size_of(entry.value)
        size += 0 if entry.reported is None else size_of(entry.reported)
        if index and (index == count or size > history.MAX_PAGE_SIZE):
            del entries[index:]
            return True
    return False


def _replace(token: Token, after: str) -> str:
    return write_token(Token(token.query, token.revision, after, token.number))


def _is_search(wanted: Pattern) -> bool:
    """Say whether every path there is has to be looked at."""
    return wanted.prefix == "/" and wanted.text.startswith("//") and wanted.text != "//"


def _search(known: dict[str, Entry], names: list[str], wanted: Pattern) -> list[Entry]:
    """Return the entries of *known* that match, or are named; in a thread, for it may take long."""
    matches = wanted.matches
    found = {path for path in known if matches(path)}
    found.update(name for name in names if name in known)
    return [known[path] for path in sorted(found)]


def _path(entry: Entry) -> str:
    return entry.path
