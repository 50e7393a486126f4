"""What a store of format 3 holds of the AI gateway is read as it was written."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import apsw
import pytest
from tests.storage.fixtures.services import ASKED, DAILY, KEPT, ME, costs_of, operations

from lightfast.core.clock import StillClock
from lightfast.core.tasks import TaskGroup
from lightfast.gateway.batching.batch_rows import BatchItem, BatchRows, BatchState
from lightfast.gateway.cache.answers import KeptAnswers
from lightfast.gateway.failure_log import FailureLog
from lightfast.gateway.limits.meter import Meter
from lightfast.gateway.limits.stored import Stored
from lightfast.gateway.operations import Operations, OperationState
from lightfast.gateway.prompts.renderer import Renderer
from lightfast.gateway.prompts.templates import Templates
from lightfast.sdk import BatchAnswer, Usage
from lightfast.storage.blobs import BlobStore
from lightfast.storage.database import Database

USD = 10**9
FIXTURE = Path(__file__).with_name("fixtures") / "store-v3.db"


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[tuple[Database, StillClock, TaskGroup]]:
    """Open a copy at the time when it was written last."""
    db = await Database.open(Path(shutil.copy(FIXTURE, folder / "store.db")))
    ((written,),) = await db.query("SELECT max(create_time) FROM prompts")
    clock = StillClock(written)
    tasks = TaskGroup("formats")
    try:
        yield db, clock, tasks
    finally:
        await tasks.close()
        await db.close()


async def test_operations_and_batches(tmp_path: Path) -> None:
    async with opened(tmp_path) as (db, _, _):
        rows = Operations(db)
        ended, running = (await rows.get("op-ended"), await rows.get("op-running"))
        assert [ended, running] == operations(ended.create_time)
        assert [each.operation_id for each in await rows.left()] == ["op-running", "op-batch"]
        assert [each.operation_id for each in (await rows.page(project="sea"))[0]] == ["op-running", "op-ended"]
        batches = BatchRows(db, rows)
        assert await batches.state("op-batch") == BatchState(service=True, consent=False, sent=True, held=True)
        assert await batches.items("op-batch") == [
            (0, BatchItem("one", {"style": "plain"}, 1, "be short")),
            (1, BatchItem("two", {}, 2)),
        ]
        assert await batches.answers("op-batch") == [BatchAnswer(0, "uno", usage=Usage(1, 1))]


async def test_prompts_and_kept_answers(tmp_path: Path) -> None:
    async with opened(tmp_path) as (db, clock, tasks):
        templates = Templates(db, clock, Renderer(tasks))
        first, second = await templates.listed("lamp")
        assert (first.text, first.arguments, second.version) == ("name a {{ thing }}", ("thing",), 2)
        assert (second.system, second.model) == ("be short", "shop/text")
        blobs = await BlobStore.open(tmp_path / "assets", db, 1 << 30, clock)
        answers = KeptAnswers(db, blobs, clock)
        try:
            assert await answers.find(ASKED, "") == (KEPT, "exact")
            assert await answers.find(replace(ASKED, max_output_tokens=65), "") is None
        finally:
            await answers.close()
            await blobs.close()


async def test_money_failures_and_limits(tmp_path: Path) -> None:
    async with opened(tmp_path) as (db, clock, tasks):
        costs = costs_of(db, clock, tasks)
        await costs.start()
        (budget,) = await costs.budgets()
        set_up = budget.budget
        assert (set_up.scope, set_up.name, set_up.period, set_up.limit) == ("project", "sea", "total", 5 * USD)
        assert (budget.spent, budget.held) == (USD // 4, USD // 2)
        (sum_,) = await costs.usage(["project", "run", "client"])
        assert (sum_.requests, sum_.nano, sum_.saved) == (1, USD // 4, USD // 4)
        hold = await costs.taken_up("op-running")
        assert hold is not None
        assert (hold.account, hold.payer.client, hold.tariff.known) == ("spare", ME, True)
        assert (await hold.settle(Usage(requests=1))).cost_usd == pytest.approx(0.25)
        failures = FailureLog(db)
        await failures.start()
        (failed,) = await failures.find(operation_id="op-ended")
        assert (failed.message, failed.action, failed.provider) == ("no room", "fallback", "shop")
        stored = Stored(db, clock, tasks)
        await stored.start()
        meter = stored.keep(Meter("requests", 86_400.0, 100.0, key=DAILY[0]))
        assert meter.used(clock.monotonic()) == DAILY[1]
        await costs.close()


async def test_operations_of_format_2_are_taken_over(tmp_path: Path) -> None:
    path = Path(shutil.copy(FIXTURE.with_name("store-v2.db"), tmp_path / "store.db"))
    old = {"model": "studio/image", "output": "image", "prompt": "a storm", "seed": 7, "origin": ME, "create_time": 5}
    old |= {"fraction": 0.5, "error": "", "assets": [], "end_time": 0, "group": "g", "target_path": "/film"}
    connection = apsw.Connection(str(path))
    assert list(connection.execute("PRAGMA user_version")) == [(2,)]
    for number, state in enumerate(("RUNNING", "SUCCEEDED")):
        body = old | {"operation_id": f"op-{number}", "state": state}
        connection.execute("INSERT INTO operations VALUES(?, ?, ?)", (f"op-{number}", json.dumps(body), 5 + number))
    connection.close()
    db = await Database.open(path)
    try:
        rows = Operations(db)
        (left,) = await rows.left()
        assert (left.operation_id, left.prompt, left.target_path, left.job_id) == ("op-0", "a storm", "/film", "")
        assert [each.operation_id for each in (await rows.page())[0]] == ["op-1", "op-0"]
        assert (await rows.get("op-1")).state is OperationState.SUCCEEDED
    finally:
        await db.close()
