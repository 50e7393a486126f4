"""Links: live mappings between paths, kept over restarts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import msgspec
import structlog

from lightfast.context.store import Store
from lightfast.context.watch import bus_of
from lightfast.core.errors import InvalidArgument, LightfastError, NotFound
from lightfast.core.ids import new_id
from lightfast.core.tasks import TaskGroup
from lightfast.engine.links.asides import Asides, renamed
from lightfast.engine.links.carrier import Carrier, Side
from lightfast.engine.links.carry import Carriage
from lightfast.engine.links.graph import Edge, Forest, cycle, find_round
from lightfast.engine.links.link import SETTINGS, Link, check, decode, encode
from lightfast.engine.links.rehearsal import Dry, Rehearsal, Supposed
from lightfast.engine.links.ways import check_units
from lightfast.storage.database import Database, Unit
from lightfast_link.path import compile_pattern
from lightfast_link.value import Value

__all__ = ["Link", "Links"]

log = structlog.get_logger("lightfast.links")

MAX_LINKS = 10_000
"""The most links of one store."""
CARRIED_S = 5.0
"""How long a new link may take to carry its first value before it is shown as it is, in seconds.

A source that changes faster than the disk commits keeps it busy for as long as somebody turns it.
"""


class Links:
    """All links of a store. `start` comes first; `close` ends the carrying, not the links."""

    def __init__(self, store: Store, db: Database) -> None:
        self._store = store
        self._db = db
        self._tasks = TaskGroup("links")
        self._carriers: dict[str, Carrier] = {}
        self._forest = Forest()
        self._carriage = Carriage(store, self._tasks, self._renamed)
        self._stop: Callable[[], None] | None = None
        self._editing = asyncio.Lock()
        self._rated: set[str] = set()
        """The links that depend on more than the forest knows: rates that are paths."""
        self._next: dict[str, Carrier] = {}
        """What a link is about to become; a rename or a switch meanwhile holds for that, too."""

    def __len__(self) -> int:
        return len(self._carriers)

    async def start(self) -> None:
        """Put the links that were kept to work; one that cannot be read is left alone, and logged."""
        for link_id, body in await self._db.query("SELECT link_id, body FROM links ORDER BY link_id", ()):
            try:
                carrier = Carrier(decode(link_id, body))
            except (msgspec.MsgspecError, LightfastError) as error:
                log.exception("a link cannot be read", link=link_id, reason=str(error))
                continue
            self._adopt(carrier)

    async def close(self) -> None:
        """Stop carrying."""
        if self._stop is not None:
            self._stop()
            self._stop = None
        for carrier in self._carriers.values():
            carrier.off = True  # what a pause held back is not carried after the end
        await self._tasks.close()

    @property
    def held(self) -> str:
        """Return why no link carries anything; empty while they do."""
        return self._carriage.held

    def hold(self, reason: str) -> None:
        """Stop all links at once, until `release`: a panic. Called again, it changes only the reason.

        No link writes anything after this returned; what was handed to the store before is committed whole, and
        what was on its way (a smooth move, a value held back by a rate) stays where it is.
        """
        self._carriage.hold(reason or "held")

    def release(self) -> None:
        """Let the links carry again, from the next change on.

        Nothing is carried by the release itself, so that a panic does not end in a jump: where a source changed
        meanwhile, its target stays apart from it until one of the two, or what the link depends on, changes again.
        """
        self._carriage.release()

    async def create(self, link: Link, *, validate_only: bool = False) -> Link:
        """Create *link* and carry its source's value at once; return it with its identity.

        With inputs, an empty source stands for the first of them. Raises `InvalidArgument` for what is malformed and
        `FailedPrecondition` for a link that would close a cycle or give a path a second leader.
        """
        if link.link_id:
            raise InvalidArgument("the identity of a link is chosen here: leave it empty", field="link.link_id")
        async with self._editing:  # of two that close a cycle together the later one has to see the earlier
            if len(self._carriers) >= MAX_LINKS:
                raise InvalidArgument(f"there are {MAX_LINKS} links, which is the most: delete one first")
            carrier = self._check(replace(link, link_id=new_id("link"), carried=0))
            if validate_only:
                return replace(carrier.link, link_id="")
            await self._db.commit(self._save(carrier))
            self._adopt(carrier)
        await _carried(carrier)
        return self._shown(carrier)

    def get(self, link_id: str) -> Link:
        """Return one link, or raise `NotFound`."""
        return self._shown(self._carrier(link_id))

    def leading(self) -> frozenset[str]:
        """Return the paths whose changes links carry on now."""
        found: set[str] = set()
        for carrier in self._carriers.values():
            if not carrier.off:
                found |= carrier.settings.depends
                found.update(end.path for side, end in carrier.ends.items() if carrier.two_way or side is Side.SOURCE)
        return frozenset(found)

    def list(self, pattern: str = "") -> list[Link]:
        """Return the links that touch a path of *pattern* (empty: all), ordered by source."""
        links = [self._shown(carrier) for carrier in self._carriers.values()]
        if pattern:
            try:
                matches = compile_pattern(pattern).matches
            except ValueError as error:
                raise InvalidArgument(str(error), field="pattern", reason="PATTERN_MALFORMED") from None
            links = [link for link in links if any(map(matches, (*link.sources, link.target)))]
        return sorted(links, key=lambda link: (link.source, link.target, link.link_id))

    async def update(self, link: Link) -> Link:
        """Change the settings of a link; its source and target cannot change.

        A bypass is in force before anything is written. Taken off again, with nothing else changed, it carries
        nothing by itself: the next change does.
        """
        settings, now = self._changed(link).settings, self._carrier(link.link_id).link
        if all(name == "bypass" or getattr(settings, name) == getattr(now, name) for name in SETTINGS):
            return await self.bypass(link.link_id, settings.bypass)
        async with self._editing:
            carrier = self._changed(link)  # again: somebody else may have been first
            saved = encode(carrier.link)
            self._next[link.link_id] = carrier
            try:
                await self._db.commit(self._save(carrier))
            finally:
                del self._next[link.link_id]
            old = self._carriers[link.link_id]
            carrier.carried = old.carried
            self._carriage.remove(old)
            self._adopt(carrier)
            if encode(carrier.link) != saved:
                await self._db.commit(self._save(carrier))
        await _carried(carrier)
        return self._shown(carrier)

    def _changed(self, link: Link) -> Carrier:
        """Return what a link becomes with the settings of *link*."""
        now = self._carrier(link.link_id).link
        for name in ("source", "target"):
            given, kept = getattr(link, name), getattr(now, name)
            if given and given != kept:
                raise InvalidArgument(
                    f"the {name} of {link.link_id} is {kept} and cannot change: delete the link and make a new one",
                    field=f"link.{name}",
                )
        return self._check(replace(link, source=now.source, target=now.target, carried=now.carried))

    async def bypass(self, link_id: str, on: bool = True) -> Link:
        """Switch a link out of the way, or back; see `update`."""
        self._switch(self._carrier(link_id), on)  # in force before anything is waited for
        async with self._editing:
            carrier = self._carrier(link_id)
            if carrier.settings.bypass is not on:
                self._switch(carrier, on)
            await self._db.commit(self._save(carrier))
            return self._shown(carrier)

    def _switch(self, carrier: Carrier, on: bool) -> None:
        for each in self._versions(carrier):
            each.settings = replace(each.settings, bypass=on)
            each.off = each.settings.disabled or on
            each.rest(self._store.revision)

    def _versions(self, carrier: Carrier) -> Iterator[Carrier]:
        """Yield *carrier*, and what takes its place, where that is under way."""
        yield carrier
        if carrier.link_id in self._next:
            yield self._next[carrier.link_id]

    async def delete(self, link_id: str) -> None:
        """Delete a link; the values stay."""
        async with self._editing:
            carrier = self._carrier(link_id)
            unit = self._db.unit()
            unit.execute("DELETE FROM links WHERE link_id = ?", (link_id,))
            await self._db.commit(unit)
            self._carriage.remove(carrier)
            self._carriers.pop(link_id, None)
            self._forest.remove(link_id)
            self._rated.discard(link_id)

    def test(self, link: Link, value: Value | None = None) -> tuple[Value, Value | None]:
        """Return what *value* (`None`: what the source holds) becomes, and what comes back where it is two-way."""
        carrier, value = self._tested(link, value)
        return self._through(carrier, value)

    async def rehearse(self, link: Link, value: Value | None = None) -> Rehearsal:
        """Return what `test` does, and all that would move in turn; nothing is written."""
        carrier, value = self._tested(link, value)
        converted, returned = self._through(carrier, value)
        dry = Dry(self._store, self.held, self._carriage.touching)
        moves = await dry.moves(carrier, value)
        if carrier.link_id not in self._carriers:  # one that is not made yet has no identity
            moves = tuple([replace(move, link_id="") if move.link_id == carrier.link_id else move for move in moves])
        return Rehearsal(converted, returned, moves)

    def _tested(self, link: Link, value: Value | None) -> tuple[Carrier, Value]:
        known = self._carriers.get(link.link_id)
        if link.link_id and known is None and not link.source:
            raise self._unknown(link.link_id)
        if known is not None and not link.source:
            carrier = known
        else:
            carrier = self._check(replace(link, link_id=link.link_id or new_id("link")))
        if value is None:
            path = carrier.ends[Side.SOURCE].path
            entry = self._store.get(path)
            if entry is None or entry.value is None:
                raise NotFound(f"{path} holds no value to test with: give one", field="value")
            value = entry.value
        return carrier, value

    def _through(self, carrier: Carrier, value: Value) -> tuple[Value, Value | None]:
        view = Supposed(self._store, {carrier.ends[Side.SOURCE].path: value})
        try:
            converted = carrier.converted(view, Side.SOURCE, value)
            returned = carrier.converted(view, Side.TARGET, converted) if carrier.two_way else None
        except ValueError as error:
            raise InvalidArgument(str(error), reason="NOT_CONVERTIBLE", field="value") from None
        return converted, returned

    def _check(self, link: Link) -> Carrier:
        if link.inputs and not link.source:
            link = replace(link, source=link.inputs[0][1])
        check(link)
        check_units(link)
        self._check_place(link)
        return Carrier(link)

    def _check_place(self, link: Link) -> None:
        """Raise `FailedPrecondition` where what *link* writes comes back to it."""
        self._forest.check(_edges(link))
        if not (self._rated or _is_rated(link)):
            return  # the forest has seen it all

        def moved_by(path: str) -> Iterator[tuple[str, str]]:
            for carrier, side in self._carriage.touching(path):
                other = carrier.settings
                if other.link_id == link.link_id or path not in (other.depends | {other.target}):
                    continue
                if side is not Side.TARGET:
                    yield other.target, other.link_id
                if side is not Side.SOURCE and other.two_way:
                    yield other.source, other.link_id

        written = (link.target, link.source) if link.two_way else (link.target,)
        for start in written:
            if way := find_round(start, (link.depends | {link.target}) - {start}, moved_by):
                raise cycle(link.source, link.target, way)

    def _carrier(self, link_id: str) -> Carrier:
        if link_id not in self._carriers:
            raise self._unknown(link_id)
        return self._carriers[link_id]

    def _unknown(self, link_id: str) -> NotFound:
        return NotFound(f"there is no link {link_id!r}: list the links to see them", reason="LINK_UNKNOWN")

    def _adopt(self, carrier: Carrier) -> None:
        if self._stop is None:
            self._stop = bus_of(self._store).listen(["//"], self._carriage.on_batch)
        self._carriers[carrier.link_id] = carrier
        self._forest.remove(carrier.link_id)
        self._forest.add(_edges(carrier.settings))
        self._rated.discard(carrier.link_id)
        if _is_rated(carrier.settings):
            self._rated.add(carrier.link_id)
        self._carriage.add(carrier)

    def _shown(self, carrier: Carrier) -> Link:
        link = carrier.link
        if self.held:
            return replace(link, waiting=f"all links are held: {self.held}")
        if carrier.off:
            return replace(link, waiting="bypassed" if link.bypass else "switched off")
        return link

    def _save(self, carrier: Carrier) -> Unit:
        unit = self._db.unit()
        unit.execute(
            "INSERT INTO links(link_id, body) VALUES(?, ?) ON CONFLICT(link_id) DO UPDATE SET body = excluded.body",
            (carrier.link_id, encode(carrier.link)),
        )
        return unit

    def _renamed(self, carrier: Carrier, old: str, new: str) -> None:
        """Keep that a path of a link has moved, whatever it is to the link; where that closes a cycle, it stops."""
        for each in self._versions(carrier):
            for end in each.ends.values():
                if end.path == old:
                    end.path = new
            changes: dict[str, Any] = renamed(each.settings, old, new)
            each.settings = replace(each.link, **changes)
            if changes:
                each.asides = Asides.of(each.settings)
        self._forest.remove(carrier.link_id)
        try:
            self._check_place(carrier.link)
        except LightfastError as error:
            log.warning("a link is switched off", link=carrier.link_id, reason=error.message)
            for each in self._versions(carrier):
                each.settings = replace(each.settings, disabled=True)
                each.off = True
                each.last_error = f"{old} was renamed to {new}, and so it is switched off: {error.message}"
        self._forest.add(_edges(carrier.settings))
        unit = self._db.unit()  # no row for one that is deleted just now
        unit.execute("UPDATE links SET body = ? WHERE link_id = ?", (encode(carrier.link), carrier.link_id))
        self._db.enqueue(unit, _written)


async def _carried(carrier: Carrier) -> None:
    """Wait until *carrier* has carried what its source holds, but not for ever."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CARRIED_S):
            await carrier.idle.wait()


def _is_rated(link: Link) -> bool:
    return link.depends != set(link.sources)


def _edges(link: Link) -> list[Edge]:
    return [Edge(link.link_id, source, link.target) for source in link.sources]


def _written(error: BaseException | None) -> None:
    if error is not None:
        log.error("the new end of a link could not be kept", reason=str(error))
