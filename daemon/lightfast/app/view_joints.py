"""The joints of views: what they ask the memory and the applications for. Loaded with the first view."""

from __future__ import annotations

from lightfast.context.memory.records import Hit, Memory, Question
from lightfast.context.memory.store import MemoryStore
from lightfast.context.views.records import Recall, Remembered
from lightfast.engine.apps.registry import AppRegistry
from lightfast.sdk import Dialect


def recall_for_views(memory: MemoryStore) -> Recall:
    """Return what views ask the memory: what holds now and may matter for a purpose, best first."""

    async def recall(purpose: str, most: int) -> list[Remembered]:
        found = await memory.recall(Question(query=purpose, page_size=most))
        return [_remembered(hit) for hit in found.hits]

    return recall


def _remembered(hit: Hit) -> Remembered:
    thing = hit.thing
    if isinstance(thing, Memory):
        return Remembered(thing.memory_id, thing.text, thing.key, thing.valid_from, thing.confidence, hit.score)
    text = f"{thing.subject} {thing.predicate} {thing.object}"
    # Of a subject several relations may hold at once: none of them gives way here.
    return Remembered(thing.relation_id, text, "", thing.valid_from, thing.confidence, hit.score)


class DialectBook:
    """Knows how applications speak, by their bridges; implements `context.views.records.Dialects`."""

    def __init__(self, registry: AppRegistry) -> None:
        self._registry = registry

    def dialect(self, mount: str) -> Dialect | None:
        """Return the dialect of the application at *mount*."""
        return self._registry.kinds[self._registry.get(mount).kind].dialect

    def mounts(self) -> list[str]:
        """Return the mounts of all applications, joined or away."""
        return [record.mount for record in self._registry.list()]
