"""Links: live mappings between two paths, kept over restarts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import structlog

from lightfast.context.store import Store
from lightfast.context.watch import Bus
from lightfast.core.errors import InvalidArgument, LightfastError, NotFound
from lightfast.core.ids import new_id
from lightfast.core.tasks import TaskGroup
from lightfast.engine.links.carrier import Carrier, Link, Side
from lightfast.engine.links.carry import Carriage
from lightfast.engine.links.graph import Edge, check_edge
from lightfast.storage.database import Database, Unit
from lightfast_link.path import check_path, compile_pattern
from lightfast_link.value import Value

__all__ = ["Link", "Links"]

log = structlog.get_logger("lightfast.links")

MAX_LINKS = 10_000
"""The most links of one store."""


class _Body(msgspec.Struct):
    """What is kept of a link."""

    source: str
    target: str
    two_way: bool = False
    expression: str = ""
    tolerance: float = 0.0
    disabled: bool = False
    max_rate_hz: float = 0.0
    raw_units: bool = False


class Links:
    """All links of a store. `start` comes first; `close` ends the carrying, not the links."""

    def __init__(self, store: Store, db: Database) -> None:
        self._store = store
        self._db = db
        self._tasks = TaskGroup("links")
        self._carriers: dict[str, Carrier] = {}
        self._carriage = Carriage(store, self._tasks, self._renamed)
        self._stop: Callable[[], None] | None = None

    async def start(self) -> None:
        """Put the links that were kept to work; one that cannot be read is left alone, and logged."""
        for link_id, body in await self._db.query("SELECT link_id, body FROM links ORDER BY link_id", ()):
            try:
                kept = msgspec.json.decode(body, type=_Body)
                carrier = Carrier.of(Link(link_id=link_id, **msgspec.structs.asdict(kept)))
            except (msgspec.MsgspecError, LightfastError) as error:
                log.exception("a link cannot be read", link=link_id, reason=str(error))
                continue
            self._adopt(carrier)

    async def close(self) -> None:
        """Stop carrying."""
        if self._stop is not None:
            self._stop()
            self._stop = None
        await self._tasks.close()

    async def create(self, link: Link, *, validate_only: bool = False) -> Link:
        """Create *link* and carry its source's value at once; return it with its identity.

        Raises `InvalidArgument` for what is malformed and `FailedPrecondition` for a link that would
        close a cycle or give a path a second leader.
        """
        if link.link_id:
            raise InvalidArgument("the identity of a link is chosen here: leave it empty", field="link.link_id")
        if len(self._carriers) >= MAX_LINKS:
            raise InvalidArgument(f"there are {MAX_LINKS} links, which is the most: delete one first")
        carrier = self._check(replace(link, link_id=new_id("link")))
        if validate_only:
            return replace(carrier.link, link_id="")
        await self._db.commit(self._save(carrier))
        self._adopt(carrier)
        await carrier.idle.wait()
        return carrier.link

    def get(self, link_id: str) -> Link:
        """Return one link, or raise `NotFound`."""
        return self._carrier(link_id).link

    def list(self, pattern: str = "") -> list[Link]:
        """Return the links that touch a path of *pattern* (empty: all), ordered by source."""
        links = [carrier.link for carrier in self._carriers.values()]
        if pattern:
            try:
                matches = compile_pattern(pattern).matches
            except ValueError as error:
                raise InvalidArgument(str(error), field="pattern", reason="PATTERN_MALFORMED") from None
            links = [link for link in links if matches(link.source) or matches(link.target)]
        return sorted(links, key=lambda link: (link.source, link.target, link.link_id))

    async def update(self, link: Link) -> Link:
        """Change direction, formula, tolerance or switch of a link; its ends cannot change."""
        old = self._carrier(link.link_id)
        for name in ("source", "target"):
            given, now = getattr(link, name), getattr(old.link, name)
            if given and given != now:
                raise InvalidArgument(
                    f"the {name} of {link.link_id} is {now} and cannot change: delete the link and make a new one",
                    field=f"link.{name}",
                )
        carrier = self._check(replace(link, source=old.link.source, target=old.link.target))
        await self._db.commit(self._save(carrier))
        carrier.carried = old.carried
        self._carriage.remove(old)
        self._adopt(carrier)
        await carrier.idle.wait()
        return carrier.link

    async def delete(self, link_id: str) -> None:
        """Delete a link; the values stay."""
        carrier = self._carrier(link_id)
        unit = self._db.unit()
        unit.execute("DELETE FROM links WHERE link_id = ?", (link_id,))
        await self._db.commit(unit)
        self._carriage.remove(carrier)
        self._carriers.pop(link_id, None)

    def test(self, link: Link, value: Value | None = None) -> tuple[Value, Value | None]:
        """Return what *value* (`None`: what the source holds) becomes, and what comes back where it is two-way."""
        known = self._carriers.get(link.link_id)
        if known is not None and not link.source:
            carrier = known
        else:
            carrier = self._check(replace(link, link_id=link.link_id or new_id("link")))
        if value is None:
            entry = self._store.get(carrier.ends[Side.SOURCE].path)
            if entry is None or entry.value is None:
                path = carrier.ends[Side.SOURCE].path
                raise NotFound(f"{path} holds no value to test with: give one", field="value")
            value = entry.value
        try:
            converted = carrier.converted(self._store, Side.SOURCE, value)
            returned = carrier.converted(self._store, Side.TARGET, converted) if carrier.two_way else None
        except ValueError as error:
            raise InvalidArgument(str(error), reason="NOT_CONVERTIBLE", field="value") from None
        return converted, returned

    def _check(self, link: Link) -> Carrier:
        for name in ("source", "target"):
            try:
                check_path(getattr(link, name))
            except ValueError as error:
                raise InvalidArgument(str(error), field=f"link.{name}", reason="PATH_MALFORMED") from None
        if not (math.isfinite(link.tolerance) and link.tolerance >= 0):
            raise InvalidArgument(f"tolerance is {link.tolerance}: it must be 0 or more", field="link.tolerance")
        if not (math.isfinite(link.max_rate_hz) and link.max_rate_hz >= 0):
            raise InvalidArgument(
                f"max_rate_hz is {link.max_rate_hz}: it must be 0 (no limit) or more", field="link.max_rate_hz"
            )
        edges = [_edge(carrier.link) for carrier in self._carriers.values()]
        check_edge(edges, _edge(link))
        return Carrier.of(link)

    def _carrier(self, link_id: str) -> Carrier:
        if link_id not in self._carriers:
            raise NotFound(f"there is no link {link_id!r}: list the links to see them", reason="LINK_UNKNOWN")
        return self._carriers[link_id]

    def _adopt(self, carrier: Carrier) -> None:
        if self._stop is None:
            self._stop = _bus(self._store).listen(["//"], self._carriage.on_batch)
        self._carriers[carrier.link_id] = carrier
        self._carriage.add(carrier)

    def _save(self, carrier: Carrier) -> Unit:
        link = carrier.link
        body = _Body(**{name: getattr(link, name) for name in _Body.__struct_fields__})
        unit = self._db.unit()
        unit.execute(
            "INSERT INTO links(link_id, body) VALUES(?, ?) ON CONFLICT(link_id) DO UPDATE SET body = excluded.body",
            (link.link_id, msgspec.json.encode(body).decode()),
        )
        return unit

    def _renamed(self, carrier: Carrier) -> None:
        self._db.enqueue(self._save(carrier), _written)


def _edge(link: Link) -> Edge:
    return Edge(link.link_id, link.source, link.target)


def _written(error: BaseException | None) -> None:
    if error is not None:
        log.error("the new end of a link could not be kept", reason=str(error))


def _bus(store: Store) -> Bus:
    bus: Any = store.bus
    if not isinstance(bus, Bus):
        raise TypeError("links need a store with a Bus")
    return bus
