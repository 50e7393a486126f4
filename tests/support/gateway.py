"""A gateway over a real store in a temporary folder, and a provider that does as it is told."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightfast.context.store import Store
from lightfast.core.clock import SYSTEM
from lightfast.core.tasks import TaskGroup
from lightfast.gateway.calls import GenerateCall, OperationStep
from lightfast.gateway.rooms import Patience
from lightfast.gateway.router import Gateway
from lightfast.sdk import (
    Artifact,
    GenerationRequest,
    Model,
    Preview,
    Progress,
    Provider,
    ProviderError,
    Step,
    TextDelta,
    Usage,
    Workbench,
)
from lightfast.storage.blobs import BlobStore
from lightfast.storage.database import Database

SCHEMA = {
    "type": "object",
    "properties": {
        "steps": {"type": "integer", "minimum": 1, "maximum": 50, "default": 20},
        "strength": {"type": "number", "minimum": 0.0, "maximum": 1.0, "default": 0.5},
        "size": {"type": "string", "enum": ["small", "large"], "default": "small"},
        "tiled": {"type": "boolean", "default": False},
    },
}


class Puppet(Provider):
    """Does what the prompt says."""

    name = "puppet"
    description = "does as it is told"
    local = True

    def __init__(self) -> None:
        self.requests: list[GenerationRequest] = []
        self.cancelled = asyncio.Event()
        self.started = asyncio.Event()
        self.release = asyncio.Event()
        self.closed = 0

    def models(self) -> Sequence[Model]:
        return (
            Model("draw", outputs=("image",), inputs=("text", "image"), settings=SCHEMA),
            Model("write", outputs=("text",)),
        )

    async def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        self.requests.append(request)
        self.started.set()
        try:
            async for step in ACTS[request.prompt](self, request, bench):
                yield step
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def close(self) -> None:
        self.closed += 1


async def _image(puppet: Puppet, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
    yield Progress(0.5, "half")
    yield Preview("image/png", b"small")
    content = await bench.run(bytes, 1000)
    yield Artifact("image/png", content, "one.png", {"own": 1})
    yield Usage(3, 4, 0.25)


async def _two(puppet: Puppet, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
    yield Artifact("image/png", b"one")
    yield Artifact("image/png", b"two")


async def _text(puppet: Puppet, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
    for index in range(200):
        yield TextDelta(f"{index} ")


async def _wait(puppet: Puppet, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
    yield Progress(0.1, "waiting")
    await puppet.release.wait()
    yield TextDelta("released")


async def _stubborn(puppet: Puppet, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
    while not puppet.release.is_set():
        try:
            await puppet.release.wait()
        except asyncio.CancelledError:
            puppet.cancelled.set()
    yield TextDelta("at last")


def _raising(error: BaseException) -> Callable[..., AsyncIterator[Step]]:
    async def act(puppet: Puppet, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        yield Progress(0.1, "about to fail")
        raise error

    return act


async def _exit(puppet: Puppet, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
    yield Progress(0.1, "leaving")
    sys.exit(3)


async def _garbage(puppet: Puppet, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Any]:
    yield {"progress": 1}


async def _nothing(puppet: Puppet, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
    yield Progress(1.0, "done, it says")


async def _mistyped(puppet: Puppet, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Any]:
    yield Artifact("image/png", "not bytes")  # type: ignore[arg-type]


async def _thread(puppet: Puppet, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
    def leave() -> str:
        sys.exit(5)

    yield TextDelta(await bench.run(leave))


ACTS: dict[str, Callable[[Puppet, GenerationRequest, Workbench], AsyncIterator[Step]]] = {
    "image": _image,
    "two": _two,
    "text": _text,
    "wait": _wait,
    "stubborn": _stubborn,
    "raise": _raising(RuntimeError("no luck")),
    "raise base": _raising(BaseException("odd")),
    "raise cancelled": _raising(asyncio.CancelledError()),
    "raise stop": _raising(StopAsyncIteration()),
    "overloaded": _raising(ProviderError("try later", retryable=True, reason="OVERLOADED")),
    "refused": _raising(ProviderError("not that", reason="REFUSED")),
    "exit": _exit,
    "garbage": _garbage,
    "nothing": _nothing,
    "mistyped": _mistyped,
    "thread": _thread,
}


@dataclass
class House:
    """A gateway and what it stands on."""

    gateway: Gateway
    store: Store
    blobs: BlobStore
    db: Database
    tasks: TaskGroup
    puppet: Puppet

    async def run(self, prompt: str, **fields: Any) -> list[OperationStep]:
        """Run one generation to its end."""
        call = GenerateCall(prompt=prompt, **{"model": "puppet/draw", **fields})
        return [step async for step in self.gateway.generate(call, "client:test")]


@asynccontextmanager
async def house(folder: Path) -> AsyncIterator[House]:
    """Open everything, and close it; what may be tried again is, at once."""
    db = await Database.open(folder / "store.db", clock=SYSTEM)
    blobs = await BlobStore.open(folder / "assets", db, 10_000_000, SYSTEM)
    store = await Store.open(db, clock=SYSTEM)
    tasks = TaskGroup("test")
    gateway = Gateway(store, blobs, db, SYSTEM, tasks)
    gateway.patience = Patience(again=2, first=0.001)
    await gateway.start()
    puppet = Puppet()
    gateway.register(puppet, "puppets")
    try:
        yield House(gateway, store, blobs, db, tasks, puppet)
    finally:
        await gateway.close()
        await tasks.close()
        await store.close()
        await db.close()
