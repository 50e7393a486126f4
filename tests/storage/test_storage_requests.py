"""Idempotency: one answer for one request id, for 24 hours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from lightfast.core.clock import StillClock
from lightfast.core.errors import AlreadyExists, Exhausted, InvalidArgument, NotFound, Unavailable
from lightfast.security.tokens import Scope, TokenRecord
from lightfast.storage import requests as requests_module
from lightfast.storage.database import Database
from lightfast.storage.requests import Requests
from lightfast.storage.tokens import TokenRows


@asynccontextmanager
async def open_requests(folder: Path, clock: StillClock) -> AsyncIterator[Requests]:
    db = await Database.open(folder / "store.db", clock=clock)
    requests = Requests(db, clock)
    await requests.start()
    try:
        yield requests
    finally:
        await requests.close()
        await db.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


class Work:
    """Counts how often it is done."""

    def __init__(self) -> None:
        self.times = 0
        self.gate = asyncio.Event()
        self.begun = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> bytes:
        self.times += 1
        self.begun.set()
        await self.gate.wait()
        return b"answer \x00\xff %d" % self.times


async def test_the_same_request_is_done_once(tmp_path: Path) -> None:
    clock, work = StillClock(), Work()
    async with open_requests(tmp_path, clock) as requests:
        first = await requests.once("c", "M", "id-1", b"payload", work)
        assert await requests.once("c", "M", "id-1", b"payload", work) == first == b"answer \x00\xff 1"
        assert await requests.once("other", "M", "id-1", b"payload", work) != first
        assert await requests.once("c", "Other", "id-1", b"payload", work) != first
    async with open_requests(tmp_path, clock) as requests:
        clock.advance(23 * 3600)
        assert await requests.once("c", "M", "id-1", b"payload", work) == first
        assert work.times == 3


async def test_another_payload_is_refused(tmp_path: Path) -> None:
    work = Work()
    async with open_requests(tmp_path, StillClock()) as requests:
        await requests.once("c", "M", "id-1", b"payload", work)
        with pytest.raises(AlreadyExists) as caught:
            await requests.once("c", "M", "id-1", b"another", work)
        assert caught.value.reason == "REQUEST_ID_REUSED"
        assert "id-1" in caught.value.message
        assert work.times == 1


async def test_a_concurrent_duplicate_waits_for_the_first(tmp_path: Path) -> None:
    work = Work()
    work.gate.clear()
    async with open_requests(tmp_path, StillClock()) as requests:
        calls = [asyncio.ensure_future(requests.once("c", "M", "id", b"p", work)) for _ in range(5)]
        await work.begun.wait()
        with pytest.raises(AlreadyExists):
            await requests.once("c", "M", "id", b"q", work)
        work.gate.set()
        assert set(await asyncio.gather(*calls)) == {b"answer \x00\xff 1"}


async def test_a_retry_meets_the_answer_of_a_caller_that_went_away(tmp_path: Path) -> None:
    work = Work()
    work.gate.clear()
    async with open_requests(tmp_path, StillClock()) as requests:
        gone = asyncio.ensure_future(requests.once("c", "M", "id", b"p", work))
        await work.begun.wait()
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        retry = asyncio.ensure_future(requests.once("c", "M", "id", b"p", work))
        work.gate.set()
        assert await retry == b"answer \x00\xff 1"
        assert await requests.once("c", "M", "id", b"p", work) == b"answer \x00\xff 1"


async def test_an_error_is_not_an_answer(tmp_path: Path) -> None:
    work = Work()

    async def fails() -> bytes:
        raise NotFound("not yet")

    async with open_requests(tmp_path, StillClock()) as requests:
        with pytest.raises(NotFound):
            await requests.once("c", "M", "id", b"p", fails)
        assert await requests.once("c", "M", "id", b"p", work) == b"answer \x00\xff 1"


async def test_answers_go_after_a_day(tmp_path: Path) -> None:
    clock, work = StillClock(), Work()
    async with open_requests(tmp_path, clock) as requests:
        await requests.once("c", "M", "old", b"p", work)
        clock.advance(12 * 3600)
        await requests.once("c", "M", "new", b"p", work)
        clock.advance(12 * 3600 + 1)
        assert await requests.once("c", "M", "old", b"another payload", work) == b"answer \x00\xff 3"
        assert await requests.once("c", "M", "old", b"another payload", work) == b"answer \x00\xff 3"
        clock.advance(12 * 3600)
        assert await requests.sweep() == 1
        assert await requests.sweep() == 0
        assert await requests.once("c", "M", "old", b"another payload", work) == b"answer \x00\xff 3"


async def test_after_the_end_it_says_so(tmp_path: Path) -> None:
    async with open_requests(tmp_path, StillClock()) as requests:
        await requests.close()
        with pytest.raises(Unavailable) as caught:
            await requests.once("c", "M", "id", b"p", Work())
        assert caught.value.reason == "STORE_CLOSED"


@pytest.mark.parametrize("request_id", ["x" * 129, "a\nb"])
async def test_odd_request_ids_are_refused(tmp_path: Path, request_id: str) -> None:
    async with open_requests(tmp_path, StillClock()) as requests:
        with pytest.raises(InvalidArgument) as caught:
            await requests.once("c", "M", request_id, b"p", Work())
        assert caught.value.field == "request_id"


async def test_tokens_are_kept(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "store.db")
    rows = TokenRows(db)
    one = TokenRecord("t1", "one", "ab", frozenset({Scope.WATCH, Scope.ADMIN}), 1, None)
    two = TokenRecord("t2", "two", "cd", frozenset(), 2, 99)
    await rows.save(one)
    await rows.save(two)
    assert await rows.load() == [one, two]
    renamed = TokenRecord("t1", "uno", "ab", frozenset({Scope.WATCH}), 1, 5)
    await rows.save(renamed)
    await rows.delete("t2")
    await rows.delete("t2")
    assert await rows.load() == [renamed]
    await db.close()


async def test_the_filter_is_renewed_when_it_is_full_of_what_was_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests_module, "_FILTER_KEYS", 40)
    clock, work = StillClock(), Work()
    async with open_requests(tmp_path, clock) as requests:
        await until(lambda: requests._filter_ready)
        for number in range(45):
            await requests.once("c", "M", f"old-{number}", b"p", work)
        assert requests._filter_keys > 40, "from now on every request is looked up"
        clock.advance(25 * 3600)
        kept = [await requests.once("c", "M", f"new-{number}", b"p", work) for number in range(5)]
        await requests.sweep()
        late: list[asyncio.Future[bytes]] = []
        read = requests._db.read

        async def meanwhile(function: Any) -> Any:
            found = await read(function)
            patch.undo()
            late.extend(asyncio.ensure_future(requests.once("c", "M", f"late-{n}", b"p", work)) for n in range(3))
            await asyncio.gather(*late)
            return found

        with monkeypatch.context() as patch:
            patch.setattr(requests._db, "read", meanwhile)
            await requests._fill()
        assert requests._filter_ready
        assert requests._filter_keys == 5 + 3
        times = work.times
        for number in range(5):
            assert await requests.once("c", "M", f"new-{number}", b"p", work) == kept[number]
        for number in range(3):
            assert await requests.once("c", "M", f"late-{number}", b"p", work) == late[number].result()
        assert work.times == times, "what was answered is known"
        await requests.once("c", "M", "old-1", b"p", work)
        assert work.times == times + 1


async def test_a_filter_is_renewed_only_where_that_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests_module, "_FILTER_KEYS", 40)
    clock, work = StillClock(), Work()
    async with open_requests(tmp_path, clock) as requests:
        await until(lambda: requests._filter_ready)
        for number in range(30):
            await requests.once("c", "M", f"old-{number}", b"p", work)
        first = requests._filter
        await requests.renew()
        assert requests._filter is first, "all of it is still good"
        clock.advance(25 * 3600)
        await requests.sweep()
        await requests.renew()
        assert requests._filter is not first
        assert requests._filter_keys == 0


async def test_a_sweep_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests_module, "_SWEEP_INTERVAL", 0.001)
    clock, work = StillClock(), Work()
    sweep, failures = Requests.sweep, 0

    async def sweeping(mine: Requests) -> int:
        nonlocal failures
        if failures < 3:
            failures += 1
            raise Exhausted("the disk is full", reason="DISK_FULL")
        return await sweep(mine)

    monkeypatch.setattr(Requests, "sweep", sweeping)
    async with open_requests(tmp_path, clock) as requests:
        await requests.once("c", "M", "id", b"p", work)
        clock.advance(25 * 3600)
        async with asyncio.timeout(60):
            while await requests._db.query("SELECT 1 FROM requests"):
                await asyncio.sleep(0.001)
        assert failures == 3
