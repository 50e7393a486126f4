"""Batches: handed over once, taken up again, paid once, and answered item by item."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.gateway import House, house
from tests.support.plugins import until

from lightfast.context.upkeep.purge_target import make_target
from lightfast.core.errors import Exhausted, InvalidArgument, LightfastError
from lightfast.gateway.batching import batch_run
from lightfast.gateway.batching import batches as module
from lightfast.gateway.batching.batch_rows import BatchRoom
from lightfast.gateway.batching.batches import BatchCall, Batches
from lightfast.gateway.calls import GenerateCall, ModelRecord
from lightfast.gateway.operations import Operation, OperationState
from lightfast.gateway.ports import CostEstimate, Load, Paid, Payer
from lightfast.gateway.rooms import Patience
from lightfast.sdk import (
    BatchAnswer,
    BatchStep,
    GenerationRequest,
    Job,
    Message,
    Model,
    Progress,
    Provider,
    ProviderError,
    Session,
    Step,
    TextDelta,
    Usage,
    Workbench,
)

SETTINGS = {"type": "object", "properties": {"heat": {"type": "number", "default": 1.0, "maximum": 2.0}}}


class Service:
    """What is on the other side, and outlives a daemon."""

    def __init__(self) -> None:
        self.submitted: list[list[GenerationRequest]] = []
        self.release = asyncio.Event()
        self.cancelled: list[str] = []
        self.failures: dict[str, list[BaseException]] = {"submit": [], "poll": []}
        self.polls = 0
        self.lost: set[int] = set()
        self.obeys = True
        self.finished = 0
        """Whether a batch that is cancelled ends at once, and how many of its requests are answered all the same."""


class Batcher(Provider):
    """Has batches for one model, and none for the other."""

    name = "bat"

    def __init__(self, service: Service) -> None:
        self.service = service
        self.generated: list[GenerationRequest] = []
        self.under_way = self.most = 0

    def models(self) -> Sequence[Model]:
        return (
            Model("big", outputs=("text",), settings=SETTINGS, capabilities=("batch", "system"), max_output_tokens=100),
            Model("small", outputs=("text",), settings=SETTINGS, capabilities=("system",)),
        )

    async def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        self.generated.append(request)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.service.release.wait()
        finally:
            self.under_way -= 1
        if "bad" in request.prompt:
            raise ProviderError("not that", kind="invalid")
        yield TextDelta(f"made {request.prompt}")
        yield Usage(2, 3, 0.5)

    async def batch(
        self, requests: Sequence[GenerationRequest], session: Session, job: str, bench: Workbench
    ) -> AsyncIterator[BatchStep]:
        service = self.service
        if not job:
            if service.failures["submit"]:
                raise service.failures["submit"].pop(0)
            service.submitted.append(list(requests))
            job = f"job-{len(service.submitted)}"
        yield Job(job)
        service.polls += job not in service.cancelled
        if service.failures["poll"]:
            raise service.failures["poll"].pop(0)
        yield Progress(0.5)
        while not service.release.is_set() and not (service.obeys and job in service.cancelled):
            await asyncio.sleep(0.005)
        for at, request in enumerate(requests):
            if at in service.lost:
                continue
            if job in service.cancelled and at >= service.finished:
                yield BatchAnswer(at, error="it was cancelled before it was begun")
                continue
            if "bad" in request.prompt:
                yield BatchAnswer(at, error="the service refused it")
            else:
                yield BatchAnswer(at, f"{request.prompt}!", usage=Usage(input_tokens=10, output_tokens=5))

    async def cancel(self, session: Session, job: str) -> None:
        self.service.cancelled.append(job)


class Money:
    """Holds that outlive a daemon, by operation."""

    def __init__(self) -> None:
        self.held: dict[str, _Hold] = {}
        self.holds: list[tuple[Load, str]] = []
        self.settled: list[tuple[Usage, bool]] = []
        self.released = 0
        self.broke = False

    async def ready(self, *records: ModelRecord) -> None:
        """Nothing has to be loaded."""

    def estimate(self, record: ModelRecord, load: Load) -> CostEstimate:
        self.holds.append((load, record.name))
        return CostEstimate(record.name, 0.5, 1.0, "test")

    async def hold(self, operation_id: str, record: ModelRecord, estimate: CostEstimate, payer: Payer, **_: Any) -> Any:
        if self.broke:
            raise Exhausted("no money", reason="BUDGET_EXCEEDED")
        assert operation_id not in self.held
        self.held[operation_id] = hold = _Hold(self, operation_id)
        return hold

    async def saved(self, *_: Any) -> None:
        pass

    async def taken_up(self, operation_id: str) -> Any:
        return self.held.get(operation_id)


class _Hold:
    def __init__(self, money: Money, operation_id: str) -> None:
        self._money, self._operation_id = money, operation_id

    async def settle(self, usage: Usage, *, failed: bool = False) -> Paid:
        del self._money.held[self._operation_id]
        self._money.settled.append((usage, failed))
        return Paid(0.125, "prices")

    async def release(self) -> None:
        del self._money.held[self._operation_id]
        self._money.released += 1

    def keep(self) -> None:
        pass


class Desk:
    def __init__(self, rooms: House, batches: Batches, provider: Batcher) -> None:
        self.rooms, self.batches, self.provider = rooms, batches, provider
        self.gateway = rooms.gateway

    async def submit(self, *prompts: str, model: str = "bat/big", **fields: Any) -> Operation:
        calls = tuple(GenerateCall(prompt=prompt, **fields) for prompt in prompts)
        return await self.batches.submit(BatchCall(model, calls, "film"), "client:test")

    async def over(self, operation_id: str) -> Operation:
        """Wait until a batch is over."""
        for _ in range(6000):
            operation = await self.gateway.operation(operation_id)
            if operation.state is not OperationState.RUNNING:
                return operation
            await asyncio.sleep(0.01)
        raise AssertionError(f"{operation_id} is still running")

    async def texts(self, operation_id: str) -> list[str]:
        return [answer.text or f"? {answer.error}" for answer in await self.batches.answers(operation_id)]


@asynccontextmanager
async def desk(folder: Path, service: Service, money: Money | None = None) -> AsyncIterator[Desk]:
    """Start a gateway over *folder*, with a provider of *service* that comes after its start, as plugins do."""
    async with house(folder) as rooms:
        gateway = rooms.gateway
        gateway.patience = Patience(2, 0.001, 0.002)
        gateway.costs = money  # type: ignore[assignment]
        gateway.batches = batches = Batches(gateway, rooms.db, gateway.generate)
        await batches.start()
        provider = Batcher(service)
        gateway.register(provider, "bat")
        yield Desk(rooms, batches, provider)


async def test_a_batch_goes_to_its_service_and_comes_back_item_by_item(tmp_path: Path) -> None:
    service, money = Service(), Money()
    async with desk(tmp_path, service, money) as here:
        submitted = await here.submit("a", "bad", "c", system="be brief", messages=(Message("user", "hi"),))
        assert (submitted.state, submitted.output, submitted.note) == (OperationState.RUNNING, "batch", "")
        await until(lambda: service.polls == 1, "the first poll")
        rows = await here.rooms.db.query(
            "SELECT body ->> 'job_id' FROM operations WHERE operation_id = ?", (submitted.operation_id,)
        )
        assert rows == [("job-1",)], "the job is on the disk before the next step"
        service.lost.add(2)
        service.release.set()
        operation = await here.over(submitted.operation_id)
        assert (operation.state, operation.fraction, operation.job_id) == (OperationState.SUCCEEDED, 1.0, "job-1")
        assert await here.texts(operation.operation_id) == [
            "a!",
            "? the service refused it",
            "? the service gave no answer",
        ]
        assert operation.usage == Usage(input_tokens=10, output_tokens=5)
        assert (operation.cost_usd, operation.cost_basis, operation.project) == (0.125, "prices", "film")
        assert money.settled == [(Usage(input_tokens=10, output_tokens=5), False)]
        (load, name), *more = money.holds
        assert not more
        assert (name, load.most_output_tokens, load.settings) == ("bat/big", 300, {"processing": "batch"})
        first = service.submitted[0][0]
        assert (first.model, first.system, first.settings) == ("big", "be brief", {"heat": 1.0})
        assert len({request.idempotency_key for request in service.submitted[0]}) == 3


async def test_a_restarted_daemon_takes_the_job_up_and_pays_once(tmp_path: Path) -> None:
    service, money = Service(), Money()
    async with desk(tmp_path, service, money) as here:
        operation_id = (await here.submit("a", "b")).operation_id
        await until(lambda: service.polls == 1, "the first poll")
    assert len(money.held) == 1
    service.release.set()
    async with desk(tmp_path, service, money) as here:
        operation = await here.over(operation_id)
        assert operation.state is OperationState.SUCCEEDED
        assert await here.texts(operation_id) == ["a!", "b!"]
    assert len(service.submitted) == 1
    assert (len(money.settled), money.held) == (1, {})
    async with desk(tmp_path, service, money) as here:
        assert await here.texts(operation_id) == ["a!", "b!"]
        assert len(here.batches) == 0


async def test_one_that_may_have_been_handed_over_is_never_handed_over_again(tmp_path: Path) -> None:
    service, money = Service(), Money()
    async with desk(tmp_path, service, money) as here:
        operation_id = (await here.submit("a")).operation_id
        await until(lambda: service.polls == 1, "the first poll")
    # As if the daemon had died after the service took it, and before its job was written.
    async with house(tmp_path) as rooms:
        unit = rooms.db.unit()
        unit.execute("UPDATE operations SET body = json_set(body, '$.job_id', '')")
        await rooms.db.commit(unit)
    async with desk(tmp_path, service, money) as here:
        operation = await here.over(operation_id)
        assert operation.state is OperationState.FAILED
        assert "look there before you submit it again" in operation.error
    assert len(service.submitted) == 1
    assert not money.held


async def test_a_lost_answer_to_the_submission_is_no_reason_to_submit_again(tmp_path: Path) -> None:
    service, money = Service(), Money()
    service.release.set()
    async with desk(tmp_path, service, money) as here:
        service.failures["submit"] = [ProviderError("cut off", kind="unavailable")]
        operation = await here.over((await here.submit("a")).operation_id)
        assert operation.state is OperationState.FAILED
        assert "may have taken the batch" in operation.error
        assert not service.submitted
        service.failures["submit"] = [ProviderError("429", kind="limit", retry_after=0.001)]
        operation = await here.over((await here.submit("a")).operation_id)
        assert operation.state is OperationState.SUCCEEDED
        service.failures["submit"] = [ProviderError("no", kind="invalid")]
        before = money.released
        operation = await here.over((await here.submit("a")).operation_id)
        assert operation.state is OperationState.FAILED
        assert money.released == before + 1, "what was refused costs nothing"
        service.failures["poll"] = [ProviderError("down", kind="unavailable") for _ in range(6)]
        operation = await here.over((await here.submit("a")).operation_id)
        assert operation.state is OperationState.SUCCEEDED, "a job is asked for again as often as it takes"
        assert len(service.submitted) == 2
        assert not money.held


async def test_cancel_reaches_the_service(tmp_path: Path) -> None:
    service, money = Service(), Money()
    async with desk(tmp_path, service, money) as here:
        operation_id = (await here.submit("a")).operation_id
        await until(lambda: service.polls == 1, "the first poll")
        cancelled = await here.gateway.cancel(operation_id)
        assert cancelled.state is OperationState.CANCELLED
        assert service.cancelled == ["job-1"]
        await until(lambda: len(money.settled) == 1, "the end at the service")
        assert (await here.gateway.cancel(operation_id)).state is OperationState.CANCELLED
        one = (await here.submit("b")).operation_id
        await until(lambda: service.polls == 2, "the second batch")
        assert here.gateway.cancel_all("the show is over") == 1
        assert (await here.over(one)).state is OperationState.CANCELLED
        waits = (await here.submit("c")).operation_id
        await until(lambda: service.polls == 3, "the third batch")
        here.gateway.unregister(here.provider)
        await until(lambda: not here.batches._runs, "its rest")
        assert (await here.gateway.operation(waits)).state is OperationState.RUNNING
        here.gateway.register(again := Batcher(service), "bat")
        await until(lambda: service.polls == 4, "it goes on with the new one")
        here.gateway.unregister(again)
        await until(lambda: not here.batches._runs, "its rest")
        assert (await here.gateway.cancel(waits)).state is OperationState.CANCELLED
        assert len(here.batches) == 0
        assert service.cancelled == ["job-1", "job-2"]
        here.gateway.register(Batcher(service), "bat")
        await until(lambda: not money.held, "the end of the third, which is told to its service now")
    assert service.cancelled == ["job-1", "job-2", "job-3"]
    assert len(service.submitted) == 3


async def test_where_the_service_has_none_it_is_worked_through_here_and_says_so(tmp_path: Path) -> None:
    service = Service()
    async with desk(tmp_path, service) as here:
        prompts = [f"p{at}" for at in range(8)] + ["bad"]
        submitted = await here.submit(*prompts, model="bat/small")
        assert "has no batches at its service" in submitted.note
        await until(lambda: here.provider.under_way == 4, "four at once")
        service.release.set()
        operation = await here.over(submitted.operation_id)
        assert operation.state is OperationState.SUCCEEDED
        texts = await here.texts(submitted.operation_id)
        assert texts[:8] == [f"made p{at}" for at in range(8)]
        assert "not that" in texts[8]
        assert here.provider.most == 4
        assert operation.usage.input_tokens == 16
        assert operation.cost_usd == pytest.approx(4.0)


async def test_one_worked_through_here_goes_on_after_a_restart_without_what_was_answered(tmp_path: Path) -> None:
    service = Service()
    service.release.set()
    async with desk(tmp_path, service) as here:
        held = asyncio.Event()
        make = here.gateway.generate

        async def some(call: GenerateCall, origin: str) -> AsyncIterator[Any]:
            if call.prompt > "p2":
                await held.wait()
            async for step in make(call, origin):
                yield step

        here.batches._generate = some
        operation_id = (await here.submit(*(f"p{at}" for at in range(6)), model="bat/small")).operation_id
        while len(await here.texts(operation_id)) < 3:
            await asyncio.sleep(0.01)
    async with desk(tmp_path, service) as here:
        operation = await here.over(operation_id)
        assert operation.state is OperationState.SUCCEEDED
        assert sorted(request.prompt for request in here.provider.generated) == ["p3", "p4", "p5"]
        assert await here.texts(operation_id) == [f"made p{at}" for at in range(6)]


async def test_a_provider_that_swallows_its_cancellation_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in (batch_run, module):
        monkeypatch.setattr(place, "GRACE", 0.05)
    service, money = Service(), Money()
    async with desk(tmp_path, service, money) as here:
        stubborn, waits = 0, asyncio.Event()

        async def batch(*_: Any) -> AsyncIterator[BatchStep]:
            nonlocal stubborn
            yield Job("job-1")
            waits.set()
            while not service.release.is_set():
                try:
                    await service.release.wait()
                except asyncio.CancelledError:
                    stubborn += 1

        here.provider.batch = batch  # type: ignore[method-assign,assignment]
        try:
            operation_id = (await here.submit("a")).operation_id
            row = "SELECT 1 FROM operations WHERE body ->> 'job_id' = 'job-1'"
            await until(waits.is_set, "the wait of the provider, which is asked for its next step then")
            assert await here.rooms.db.query(row)
            assert (await here.gateway.cancel(operation_id)).state is OperationState.CANCELLED
            assert stubborn
            assert service.cancelled == ["job-1"]
            await here.submit("b")
            await until(lambda: len(here.batches._runs) == 1, "the other one")
            await asyncio.wait_for(here.batches.close(), 60)
        finally:
            service.release.set()  # else nothing could end them
    assert operation_id in money.held or (Usage(cost_usd=0.0), True) in money.settled


async def test_without_money_nothing_is_handed_over(tmp_path: Path) -> None:
    service, money = Service(), Money()
    money.broke = True
    async with desk(tmp_path, service, money) as here:
        operation = await here.over((await here.submit("a")).operation_id)
        assert (operation.state, operation.error) == (OperationState.FAILED, "no money")
        assert not service.submitted


WRONG: dict[str, dict[str, Any]] = {
    "empty": {"prompt": ""},
    "setting": {"settings": {"heat": 9.0}},
    "unknown setting": {"settings": {"cold": 1}},
    "target": {"target_path": "/a"},
    "schema": {"schema": "{"},
    "sources": {"sources": ("a" * 64,)},
    "long": {"prompt": "x" * 200_000},
}


@pytest.mark.parametrize("name", WRONG)
async def test_what_a_request_is_wrong_in_is_said_with_its_place(tmp_path: Path, name: str) -> None:
    async with desk(tmp_path, Service()) as here:
        calls = (GenerateCall(prompt="good"), GenerateCall(**{"prompt": "p", **WRONG[name]}))
        with pytest.raises(InvalidArgument, match=r"requests\[1\]"):
            await here.batches.submit(BatchCall("bat/big", calls), "client:test")
        assert len(here.batches) == 0


async def test_there_are_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service()
    async with desk(tmp_path, service) as here:
        with pytest.raises(InvalidArgument, match="0 requests"):
            await here.submit()
        with pytest.raises(LightfastError):
            await here.submit("a", model="bat/none")
        monkeypatch.setattr(module, "MOST_RUNNING", 1)
        await here.submit("a")
        with pytest.raises(Exhausted, match="wait for one"):
            await here.submit("b")


async def test_a_purge_blanks_what_was_asked_and_answered(tmp_path: Path) -> None:
    service = Service()
    service.release.set()
    async with desk(tmp_path, service) as here:
        operation_id = (await here.submit("my hush-hush word", "fine")).operation_id
        await here.over(operation_id)
        room = BatchRoom(here.rooms.db)
        target = make_target(text="hush-hush")
        items = [item async for some in room.find(target) for item in some]
        assert await room.erase(items, "purge-1") == 1
        assert [item async for some in room.find(target) for item in some] == []
        assert [some async for some in room.find(make_target(memories=["m"]))] == []
        assert await here.texts(operation_id) == ["? it was purged", "fine!"]
        assert await room.remaining(target) == []
