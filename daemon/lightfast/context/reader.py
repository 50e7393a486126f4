"""Reads of the store: now, at a revision, at a time, page by page, and the history."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container, Hashable, Iterable, Sequence
from typing import Any

from lightfast.context import history
from lightfast.context.cache import Cache
from lightfast.context.codec import size_of, text_size
from lightfast.context.entry import Entry, Transaction
from lightfast.context.paging import Token, fingerprint, page_size, read_token, write_token
from lightfast.context.records import HistoryPage, Page
from lightfast.context.stub import Held, Stub
from lightfast.context.tiers import trail
from lightfast.context.tiers.predictor import Place, Read
from lightfast.context.tiers.prefetcher import Prefetcher
from lightfast.context.tiers.results import Result
from lightfast.context.tiers.tiers import Tiers
from lightfast.context.tiers.view import View
from lightfast.context.tree import Tree
from lightfast.core.errors import InvalidArgument, NotFound, OutOfRange, Unavailable
from lightfast_link.path import Pattern, check_path, compile_pattern

MAX_PATHS = 10_000
_TRIES = 5
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
    """Answers from the live tree what it can, and from the tiers below what lies in the past."""

    def __init__(
        self, tiers: Tiers, tree: Tree, bounds: Bounds, moving: Callable[[], Iterable[str]], cache: Cache
    ) -> None:
        """Take *moving*, which names the signals that have not settled."""
        self.search: Callable[..., Awaitable[list[Held]]] = _in_thread
        """Runs a long search off the loop."""
        self._cache = cache
        self._tiers = tiers
        self._moving = moving
        self._tree = tree
        self._bounds = bounds
        self.ahead = Prefetcher(self._guessed, enabled=tiers.options.prefetch)
        """Reads ahead what is likely to be asked for."""
        self.ahead.warm = cache.warm

    async def read(
        self,
        paths: Sequence[str],
        pattern: str,
        at_revision: int | None,
        at_time: int | None,
        event_axis: bool,
        asked: int,
        page_token: str,
        client: str = "",
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
                if self._cache.cold and names:
                    self.ahead.saw_live(client, names)
                return await self._first_live(names, wanted, count, query)
            self.ahead.saw(client, _read_of(names, pattern, at_revision, at_time, count, event_axis=event_axis))
            token = await self._start(at_revision, at_time, event_axis, query)
        self._bounds.check(token.revision)
        entries, archived, more = await self._past(names, wanted, token, count)
        if live:
            entries = self._with_signals(entries, names, wanted, token.after, more)
        self._bounds.check(token.revision)  # it may have been dropped while it was read
        if wanted is None and not page_token:
            last = entries[-1].path if more else None
            _missing([name for name in names if last is None or name <= last], {entry.path for entry in entries})
        following = _replace(token, entries[-1].path) if more else ""
        return Page(tuple(entries), token.revision, following, self._bounds.oldest, "history", archived)

    async def _start(self, at_revision: int | None, at_time: int | None, event_axis: bool, query: int) -> Token:
        bounds = self._bounds
        if at_revision is not None:
            return Token(query, at_revision, "")
        if at_time is None or event_axis:
            if at_time is not None and bounds.oldest:
                await self._check_kept(at_time)
            return Token(query, bounds.revision, "", at_time)
        last = bounds.revision
        revision = await self._tiers.run(lambda view: view.revision_at(at_time, last))
        return Token(query, revision, "")

    async def _check_kept(self, time: int) -> None:
        """Raise `OutOfRange` for an event time before what was dropped: what is left then tells half of it."""
        oldest = self._bounds.oldest
        head = await self._tiers.run(lambda view: view.head(oldest))
        if head is not None and time < head.record_time:
            raise OutOfRange(
                f"history before revision {oldest} was dropped, and that time lies before it",
                metadata={"compact_revision": str(oldest), "store_id": self._bounds.store_id},
                field="at_time",
            )

    async def _first_live(self, names: list[str], wanted: Pattern | None, count: int, query: int) -> Page:
        for _ in range(_TRIES):
            revision = self._bounds.revision
            if wanted is not None and _is_search(wanted) and len(self._tree) > SEARCH_OFF_LOOP:
                held = await self.search(_search, self._tree.entries.copy(), names, wanted)
            else:
                held = self._live(names, wanted, count + 1)
            more = _cut(held, count)
            if wanted is None:
                _missing(names, self._tree.entries)
                for each in held:
                    self._cache.use(each.path)
            entries = await self._cache.load(held)
            if None not in entries:
                following = write_token(Token(query, revision, held[-1].path)) if more else ""
                return Page(tuple(entries), revision, following, self._bounds.oldest, "live")  # type: ignore[arg-type]
        raise Unavailable("what was asked for was overwritten while it was read, again and again", retry_after=1.0)

    def _live(self, names: list[str], wanted: Pattern | None, count: int) -> list[Held]:
        entries = [] if wanted is None else self._tree.select(wanted, count)
        if names:
            tree = self._tree.entries
            entries += [tree[name] for name in names if name in tree]
            entries.sort(key=_path)
        return entries[:count]

    async def _past(
        self, names: list[str], wanted: Pattern | None, token: Token, count: int
    ) -> tuple[list[Entry], frozenset[str], bool]:
        """Return a page of entries, the paths of those from the archive, and whether more follow."""
        key = (tuple(names), wanted and wanted.text, token.revision, token.number, token.after, count)
        entries, archived, more = await self._kept(key, lambda: self._from_tiers(names, wanted, token, count))
        return list(entries), archived, more

    async def _kept(self, key: Hashable, read: Callable[[], Awaitable[Result]], *, ahead: bool = False) -> Result:
        """Return the result that is kept for *key*, or else what *read* returns, and keep it."""
        results = self._tiers.results
        result = None if ahead else results.get(key)
        if result is None:
            generation = results.generation
            result = await read()
            results.put(key, result, generation, ahead=ahead)
        return result

    async def _guessed(self, read: Read) -> None:
        """Make a read that is likely to come."""
        names, pattern, count = read.place
        if read.axis == "revision" and not self._bounds.oldest <= read.at <= self._bounds.revision:
            return
        wanted = compiled(pattern) if pattern else None
        at_revision, at_time = (read.at, None) if read.axis == "revision" else (None, read.at)
        token = await self._start(at_revision, at_time, read.axis == "event", 0)
        key = (names, pattern or None, token.revision, token.number, token.after, count)
        if key not in self._tiers.results and token.revision >= self._bounds.oldest:
            await self._kept(key, lambda: self._from_tiers(list(names), wanted, token, count), ahead=True)

    async def _from_tiers(self, names: list[str], wanted: Pattern | None, token: Token, count: int) -> Result:
        remaining = [name for name in names if name > token.after]

        def read(view: View) -> Result:
            limit = view.limit_of(token.revision)
            entries: list[Entry] = []
            archived: set[str] = set()
            more = False
            if wanted is not None:
                entries, more = view.page(wanted, token.after, count, limit, token.number, archived)
            if remaining:
                last = entries[-1].path if more else None
                named = [name for name in remaining if last is None or name <= last]
                found, cut = view.exact(named, limit, token.number, archived)
                entries += found
                entries.sort(key=_path)
                if cut and found:
                    entries = [entry for entry in entries if entry.path <= found[-1].path]
                    more = True
            more = _cut(entries, count) or more
            return Result(tuple(entries), frozenset(archived), more)

        return await self._tiers.run(read, paged=True)

    def _with_signals(
        self, entries: list[Entry], names: list[str], wanted: Pattern | None, after: str, more: bool
    ) -> list[Entry]:
        """Put what has not settled into a page: such signals have no past, only the value they have now."""
        end = entries[-1].path if more else None
        found = {entry.path: entry for entry in entries}
        listed = set(names)
        for path in self._moving():
            entry = self._tree.entries.get(path)
            if type(entry) is not Entry or entry.revision or path <= after or (end is not None and path > end):
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

        last = min(before - 1, last)
        transactions, more, gaps = await trail.newest(self._tiers.past, wanted, first, last, token.revision, count)
        kept = [transaction for transaction in transactions if transaction.revision > bounds.oldest]
        following = ""
        if more and len(kept) == len(transactions):
            following = write_token(Token(query, token.revision, "", kept[-1].revision))
        missing = tuple(gap for gap in gaps if gap.last > bounds.oldest)
        return HistoryPage(tuple(kept), token.revision, following, bounds.oldest, missing)

    async def replay(self, after: int, until: int, limit: int) -> list[Transaction]:
        """Return whole transactions, oldest first; see `Store.replay`."""
        self._bounds.check(after)
        until = min(until, self._bounds.revision)
        if until <= after or limit <= 0:
            return []
        found = await trail.replay(self._tiers.past, after, until, limit)
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


def _cut(entries: list[Entry] | list[Held], count: int) -> bool:
    """Shorten *entries* to a page; say whether anything was cut off."""
    size = 0
    for index, entry in enumerate(entries):
        if type(entry) is Stub:
            size += 200 + text_size(entry.path) + entry.size
        elif type(entry) is Entry:
            size += 200 + text_size(entry.path) + size_of(entry.value)
            size += 0 if entry.reported is None else size_of(entry.reported)
        if index and (index == count or size > history.MAX_PAGE_SIZE):
            del entries[index:]
            return True
    return False


def _read_of(
    names: list[str], pattern: str, at_revision: int | None, at_time: int | None, count: int, *, event_axis: bool
) -> Read:
    """Return what the prefetcher learns of a read."""
    axis = "event" if event_axis else "record"
    place = Place(tuple(names), pattern, count)
    return Read(place, "revision", at_revision) if at_revision is not None else Read(place, axis, at_time or 0)


def _replace(token: Token, after: str) -> str:
    return write_token(Token(token.query, token.revision, after, token.number))


def _is_search(wanted: Pattern) -> bool:
    """Say whether every path there is has to be looked at."""
    return wanted.prefix == "/" and wanted.text.startswith("//") and wanted.text != "//"


async def _in_thread(function: Callable[..., list[Held]], *arguments: Any) -> list[Held]:
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


def _search(known: dict[str, Held], names: list[str], wanted: Pattern) -> list[Held]:
    """Return the entries of *known* that match, or are named; in a thread, for it may take long."""
    matches = wanted.matches
    found = {path for path in known if matches(path)}
    found.update(name for name in names if name in known)
    return [known[path] for path in sorted(found)]


def _path(entry: Held) -> str:
    return entry.path
