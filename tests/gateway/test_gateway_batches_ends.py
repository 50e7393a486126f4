"""How batches end that do not come to their end: cancelled, followed, paid; and those that fail by a bug."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.test_gateway_batches import Batcher, Money, Service, desk
from tests.support.plugins import until

from lightfast.core.errors import Cancelled
from lightfast.gateway.batching import batch_run
from lightfast.gateway.batching.batch_rows import BatchState
from lightfast.gateway.batching.batch_service import ServiceRun
from lightfast.gateway.operations import OperationState
from lightfast.sdk import BatchAnswer, BatchStep, Job, Usage


async def test_what_a_service_finished_of_a_cancelled_batch_is_booked(tmp_path: Path) -> None:
    service, money = Service(), Money()
    service.finished = 2
    async with desk(tmp_path, service, money) as here:
        operation_id = (await here.submit("a", "b", "c")).operation_id
        await until(lambda: service.polls == 1, "the first poll")
        assert (await here.gateway.cancel(operation_id)).state is OperationState.CANCELLED
        await until(lambda: not money.held, "what it has cost")
        assert money.settled == [(Usage(input_tokens=20, output_tokens=10), True)]
        await until(lambda: not here.batches._after, "its end")
        operation = await here.gateway.operation(operation_id)
        assert operation.state is OperationState.CANCELLED
        assert (operation.usage.input_tokens, operation.cost_usd, operation.cost_basis) == (20, 0.125, "prices")
        assert operation.note.startswith("2 of its requests had been answered")
        assert (await here.texts(operation_id))[:2] == ["a!", "b!"]
        assert await here.batches.rows.owing() == []


async def test_one_of_which_nothing_was_finished_has_cost_nothing(tmp_path: Path) -> None:
    service, money = Service(), Money()
    async with desk(tmp_path, service, money) as here:
        operation_id = (await here.submit("a")).operation_id
        await until(lambda: service.polls == 1, "the first poll")
        await here.gateway.cancel(operation_id)
        await until(lambda: not money.held, "what it has cost")
        assert money.settled == [(Usage(cost_usd=0.0), True)]


async def test_the_next_daemon_books_what_a_cancelled_batch_has_cost(tmp_path: Path) -> None:
    service, money = Service(), Money()
    service.obeys, service.finished = False, 1
    async with desk(tmp_path, service, money) as here:
        operation_id = (await here.submit("a", "b")).operation_id
        await until(lambda: service.polls == 1, "the first poll")
        cancelled = await here.gateway.cancel(operation_id)
        assert (cancelled.state, cancelled.cost_basis) == (OperationState.CANCELLED, "")
        assert "is booked when it says so" in cancelled.note
        assert money.held
    service.obeys = True
    async with desk(tmp_path, service, money) as here:
        await until(lambda: not money.held, "what it has cost")
        assert money.settled == [(Usage(input_tokens=10, output_tokens=5), True)]
        assert len(here.batches) == 0, "it is over for whoever counts batches"
    assert len(service.submitted) == 1


async def test_one_that_is_cancelled_as_its_provider_comes_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, money = Service(), Money()
    async with desk(tmp_path, service, money) as here:
        operation_id = (await here.submit("a")).operation_id
        await until(lambda: service.polls == 1, "the first poll")
        here.gateway.unregister(here.provider)
        await until(lambda: not here.batches._runs, "its rest")
        state = here.batches.rows.state

        async def slow(operation_id: str) -> BatchState | None:
            monkeypatch.undo()
            here.gateway.register(Batcher(service), "bat")
            return await state(operation_id)

        monkeypatch.setattr(here.batches.rows, "state", slow)
        assert (await here.gateway.cancel(operation_id)).state is OperationState.CANCELLED
        await until(lambda: not money.held, "what it has cost")
        assert service.cancelled == ["job-1"]


async def test_one_that_is_cancelled_as_its_work_is_done_ends_as_somebody_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not be cut off while it ends: it would be neither."""
    done = asyncio.Event()

    async def work(_: ServiceRun) -> None:
        await done.wait()

    monkeypatch.setattr(ServiceRun, "_work", work)
    async with desk(tmp_path, Service(), Money()) as here:
        operation_id = (await here.submit("a")).operation_id
        run = here.batches._runs[operation_id]
        await asyncio.sleep(0)
        done.set()
        await run.stop(Cancelled("nobody wants it"))
        assert run.operation.state is OperationState.CANCELLED
        assert not here.batches._waiting


async def test_who_cancels_may_leave_before_it_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_run, "GRACE", 0.2)
    service, money = Service(), Money()
    async with desk(tmp_path, service, money) as here:
        begun = refused = 0

        async def batch(*_: Any) -> AsyncIterator[BatchStep]:
            nonlocal begun, refused
            begun += 1
            while not service.release.is_set():
                try:
                    await service.release.wait()
                except asyncio.CancelledError:
                    refused += 1
            yield Job("job-1")

        here.provider.batch = batch  # type: ignore[method-assign,assignment]
        try:
            operation_id = (await here.submit("a")).operation_id
            await until(lambda: begun, "its beginning")
            cancels = asyncio.ensure_future(here.gateway.cancel(operation_id))
            await until(lambda: refused, "its cancellation")
            cancels.cancel()
            assert (await here.over(operation_id)).state is OperationState.CANCELLED
            await until(lambda: not here.batches._runs, "the end of its run")
        finally:
            service.release.set()


async def test_one_that_fails_by_a_bug_is_not_begun_again_and_again(tmp_path: Path) -> None:
    service, money = Service(), Money()
    async with desk(tmp_path, service, money) as here:
        begun = 0

        async def batch(*_: Any) -> AsyncIterator[BatchStep]:
            nonlocal begun
            begun += 1
            yield Job("job-1")
            yield BatchAnswer("first", "text")  # type: ignore[arg-type]

        here.provider.batch = batch  # type: ignore[method-assign,assignment]
        operation = await here.over((await here.submit("a")).operation_id)
        assert operation.state is OperationState.FAILED
        assert "see its log" in operation.error
        await until(lambda: begun == 2 and not here.batches._after, "what it has cost")
        assert not here.batches._runs
        assert not money.held
