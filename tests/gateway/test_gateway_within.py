"""Calls into providers end in time, also those that swallow their cancellation."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.actors import Actor, for_ever
from tests.support.gateway import house
from tests.support.plugins import until

from lightfast.core.tasks import TaskGroup
from lightfast.gateway import attempt
from lightfast.gateway.calls import GenerateCall
from lightfast.gateway.operations import OperationState
from lightfast.gateway.within import within
from lightfast.sdk import Job, ProviderError, Session


class Deaf:
    """Swallows every cancellation, until it is told to obey."""

    def __init__(self) -> None:
        self.obey = False
        self.refused = 0

    async def __call__(self, *_: object) -> None:
        while not self.obey:
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                self.refused += 1


async def test_one_that_does_not_obey_is_left_behind() -> None:
    deaf = Deaf()
    async with TaskGroup("test") as tasks:
        outcome = await within(tasks, 0.05, "deaf", deaf)
        assert isinstance(outcome.error, TimeoutError)
        await until(lambda: deaf.refused, "its cancellation")
        deaf.obey = True


async def test_what_comes_of_it_is_told() -> None:
    async def add(one: int, other: int) -> int:
        return one + other

    async def fail() -> None:
        raise ProviderError("no", kind="denied")

    async def give_up() -> None:
        raise asyncio.CancelledError

    async with TaskGroup("test") as tasks:
        assert (await within(tasks, 5.0, "add", add, 1, 2)).value == 3
        assert str((await within(tasks, 5.0, "fail", fail)).error) == "no"
        assert isinstance((await within(tasks, 5.0, "give up", give_up)).error, asyncio.CancelledError)
        assert isinstance((await within(tasks, 5.0, "sync", len)).error, TypeError)  # type: ignore[arg-type]
    assert isinstance((await within(tasks, 5.0, "late", add, 1, 2)).error, RuntimeError)


async def test_who_waits_may_be_cancelled() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await for_ever()
        finally:
            ended.set()

    async with TaskGroup("test") as tasks:
        waits = asyncio.ensure_future(within(tasks, 60.0, "work", work))
        await asyncio.sleep(0.01)
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
        async with asyncio.timeout(60):
            await ended.wait()


async def test_a_job_whose_cancellation_hangs_does_not_keep_its_operation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "CANCEL_TIMEOUT", 0.05)
    deaf = Deaf()

    class Rude(Actor):
        async def cancel(self, session: Session, job: str) -> None:
            await deaf()

    async with house(tmp_path) as rooms:
        rude = Rude("rude").plays(Job("job-1"), for_ever)
        rooms.gateway.register(rude, "rude")
        steps = rooms.gateway.generate(GenerateCall("rude/one", prompt="x"), "client:test")
        try:
            operation_id = (await anext(steps)).operation_id
            while not (await rooms.gateway.operation(operation_id)).job_id:
                await asyncio.sleep(0.01)
            async with asyncio.timeout(60):
                ended = await rooms.gateway.cancel(operation_id)
            assert ended.state is OperationState.CANCELLED
            await until(lambda: deaf.refused, "that it was told")
        finally:
            deaf.obey = True
            await steps.aclose()  # type: ignore[attr-defined]
