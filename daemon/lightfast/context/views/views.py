"""The recontextualizer: builds the view of the context that one consumer needs.

It selects what is relevant (the source's Context Optimizer), merges what contradicts itself by time (its Context
Merger), brings it into the consumer's units, axes and names or within its window, and checks the result against what
the consumer declares (its Context Validator).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from lightfast.context.entry import Entry
from lightfast.context.reader import compiled
from lightfast.context.store import Store
from lightfast.context.views import for_app, for_model
from lightfast.context.views.fit import Schema
from lightfast.context.views.merge import settled
from lightfast.context.views.records import Counters, Dialects, Item, Omission, Recall, View, Wanted
from lightfast.context.views.relevance import Purpose
from lightfast.context.views.terms import Reading
from lightfast.context.views.text import plain
from lightfast.core.clock import Clock
from lightfast.core.errors import FailedPrecondition, InvalidArgument, NotFound
from lightfast.core.tokens import Estimate
from lightfast_link.path import Pattern, is_under

MAX_ENTRIES = 50_000
"""Entries that one view looks at; with more it says to ask for less."""
MAX_BUDGET = 2_000_000
MAX_MEMORIES = 50
MAX_OMISSIONS = 1000
_PAGE = 5000
_OWN = "/lightfast"


class Views:
    """Builds views of *store*; what it asks others for may be left out, and then it does without."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        dialects: Dialects,
        recall: Recall | None = None,
        counters: Counters | None = None,
    ) -> None:
        self.offload: Callable[..., Awaitable[Any]] = asyncio.to_thread
        """Runs what takes long off the loop."""
        self._store = store
        self._clock = clock
        self._dialects = dialects
        self._recall = recall
        self._counters = counters

    async def build(self, wanted: Wanted) -> View:
        """Return the view. Raises `InvalidArgument`, `NotFound` (no such application), `FailedPrecondition`.

        The reasons of the last are NO_DIALECT (nobody knows how the application speaks), VIEW_TOO_LARGE, and
        VIEW_INVALID (the schema asks for what is not there); for revisions as `Store.read`.
        """
        _check(wanted)
        schema = Schema(wanted.schema) if wanted.schema else None
        entries, revision = await self._select(wanted)
        if wanted.mount:
            return await self._for_app(wanted, entries, revision, schema)
        return await self._for_model(wanted, entries, revision, schema)

    async def _select(self, wanted: Wanted) -> tuple[list[Entry], int]:
        exclude = [compiled(pattern) for pattern in wanted.exclude]
        found: dict[str, Entry] = {}
        revision = wanted.at_revision
        for pattern in wanted.patterns or ("//",):
            entries, at = await self._read(pattern, wanted.at_revision)
            if revision is not None and at != revision:  # somebody wrote meanwhile: all of it shows one revision
                entries, at = await self._read(pattern, revision)
            revision = at
            found.update((each.path, each) for each in entries if self._is_wanted(each.path, wanted, exclude))
        return [found[path] for path in sorted(found)], revision or 0

    async def _read(self, pattern: str, at_revision: int | None) -> tuple[list[Entry], int]:
        found: list[Entry] = []
        token = ""
        while True:
            page = await self._store.read((), pattern, at_revision, page_size=_PAGE, page_token=token)
            found += page.entries
            if len(found) > MAX_ENTRIES:
                raise FailedPrecondition(
                    f"more than {MAX_ENTRIES} entries are selected: give narrower patterns, or exclude some",
                    reason="VIEW_TOO_LARGE",
                )
            token = page.next_page_token
            if not token:
                return found, page.revision

    def _is_wanted(self, path: str, wanted: Wanted, exclude: Sequence[Pattern]) -> bool:
        if not wanted.patterns and is_under(path, _OWN):
            return False
        if wanted.mount and is_under(path, wanted.mount):
            return False  # what it says itself it need not be told
        return not any(pattern.matches(path) for pattern in exclude)

    async def _for_app(self, wanted: Wanted, entries: list[Entry], revision: int, schema: Schema | None) -> View:
        mounts = self._dialects.mounts()
        if wanted.mount not in mounts:
            known = ", ".join(mount.removeprefix("/") for mount in mounts) or "none"
            raise NotFound(f"there is no application {wanted.mount}: known are {known}", reason="APP_NOT_FOUND")
        dialect = self._dialects.dialect(wanted.mount)
        if dialect is None:
            raise FailedPrecondition(
                f"nobody says how {wanted.mount} names and measures things: its bridge has no dialect",
                reason="NO_DIALECT",
            )
        own = self._store.select(wanted.mount + "//")
        target = Reading(wanted.mount, dialect, {entry.path: entry for entry in own})
        sources = [
            Reading(mount, spoken, {entry.path: entry for entry in entries if is_under(entry.path, mount)})
            for mount in mounts
            if mount != wanted.mount and (spoken := self._dialects.dialect(mount)) is not None
        ]
        rates = for_app.own_rates(target, self._store.declaration, own)

        def work() -> tuple[list[Item], list[Omission]]:
            return for_app.build(target, sources, entries, self._store.declaration, rates)

        items, omissions = await self.offload(work)
        if schema is not None:
            items, dropped = _checked(items, schema)
            omissions = [*dropped, *omissions]
        return _view(items, "", 0, omissions, revision, "")

    async def _for_model(self, wanted: Wanted, entries: list[Entry], revision: int, schema: Schema | None) -> View:
        counter = self._counters(wanted.model) if self._counters is not None else Estimate()
        now = self._clock.now_ns()
        purpose = Purpose(wanted.purpose, now)
        memories: list[Any] = []
        omissions: list[Omission] = []
        if wanted.memory and self._recall is not None and wanted.purpose:
            recalled = await self._recall(wanted.purpose, MAX_MEMORIES)
            memories, omissions = settled(recalled, {entry.path: entry for entry in entries})
        changes = []
        if wanted.recent:
            until = wanted.at_revision or 0
            page = await self._store.history("//", until=until, page_size=min(wanted.recent, 1000))
            changes = list(page.transactions)
            omissions += [
                Omission(f"revisions {gap.first} to {gap.last}", f"they cannot be read: {gap.why}")
                for gap in page.missing
            ]

        def work() -> tuple[list[Item], str, int, list[Omission]]:
            lines = for_model.of_entries(entries, self._store.declaration, purpose)
            dropped: list[Omission] = []
            if schema is not None:
                kept, dropped = _checked([item for item, _ in lines], schema)
                names = {item.name for item in kept}
                lines = [line for line in lines if line[0].name in names]
            lines += for_model.of_memories(memories, purpose) + for_model.of_changes(changes, now, purpose)
            items, text, tokens, over = for_model.pack(lines, wanted.budget, counter)
            return items, text, tokens, dropped + over

        items, text, tokens, left_out = await self.offload(work)
        return _view(items, text, tokens, [*omissions, *left_out], revision, counter.name)


def _check(wanted: Wanted) -> None:
    if bool(wanted.mount) == bool(wanted.budget or wanted.model):
        raise InvalidArgument("give an application, or a model with a budget of tokens", field="target")
    if not wanted.mount and not 0 < wanted.budget <= MAX_BUDGET:
        raise InvalidArgument(
            f"budget_tokens is {wanted.budget}: it must be from 1 to {MAX_BUDGET}", field="model.budget_tokens"
        )
    if not 0 <= wanted.recent <= 1000:
        raise InvalidArgument("recent_changes must be from 0 to 1000", field="recent_changes")
    if wanted.memory and not wanted.purpose:
        raise InvalidArgument("include_memory needs a purpose: what is to be recalled", field="purpose")


def _checked(items: list[Item], schema: Schema) -> tuple[list[Item], list[Omission]]:
    dropped = schema.keep({item.name: plain(item.value, []) for item in items})
    kept = [item for item in items if item.name not in dropped]
    return kept, [Omission(item.source, f"invalid: {dropped[item.name]}") for item in items if item.name in dropped]


def _view(items: list[Item], text: str, tokens: int, omissions: list[Omission], revision: int, counter: str) -> View:
    return View(tuple(items), text, tokens, tuple(omissions[:MAX_OMISSIONS]), len(omissions), revision, counter)
