"""A memory that a graph server keeps: the knowledge-graph tools of MCP memory servers behind `TemporalMemory`.

Such a server holds entities with observations, and relations between names, and knows one time only. So each memory
and each relation of ours is an entity, and each of its states, with both of its times, an observation in JSON that
begins with `MARK`; beside it stands the plain text, and the plain relation while it is true, for other clients of the
server. What others have written there is recalled, too: their observations as notes, their relations as relations.

One daemon writes to one server. Writes are acknowledged when the server has them; answers come from a copy in memory,
and what others write is looked for again after `REFRESH_S`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from lightfast.context.memory.embedders import EmbedderBook
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
from lightfast.context.memory.rows import RELATION, Item
from lightfast.context.memory.twin import MemoryTwin
from lightfast.context.memory.validity import Row
from lightfast.context.records import RequestKey
from lightfast.core.clock import SYSTEM, Clock
from lightfast.core.errors import FailedPrecondition

T = TypeVar("T")

MARK = '{"lightfast":1,'
"""How observations begin that hold a state of ours."""
REFRESH_S = 30.0
TYPES = ("lightfast memory", "lightfast relation")
"""The types of our entities, by the form of the item."""
_TOOLS = ("create_entities", "add_observations", "create_relations", "delete_relations", "read_graph")


class GraphServer(Protocol):
    """Calls tools of one server."""

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> Any:
        """Return what the tool answers, as JSON has it; raises a `LightfastError`."""


class GraphMemory:
    """Open one with `await GraphMemory.open(server)`; implements `TemporalMemory`."""

    def __init__(self, server: GraphServer, clock: Clock, embedders: EmbedderBook | None) -> None:
        """Use `open`."""
        self._server = server
        self._clock = clock
        self._twin = MemoryTwin(clock, embedders)
        self._lock = asyncio.Lock()
        self._looked: float | None = None
        """When the graph was read last; `None`: what is here may not be what is there."""

    @classmethod
    async def open(
        cls, server: GraphServer, clock: Clock = SYSTEM, embedders: EmbedderBook | None = None
    ) -> GraphMemory:
        """Read the whole graph; raises what the server does, and `FailedPrecondition` (GRAPH_MALFORMED)."""
        self = cls(server, clock, embedders)
        await self._load()
        return self

    async def remember(self, new: NewMemory, *, origin: str, request: RequestKey | None = None) -> Remembered:
        """See `TemporalMemory`."""
        return await self._write(lambda: self._twin.remember(new, origin=origin, request=request))

    async def relate(self, new: NewRelation, *, origin: str, request: RequestKey | None = None) -> Related:
        """See `TemporalMemory`."""
        return await self._write(lambda: self._twin.relate(new, origin=origin, request=request))

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
        """See `TemporalMemory`."""
        how: dict[str, Any] = {"valid_to": valid_to, "reason": reason, "origin": origin, "request": request}
        return await self._write(lambda: self._twin.forget(memories, relations, **how))

    async def recall(self, question: Question) -> Recalled:
        """See `TemporalMemory`."""
        await self._refresh()
        return await self._twin.recall(question)

    async def get(self, memory: str) -> Found:
        """See `TemporalMemory`."""
        await self._refresh()
        return await self._twin.get(memory)

    async def memories(
        self,
        *,
        tags: Sequence[str] = (),
        kind: Kind = Kind.NONE,
        include_closed: bool = False,
        page_size: int = 0,
        page_token: str = "",
    ) -> Listing:
        """See `TemporalMemory`."""
        await self._refresh()
        return await self._twin.memories(
            tags=tags, kind=kind, include_closed=include_closed, page_size=page_size, page_token=page_token
        )

    async def _write(self, act: Callable[[], Awaitable[T]]) -> T:
        async with self._lock:
            if self._looked is None:
                await self._load()
            items, kept = self._twin.state()
            answer = await act()
            new_items, new_rows = self._twin.state()
            changed = [row for number, row in new_rows.items() if kept.get(number) is not row]
            try:
                await self._put([item for name, item in new_items.items() if name not in items], changed, new_items)
            except BaseException:
                # The server has not taken it, or that is not known: nothing was remembered; what it has is read anew.
                self._twin.restore(items.values(), kept.values())
                self._looked = None
                raise
            return answer

    async def _put(self, added: Sequence[Item], changed: Sequence[Row], items: Mapping[str, Item]) -> None:
        """Send what changed: states first, since they are what counts."""
        by_number = {item.item: item for item in items.values()}
        states: dict[str, list[str]] = {}
        for row in changed:
            states.setdefault(by_number[row.item].item_id, []).append(_text(row))
        if added:
            entities = [
                {
                    "name": item.item_id,
                    "entityType": TYPES[item.form],
                    "observations": [_item_text(item), *states.pop(item.item_id, ())],
                }
                for item in added
            ]
            await self._server.call("create_entities", {"entities": entities})
        if states:
            more = [{"entityName": name, "contents": contents} for name, contents in states.items()]
            await self._server.call("add_observations", {"observations": more})
        await self._show([by_number[number] for number in {row.item for row in changed}])

    async def _show(self, items: Iterable[Item]) -> None:
        """Let other clients see what holds now: texts as observations, relations as relations."""
        _, kept = self._twin.state()
        now = self._clock.now_ns()
        true: list[dict[str, str]] = []
        over: list[dict[str, str]] = []
        texts: list[dict[str, Any]] = []
        for item in items:
            holding = [row for row in kept.values() if row.item == item.item and row.live and row.valid_to > now]
            if item.form == RELATION:
                plain = {"from": item.subject, "to": item.object, "relationType": item.predicate}
                (true if holding else over).append(plain)
            elif holding:
                texts.append({"entityName": item.item_id, "contents": [row.text for row in holding]})
        if texts:
            await self._server.call("add_observations", {"observations": texts})
        if true:
            await self._server.call("create_relations", {"relations": true})
        if over:
            await self._server.call("delete_relations", {"relations": over})

    async def _load(self) -> None:
        graph = await self._server.call("read_graph", {})
        items: dict[str, Item] = {}
        kept: dict[int, Row] = {}
        for entity in _list(graph, "entities"):
            if entity.get("entityType") not in TYPES:
                continue
            for text in entity.get("observations", ()):
                if not str(text).startswith(MARK):
                    continue
                item, row = _read(text)
                if item is not None:
                    items[item.identity] = item
                if row is not None:
                    before = kept.get(row.row)
                    # Of two states of one row the one that was superseded, or made stronger, is the later one.
                    if before is None or (row.superseded_time, -row.strength) <= (
                        before.superseded_time,
                        -before.strength,
                    ):
                        kept[row.row] = row
        self._twin.restore(items.values(), kept.values())
        await self._take_others(graph)
        self._looked = self._clock.monotonic()

    async def _refresh(self) -> None:
        """Look for what others have written, where that is a while ago."""
        if self._looked is not None and self._clock.monotonic() - self._looked < REFRESH_S:
            return
        async with self._lock:
            if self._looked is None:
                await self._load()
            elif self._clock.monotonic() - self._looked >= REFRESH_S:
                await self._take_others(await self._server.call("read_graph", {}))
                self._looked = self._clock.monotonic()

    async def _take_others(self, graph: Any) -> None:
        ours = set()
        items, _ = self._twin.state()
        for item in items.values():
            if item.form == RELATION:
                ours.add((item.subject, item.predicate, item.object))
        for entity in _list(graph, "entities"):
            if entity.get("entityType") in TYPES:
                continue
            for text in entity.get("observations", ()):
                note = f"{entity.get('name', '')}: {text}"
                await self._twin.remember(NewMemory(kind=Kind.NOTE, text=note, source="server"), origin="server")
        for relation in _list(graph, "relations"):
            names = (str(relation.get("from")), str(relation.get("relationType")), str(relation.get("to")))
            if names not in ours:
                subject, predicate, thing = names
                new = NewRelation(subject=subject, predicate=predicate, object=thing, source="server")
                await self._twin.relate(new, origin="server")


def _list(graph: Any, name: str) -> list[Any]:
    found = graph.get(name) if isinstance(graph, Mapping) else None
    if not isinstance(found, list):
        raise FailedPrecondition(
            f"read_graph answered without {name}: this is no memory server with the tools {', '.join(_TOOLS)}",
            reason="GRAPH_MALFORMED",
        )
    return found


def _text(row: Row) -> str:
    return MARK + '"row":' + msgspec.json.encode(row).decode() + "}"


def _item_text(item: Item) -> str:
    return MARK + '"item":' + msgspec.json.encode(item._asdict()).decode() + "}"


def _read(text: str) -> tuple[Item | None, Row | None]:
    try:
        found = json.loads(text)
        if "item" in found:
            return Item(**found["item"]), None
        return None, msgspec.convert(found["row"], Row)
    except (ValueError, TypeError, KeyError, msgspec.ValidationError) as error:
        raise FailedPrecondition(
            f"an observation of the memory server is damaged ({error}): {text[:120]}", reason="GRAPH_MALFORMED"
        ) from None
