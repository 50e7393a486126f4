"""memory_sync: copies what one memory knows into another."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from lightfast.core.errors import FailedPrecondition
from lightfast.engine.jobs.ports import OwnBench
from lightfast.sdk import JobBench, JobType
from lightfast_link.value import Value

if TYPE_CHECKING:
    from lightfast.context.memory.port import TemporalMemory

FindMemory = Callable[[str], "TemporalMemory | None"]
"""Returns a memory by its name (`embedded`, or what the settings name), or `None`."""
_PAGE = 200
_MOST_HANDLED = 50_000


class MemorySync(JobType):
    """Memories by the port `TemporalMemory`, page by page; what the target knows already adds no version there.

    After each page the place in the listing and the counts are kept, and the next attempt goes on from there. Where
    the listing has expired meanwhile it begins anew, which harms nothing.
    """

    name: ClassVar[str] = "memory_sync"
    summary: ClassVar[str] = "Copies the memories and relations of one memory into another."
    payload: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "properties": {
            "source": {"type": "string", "minLength": 1},
            "target": {"type": "string", "minLength": 1},
            "tags": {"type": "array", "items": {"type": "string"}},
            "include_closed": {"type": "boolean"},
            "relations": {"type": "boolean"},
        },
        "required": ["source", "target"],
        "additionalProperties": False,
    }
    max_attempts: ClassVar[int] = 10
    timeout: ClassVar[float] = 3_600.0

    def __init__(self, find: FindMemory) -> None:
        self._find = find

    async def run(self, payload: Mapping[str, Value], bench: JobBench) -> Value | None:
        """Copy, and return how many memories and relations the target was told."""
        source, target = self._memory(str(payload["source"])), self._memory(str(payload["target"]))
        if source is target:
            raise FailedPrecondition(
                f"source and target are both {payload['source']!r}: name two", reason="MEMORY_SYNC_SAME"
            )
        copy = _Copy(source, target, payload, cast("OwnBench", bench))
        return await copy.run()

    def _memory(self, name: str) -> TemporalMemory:
        found = self._find(name)
        if found is None:
            raise FailedPrecondition(
                f"there is no memory called {name!r:.60}: see the setting of the semantic port",
                reason="MEMORY_UNKNOWN",
            )
        return found


class _Copy:
    def __init__(
        self, source: TemporalMemory, target: TemporalMemory, payload: Mapping[str, Value], bench: OwnBench
    ) -> None:
        tags = payload.get("tags", [])
        self._source = source
        self._target = target
        self._bench = bench
        self._tags = tuple(map(str, tags)) if isinstance(tags, list) else ()
        self._closed = bool(payload.get("include_closed", False))
        self._relations = bool(payload.get("relations", True))
        self._counts = {"memories": 0, "relations": 0}
        self._seen: set[str] = set()

    async def run(self) -> Value:
        token = self._resume()
        while True:
            try:
                page = await self._source.memories(
                    tags=self._tags, include_closed=self._closed, page_size=_PAGE, page_token=token
                )
            except Exception as error:
                if not token or getattr(error, "field", "") != "page_token":
                    raise
                self._bench.log("the listing of the source has expired: from the beginning")
                token = ""
                self._counts = dict.fromkeys(self._counts, 0)
                continue
            for memory in page.memories:
                await self._one(memory)
            token = page.next_page_token
            self._bench.progress(-1.0, f"{self._counts['memories']} memories, {self._counts['relations']} relations")
            if not token:
                return dict(self._counts)
            await self._bench.keep(json.dumps({"token": token, "counts": self._counts}))

    def _resume(self) -> str:
        if not self._bench.note:
            return ""
        kept = json.loads(self._bench.note)
        self._counts = kept["counts"]
        return str(kept["token"])

    async def _one(self, memory: Any) -> None:
        from lightfast.context.memory.records import NewMemory

        self._counts["memories"] += 1
        new = NewMemory(
            text=memory.text,
            kind=memory.kind,
            key=memory.key,
            tags=tuple(memory.tags),
            metadata=dict(memory.metadata),
            strength=memory.strength,
            confidence=memory.confidence,
            source=memory.source,
            valid_from=memory.valid_from,
            valid_to=memory.valid_to,
        )
        await self._target.remember(new, origin=self._bench.asker.origin)
        if not self._relations:
            return
        found = await self._source.get(memory.memory_id)
        for relation in found.relations:
            if relation.relation_id not in self._seen and len(self._seen) < _MOST_HANDLED:
                self._seen.add(relation.relation_id)
                await self._relate(relation)

    async def _relate(self, relation: Any) -> None:
        from lightfast.context.memory.records import NewRelation

        new = NewRelation(
            subject=relation.subject,
            predicate=relation.predicate,
            object=relation.object,
            metadata=dict(relation.metadata),
            strength=relation.strength,
            confidence=relation.confidence,
            source=relation.source,
            valid_from=relation.valid_from,
            valid_to=relation.valid_to,
        )
        await self._target.relate(new, origin=self._bench.asker.origin)
        self._counts["relations"] += 1
