"""The service levels of the desk: 100 users in open loop, two requests a second each, without and with heavy work.

The heavy work: two pictures and a sound by the studio, and a run of a hundred instructions, the next one of each asked
for as soon as the last one is done. Goals are a tenth of the levels that are promised.

The users are one process of their own on the same machine. How late it is itself is measured, too: a latency contains
it, because it counts from the moment a request was due.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

from tests.bench.measure import Row, Watch, single
from tests.bench.users import WORKFLOW
from tests.bench.world import World

from lightfast.client import AsyncClient

USERS = 100
RATE = 2.0
SECONDS = 30.0
LEVELS_MS = {
    "acknowledgement of plain text": 50.0, "acknowledgement of a coded line": 100.0, "simple query: entries": 200.0,
    "simple query: tasks": 200.0, "workflow start": 500.0, "memory: remember": 10.0, "semantic: recall": 200.0,
    "job": 100.0,
}  # fmt: skip
"""The promised levels (p99), in ms; the front answers plain text."""
NOTICE_MS = 2_000.0
QUICK = f"name: {WORKFLOW}\nsteps:\n- {{id: a, op: context.set, arguments: {{path: /bench/quick, value: 1}}}}\n"
HEAVY = (
    "instructions:\n- {id: a, op: generate.image, arguments: {prompt: a wide landscape, settings: {width: 1024, height: 1024}}}\n",
    "instructions:\n- {id: a, op: generate.audio, arguments: {prompt: a long loop, settings: {bars: 16}}}\n",
    "instructions:\n" + "".join(
        f"- {{id: s{number}, op: context.set, arguments: {{path: /bench/run/{number % 40}, value: {number}}}}}\n"
        for number in range(100)
    ),
)  # fmt: skip


async def heavy(home: str, stop: asyncio.Event, counts: dict[str, int]) -> None:
    """Keep programs running."""

    async def keep(program: str) -> None:
        async with AsyncClient(home=home, timeout=120) as client:
            while not stop.is_set():
                async for message in client.stream_json("EngineService.Run", {"program": {"text": program}}, 300):
                    state = message.get("event", {}).get("run", {}).get("state", "")
                    if state:
                        counts[state] = counts.get(state, 0) + 1

    await asyncio.gather(*(keep(program) for program in (*HEAVY, HEAVY[0])))


async def run(world: World, pairs: int, seconds: float = SECONDS) -> list[Row]:
    """Measure for so long without heavy work, then with it; *pairs* does not matter here."""
    home = str(world.home)
    async with AsyncClient(home=home) as client:
        for number in range(40):
            await client.set(f"/bench/{number}", number)
        await client.call_json("JobService.SaveWorkflow", {"name": WORKFLOW, "yaml": QUICK})
    return [
        *await _measured(world, "without heavy work", seconds, busy=False),
        *await _measured(world, "beside heavy work", seconds, busy=True),
    ]


async def _measured(world: World, when: str, seconds: float, *, busy: bool) -> list[Row]:
    home = str(world.home)
    command = [sys.executable, "-m", "tests.bench.users", home, str(USERS), str(RATE), str(seconds)]
    users = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert users.stdin is not None
    assert users.stdout is not None
    stop = asyncio.Event()
    counts: dict[str, int] = {}
    working = asyncio.create_task(heavy(home, stop, counts)) if busy else None
    try:
        await asyncio.to_thread(users.stdout.readline)
        watch = Watch(world.pid)
        users.stdin.write("go\n")
        users.stdin.flush()
        found: dict[str, Any] = json.loads(await asyncio.to_thread(users.stdout.readline))
        used = watch.cpu_used()
        daemon = used / watch.elapsed()
    finally:
        stop.set()
        if working is not None:
            await working
        users.kill()
        users.wait(10)
    rows = [_row(when, kind, [time * 1e3 for time in times], LEVELS_MS[kind]) for kind, times in found["times"].items()]
    rows.append(_row(when, "notice of what is done", [time * 1e3 for time in found["notice"]], NOTICE_MS))
    late = sorted(time * 1e3 for time in found["late"])
    own = f"the users' own process was late by p50 {_share(late, 0.5):.2f}, p99 {_share(late, 0.99):.2f} ms"
    note = f"processors used: daemon {daemon:.2f}, users {found['cpu']:.2f}; {own}"
    asked = sum(map(len, found["times"].values()))
    rows.append(Row(f"requests answered, {when}", asked / seconds, 0, "1/s", 0, "—", None, note))
    if not busy:
        what = "its work behind the answers included; it can be compared on a machine that others use, too"
        rows.append(single("processor time of the daemon a request", 1e3 * used / max(asked, 1), "ms", note=what))
        slowest = max(found["first"], key=found["first"].get)
        note = f"the slowest of them: {slowest}; not among the figures above"
        rows.append(
            Row("first request of a kind to a fresh daemon", 1e3 * found["first"][slowest], 0, "ms", 0, "—", None, note)
        )
    delivered = 100.0 * len(found["notice"]) / max(found["jobs"], 1)
    note = f"{found['jobs']} jobs; runs meanwhile: {counts or 'none'}; failures: {found['failures'] or 'none'}"
    rows.append(
        Row(
            f"delivery of events, {when}",
            delivered,
            0,
            "%",
            0,
            "100 %",
            delivered == 100.0 and not found["failures"],
            note,
        )
    )
    return rows


def _share(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


def _row(when: str, kind: str, times: list[float], level: float) -> Row:
    ordered, name = sorted(times), f"{kind}, {when}, p99"
    if not ordered:
        return Row(name, float("nan"), 0, "ms", 0, f"≤ {level / 10:g}", False, "nothing was measured")
    p99, p50 = _share(ordered, 0.99), _share(ordered, 0.5)
    note = f"p50 {p50:.2f} ms, {len(ordered)} requests, promised {level:g} ms"
    return Row(name, p99, 0, "ms", 0, f"≤ {level / 10:g}", p99 <= level / 10, note)
