"""A book of sessions on a still clock, with providers that do nothing by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightfast.core.clock import Clock, StillClock
from lightfast.core.tasks import TaskGroup
from lightfast.gateway.calls import ModelRecord
from lightfast.gateway.limits.rules import read_wanted
from lightfast.gateway.limits.stored import Rows
from lightfast.gateway.ports import Load
from lightfast.gateway.sessions.book import SessionBook
from lightfast.gateway.sessions.records import ProviderTable
from lightfast.gateway.sessions.rooms import Price
from lightfast.sdk import Condition, GenerationRequest, Model, Provider, Session, Step, TextDelta, Workbench
from lightfast.security.secrets.finder import KeyFinder
from lightfast.security.secrets.keyring_door import KeyringDoor

FAR = 1e12
"""A deadline that never comes."""


class Service(Provider):
    """A service that needs a key; its probe does as it is told."""

    needs_key = True

    def __init__(self, name: str = "service", **fields: Any) -> None:
        self.name = name
        self.probes: list[Session] = []
        self.answer: Callable[[Session], Condition] = lambda _: Condition()
        self.listed: tuple[Model, ...] = (Model("one", outputs=("text",)), Model("two", outputs=("text",)))
        for key, value in fields.items():
            setattr(self, key, value)

    def models(self) -> Sequence[Model]:
        return self.listed

    async def probe(self, session: Session) -> Condition:
        self.probes.append(session)
        return self.answer(session)

    async def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        yield TextDelta("nothing")


@dataclass
class Sessions:
    """A book, its clock, and its only provider."""

    book: SessionBook
    clock: StillClock
    service: Service
    tasks: TaskGroup
    door: FakeDoor
    environ: dict[str, str] = field(default_factory=dict)

    def record(self, model: str = "one") -> ModelRecord:
        """Return the record of a model."""
        found = next((each for each in self.service.models() if each.name == model), Model(model, outputs=("text",)))
        return ModelRecord(f"{self.service.name}/{model}", self.service.name, found)

    async def reserve(
        self, tokens: int = 0, answer: int = 1, *, model: str = "one", deadline: float = FAR, account: str = ""
    ) -> Any:
        """Reserve a place."""
        load = Load(input_tokens=tokens, most_output_tokens=answer, output="text")
        return await self.book.reserve(self.record(model), load, deadline=deadline, account=account)

    async def advance(self, seconds: float) -> None:
        """Move the clock on, and let everybody do what they do then."""
        self.clock.advance(seconds)
        self.book.pump()
        await settled()


class FakeDoor(KeyringDoor):
    """A keyring in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[str, str] = {}
        self.asked = 0

    async def get(self, name: str) -> str | None:
        self.asked += 1
        return self.held.get(name)


async def settled(turns: int = 20) -> None:
    """Let the loop do what it can do at once."""
    for _ in range(turns):
        await asyncio.sleep(0)


@asynccontextmanager
async def sessions(
    folder: Path,
    *,
    service: Service | None = None,
    environ: Mapping[str, str] | None = None,
    limits: Mapping[str, Any] | None = None,
    more: Sequence[Mapping[str, Any]] = (),
    db: Rows | None = None,
    clock: Clock | None = None,
    price: Price = lambda _record, _load: None,
    **table: Any,
) -> AsyncIterator[Sessions]:
    """Open a book with one provider; *limits* and *more* are those of its settings, *table* the rest of them."""
    chosen = service or Service()
    still = clock if isinstance(clock, StillClock) else StillClock()
    given = dict(environ if environ is not None else {"KEY": "sk-test-0123456789"})
    door = FakeDoor()
    fields = {"keys": ("env:KEY",), **table}
    wanted = read_wanted(limits or {}, more)
    async with TaskGroup("sessions") as tasks:
        book = SessionBook(
            KeyFinder(folder / "keys", given, door),
            still,
            tasks,
            db,
            provider=lambda name: chosen if name == chosen.name else None,
            model=lambda name: next((m for m in chosen.models() if f"{chosen.name}/{m.name}" == name), None),
            price=price,
            tables={chosen.name: ProviderTable(wanted=wanted, **fields)},
        )
        await book.start()
        try:
            yield Sessions(book, still, chosen, tasks, door, given)
        finally:
            await book.close()
