"""Embeddings over a real gateway: a provider of vectors, and rooms for money and limits that count."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.gateway import house
from tests.support.plugins import until

from lightfast.core.errors import (
    Exhausted,
)
from lightfast.core.tokens import Estimate
from lightfast.gateway.batching.embeddings import EmbedCall, Embedded, EmbeddingRoom
from lightfast.gateway.calls import ModelRecord
from lightfast.gateway.ports import CostEstimate, Load, Paid, Payer
from lightfast.gateway.rooms import Patience, Rooms
from lightfast.sdk import (
    EmbeddingRequest,
    Embeddings,
    GenerationRequest,
    Limits,
    Model,
    Provider,
    ProviderError,
    Session,
    Step,
    TextDelta,
    Usage,
    Workbench,
)


class Vectors(Provider):
    """Makes a vector of the length of a text; what the text says happens first."""

    name = "vec"

    def __init__(self) -> None:
        self.requests: list[EmbeddingRequest] = []
        self.go = asyncio.Event()
        self.go.set()
        self.cancelled = 0
        self.failures: list[BaseException] = []
        self.under_way = self.most_under_way = 0

    def models(self) -> Sequence[Model]:
        return (Model("one", outputs=("embedding",)), Model("two", outputs=("embedding",)))

    async def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        yield TextDelta(request.prompt)

    async def embed(self, request: EmbeddingRequest, bench: Workbench) -> Embeddings:
        self.requests.append(request)
        self.under_way += 1
        self.most_under_way = max(self.under_way, self.most_under_way)
        try:
            await self.go.wait()
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1
        if self.failures:
            raise self.failures.pop(0)
        if any("bad" in text for text in request.texts):
            raise ProviderError("an input is bad", kind="invalid")
        if any("short" in text for text in request.texts):
            return Embeddings(((1.0,),) * (len(request.texts) + 1))
        tokens = sum(map(Estimate().count, request.texts))
        size = request.dimensions or 3
        return Embeddings(
            tuple((float(len(text)),) * size for text in request.texts),
            Usage(input_tokens=tokens + 7, requests=1, cost_usd=0.1),
            Limits(()),
        )


class Money:
    """Holds a dollar for each, and books what was settled."""

    def __init__(self) -> None:
        self.held = 0
        self.booked: list[tuple[str, Usage]] = []
        self.broke: set[str] = set()
        self.saved_usd: list[float] = []

    async def ready(self, *records: ModelRecord) -> None:
        """Nothing has to be loaded."""

    def estimate(self, record: ModelRecord, load: Load) -> CostEstimate:
        return CostEstimate(record.name, 0.5, 1.0, "test", load.input_tokens)

    async def hold(self, operation_id: str, record: ModelRecord, estimate: CostEstimate, payer: Payer, **_: Any) -> Any:
        if payer.project in self.broke:
            raise Exhausted("no money", reason="BUDGET_EXCEEDED")
        self.held += 1
        return _Hold(self, payer)

    async def saved(self, operation_id: str, record: ModelRecord, payer: Payer, usd: float, how: str) -> None:
        self.saved_usd.append(usd)

    async def taken_up(self, operation_id: str) -> None:
        return None


class _Hold:
    def __init__(self, money: Money, payer: Payer) -> None:
        self._money, self._payer = money, payer
        self._open = True

    async def settle(self, usage: Usage, *, failed: bool = False) -> Paid:
        await self.release()
        self._money.booked.append((self._payer.project, usage))
        return Paid(usage.cost_usd or 0.0, "reported")

    async def release(self) -> None:
        assert self._open
        self._open = False
        self._money.held -= 1


class Places:
    """Counts places."""

    def __init__(self) -> None:
        self.loads: list[Load] = []
        self.open = 0
        self.settled: list[Usage] = []
        self.refusals = 0

    async def reserve(self, record: ModelRecord, load: Load, *, deadline: float, account: str = "") -> Any:
        self.loads.append(load)
        self.open += 1
        places = self

        class Place:
            session = Session("acc")

            def tell(self, limits: Limits) -> None:
                pass

            def refused(self, error: ProviderError) -> None:
                places.refusals += 1

            def settle(self, usage: Usage, duration: float) -> None:
                places.open -= 1
                places.settled.append(usage)

            def release(self) -> None:
                places.open -= 1

        return Place()


class Desk:
    def __init__(self, rooms: Rooms, provider: Vectors, money: Money, places: Places) -> None:
        self.rooms, self.provider, self.money, self.places = rooms, provider, money, places
        self.room = EmbeddingRoom(rooms)
        self.db: Any = None
        self.blobs: Any = None

    def start(self, *texts: str, project: str = "", **fields: Any) -> asyncio.Task[Embedded]:
        call = EmbedCall("vec/one", texts, project=project, **fields)
        return asyncio.get_running_loop().create_task(self.room.embed(call, "client:test"))

    async def sent(self, count: int) -> None:
        """Wait until so many requests have come to the service."""
        await until(lambda: len(self.provider.requests) >= count, "requests")


@asynccontextmanager
async def desk(folder: Path) -> AsyncIterator[Desk]:
    async with house(folder) as rooms:
        provider, money, places = Vectors(), Money(), Places()
        gateway = rooms.gateway
        gateway.register(provider, "vec")
        gateway.costs = money  # type: ignore[assignment]
        gateway.sessions = places  # type: ignore[assignment]
        gateway.patience = Patience(3, 0.001, 0.002)
        made = Desk(gateway, provider, money, places)
        made.db, made.blobs = rooms.db, rooms.blobs
        yield made
        assert (money.held, places.open) == (0, 0)
