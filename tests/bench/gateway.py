"""The AI gateway in one process beside the bare official SDK and the litellm SDK, against one fake service.

All ask the same questions in turn. The gateway always streams, so it is set beside the SDK both ways: with the answer
as a stream, which is the same work, and with the answer at once, which is what a user who wants no stream would write.
The gateway has a row of each answer on the disk before it says that it is over; a third peer has the answer at once, and
one row of it: what is left is what the gateway itself takes.
litellm runs in an environment of its own: `python -m venv litellm && litellm/bin/pip install 'litellm[proxy]'`, and
`LIGHTFAST_LITELLM_PYTHON=litellm/bin/python make bench ARGS=gateway`.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.bench import llm_bare
from tests.bench.measure import Peer, Row, compare, single
from tests.bench.world import World

from lightfast.client import AsyncClient

REQUESTS, STREAMS, HITS = 100, 4, 100
BOTH = (("streamed", "that streams, too"), ("once", "whose answer comes at once"))
KEPT = ("kept", "whose answer comes at once and is written down")
INSTALL = (
    "python -m venv litellm && litellm/bin/pip install 'litellm[proxy]',"
    " then LIGHTFAST_LITELLM_PYTHON=litellm/bin/python"
)
LITELLM = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}
Found = dict[str, float]


def litellm_python() -> str:
    """Return the Python that has litellm; empty where there is none."""
    found = os.environ.get("LIGHTFAST_LITELLM_PYTHON", "")
    return found if found and Path(found).exists() else ""


class Worker:
    """A process that does what `llm_bare.work` says."""

    def __init__(self, *line: str) -> None:
        self._process = subprocess.Popen(
            line,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | LITELLM,
        )
        self._read("ready")

    def _read(self, beginning: str) -> str:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            if line.startswith(beginning):  # what the SDK says beside that is not for us
                return line
        raise RuntimeError(f"{self._process.args!r} ended with code {self._process.wait(10)}")

    def ask(self, order: str, number: int) -> Found:
        """Have something done, and return what it took."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{order} {number}\n")
        self._process.stdin.flush()
        found: Found = json.loads(self._read("{"))
        return found

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)


class Contest:
    """What the workers took, in turn; who is first changes from round to round."""

    def __init__(self, workers: dict[str, Worker]) -> None:
        self._workers = workers
        self.found: dict[tuple[str, str], list[Found]] = {}

    def round(self, number: int, orders: list[tuple[str, str, int]]) -> None:
        """Let the workers do their orders once: worker, order, count."""
        turn = number % len(orders)
        for name, order, count in orders[turn:] + orders[:turn]:
            self.found.setdefault((name, order), []).append(self._workers[name].ask(order, count))

    def pairs(
        self, mine: tuple[str, str], theirs: tuple[str, str], unit: float, what: str = "cpu"
    ) -> list[tuple[float, float]]:
        """Return the figures of two, round by round, in so many seconds."""
        both = zip(self.found[mine], self.found[theirs], strict=True)
        return [(one[what] / unit, other[what] / unit) for one, other in both]


def protocol(kind: str, url: str, pairs: int) -> list[Row]:
    """Return the rows of one of OpenAI's two protocols."""
    lines = {
        "ours": (sys.executable, "-m", "tests.bench.llm_ours", kind, url),
        "bare": (sys.executable, llm_bare.__file__, kind, url),
    }
    other = litellm_python() if kind == "chat" else ""
    if other:
        lines["litellm"] = (other, llm_bare.__file__, "litellm", url)
    workers: dict[str, Worker] = {}
    try:
        for name, line in lines.items():
            workers[name] = Worker(*line)
        contest = Contest(workers)
        orders = [(name, f"{crowd}streamed", REQUESTS) for name in lines for crowd in ("", "crowd_")]
        orders += [(name, f"{crowd}once", REQUESTS) for name in lines for crowd in ("", "crowd_") if name != "ours"]
        orders += [("bare", f"{crowd}kept", REQUESTS) for crowd in ("", "crowd_")]
        orders += [(name, "pieces", STREAMS) for name in lines]
        for number in range(pairs):
            contest.round(number, orders)
        hits = [workers["ours"].ask("again", HITS)["p50"] for _ in range(pairs)] if kind == "chat" else []
    finally:
        for worker in workers.values():
            worker.close()
    return [*_beside_bare(contest, kind), *(_beside_litellm(contest) if other else ()), *_hits(hits)]


def _beside_bare(contest: Contest, kind: str) -> list[Row]:
    name = f"gateway, {kind}"
    rows = [
        *_requests(contest, name, "bare", 1.2, KEPT),
        compare(
            f"{name}: CPU per streamed chunk, against the bare SDK",
            contest.pairs(("ours", "pieces"), ("bare", "pieces"), 1e-6),
            "µs",
            most=1.2,
        ),
    ]
    for order, what in (*BOTH, KEPT):
        added = [mine - theirs for mine, theirs in contest.pairs(("ours", "streamed"), ("bare", order), 1e-3, "p50")]
        note = f"{min(added):.2f}–{max(added):.2f} over {len(added)} pairs"
        rows.append(
            single(f"{name}: p50 added over the bare SDK {what}", statistics.median(added), "ms", most=1.0, note=note)
        )
    return rows


def _requests(contest: Contest, name: str, peer: str, most: float, *more: tuple[str, str]) -> list[Row]:
    """Return what a request takes beside a peer that streams, too, beside one whose answer comes at once, and *more*."""
    rows = []
    for crowd, many in (("", "one at a time"), ("crowd_", "16 at once")):
        for order, what in (*BOTH, *more):
            found = contest.pairs(("ours", f"{crowd}streamed"), (peer, f"{crowd}{order}"), 1e-6)
            title = f"{name}: CPU per request, {many}, against the {peer} SDK {what}"
            rows.append(compare(title, found, "µs", most=most))
    return rows


def _beside_litellm(contest: Contest) -> list[Row]:
    return [
        *_requests(contest, "gateway, chat", "litellm", 0.7),
        compare(
            "gateway, chat: CPU per streamed chunk, against the litellm SDK",
            contest.pairs(("ours", "pieces"), ("litellm", "pieces"), 1e-6),
            "µs",
            most=0.7,
        ),
    ]


def _hits(hits: list[float]) -> list[Row]:
    if not hits:
        return []
    return [single("gateway: an answer that is kept, p50 in process", statistics.median(hits) * 1e3, "ms")]


async def _door_hits(url: str) -> Row:
    """Return the latency of an answer that is kept, through the daemon's gRPC door."""
    world = await asyncio.to_thread(World, *settings(url))
    times = []
    try:
        async with AsyncClient(home=str(world.home)) as client:
            for _ in range(HITS + 1):
                began = time.perf_counter()
                await client.make("text", "what is on the table?", model=MODEL, cache="exact", max_output_tokens=100)
                times.append(time.perf_counter() - began)
    finally:
        world.__exit__(None, None, None)
    note = f"the first, which was made, {times[0] * 1e3:.1f} ms"
    return single(
        "gateway: an answer that is kept, p50 through gRPC", statistics.median(times[1:]) * 1e3, "ms", note=note
    )


MODEL = f"bench/{llm_bare.MODEL}"


def settings(url: str) -> tuple[str, ...]:
    """Return the settings of a daemon that asks the bench's service, as the provider `bench`."""
    os.environ["BENCH_KEY"] = "sk-bench-0123456789"  # the daemon reads it
    return (
        f'plugins.compatible.servers={{bench = "{url}"}}',
        'providers.bench.keys=["env:BENCH_KEY"]',
        "providers.bench.requests_per_minute=1e9",
        "providers.bench.tokens_per_minute=1e12",
        f'providers.bench.prices={{"{llm_bare.MODEL}" = "input 0.25/M, output 2/M"}}',
    )


async def run(world: World, pairs: int) -> list[Row]:
    """Measure both protocols, and answers that are kept."""
    del world
    service = Peer("llm_server")
    url = f"http://127.0.0.1:{service.words[0]}/v1"
    rows = []
    try:
        for kind in ("chat", "responses"):
            rows += await asyncio.to_thread(protocol, kind, url, pairs)
        rows.append(await _door_hits(url))
    finally:
        service.close()
    if not litellm_python():
        print(f"gateway: litellm is not measured: {INSTALL}", flush=True)
    return rows
