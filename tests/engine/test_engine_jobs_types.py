"""The types of jobs that Lightfast brings, over stand-ins for the rooms they drive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.job_room import ME, Room, room, until

from lightfast.context.memory.embedders import EmbedderBook
from lightfast.context.memory.records import Kind, NewMemory, NewRelation, Question
from lightfast.context.memory.store import MemoryStore
from lightfast.core.clock import SYSTEM
from lightfast.core.errors import AlreadyExists, InvalidArgument, Unavailable
from lightfast.engine.events.purge import EventPurge
from lightfast.engine.jobs.job_types.memory_sync import MemorySync
from lightfast.engine.jobs.job_types.task_create import TaskCreate
from lightfast.engine.jobs.job_types.workflow_execute import WorkflowExecute
from lightfast.engine.jobs.purge import JobPurge, SchedulePurge
from lightfast.engine.jobs.records import JobState, NewJob
from lightfast.engine.jobs.schedules import Schedule, Schedules
from lightfast.engine.programs.program import Program
from lightfast.engine.runs.records import ENDED, Run, RunEvent, RunState
from lightfast.engine.workspaces.workspaces import Workspaces
from lightfast.storage.database import Database
from lightfast.storage.requests import Requests


@dataclass
class Stand:
    """Starts and keeps runs, each once per request id; ends them when it is told."""

    runs: dict[str, Run] = field(default_factory=dict)
    asked: list[tuple[str, Mapping[str, Any], str]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self, name: str, parameters: Mapping[str, Any], asker: Any, **how: Any) -> Run:
        self.asked.append((name, parameters, how["request_id"]))
        run_id = f"run-{how['request_id']}"
        self.runs.setdefault(run_id, Run(run_id, RunState.RUNNING, Program(()), asker.identity, "run:x", 1))
        return self.runs[run_id]

    async def get(self, run_id: str) -> Run:
        return self.runs[run_id]

    async def watch(self, run_id: str, after: int = 0) -> AsyncIterator[RunEvent]:
        while self.runs[run_id].state not in ENDED:
            await self.news.wait()
            self.news.clear()
            yield RunEvent(run_id, 1, 1, self.runs[run_id])

    def change(self, run_id: str, **how: Any) -> None:
        self.runs[run_id] = replace(self.runs[run_id], **how)
        self.news.set()


def execute(stand: Stand) -> WorkflowExecute:
    rooms: Any = stand
    return WorkflowExecute(rooms, rooms)


async def test_a_workflow_is_waited_for_across_a_restart(tmp_path: Path) -> None:
    stand = Stand()
    async with room(tmp_path, SYSTEM) as it:
        it.jobs.add_type(execute(stand))
        new = NewJob("workflow_execute", {"workflow": "light", "parameters": {"n": 1}})
        job = await it.jobs.submit(new, ME)
        run_id = f"run-job:{job.job_id}"
        async for each in it.jobs.watch((job.job_id,)):
            if each.run_id:
                break
        assert (each.run_id, each.note) == (run_id, f"run:{run_id}")
        stand.change(run_id, steps_done=1, steps_known=4)
    async with room(tmp_path, SYSTEM) as it:
        it.jobs.add_type(execute(stand))
        await until(lambda: it.jobs.running)
        stand.change(run_id, state=RunState.SUCCEEDED, result={"lit": True}, cost_usd=0.5)
        done = await it.jobs.ended(job.job_id)
        assert done.state is JobState.SUCCEEDED
        assert done.result == {"run_id": run_id, "state": "SUCCEEDED", "cost_usd": 0.5, "result": {"lit": True}}
        assert stand.asked == [("light", {"n": 1}, f"job:{job.job_id}")]


async def test_a_workflow_that_changed_after_its_run_was_started_is_not_started_again(tmp_path: Path) -> None:
    class Changed(Stand):
        async def start(self, name: str, parameters: Mapping[str, Any], asker: Any, **how: Any) -> Run:
            run = await super().start(name, parameters, asker, **how)
            metadata = {"request_id": how["request_id"], "answer": run.run_id}
            raise AlreadyExists("it was used for another Run", reason="REQUEST_ID_REUSED", metadata=metadata)

    stand = Changed()
    async with room(tmp_path, SYSTEM) as it:
        it.jobs.add_type(execute(stand))
        job = await it.jobs.submit(NewJob("workflow_execute", {"workflow": "light"}), ME)
        await until(lambda: stand.runs)
        stand.change(f"run-job:{job.job_id}", state=RunState.SUCCEEDED)
        assert (await it.jobs.ended(job.job_id)).state is JobState.SUCCEEDED
        assert len(stand.asked) == 1


async def test_a_run_that_fails_is_not_started_again(tmp_path: Path) -> None:
    stand = Stand()
    async with room(tmp_path, SYSTEM) as it:
        it.jobs.add_type(execute(stand))
        job = await it.jobs.submit(NewJob("workflow_execute", {"workflow": "light"}), ME)
        await until(lambda: stand.runs)
        stand.change(f"run-job:{job.job_id}", state=RunState.FAILED, reason="no lamp")
        dead = await it.jobs.ended(job.job_id)
        assert (dead.state, dead.attempts) == (JobState.DEAD, 1)
        assert "no lamp" in dead.error


async def test_a_task_is_created_once_and_assessed(tmp_path: Path) -> None:
    async def plan(intent: str, asker: Any) -> Any:
        assert (intent, asker) == ("light the stage", ME)
        tries.append(1)
        if len(tries) == 1:
            raise Unavailable("the planner is away")
        return SimpleNamespace(complexity=0.9, confidence=0.4, planner="grammar")

    tries: list[int] = []
    async with room(tmp_path) as it:
        requests = Requests(it.db, it.clock)
        await requests.start()
        work = await Workspaces.open(it.db, it.clock, it.events, requests)
        planner: Any = SimpleNamespace(plan=plan)
        it.jobs.add_type(TaskCreate(work, planner))
        job = await it.jobs.submit(NewJob("task_create", {"title": "light the stage", "assess": True}), ME)
        await until(lambda: tries and not it.jobs.running)
        await it.db.commit(it.db.unit())
        it.clock.advance(10)  # type: ignore[attr-defined]
        it.jobs.queue.wake()
        done = await it.jobs.ended(job.job_id)
        assert done.attempts == 2
        (task,) = (await work.tasks.page())[0]
        assert isinstance(done.result, dict)
        assert (done.result["task_id"], done.result["routing_decision"]) == (task.task_id, "split")
        assert (task.complexity, task.confidence, task.version) == (0.9, 0.4, 2)
        await requests.close()


@asynccontextmanager
async def memory(path: Path) -> AsyncIterator[MemoryStore]:
    db = await Database.open(path)
    requests = Requests(db)
    await requests.start()
    book = EmbedderBook()
    store = await MemoryStore.open(db, requests, book)
    try:
        yield store
    finally:
        await store.close()
        await book.close()
        await requests.close()
        await db.close()


class Cut(MemorySync):
    """Loses the target once, after some memories."""

    left = 250

    async def run(self, payload: Any, bench: Any) -> Any:
        target: Any = self._find("other")
        told = target.remember

        async def remember(*given: Any, **how: Any) -> Any:
            self.left -= 1
            if not self.left:
                raise Unavailable("the other memory is away")
            return await told(*given, **how)

        self._find = {"here": self._find("here"), "other": SimpleNamespace(remember=remember, relate=target.relate)}.get
        return await super().run(payload, bench)


async def test_one_memory_is_copied_into_another(tmp_path: Path) -> None:
    async with memory(tmp_path / "here.db") as here, memory(tmp_path / "other.db") as other, room(tmp_path) as it:
        for n in range(300):
            await here.remember(NewMemory(text=f"fact {n}", key=f"k{n}", kind=Kind.FACT, tags=("t",)), origin="me")
        await here.relate(NewRelation(subject="fact 1", predicate="before", object="fact 2"), origin="me")
        it.jobs.add_type(Cut({"here": here, "other": other}.get))
        job = await it.jobs.submit(NewJob("memory_sync", {"source": "here", "target": "other"}), ME)
        await until(lambda: not it.jobs.running and it.jobs.queue.index.next_time)
        kept = await it.jobs.get(job.job_id)
        assert (kept.state, '"memories": 200' in kept.note) == (JobState.RETRYING, True)
        it.clock.advance(10)  # type: ignore[attr-defined]
        it.jobs.queue.wake()
        done = await it.jobs.ended(job.job_id)
        assert (done.state, done.error) == (JobState.SUCCEEDED, "")
        assert isinstance(done.result, dict)
        assert done.result["memories"] == 300
        listed = await other.memories(page_size=1000)
        assert {each.text for each in listed.memories} == {f"fact {n}" for n in range(300)}
        assert all((each.version, each.tags, each.kind) == (1, ("t",), Kind.FACT) for each in listed.memories)
        found = await other.recall(Question(query="fact 7"))
        assert found.hits
        again = await it.jobs.ended((await it.jobs.submit(NewJob("memory_sync", dict(job.payload)), ME)).job_id)
        assert again.state is JobState.SUCCEEDED
        assert all(each.version == 1 for each in (await other.memories(page_size=1000)).memories)
        for wrong in ({"source": "here", "target": "here"}, {"source": "here", "target": "nobody"}):
            dead = await it.jobs.ended((await it.jobs.submit(NewJob("memory_sync", wrong), ME)).job_id)
            assert (dead.state, dead.attempts) == (JobState.DEAD, 1)


async def held(rooms: list[Any], target: Any) -> list[list[Any]]:
    return [[item async for batch in each.find(target) for item in batch] for each in rooms]


async def test_a_purge_reaches_jobs_logs_and_schedules(tmp_path: Path) -> None:
    from lightfast.context.upkeep.purge_target import make_target

    secret = "xyzzyplugh"

    async def act(payload: Any, bench: Any) -> Any:
        bench.log(f"saw {secret}" if payload["n"] == 2 else "saw nothing")
        if payload["n"] == 4:
            bench.progress(0.5, secret)
        return secret if payload["n"] == 3 else None

    async with room(tmp_path) as it:
        it.told.act = act
        jobs = [await it.jobs.submit(NewJob("told", {"n": n, "of": secret if n == 1 else "x"}), ME) for n in range(5)]
        for job in jobs:
            await it.jobs.ended(job.job_id)
        it.jobs.pause()
        live = await it.jobs.submit(NewJob("told", {"n": 9, "of": secret}), ME)
        schedules = await Schedules.open(it.db, it.clock, it.jobs, it.events)
        await schedules.set(Schedule("nightly", "every 9d", "told", {"of": secret, "n": 1}), ME)
        await schedules.set(Schedule("other", "every 9d", "told", {"n": 1}), ME)
        rooms: list[Any] = [
            JobPurge(it.db, lambda: it.jobs),
            SchedulePurge(it.db, lambda: schedules),
            EventPurge(it.db),
        ]
        target = make_target(text=secret)
        items = await held(rooms, target)
        assert set(items[0]) == {jobs[1].job_id, jobs[2].job_id, jobs[3].job_id, jobs[4].job_id, live.job_id}
        for each, found in zip(rooms, items, strict=True):
            await each.erase(found, "purge-1")
            await each.erase(found, "purge-1")
        assert await held(rooms, target) == [[], [], []]
        assert (await it.kinds()).count("job.succeeded") == 5
        assert {job.job_id for job in (await it.jobs.page())[0]} == {jobs[0].job_id}
        assert it.jobs.waiting == 0
        assert [each.name for each in schedules.all()] == ["other"]


async def test_payloads_of_the_built_in_types(tmp_path: Path) -> None:
    async with room(tmp_path, started=False) as it:
        nothing: Any = None
        for each in (TaskCreate(nothing), execute(Stand()), MemorySync(lambda _: None)):
            it.jobs.add_type(each)
        for new in (
            NewJob("task_create"),
            NewJob("task_create", {"title": 3}),
            NewJob("workflow_execute", {"workflow": ""}),
            NewJob("workflow_execute", {"workflow": "x", "other": 1}),
            NewJob("memory_sync", {"source": "here"}),
        ):
            await refused(it, new)


async def refused(it: Room, new: NewJob) -> None:
    with pytest.raises(InvalidArgument) as found:
        await it.jobs.submit(new, ME)
    assert found.value.reason == "JOB_PAYLOAD"
