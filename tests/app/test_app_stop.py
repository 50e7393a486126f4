"""The stop: under load, during the start, and again after it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from pathlib import Path
from random import Random

import pytest
from tests.support.daemon import Daemon, daemon

from lightfast.client import AsyncClient
from lightfast.core.errors import LightfastError
from lightfast.core.tasks import TaskGroup

SLOW = """
import asyncio
from lightfast.sdk import Model, Progress, Provider, TextDelta, hookimpl

class Slow(Provider):
    name = "slow"

    def models(self):
        return [Model("one", ("text",))]

    async def generate(self, request, bench):
        yield Progress(0.1, "under way")
        await asyncio.sleep(600)
        yield TextDelta("never")

@hookimpl
def lightfast_providers(config):
    return [Slow()]
"""


async def until_over(work: object) -> None:
    """Await what a stopping daemon ends, however it says so."""
    try:
        await work  # type: ignore[misc]
    except LightfastError:
        return


async def test_it_drains_under_load(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    home = tmp_path / "home"
    plugins = home / "config/plugins"
    plugins.mkdir(parents=True, mode=0o700)
    (plugins / "slow.py").write_text(SLOW)
    found = await asyncio.to_thread(Daemon(home).start)
    request.addfinalizer(found.kill)
    acknowledged, seen, generating = [0], asyncio.Semaphore(0), asyncio.Event()

    async with AsyncClient(home=str(home)) as client, AsyncClient(home=str(home)) as other, TaskGroup("load") as tasks:

        async def watch() -> None:
            async for batch in client.watch("//", give_up_after=0.0):
                if any(event.entry.path == "/load/9" for event in batch.events):
                    seen.release()

        async def write(number: int) -> None:
            while True:
                applied = await other.set(f"/load/{number}", acknowledged[0])
                acknowledged[0] = max(acknowledged[0], applied.revision)

        async def generate() -> None:
            async for _ in other.generate("text", "x", model="slow/one"):
                generating.set()

        async with asyncio.timeout(60):
            for number in range(50):
                tasks.start(until_over(watch()), f"watch {number}")
            for number in range(10):
                tasks.start(until_over(write(number)), f"write {number}")
            tasks.start(until_over(generate()), "generate")
            await generating.wait()
            for _ in range(50):
                await seen.acquire()
        begin = time.monotonic()
        code = await asyncio.to_thread(found.stop)
        took = time.monotonic() - begin
    assert code == 0, found.log()
    assert took < 8, f"{took:.1f} s:\n{found.log()}"
    assert "Traceback" not in found.log()
    with daemon(home) as again:
        async with AsyncClient(home=str(home)) as client:
            assert (await client.info()).revision >= acknowledged[0]
        assert again.endpoints["pid"] == again.pid


@pytest.mark.parametrize("seed", range(3))
def test_a_stop_during_the_start_leaves_nothing_behind(tmp_path: Path, seed: int) -> None:
    chance = Random(seed)
    found = Daemon(tmp_path / "home")
    found.home.mkdir()
    for _ in range(6):
        with found.log_file.open("a", encoding="utf-8") as log:
            found.process = subprocess.Popen(
                found.command(), stdout=log, stderr=log, env=found.clean_environ(), text=True
            )
        time.sleep(chance.uniform(0.0, 0.35))  # that it comes at any moment is what is tested
        found.process.send_signal(signal.SIGTERM)
        assert found.wait(15) in {0, -signal.SIGTERM}, found.log()
        assert not (found.home / "run/endpoints.json").exists()
    assert "Traceback" not in found.log()
    with found:
        assert found.endpoints["pid"] == found.pid
