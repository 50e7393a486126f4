"""The operations over real rooms in this process, and a short way to perform one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.ai_house import AiHouse, ai_house

from lightfast.context.memory.embedders import EmbedderBook
from lightfast.context.memory.store import MemoryStore
from lightfast.context.scenes.scenes import Scenes
from lightfast.core.clock import SYSTEM
from lightfast.engine.apps.registry import AppRegistry
from lightfast.engine.links.links import Links
from lightfast.engine.operations.book import Operations
from lightfast.engine.operations.rooms import OperationRooms
from lightfast.engine.runs.journal import mutation
from lightfast.engine.scenes.recalls import Recalls
from lightfast.engine.transport.transport import Transport
from lightfast.sdk import Effect, Mistake, Operation, OperationCall, Outcome, Provider
from lightfast_link.value import Value

RUN = "run-1"


@dataclass
class Bench:
    """A `lightfast.sdk.Bench` over the rooms, which remembers what it was told."""

    rooms: OperationRooms
    notes: list[str] = field(default_factory=list)
    progressed: list[tuple[float, str]] = field(default_factory=list)

    async def read(self, paths: Sequence[str] = (), pattern: str = "") -> Mapping[str, Value]:
        entries = await self.rooms.store.entries(pattern) if pattern else [self.rooms.store.get(path) for path in paths]
        return {entry.path: entry.value for entry in entries if entry is not None and entry.value is not None}

    async def keep(self, note: str) -> None:
        self.notes.append(note)

    def progress(self, fraction: float, message: str = "") -> None:
        self.progressed.append((fraction, message))

    @property
    def note(self) -> str:
        return self.notes[-1] if self.notes else ""


@dataclass
class OpHouse:
    """The rooms, the book, and what a test does with them."""

    rooms: OperationRooms
    book: Operations
    ai: AiHouse
    bench: Bench

    def find(self, name: str) -> Operation:
        found = self.book.find(name)
        assert found is not None, name
        return found

    def check(self, name: str, /, **arguments: Any) -> list[str]:
        """Return the reasons of what is wrong; a warning has a `~` before it."""
        return [("~" if one.warning else "") + one.reason for one in self.mistakes(name, **arguments)]

    def mistakes(self, name: str, /, **arguments: Any) -> Sequence[Mistake]:
        return self.find(name).check(arguments, self.book.world)

    def effects(self, name: str, /, **arguments: Any) -> set[str]:
        return {effect.value for effect in self.find(name).effects(arguments, self.book.world)}

    def call(self, arguments: Mapping[str, Any], step: str = "s1", **fields: Any) -> OperationCall:
        return OperationCall(
            RUN,
            step,
            f"{RUN}/{step}",
            arguments,
            **{
                "origin": f"run:{RUN}",
                "group": RUN,
                "deadline_s": 20.0,
                "effects": frozenset(Effect),
                "note": self.bench.note,
                **fields,
            },
        )

    async def perform(self, name: str, step: str = "s1", /, **arguments: Any) -> Outcome:
        """Perform one for the first time, and commit its changes."""
        self.bench = Bench(self.rooms)
        return await self.again(name, step, **arguments)

    async def again(self, name: str, step: str = "s1", /, **arguments: Any) -> Outcome:
        """Perform one that was tried before: what it kept is given back."""
        return await self.commit(await self.find(name).perform(self.call(arguments, step), self.bench))

    async def commit(self, outcome: Outcome) -> Outcome:
        if outcome.changes:
            await self.rooms.store.apply([mutation(each) for each in outcome.changes], origin=f"run:{RUN}", group=RUN)
        return outcome

    async def undo(self, outcome: Outcome, step: str = "s1.undo") -> Outcome:
        """Take back what an operation did outside the context."""
        assert outcome.undo is not None, outcome
        self.bench = Bench(self.rooms)
        return await self.again(outcome.undo.operation, step, **outcome.undo.arguments)

    def value(self, path: str) -> Value | None:
        entry = self.rooms.store.get(path)
        return None if entry is None else entry.value


def told(outcome: Outcome | None) -> Any:
    """Return what an operation brought."""
    assert outcome is not None
    return outcome.value


@asynccontextmanager
async def operation_house(
    folder: Path, providers: Sequence[Provider] = (), tables: Mapping[str, Mapping[str, Any]] | None = None, **more: Any
) -> AsyncIterator[OpHouse]:
    """Open everything over *folder*; *providers*, *tables* and *more* are for the gateway."""
    async with AsyncExitStack() as stack:
        ai = await stack.enter_async_context(ai_house(folder, providers, tables or {}, **more))
        store, db = ai.store, ai.db
        registry = AppRegistry(store, db, SYSTEM, ai.tasks, ai.gateway.blobs, {}, tick_s=0.02)
        await registry.start()
        stack.push_async_callback(registry.close)
        links = Links(store, db)
        await links.start()
        stack.push_async_callback(links.close)
        scenes = Scenes(store, db, SYSTEM)
        recalls = Recalls(store, scenes, registry, links, SYSTEM)
        stack.push_async_callback(recalls.close)
        transport = Transport(store, registry, SYSTEM)
        await transport.start()
        stack.push_async_callback(transport.close)
        embedders = EmbedderBook()
        stack.push_async_callback(embedders.close)
        memory = await MemoryStore.open(db, store.requests, embedders, clock=SYSTEM)
        stack.push_async_callback(memory.close)
        rooms = OperationRooms(store, registry, ai.gateway, SYSTEM, scenes, recalls, transport, memory)
        yield OpHouse(rooms, Operations(rooms), ai, Bench(rooms))
