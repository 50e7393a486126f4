"""The daemon's gRPC door beside the litellm proxy, against one fake service: one at a time, and sixteen at once.

Both are asked for short streamed answers, the proxy by OpenAI's SDK, and both keep nothing. For the environment of
litellm see `tests.bench.gateway`.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.bench.gateway import INSTALL, LITELLM, MODEL, litellm_python, settings
from tests.bench.llm_bare import MODEL as PLAIN
from tests.bench.llm_bare import ask_with
from tests.bench.measure import Peer, Row, Watch, compare, interleave, single
from tests.bench.world import World

from lightfast.client import AsyncClient

CROWDS = (1, 16)
REQUESTS = {1: 60, 16: 15}
"""How many requests each one makes in a round."""
START_S = 120.0
KEY = "sk-bench-0123456789abcdef0123456789abcdef"
"""Both doors ask who comes; without a key of its own the proxy does not start."""

Ask = Callable[[str], Awaitable[object]]


class Proxy:
    """The litellm proxy, as one process."""

    def __init__(self, url: str, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        model = {"model": f"openai/{PLAIN}", "api_base": url, "api_key": "bench"}
        table = {
            "model_list": [{"model_name": PLAIN, "litellm_params": model}],
            "litellm_settings": {"telemetry": False, "num_retries": 0},
        }
        (folder / "proxy.yaml").write_text(json.dumps(table))  # JSON is YAML
        self._log = (folder / "proxy.log").open("wb")
        self.process = subprocess.Popen(
            [
                *(str(Path(litellm_python()).with_name("litellm")), "--config", str(folder / "proxy.yaml")),
                *("--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"),
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=os.environ | LITELLM | {"LITELLM_MASTER_KEY": KEY},
        )

    def wait(self) -> None:
        """Wait until it serves."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.url}/health/liveliness", timeout=5).close()
            except OSError:
                time.sleep(0.2)
            else:
                return
        said = Path(self._log.name).read_text(errors="replace")[-2000:]
        raise RuntimeError(f"the litellm proxy does not serve: {said}")

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self._log.close()


class Crowd:
    """So many who ask one after the other, and what that took the server."""

    def __init__(self, ask: Ask, pid: int, count: int) -> None:
        self._ask, self._pid, self._count = ask, pid, count
        self.times: list[float] = []
        self.cpu: list[float] = []

    async def round(self) -> float:
        """Let all ask; return the requests per second."""
        each = REQUESTS[self._count]
        watch = Watch(self._pid)

        async def one(number: int) -> None:
            for index in range(each):
                began = time.perf_counter()
                await self._ask(f"what is on table {number}, for the {index}th time?")
                self.times.append(time.perf_counter() - began)

        await asyncio.gather(*(one(number) for number in range(self._count)))
        self.cpu.append(watch.cpu_used() / (each * self._count))
        return each * self._count / watch.elapsed()

    @property
    def p50(self) -> float:
        """The median latency, in ms."""
        return statistics.median(self.times) * 1e3


async def _contest(ours: Ask, pid: int, peer: Ask, peer_pid: int, count: int, pairs: int) -> list[Row]:
    mine, theirs = Crowd(ours, pid, count), Crowd(peer, peer_pid, count)
    await mine.round()
    await theirs.round()
    mine.times, mine.cpu, theirs.times, theirs.cpu = [], [], [], []
    rates = await interleave(pairs, mine.round, theirs.round)
    spent = [(one * 1e6, other * 1e6) for one, other in zip(mine.cpu, theirs.cpu, strict=True)]
    name = f"gRPC door, {count} at once, against the litellm proxy"
    both = [(mine.p50, theirs.p50)]
    return [
        compare(f"{name}: requests", rates, "1/s"),
        compare(f"{name}: CPU per request", spent, "µs"),
        compare(f"{name}: p50", both, "ms"),
    ]


async def _alone(ours: Ask, pid: int, count: int, pairs: int) -> list[Row]:
    mine = Crowd(ours, pid, count)
    await mine.round()
    mine.times, mine.cpu = [], []
    rates = [await mine.round() for _ in range(pairs)]
    name = f"gRPC door, {count} at once"
    return [
        single(f"{name}: requests", statistics.median(rates), "1/s"),
        single(f"{name}: CPU per request", statistics.median(mine.cpu) * 1e6, "µs"),
        single(f"{name}: p50", mine.p50, "ms"),
    ]


async def run(world: World, pairs: int) -> list[Row]:
    """Measure; without litellm our door alone."""
    del world  # this case needs a daemon that knows the fake service
    service = Peer("llm_server")
    url = f"http://127.0.0.1:{service.words[0]}/v1"
    rows: list[Row] = []
    home = await asyncio.to_thread(World, *settings(url))
    proxy: Proxy | None = None
    with tempfile.TemporaryDirectory(prefix="lightfast-bench-") as folder:
        try:
            async with AsyncClient(home=str(home.home)) as client:

                async def ours(prompt: str) -> object:
                    return await client.make("text", prompt, model=MODEL, cache="off", max_output_tokens=100)

                if litellm_python():
                    proxy = Proxy(url, Path(folder))
                    await asyncio.to_thread(proxy.wait)
                    through = ask_with("chat", f"{proxy.url}/v1", KEY)
                for count in CROWDS:
                    if proxy is not None:
                        pid = proxy.process.pid
                        found = _contest(ours, home.pid, lambda prompt: through(prompt, True), pid, count, pairs)
                    else:
                        found = _alone(ours, home.pid, count, pairs)
                    rows += await found
        finally:
            if proxy is not None:
                proxy.close()
            home.__exit__(None, None, None)
            service.close()
    if proxy is None:
        print(f"gateway_door: the litellm proxy is not measured: {INSTALL}", flush=True)
    return rows
