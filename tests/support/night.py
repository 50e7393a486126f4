"""A night at a show: a plugin that acts outside, an application on the link, and the load that goes on through kills."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import grpc

from lightfast.client import AsyncClient
from lightfast.core.errors import LightfastError
from lightfast_link import discover
from lightfast_link.client import LinkClient

PLUGIN = """
import asyncio, os, sys, time
from pathlib import Path

from lightfast.sdk import Effect, JobType, Operation, Outcome, hookimpl

FOLDER = Path("{folder}")
VERSION = {version}


def note(file, text):
    with open(FOLDER / file, "a") as out:
        out.write(text + "\\n")


def noted(file):
    return (FOLDER / file).read_text().split("\\n") if (FOLDER / file).exists() else []


class Act(Operation):
    name = "stage.act"
    summary = "Acts once for one key."
    arguments = {{"type": "object", "properties": {{"what": {{"type": "string"}}}}}}
    possible_effects = frozenset((Effect.REVERSIBLE,))
    pool = "application"
    keyed = True

    def writes(self, arguments):
        return ("/stage/" + arguments["what"],)

    async def perform(self, call, bench):
        try:
            os.close(os.open(FOLDER / "keys" / call.key.replace("/", "~"), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return Outcome({{"did": call.key}})
        note("acts", call.key)
        await asyncio.sleep(0.01)
        return Outcome({{"did": call.key}})


class Plain(Act):
    name = "stage.plain"
    keyed = False

    async def perform(self, call, bench):
        note("acts", call.key)
        await asyncio.sleep(0.01)
        return Outcome({{"did": call.key}})

    async def recover(self, call, bench):
        return Outcome({{"did": call.key}}) if call.key in noted("acts") else await self.perform(call, bench)


class Bad(Act):
    name = "stage.bad"
    timeout = 2.0

    async def perform(self, call, bench):
        what = call.arguments["what"]
        note("bad", what)
        if what == "block":
            time.sleep(1.5)
        elif what == "raise":
            raise ZeroDivisionError("on purpose")
        elif what == "base":
            raise BaseException("on purpose")
        elif what == "cancel":
            raise asyncio.CancelledError
        elif what == "exit":
            sys.exit(3)
        elif what == "ever":
            await asyncio.Event().wait()
        elif what == "stubborn":
            while not (FOLDER / "mercy").exists():
                try:
                    await asyncio.sleep(0.05)
                except asyncio.CancelledError:
                    note("bad", "refused to end")
        elif what == "wait":
            while not (FOLDER / "go").exists():
                await asyncio.sleep(0.02)
        elif what == "none":
            return None
        elif what == "object":
            return Outcome(object())
        elif what == "huge":
            return Outcome("x" * (1 << 26))
        elif what == "deep":
            value = 1
            for _ in range(5000):
                value = [value]
            return Outcome(value)
        elif what == "version":
            return Outcome(VERSION)
        return Outcome("fine")


class Evil(Act):
    name = "stage.evil"

    def writes(self, arguments):
        raise SystemExit(4)

    async def perform(self, call, bench):
        return Outcome(1)


class Count(JobType):
    name = "stage_count"
    summary = "Counts, and fails at first where it is told to."
    max_attempts = 100

    async def run(self, payload, bench):
        note("jobs", f"{{payload['n']}} {{bench.attempt}}")
        if payload.get("flaky") and not bench.note:
            await bench.keep("failed once")
            raise OSError("at first it fails")
        await asyncio.sleep(0.005)
        return payload["n"]


class BadJob(JobType):
    name = "stage_bad"
    summary = "Misbehaves."
    max_attempts = 1
    timeout = 2.0

    async def run(self, payload, bench):
        what = payload["what"]
        if what == "block":
            time.sleep(1.5)
        elif what == "raise":
            raise ZeroDivisionError("on purpose")
        elif what == "exit":
            sys.exit(3)
        elif what == "cancel":
            raise asyncio.CancelledError
        elif what == "ever":
            await asyncio.Event().wait()
        elif what == "object":
            return object()
        elif what == "wait":
            while not (FOLDER / "go").exists():
                await asyncio.sleep(0.02)
        return "fine"


@hookimpl
def lightfast_operations(config):
    return [Act(), Plain(), Bad(), Evil()]


@hookimpl
def lightfast_job_types(config):
    return [Count(), BadJob()]
"""
WORKFLOW = """
name: pulse
parameters: {{n: {{type: number, default: 0}}}}
steps:
  - {{id: act, op: stage.act, arguments: {{what: pulse}}}}
  - {{id: put, op: context.set, arguments: {{path: /pulsed, value: "${{params.n}}"}}}}
triggers:
  - {{on: path, pattern: /pulse, parameters: {{n: "${{value}}"}}, policy: queue}}
"""


def plugin(folder: Path, version: int = 1) -> str:
    """Return the source of the plugin that writes into *folder*."""
    (folder / "keys").mkdir(parents=True, exist_ok=True)
    return PLUGIN.format(folder=folder, version=version)


def furnish(home: Path, folder: Path) -> None:
    """Put the plugin and the workflow where the daemon finds them."""
    (home / "config" / "plugins").mkdir(parents=True, mode=0o700, exist_ok=True)
    (home / "config" / "plugins" / "stage.py").write_text(plugin(folder), encoding="utf-8")
    (home / "config" / "workflows").mkdir(parents=True, exist_ok=True)
    (home / "config" / "workflows" / "pulse.yaml").write_text(WORKFLOW.format(), encoding="utf-8")


def lines(file: Path) -> list[str]:
    """Return the whole lines of a file."""
    return file.read_text(encoding="utf-8").split("\n")[:-1] if file.exists() else []


class Rig:
    """An application with a command; *keyed*: it does a thing once for one key. `did` counts what it did, by tag."""

    def __init__(self, home: Path, name: str, *, keyed: bool, instance: str = "") -> None:
        self.did: Counter[str] = Counter()
        self.silent = False
        """It takes commands and never answers."""
        command = {"name": "go", "arguments": [{"name": "tag", "kind": "string"}], "effect": "reversible"}
        hello = {
            "app": "rig",
            "name": name,
            "instance_id": instance or name,
            "document_id": name,
            "parameters": [{"pattern": "level", "kind": "double"}],
            "commands": [command],
            "capabilities": ["keyed"] if keyed else [],
        }
        self.client = LinkClient(discover.transport(str(home), None), hello).start()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ending.is_set():
            for event in self.client.poll():
                if event[0] in ("welcome", "resync"):
                    self.client.report([{"path": "level", "value": 0.0}])
                    self.client.synced()
                elif event[0] == "apply":
                    for wish in event[1]:
                        self.client.settled(wish.id, wish.value)
                elif event[0] == "command":
                    self.did[str(event[1].arguments["tag"])] += 1
                    if not self.silent:
                        self.client.result(event[1].id, 1.0)
            self.client.wait(0.02)

    def close(self) -> None:
        """Leave."""
        self._ending.set()
        self._thread.join(60)
        self.client.close(10)


class Load:
    """What clients ask for through all restarts, each until it was acknowledged, under a request id of its own."""

    def __init__(self, home: Path, seed: int = 6) -> None:
        self.home = home
        self.chance = random.Random(seed)
        self.ending = False
        self.said: dict[str, str] = {}
        self.runs: dict[str, str] = {}
        self.jobs: dict[str, int] = {}
        self.seen: list[int] = []
        self.trouble: list[str] = []

    async def keep_on(self, work: Callable[[AsyncClient], Awaitable[bool]]) -> None:
        """Do *work* again and again, each on the daemon that is there, until it says that it is over."""
        while True:
            try:
                async with AsyncClient(home=str(self.home), timeout=10) as client:
                    while await work(client):
                        pass
                    return
            except (LightfastError, OSError, grpc.RpcError) as error:
                if isinstance(error, LightfastError) and error.status not in (
                    "UNAVAILABLE",
                    "CANCELLED",
                    "UNKNOWN",
                    "DEADLINE_EXCEEDED",
                    "RESOURCE_EXHAUSTED",
                    "ABORTED",
                ):
                    self.trouble.append(f"{error.reason}: {error.message}")
                if self.ending and len(self.trouble) > 100:
                    raise
                await asyncio.sleep(0.02)

    async def once(self, work: Callable[[AsyncClient], Awaitable[None]]) -> None:
        """Do it until it was done once."""

        async def try_it(client: AsyncClient) -> bool:
            await work(client)
            return False

        await self.keep_on(try_it)

    async def sayer(self, name: str) -> None:
        """Say lines."""
        n = 0
        while not self.ending:
            n += 1
            tag = f"{name}-{n}"
            line = f"ts:auto|0.3|set /split/{name}/a to {n}, then set /split/{name}/b to {n}" if n % 4 == 0 else ""
            line = line or (f"wf:pulse|{{n:{n}}}" if n % 5 == 0 else f"set /said/{name} to {n}")

            async def say(client: AsyncClient, line: str = line, tag: str = tag) -> None:
                self.said[tag] = (await client.say(line, request_id=tag)).line

            await self.once(say)
            await asyncio.sleep(0.02)

    async def runner(self, name: str) -> None:
        """Run programs."""
        n = 0
        while not self.ending:
            n += 1
            tag = f"run-{name}-{n}"
            program = {
                "instructions": [
                    {"id": "s1", "op": "context.set", "arguments": {"path": f"/runs/{name}", "value": n}},
                    {"id": "s2", "op": "stage.act", "arguments": {"what": f"{name}a"}},
                    {"id": "s3", "op": "stage.plain", "arguments": {"what": f"{name}b"}},
                    {"id": "s4", "op": "app.command", "arguments": _go("/keyed", f"{tag}/s4")},
                    {"id": "s5", "op": "app.command", "arguments": _go("/plain", f"{tag}/s5")},
                    *(
                        [{"id": "s6", "op": "generate.text", "arguments": {"prompt": tag, "model": "studio/text"}}]
                        if n % 3 == 0
                        else []
                    ),
                    {"id": "s7", "op": "context.set", "arguments": {"path": f"/told/{name}", "value": "${s2.did}"}},
                ]
            }

            async def run(client: AsyncClient, program: Any = program, tag: str = tag) -> None:
                async with aclosing(client.run(json.dumps(program), request_id=tag, optimize=False)) as messages:  # type: ignore[type-var]
                    async for message in messages:
                        if message.plan.problems:
                            return  # the applications are not back yet
                        if message.event.run.run_id:
                            self.runs[tag] = message.event.run.run_id
                            return

            await self.once(run)
            await asyncio.sleep(0.05)

    async def queuer(self) -> None:
        """Submit jobs."""
        n = 0
        while not self.ending:
            n += 1

            async def submit(client: AsyncClient, n: int = n) -> None:
                payload = {"n": n, "flaky": n % 5 == 0}
                job = await client.submit_job("stage_count", payload, priority=n % 3, request_id=f"job-{n}")
                self.jobs[job.job_id] = n

            await self.once(submit)
            await asyncio.sleep(0.02)

    async def puller(self) -> None:
        """Change what a trigger waits for."""
        n = 0
        while not self.ending:
            n += 1

            async def pull(client: AsyncClient, n: int = n) -> None:
                await client.set("/pulse", n)

            await self.once(pull)
            await asyncio.sleep(0.1)

    async def watcher(self) -> None:
        """Follow all events from the first on, through all restarts."""

        async def watch(client: AsyncClient) -> bool:
            after = self.seen[-1] if self.seen else 0
            async with aclosing(client.watch_events(after=after, give_up_after=0.01)) as events:  # type: ignore[type-var]
                async for event in events:
                    self.seen.append(event.sequence)
            return False

        with suppress(asyncio.CancelledError):
            while True:
                await self.keep_on(watch)


def _go(app: str, tag: str) -> dict[str, Any]:
    return {"app": app, "command": "go", "arguments": {"tag": tag}}


async def until(look: Callable[[], Awaitable[Any]], what: str, within: float = 90.0) -> Any:
    """Return the first true answer of *look*."""
    async with asyncio.timeout(within):
        while not (found := await look()):
            await asyncio.sleep(0.05)
    assert found, what
    return found


async def pages(source: AsyncIterator[Any]) -> list[Any]:
    """Return all of it."""
    return [each async for each in source]
