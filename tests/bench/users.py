"""Users of one daemon in one process, each asking in open loop: `HOME COUNT RATE SECONDS`; prints JSON.

Each has a channel of its own and asks at random moments, *RATE* times a second on average, whether the last answer is
there or not; a latency counts from the moment it was due. One more follows the events, and says how long after the
commit each one came.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from lightfast.api.v1 import (
    context_pb2,
    desk_pb2,
    desk_pb2_grpc,
    jobs_pb2,
    jobs_pb2_grpc,
    memory_pb2,
    memory_pb2_grpc,
    workspaces_pb2,
    workspaces_pb2_grpc,
)
from lightfast.api.values import to_message
from lightfast.client import AsyncClient

TEXTS = (
    "create a task to light the second scene", "remember that the client likes warm colours", "what is the tempo",
    "start the workflow quick-note", "build the whole show, with film and sound", "thank you, that was good",
)  # fmt: skip
CODED = ("tc:Light the second scene|create|low", "ms:bench_colour|{theme:'dark'}|semantic", "cl:bench|summary")
WORKFLOW = "bench-quick"
MIX = (
    ("acknowledgement of plain text", 5), ("acknowledgement of a coded line", 3), ("simple query: entries", 4),
    ("simple query: tasks", 2), ("workflow start", 1), ("memory: remember", 2), ("semantic: recall", 2), ("job", 1),
)  # fmt: skip


class User:
    """One user."""

    def __init__(self, home: str, number: int) -> None:
        self.client = AsyncClient(home=home, timeout=30)
        self.chance = random.Random(number)
        channel = self.client.channel
        self.desk = desk_pb2_grpc.DeskServiceStub(channel)
        self.jobs = jobs_pb2_grpc.JobServiceStub(channel)
        self.memory = memory_pb2_grpc.MemoryServiceStub(channel)
        self.work = workspaces_pb2_grpc.WorkspaceServiceStub(channel)

    def ask(self, kind: str) -> Awaitable[Any]:
        """Return one request."""
        metadata = self.client.metadata
        identity = uuid.uuid4().hex
        match kind:
            case "acknowledgement of plain text":
                return self.desk.Say(desk_pb2.SayRequest(line=self.chance.choice(TEXTS)), metadata=metadata)
            case "acknowledgement of a coded line":
                return self.desk.Say(desk_pb2.SayRequest(line=self.chance.choice(CODED)), metadata=metadata)
            case "simple query: entries":
                return self.client.context.Get(context_pb2.GetRequest(pattern="/bench/*"), metadata=metadata)  # type: ignore[no-any-return]
            case "simple query: tasks":
                return self.work.ListTasks(workspaces_pb2.ListTasksRequest(page_size=20), metadata=metadata)
            case "workflow start":
                return self.jobs.RunWorkflow(jobs_pb2.RunWorkflowRequest(name=WORKFLOW), metadata=metadata)
            case "memory: remember":
                text = f"bench fact {self.chance.randrange(500)}"
                new = memory_pb2.RememberRequest(
                    kind=memory_pb2.MEMORY_KIND_NOTE, text=text, key=text, request_id=identity
                )
                return self.memory.Remember(new, metadata=metadata)
            case "semantic: recall":
                request = memory_pb2.RecallRequest(query=f"fact {self.chance.randrange(500)} of the bench", page_size=5)
                return self.memory.Recall(request, metadata=metadata)
            case _:
                submit = jobs_pb2.SubmitJobRequest(type="task_create", request_id=identity)
                to_message(f"bench {identity[:6]}", submit.payload["title"])
                return self.jobs.SubmitJob(submit, metadata=metadata)


class Crowd:
    """All users, and what they measured."""

    def __init__(self, home: str, count: int) -> None:
        self.home = home
        self.users = [User(home, number) for number in range(count)]
        self.times: dict[str, list[float]] = {kind: [] for kind, _ in MIX}
        self.failures: dict[str, int] = {}
        self.jobs: set[str] = set()
        self.ended: dict[str, float] = {}
        self.late: list[float] = []
        """How late this process itself is, which each latency contains."""

    async def play(self, rate: float, seconds: float) -> None:
        """Ask for so long, then wait for the last answers."""
        kinds = [kind for kind, weight in MIX for _ in range(weight)]
        end = time.perf_counter() + seconds
        pending: set[asyncio.Task[None]] = set()

        async def user(each: User) -> None:
            due = time.perf_counter() + each.chance.expovariate(rate)
            while due < end:
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                task = asyncio.create_task(self._one(each, each.chance.choice(kinds), due))
                pending.add(task)
                task.add_done_callback(pending.discard)
                due += each.chance.expovariate(rate)

        await asyncio.gather(*map(user, self.users))
        if pending:
            await asyncio.wait(pending, timeout=60)

    async def _one(self, user: User, kind: str, due: float) -> None:
        try:
            answer = await user.ask(kind)
        except Exception as error:  # noqa: BLE001  (what fails is counted)
            details = getattr(error, "details", None)
            name = f"{kind}: {details() if callable(details) else error!s:.120}"
            self.failures[name] = self.failures.get(name, 0) + 1
            return
        self.times[kind].append(time.perf_counter() - due)
        if kind == "job":
            self.jobs.add(answer.job.job_id)

    async def probe(self) -> None:
        """Note how late a timer of this process is."""
        while True:
            due = time.perf_counter() + 0.01
            await asyncio.sleep(0.01)
            self.late.append(time.perf_counter() - due)

    async def follow(self) -> None:
        """Note how long after its commit each end of a job is heard of."""
        async with AsyncClient(home=self.home) as client:
            async for event in client.watch_events(kinds=["job.succeeded", "job.dead"]):
                written = event.time.seconds + event.time.nanos / 1e9
                self.ended[event.entity_id] = time.time() - written


async def main(home: str, count: int, rate: float, seconds: float) -> None:
    crowd = Crowd(home, count)
    following = asyncio.create_task(crowd.follow())
    await asyncio.sleep(0.5)
    warm: Callable[[User], Awaitable[Any]] = lambda user: user.ask("simple query: entries")  # noqa: E731
    await asyncio.gather(*(warm(user) for user in crowd.users))
    first: dict[str, float] = {}  # what is loaded with the first request of a kind is told apart
    for kind, _ in MIX:
        asked = time.perf_counter()
        await crowd.users[0].ask(kind)
        first[kind] = time.perf_counter() - asked
    for text in (*TEXTS, *CODED):
        await crowd.users[0].desk.Say(desk_pb2.SayRequest(line=text), metadata=crowd.users[0].client.metadata)
    await asyncio.sleep(2.0)  # the back does those lines
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    probing = asyncio.create_task(crowd.probe())
    began, cpu = time.perf_counter(), time.process_time()
    await crowd.play(rate, seconds)
    used = (time.process_time() - cpu) / (time.perf_counter() - began)
    probing.cancel()
    deadline = time.perf_counter() + 30
    while crowd.jobs - crowd.ended.keys() and time.perf_counter() < deadline:
        await asyncio.sleep(0.05)
    following.cancel()
    heard = [crowd.ended[job] for job in crowd.jobs if job in crowd.ended]
    found = {"times": crowd.times, "failures": crowd.failures, "notice": heard, "jobs": len(crowd.jobs)}
    print(json.dumps({**found, "late": crowd.late, "cpu": used, "first": first}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])))
