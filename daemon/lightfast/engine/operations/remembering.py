"""Operations on the memory, and embedding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from lightfast.engine.operations.built import TEXT, Built, missing, needed, request_of, said, schema
from lightfast.engine.operations.built import within as bounded
from lightfast.engine.operations.choosing import (
    Choice,
    effects_of,
    effects_within,
    leash_of,
    told,
    upper_cost,
    wrong_model,
)
from lightfast.engine.operations.paths import fit
from lightfast.gateway.ports import Load
from lightfast.sdk import Bench, Effect, Mistake, OperationCall, Outcome, Undoing, World

_PLACE = "/lightfast/memory//"
"""Stands for the memory, so that what remembers and what recalls keep their order."""
_TAGS: Mapping[str, Any] = {
    "type": ["array", "string"],
    "items": {"type": "string", "maxLength": 200},
    "maxItems": 64,
    "description": "Words to find it by.",
}


class _Memory(Built):
    pool = "archive"

    def check(self, arguments: Mapping[str, Any], world: World) -> Sequence[Mistake]:
        """Check that there is a memory."""
        return missing(self.rooms.memory, "a memory")


class Remember(_Memory):
    """Remembers."""

    name = "memory.remember"
    summary = "Remember a fact or a note; the same key says it anew."
    arguments: ClassVar[Mapping[str, Any]] = schema(
        ("text",),
        text=said(TEXT, "What to remember.", minLength=1),
        key=said(TEXT, "What it is about; saying it again under this key replaces it.", maxLength=1000),
        tags=_TAGS,
        fact={"type": ["boolean", "string"], "description": "True: a fact; else a note."},
        confidence={"type": ["number", "string"], "minimum": 0, "maximum": 1, "description": "How sure it is."},
        metadata={"type": "object", "description": "More about it."},
    )
    result: ClassVar[Mapping[str, Any]] = {"type": "object", "description": "memory_id, version."}
    possible_effects = frozenset((Effect.REVERSIBLE,))
    keyed = True

    def writes(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        """Return what stands for the memory."""
        return (_PLACE,)

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        """Remember."""
        from lightfast.context.memory.records import Kind, NewMemory

        memory, given = needed(self.rooms.memory, "a memory"), call.arguments
        new = NewMemory(
            text=given["text"],
            kind=Kind.FACT if given.get("fact") else Kind.NOTE,
            key=given.get("key", ""),
            tags=tuple(given.get("tags", ())),
            metadata=given.get("metadata", {}),
            confidence=float(given.get("confidence", 1.0)),
            source=call.origin,
        )
        async with bounded(call.deadline_s, self.name):
            found = (await memory.remember(new, origin=call.origin, request=request_of(call, self.name))).memory
        value = {"memory_id": found.memory_id, "version": found.version}
        if found.version > 1:
            return Outcome(value, stuck="what was known under this key before stays on record, and is not put back")
        return Outcome(value, undo=Undoing("memory.forget", {"memory": found.memory_id}))


class Forget(_Memory):
    """Ends the validity of a memory."""

    name = "memory.forget"
    summary = "End the validity of a memory; it stays on record."
    arguments: ClassVar[Mapping[str, Any]] = schema(("memory",), memory=said(TEXT, "Its id or key.", minLength=1))
    possible_effects = frozenset((Effect.REVERSIBLE,))
    keyed = True

    def writes(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        """Return what stands for the memory."""
        return (_PLACE,)

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        """Forget."""
        memory = needed(self.rooms.memory, "a memory")
        async with bounded(call.deadline_s, self.name):
            done = await memory.forget(
                [call.arguments["memory"]], reason=call.key, origin=call.origin, request=request_of(call, self.name)
            )
        return Outcome({"memories": done.memories}, stuck="say it again with memory.remember to bring it back")


class Recall(_Memory):
    """Recalls."""

    name = "memory.recall"
    summary = "Find what is remembered: words, meaning and relations together, best first."
    arguments: ClassVar[Mapping[str, Any]] = schema(
        ("query",),
        query=said(TEXT, "What to look for.", minLength=1),
        limit={"type": ["integer", "string"], "minimum": 1, "maximum": 100, "description": "At most so many; 10."},
        tags=_TAGS,
    )
    result: ClassVar[Mapping[str, Any]] = {"type": "array", "description": "Each with text, score, key, tags, id."}
    idempotent = True
    acts = False

    def reads(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        """Return what stands for the memory."""
        return (_PLACE,)

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        """Recall."""
        from lightfast.context.memory.records import Memory, Question

        memory, given = needed(self.rooms.memory, "a memory"), call.arguments
        question = Question(
            query=given["query"], tags=tuple(given.get("tags", ())), page_size=int(given.get("limit", 10))
        )
        async with bounded(call.deadline_s, self.name):
            recalled = await memory.recall(question)
        hits: list[Any] = []
        for hit in recalled.hits:
            thing = hit.thing
            if isinstance(thing, Memory):
                told: dict[str, Any] = {"id": thing.memory_id, "text": thing.text, "key": thing.key}
                told["tags"] = list(thing.tags)
            else:
                told = {"id": thing.relation_id, "text": f"{thing.subject} {thing.predicate} {thing.object}"}
            hits.append({**told, "score": hit.score})
        return Outcome(hits)


class Embed(Built):
    """Turns texts into vectors."""

    name = "embed.texts"
    summary = "Turn texts into vectors of one embedding model."
    arguments: ClassVar[Mapping[str, Any]] = schema(
        ("texts",),
        texts={
            "type": ["array", "string"],
            "items": {"type": "string"},
            "minItems": 1,
            "maxItems": 2048,
            "description": "The texts.",
        },
        model=said(TEXT, "provider/model; none: the first there is."),
    )
    result: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "description": "model; vectors, one list of numbers for each text.",
    }
    pool = "provider"
    possible_effects = frozenset((Effect.READ, Effect.SPEND, Effect.NETWORK))

    def effects(self, arguments: Mapping[str, Any], world: World) -> frozenset[Effect]:
        """Return what embedding with that model does: kept in no place, it changes nothing."""
        found = effects_of(Choice.of("embedding", arguments, self.rooms), world)
        return (found - {Effect.REVERSIBLE}) | {Effect.READ}

    def effects_within(
        self, arguments: Mapping[str, Any], world: World, allowed: frozenset[Effect]
    ) -> frozenset[Effect]:
        """Return what it does with those of the models that bring about no more than *allowed*."""
        found = effects_within(Choice.of("embedding", arguments, self.rooms), world, allowed)
        return (found - {Effect.REVERSIBLE}) | {Effect.READ}

    def about(self, arguments: Mapping[str, Any], world: World) -> str:
        """Return the models."""
        return told(Choice.of("embedding", arguments, self.rooms), world)

    def repeatable(self, arguments: Mapping[str, Any], world: World) -> bool:
        """Say whether nothing is paid for doing it again."""
        return Effect.SPEND not in self.effects(arguments, world)

    def check(self, arguments: Mapping[str, Any], world: World) -> Sequence[Mistake]:
        """Check the model."""
        return wrong_model(Choice.of("embedding", arguments, self.rooms), world)

    def cost(self, arguments: Mapping[str, Any], world: World) -> float | None:
        """Return the most it costs."""
        texts = arguments.get("texts")
        size = sum(len(text) for text in texts) if isinstance(texts, list) else 2048 * 1024
        return upper_cost(Choice.of("embedding", arguments, self.rooms), Load(size, 0, size, "embedding"), world)

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        """Embed."""
        from lightfast.gateway.batching.embeddings import EmbedCall

        room, given = needed(self.rooms.gateway.embedder, "embeddings"), call.arguments
        wanted = EmbedCall(
            given.get("model", ""),
            tuple(given["texts"]),
            project=call.project,
            run=call.run_id,
            timeout=min(call.deadline_s, 3600.0),
            leash=leash_of(call.effects),
        )
        done = await room.embed(wanted, call.origin)
        value = fit({"model": done.model, "vectors": [tuple(vector) for vector in done.vectors]}, None)
        return Outcome(value, cost_usd=done.cost_usd)

    async def recover(self, call: OperationCall, bench: Bench) -> Outcome | None:
        """Say that it is not known whether it was paid: vectors are not kept over a restart."""
        return None


REMEMBERING = (Remember, Forget, Recall, Embed)
