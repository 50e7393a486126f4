"""What the meta-computer names is not collected; its caches never show what was there before an acknowledged write."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.collecting import DAY
from tests.support.collecting import open_desk as open_collecting
from tests.support.job_room import ME

from lightfast.core.clock import StillClock
from lightfast.engine.events.log import EventLog
from lightfast.engine.jobs.jobs import Jobs
from lightfast.engine.jobs.records import NewJob
from lightfast.engine.workspaces.records import TaskState, Workspace
from lightfast.engine.workspaces.tasks import QUERY_S
from lightfast.engine.workspaces.workspaces import Workspaces
from lightfast.sdk import JobBench, JobType
from lightfast.storage.database import Database
from lightfast.storage.requests import Requests

STATES = (TaskState.PENDING, TaskState.READY, TaskState.IN_PROGRESS, TaskState.DONE)


class Hold(JobType):
    """Takes an asset."""

    name = "hold"
    summary = "Takes an asset."
    payload = {"type": "object"}  # noqa: RUF012

    async def run(self, payload: Any, bench: JobBench) -> Any:
        """Never run here."""
        raise NotImplementedError


async def test_assets_of_runs_jobs_tasks_and_lines_are_kept(tmp_path: Path) -> None:
    async with open_collecting(tmp_path) as desk:
        names = ("result", "step", "payload", "schedule", "task", "old task", "workspace", "workflow", "line", "log")
        made = {name: await desk.asset(f"of the {name}") for name in (*names, "nobody")}
        events = await EventLog.open(desk.db, desk.clock)
        jobs = await Jobs.open(desk.db, desk.clock, events)
        jobs.add_type(Hold())
        await jobs.submit(NewJob("hold", {"asset": made["payload"]}), ME)
        work = await Workspaces.open(desk.db, desk.clock, events, desk.memory._requests)
        await work.create_task({"task_id": "one", "title": "one", "result": made["old task"].uri}, ME)
        await work.update_task("one", {"result": "", "metadata": {"picture": made["task"]}}, ME)
        await work.create_workspace(Workspace("space", "Space", metadata={"logo": made["workspace"]}))
        unit = desk.db.unit()
        sha = {name: asset.sha256 for name, asset in made.items()}
        unit.execute(
            "INSERT INTO runs VALUES(1, 'run-1', 'SUCCEEDED', 0, 0, '', 1, '', '', '', '{}', ?, '{}')",
            (json.dumps({"asset": sha["result"]}),),
        )
        unit.execute(
            "INSERT INTO run_steps VALUES(1, 'run-1', 's1', 'generate.image', 'DONE', 1, 0, 0, ?)",
            (json.dumps({"result": f"asset:{sha['step']}"}),),
        )
        unit.execute("INSERT INTO job_schedules VALUES('weekly', ?, 0, 0)", (f'"{sha["schedule"]}"',))
        unit.execute("INSERT INTO job_logs VALUES(1, 'job-1', 0, ?)", (f"made {sha['log']}",))
        unit.execute("INSERT INTO workflow_files VALUES('a.yaml', 'a', '1', ?)", (f"value: asset:{sha['workflow']}",))
        unit.execute(
            "INSERT INTO desk_lines(line_id, client, said, command, letters, signature, ack, asker, project,"
            " conversation, state, task_id, job_id, run_id, parent, place, confidence, complexity, routing, outcome,"
            " create_time, update_time) VALUES('l', '', '', '', '', '', '', '', '', '', 'DONE', '', '', '', '', 0, 0, 0,"
            " '', ?, 0, 0)",
            (f"made asset:{sha['line']}",),
        )
        await desk.db.commit(unit)
        desk.clock.advance(400 * DAY)
        reports = await desk.collect("assets")
        items = [item.ident for report in reports for item in report.items]
        assert items == [sha["nobody"]]
        assert await desk.assets() == len(names)
        await jobs.close()
        await events.close()


class Twin:
    """The same questions, asked of the tables themselves."""

    def __init__(self, db: Database, clock: StillClock, events: EventLog, requests: Requests) -> None:
        self.parts = (db, clock, events, requests)

    async def answers(self) -> list[Any]:
        """Answer with nothing kept."""
        fresh = await Workspaces.open(*self.parts)
        return await answers(fresh)


async def answers(work: Workspaces) -> list[Any]:
    """Ask all that is kept."""
    tasks = [await work.tasks.find(f"t{number}") for number in range(4)]
    parts = [await work.tasks.parts(f"t{number}") for number in range(4)]
    pages = [
        await work.tasks.page(),
        await work.tasks.page(states=(TaskState.DONE,)),
        await work.tasks.page(query="word"),
    ]
    return [tasks, parts, pages, work.tasks.counts()]


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["create", "update", "part", "look", "late", "purge"]), st.integers(0, 3), st.integers(0, 3)
    ),
    max_size=12,
)


@given(acts=ACTS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_answer_is_from_before_an_acknowledged_write(acts: list[tuple[str, int, int]]) -> None:
    async def main(folder: Path) -> None:
        clock = StillClock()
        db = await Database.open(folder / "work.db", clock=clock)
        events = await EventLog.open(db, clock)
        requests = Requests(db, clock)
        await requests.start()
        work = await Workspaces.open(db, clock, events, requests)
        twin = Twin(db, clock, events, requests)
        try:
            for act, one, other in acts:
                there = await work.tasks.find(f"t{one}")
                if act in ("create", "part") and there is None:
                    parent = await work.tasks.find(f"t{other}") if act == "part" else None
                    more = {"parent_task_id": f"t{other}"} if parent is not None else {}
                    await work.create_task({"task_id": f"t{one}", "title": "a word", **more}, ME)
                elif act == "update" and there is not None:
                    await work.update_task(f"t{one}", {"state": STATES[other], "result": f"{other}"}, ME)
                elif act == "late":
                    clock.advance(QUERY_S + 1)
                elif act == "purge":
                    unit = db.unit()
                    unit.execute("UPDATE task_versions SET title = 'gone' WHERE task_id = ?", (f"t{one}",))
                    await db.commit(unit)
                    work.forget()
                assert await answers(work) == await twin.answers()
            before = work.tasks.relations.hits, work.tasks.queries.hits, work.tasks.aggregates.hits
            first = await answers(work)
            assert await answers(work) == first
            if first[0] != [None] * 4:
                assert work.tasks.relations.hits > before[0]
            assert (work.tasks.queries.hits > before[1], work.tasks.aggregates.hits > before[2]) == (True, True)
            assert all(len(cache) <= cache.most for cache in work.tasks.caches)
        finally:
            await requests.close()
            await events.close()
            await db.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder)))


async def test_reads_that_race_with_writes_never_keep_what_was_before(tmp_path: Path) -> None:
    clock = StillClock()
    db = await Database.open(tmp_path / "work.db", clock=clock)
    events = await EventLog.open(db, clock)
    requests = Requests(db, clock)
    await requests.start()
    work = await Workspaces.open(db, clock, events, requests)
    try:
        await work.create_task({"task_id": "t", "title": "0"}, ME)
        acknowledged = 0
        over = asyncio.Event()

        async def write() -> None:
            nonlocal acknowledged
            for number in range(1, 60):
                await work.update_task("t", {"title": str(number)}, ME)
                acknowledged = number
            over.set()

        async def read() -> None:
            while not over.is_set():
                least = acknowledged
                found = await work.get_task("t")
                assert int(found.title) >= least
                least = acknowledged
                (page, _) = await work.tasks.page()
                assert int(page[0].title) >= least
                await asyncio.sleep(0)  # what is kept is there at once

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(write())
            for _ in range(8):
                tasks.create_task(read())
        assert (await work.get_task("t")).title == "59"
    finally:
        await requests.close()
        await events.close()
        await db.close()
