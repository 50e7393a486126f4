"""The queue against its model: whatever happens to it, daemons that die included."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.support.job_room import ME, Told

from lightfast.core.clock import StillClock
from lightfast.core.errors import FailedPrecondition
from lightfast.engine.events.log import EventLog
from lightfast.engine.events.records import wanted
from lightfast.engine.jobs.jobs import Jobs
from lightfast.engine.jobs.ports import LEASE_S
from lightfast.engine.jobs.records import NewJob
from lightfast.engine.jobs.turns import pause_s
from lightfast.storage.database import Database

T = TypeVar("T")
SECOND = 10**9
FILES = ("jobs.db", "jobs.db-wal")
ENDED = ("SUCCEEDED", "DEAD", "CANCELLED")


@dataclass
class Model:
    """What should be known of a job."""

    number: int
    priority: int
    run_time: int
    after: tuple[str, ...]
    most: int
    state: str = "PENDING"
    attempts: int = 0
    beat: int = 0
    note: str = ""
    was: list[str] = field(default_factory=lambda: ["job.queued"])


class QueueMachine(RuleBasedStateMachine):
    """Does to a real queue over a real file what it does to the model."""

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.base = Path(tempfile.mkdtemp(prefix="lightfast-jobs-"))
        self.folder = self.base
        self.clock = StillClock()
        self.model: dict[str, Model] = {}
        self.count = 0
        self.lives = 0
        self.do(self.open(self.folder))

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(coroutine)

    async def open(self, folder: Path) -> None:
        self.db = await Database.open(folder / "jobs.db", clock=self.clock)
        self.events = await EventLog.open(self.db, self.clock)
        self.jobs = await Jobs.open(self.db, self.clock, self.events, chance=lambda: 0.0)
        self.jobs.add_type(Told())

    async def shut(self) -> None:
        await self.jobs.close()
        await self.events.close()
        await self.db.close()

    async def settled(self) -> None:
        await self.db.commit(self.db.unit())

    def ids(self, *states: str) -> list[str]:
        return [job_id for job_id, model in self.model.items() if model.state in states]

    def fell(self, job_id: str) -> None:
        """Let those fall that wait for one that is dead or cancelled."""
        for other, model in self.model.items():
            if job_id in model.after and model.state in ("PENDING", "RETRYING"):
                model.state = "DEAD"
                model.was.append("job.dead")
                self.fell(other)

    def retrying(self, job_id: str, pause: float) -> None:
        model = self.model[job_id]
        if model.attempts < model.most:
            model.state = "RETRYING"
            model.run_time = self.clock.now_ns() + round(pause * SECOND) if pause else 0
            model.was.append("job.retrying")
        else:
            model.state = "DEAD"
            model.was.append("job.dead")
            self.fell(job_id)

    def due(self) -> list[str]:
        now = self.clock.now_ns()
        found = [
            job_id
            for job_id, model in self.model.items()
            if model.state in ("PENDING", "RETRYING")
            and model.run_time <= now
            and all(self.model[other].state == "SUCCEEDED" for other in model.after)
        ]
        return sorted(found, key=lambda job_id: (-self.model[job_id].priority, self.model[job_id].number))

    @rule(
        priority=st.integers(-2, 2),
        delay=st.sampled_from([0, 0, 5, 30]),
        most=st.integers(1, 3),
        data=st.data(),
    )
    def submit(self, priority: int, delay: int, most: int, data: st.DataObject) -> None:
        after: tuple[str, ...] = ()
        if self.model:
            after = tuple(data.draw(st.lists(st.sampled_from(list(self.model)), max_size=2, unique=True)))
        run_time = self.clock.now_ns() + delay * SECOND if delay else 0
        new = NewJob("told", {"n": 1}, priority, run_time, most, after)
        job = self.do(self.jobs.submit(new, ME))
        self.count += 1
        self.model[job.job_id] = model = Model(self.count, priority, run_time, after, most)
        if any(self.model[other].state in ("DEAD", "CANCELLED") for other in after):
            model.state = "DEAD"
            model.was.append("job.dead")

    @rule(most=st.integers(1, 3))
    def claim(self, most: int) -> None:
        leases = self.do(self.jobs.queue.claim(most))
        assert [lease.job.job_id for lease in leases] == self.due()[:most]
        for lease in leases:
            model = self.model[lease.job.job_id]
            model.state, model.attempts, model.beat = "RUNNING", model.attempts + 1, self.clock.now_ns()
            model.was.append("job.started")
            assert (lease.job.attempts, lease.job.note) == (model.attempts, model.note)

    @precondition(lambda self: self.ids("RUNNING"))
    @rule(data=st.data())
    def beat(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(self.ids("RUNNING")))
        model = self.model[job_id]
        assert self.jobs.queue.beat(job_id, model.attempts)
        assert not self.jobs.queue.beat(job_id, model.attempts + 1)
        model.beat = self.clock.now_ns()

    @precondition(lambda self: self.ids("RUNNING"))
    @rule(data=st.data(), note=st.sampled_from(["a", "b"]))
    def keep(self, data: st.DataObject, note: str) -> None:
        job_id = data.draw(st.sampled_from(self.ids("RUNNING")))
        assert self.do(self.jobs.queue.keep(job_id, self.model[job_id].attempts, note))
        self.model[job_id].note = note

    @precondition(lambda self: self.ids("RUNNING"))
    @rule(data=st.data())
    def succeed(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(self.ids("RUNNING")))

        async def act() -> None:
            assert self.jobs.queue.succeed(job_id, self.model[job_id].attempts, 1)
            assert not self.jobs.queue.succeed(job_id, self.model[job_id].attempts, 2)
            await self.settled()

        self.do(act())
        self.model[job_id].state = "SUCCEEDED"
        self.model[job_id].was.append("job.succeeded")

    @precondition(lambda self: self.ids("RUNNING"))
    @rule(data=st.data(), again=st.booleans())
    def fail(self, data: st.DataObject, again: bool) -> None:
        job_id = data.draw(st.sampled_from(self.ids("RUNNING")))
        model = self.model[job_id]

        async def act() -> None:
            assert self.jobs.queue.fail(job_id, model.attempts, "no", again=again)
            await self.settled()

        self.do(act())
        if again:
            self.retrying(job_id, pause_s(model.attempts, 0.0))
        else:
            model.state = "DEAD"
            model.was.append("job.dead")
            self.fell(job_id)

    @precondition(lambda self: self.ids("RUNNING"))
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(self.ids("RUNNING")))
        model = self.model[job_id]

        async def act() -> None:
            assert self.jobs.queue.give_back(job_id, model.attempts)
            await self.settled()

        self.do(act())
        model.attempts -= 1
        model.state = "RETRYING" if model.attempts else "PENDING"
        model.run_time = 0
        model.was.append("job.retrying" if model.attempts else "job.queued")

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(list(self.model)))
        model = self.model[job_id]
        job = self.do(self.jobs.cancel(job_id))
        if model.state not in ENDED:
            model.state = "CANCELLED"
            model.was.append("job.cancelled")
            self.fell(job_id)
        assert job.state.value == model.state

    @precondition(lambda self: self.ids("DEAD", "CANCELLED"))
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(self.ids("DEAD", "CANCELLED")))
        model = self.model[job_id]
        cannot = any(self.model[other].state in ("DEAD", "CANCELLED") for other in model.after)
        try:
            self.do(self.jobs.retry(job_id))
        except FailedPrecondition:
            assert cannot
            return
        assert not cannot
        model.state, model.attempts, model.run_time = "PENDING", 0, 0
        model.was.append("job.queued")

    @rule(seconds=st.sampled_from([1, 10, 40, 70]))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)

        async def act() -> None:
            self.jobs.queue.tick()
            await self.settled()

        self.do(act())
        now = self.clock.now_ns()
        for job_id in self.ids("RUNNING"):
            if now - self.model[job_id].beat > LEASE_S * SECOND:
                self.retrying(job_id, pause_s(self.model[job_id].attempts, 0.0))

    @rule()
    def dies(self) -> None:
        """Go on with the files as a kill would have left them."""
        self.lives += 1
        self.folder, before = self.base / f"life-{self.lives}", self.folder
        self.folder.mkdir()
        for name in FILES:
            if (before / name).exists():
                shutil.copy(before / name, self.folder / name)
        self.do(self.shut())
        self.do(self.open(self.folder))
        for job_id in self.ids("RUNNING"):
            attempts = self.model[job_id].attempts
            self.retrying(job_id, 0.0 if attempts <= 1 else pause_s(attempts, 0.0))

    @invariant()
    def agrees(self) -> None:
        rows = self.do(self.db.query("SELECT job_id, state, attempts, run_time, note FROM jobs ORDER BY number"))
        assert rows == [
            (job_id, model.state, model.attempts, model.run_time, model.note) for job_id, model in self.model.items()
        ]
        live = [model for model in self.model.values() if model.state not in ENDED]
        assert len(self.jobs.queue.index.entries) == len(live)
        assert self.jobs.waiting == len([model for model in live if model.state != "RUNNING"])

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        events = self.do(self.events.page(0, wanted(), 100_000))
        for job_id, model in self.model.items():
            assert [event.kind for event in events if event.entity_id == job_id] == model.was
        self.do(self.shut())
        self.loop.close()
        shutil.rmtree(self.base, ignore_errors=True)


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(
    max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
