"""A catalog with providers that never run, and rooms for routing that say what they are told to."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from lightfast.core.clock import StillClock
from lightfast.core.errors import FailedPrecondition
from lightfast.core.tasks import TaskGroup
from lightfast.gateway.calls import ModelRecord
from lightfast.gateway.catalog import Catalog
from lightfast.gateway.ports import Attempt, CostEstimate, Load, Payer, Reservation
from lightfast.gateway.routing.aliases import Aliases
from lightfast.gateway.routing.candidates import Routing
from lightfast.sdk import (
    Condition,
    GenerationRequest,
    Model,
    Price,
    Provider,
    ProviderError,
    Session,
    Step,
    TextDelta,
    Usage,
    Workbench,
)


class Still(Provider):
    """A provider with a list of models, that only answers what it is asked about itself."""

    def __init__(
        self, name: str, models: Sequence[Model] = (), *, local: bool = False, needs_key: bool = False
    ) -> None:
        self.name = name
        self.local = local
        self.needs_key = needs_key
        self.listed = list(models)

    def models(self) -> Sequence[Model]:
        return self.listed

    async def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        yield TextDelta("still")


class Moving(Still):
    """One whose models are found by asking it, and that can be probed; *trouble* is what it raises."""

    def __init__(self, name: str, found: Sequence[Model] = (), **options: bool) -> None:
        super().__init__(name, (), **options)
        self.found: Sequence[Model] | None = found
        self.trouble: BaseException | None = None
        self.probe_trouble: BaseException | None = None
        self.asked = self.probed = 0
        self.gate: asyncio.Event | None = None

    def model(self, name: str) -> Model | None:
        return Model(name, ("text",)) if name.startswith("unlisted") else None

    async def discover(self, session: Session) -> Sequence[Model] | None:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.trouble is not None:
            raise self.trouble
        return self.found

    async def probe(self, session: Session) -> Condition:
        self.probed += 1
        trouble = self.trouble or self.probe_trouble
        if trouble is not None:
            raise trouble
        return Condition()


@dataclass
class Accounts:
    """Implements `ports.Sessions` for routing: who is in trouble, and how long one would wait."""

    troubles: dict[str, str] = field(default_factory=dict)
    delays: dict[str, float] = field(default_factory=dict)
    keyless: set[str] = field(default_factory=set)
    looked: list[str] = field(default_factory=list)

    async def reserve(self, record: ModelRecord, load: Load, *, deadline: float, account: str = "") -> Reservation:
        raise NotImplementedError

    def delay(self, record: ModelRecord, load: Load) -> float:
        return self.delays.get(record.name, 0.0)

    async def any_session(self, provider: str, account: str = "") -> Session:
        self.looked.append(provider)
        if provider in self.keyless:
            self.troubles[provider] = f"{provider} has no key"
            raise FailedPrecondition(f"{provider} has no key", reason="NO_KEY")
        return Session()

    def trouble(self, provider: str) -> str:
        return self.troubles.get(provider, "")


@dataclass
class Tariffs:
    """Implements `routing.ranking.Prices`: what each model costs; none: nobody knows."""

    usd: dict[str, float] = field(default_factory=dict)

    async def ready(self, *records: ModelRecord) -> None:
        return

    def estimate(self, record: ModelRecord, load: Load) -> CostEstimate:
        known = self.usd.get(record.name)
        return CostEstimate(record.name, known or 0.0, known, "test")

    def prices(self, record: ModelRecord) -> tuple[Price, ...]:
        return ()


@dataclass
class Desk:
    """Routing, and what it stands on."""

    routing: Routing
    catalog: Catalog
    clock: StillClock
    accounts: Accounts
    tariffs: Tariffs
    tasks: TaskGroup

    async def names(self, name: str = "", output: str = "", **options: object) -> list[str]:
        found = await self.routing.ordered(name, output, **options)  # type: ignore[arg-type]
        return [record.name for record in found]

    def attempt(self, model: str, *, error: BaseException | None = None, first: float = 0.1, took: float = 1.0) -> None:
        self.routing.attempted(made(model, error=error, first=first, took=took))

    def fail(self, model: str, times: int, kind: str = "unavailable", retry_after: float = -1.0) -> None:
        for _ in range(times):
            self.attempt(model, error=ProviderError("down", kind=kind, retry_after=retry_after))


def made(
    model: str,
    *,
    error: BaseException | None = None,
    outcome: str = "",
    first: float = 0.1,
    took: float = 1.0,
    usage: Usage | None = None,
    estimate: int = 0,
) -> Attempt:
    """Return an attempt that is over."""
    outcome = outcome or ("ok" if error is None else "error")
    return Attempt(
        "op-1",
        model,
        model.partition("/")[0],
        "default",
        Payer(),
        outcome,
        "",
        error,
        first,
        took,
        usage or Usage(),
        None,
        0,
        estimate,
    )


def desk_of(
    *providers: Provider,
    own: dict[str, tuple[str, ...]] | None = None,
    fallbacks: dict[str, tuple[str, ...]] | None = None,
    tasks: TaskGroup | None = None,
) -> Desk:
    """Return routing over *providers*, on a clock that stands still. Tasks are needed only where something is asked."""
    clock, catalog, accounts, tariffs = StillClock(), Catalog(), Accounts(), Tariffs()
    tasks = tasks or TaskGroup("test")
    routing = Routing(catalog, clock, tasks, Aliases(own, fallbacks))
    for provider in providers:
        catalog.add(provider, f"{provider.name}s", provider.models())
    routing.providers = lambda: catalog.records(())
    routing.join(accounts, tariffs)
    return Desk(routing, catalog, clock, accounts, tariffs, tasks)


def text(name: str, *tags: str, **fields: object) -> Model:
    """Return a text model."""
    return Model(name, ("text",), tags=tags, **fields)  # type: ignore[arg-type]


def image(name: str, **fields: object) -> Model:
    """Return an image model."""
    return Model(name, ("image",), **fields)  # type: ignore[arg-type]


NEVER = math.inf
