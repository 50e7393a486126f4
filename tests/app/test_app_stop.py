"""The stop: under load, during the start, and again after it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
from tests.support.daemon import Daemon, daemon
from tests.support.waiting import heard

from lightfast.client import AsyncClient, Client
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
        code = await asyncio.to_thread(found.stop)
    assert code == 0, found.log()
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
        assert found.wait() in {0, -signal.SIGTERM}, found.log()
        assert not (found.home / "run/endpoints.json").exists()
    assert "Traceback" not in found.log()
    with found:
        assert found.endpoints["pid"] == found.pid


STUCK = """
import asyncio, time
from pathlib import Path
from lightfast.sdk import Model, Provider, TextDelta, hookimpl

class Stuck(Provider):
    name = "stuck"

    def models(self):
        return [Model("one", ("text",), free=True)]

    async def generate(self, request, bench):
        yield TextDelta("it begins")
        await asyncio.to_thread(time.sleep, 600)

@hookimpl
def lightfast_providers(config):
    return [Stuck()]
"""


def test_a_thread_that_never_returns_does_not_keep_the_process(tmp_path: Path) -> None:
    plugins = tmp_path / "home/config/plugins"
    plugins.mkdir(parents=True, mode=0o700)
    (plugins / "stuck.py").write_text(STUCK)
    found = Daemon(tmp_path / "home").start()
    try:
        with Client(home=str(found.home)) as client:
            client.set("/kept", 1)
            steps = client.generate("text", "x", model="stuck/one")
            assert any(step.text_delta for step in steps)
            assert found.stop() == 1, found.log()
        assert '"event": "stopped"' in found.log(), "all stages of the stop came to their end"
        assert "the process did not end by itself and is cut" in found.log()
    finally:
        found.kill()
    with found, Client(home=str(found.home)) as client:
        assert client.get("/kept").value == 1


def test_a_process_ends_whatever_hangs() -> None:
    program = "import time; from lightfast.app.ending import end_within; end_within(0.2, 7); time.sleep(600)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 7
    assert "'MainThread'" in done.stdout + done.stderr


FULL = """
import os, time
from lightfast.app.ending import end_within
os.set_blocking(1, False)
try:
    while True:
        os.write(1, bytes(4096))
except BlockingIOError:
    os.set_blocking(1, True)
os.dup2(1, 2)
end_within(0.2, 7)
time.sleep(600)
"""


def test_a_process_ends_also_where_nobody_reads_what_it_says() -> None:
    process = subprocess.Popen([sys.executable, "-c", FULL], stdout=subprocess.PIPE)
    try:
        assert process.wait(60) == 7
    finally:
        process.kill()
        process.communicate(timeout=150)


HANGS = """
import asyncio, sys
from lightfast.app import ending
from lightfast.app.main import main
from lightfast.storage.database import Database

async def hang(*_, **__):
    print("opening", flush=True)
    await asyncio.Event().wait()

Database.open = hang
ending.STOP_S = 1.0
sys.exit(main(sys.argv[1:]))
"""


def test_a_start_that_hangs_is_ended_by_a_signal(tmp_path: Path) -> None:
    line = [sys.executable, "-c", HANGS, "--home", str(tmp_path / "home")]
    process = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=Daemon(tmp_path).clean_environ()
    )
    try:
        heard(process, process.stdout, "opening")
        process.terminate()
        told, _ = process.communicate(timeout=150)
    finally:
        process.kill()
    assert process.returncode == 1, told
    assert "the process did not end by itself and is cut" in told


LATE = """
import asyncio, sys
from lightfast.app.main import main
from lightfast.engine.workflows.workflows import Workflows
from lightfast.host.plugins import PluginHost

closed = asyncio.Event()
close = Workflows.close

async def close_and_tell(self):
    await close(self)
    closed.set()
    await asyncio.sleep(0.1)

async def settled(self):
    await closed.wait()

Workflows.close, PluginHost.settled = close_and_tell, settled
sys.exit(main(sys.argv[1:]))
"""


def test_what_the_start_has_left_to_do_is_not_done_at_the_stop(tmp_path: Path) -> None:
    house = Daemon(tmp_path / "home")
    line = [sys.executable, "-c", LATE, *house.command()[4:]]
    process = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=house.clean_environ()
    )
    try:
        heard(process, process.stdout, '"event": "ready"')
        process.terminate()
        told, _ = process.communicate(timeout=150)
    finally:
        process.kill()
    assert process.returncode == 0, told
    assert "task failed" not in told
