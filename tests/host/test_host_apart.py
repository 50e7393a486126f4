"""Heavy providers: each generation has a process of its own, which comes by need and goes when idle."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.support.plugins import record_of, until

from lightfast.core.errors import Exhausted
from lightfast.gateway.routing.discovery import discovers
from lightfast.gateway.routing.health import probes
from lightfast.host import apart, process
from lightfast.host.apart import ApartProvider
from lightfast.host.pipe import PIECE
from lightfast.host.plugins import PluginHost
from lightfast.host.priority import FIRST_TO_GO, NICE
from lightfast.host.records import PluginState
from lightfast.host.spool import LARGE, Spool
from lightfast.sdk import Artifact, GenerationRequest, Preview, Progress, Provider, ProviderError, TextDelta
from lightfast.sdk.testing import FakeBench

SOURCE = """
import asyncio, os, sys, time
from pathlib import Path
from lightfast.sdk import Artifact, MissingDependency, Model, Preview, Progress, Provider, TextDelta, hookimpl

if os.path.exists(__file__ + ".fatal"):
    os._exit(9)
while os.path.exists(__file__ + ".slow"):
    Path(__file__ + ".loads").touch()
    time.sleep(0.01)


class Smith(Provider):
    name = "smith"
    description = "works hard"
    heavy = True

    def models(self):
        return [Model("any", outputs=("text", "image"))]

    async def generate(self, request, bench):
        yield Progress(0.1, f"pid {os.getpid()}")
        if request.prompt == "wait":
            try:
                await bench.run(self.until, Path(request.settings["gate"]))
            finally:
                Path(request.settings["gate"] + ".left").touch()
        elif request.prompt == "large":
            yield Preview("image/png", b"small")
            yield Artifact("image/png", b"".join(request.sources)[::-1], "back.png", {"seed": request.seed})
            yield Artifact("image/png", b"p", "tiny.png")
        elif request.prompt == "stubborn":
            time.sleep(60)
        elif request.prompt == "missing":
            raise MissingDependency("anvil", "pip install anvil")
        elif request.prompt == "bug":
            raise KeyError("left")
        elif request.prompt == "busy":
            await bench.run(self.spin)
        elif request.prompt == "die":
            os._exit(5)
        yield TextDelta("done")

    def until(self, gate):
        while not gate.exists():
            time.sleep(0.01)

    def spin(self):
        end = time.monotonic() + 60
        while time.monotonic() < end:
            pass


@hookimpl
def lightfast_providers(config):
    return [Smith()]
"""


@pytest.fixture(autouse=True)
def patient(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No process goes only because it is idle, or slow; one that steps back would wait for all else that runs here."""
    monkeypatch.setattr(apart, "IDLE_S", 600.0)
    monkeypatch.setattr(process, "LOAD_TIMEOUT", 120.0)
    if request.function is not test_it_steps_back_for_the_daemon:
        monkeypatch.setattr(process, "process_steps_back", lambda _: None)


def order(prompt: str, sources: tuple[bytes, ...] = (), **settings: Any) -> GenerationRequest:
    return GenerationRequest("any", "text", prompt, settings, 7, sources)


@asynccontextmanager
async def smithy(tmp_path: Path, **table: Any) -> AsyncIterator[tuple[PluginHost, Provider]]:
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "work.py").write_text(SOURCE)
    host = PluginHost({"work": table}, folder, found=())
    await host.start()
    await host.settled()
    try:
        assert record_of(host, "work").state is PluginState.READY, record_of(host, "work")
        yield host, host.providers()[0]
    finally:
        await host.close()


async def collect(provider: Provider, request: GenerationRequest) -> list[Any]:
    return [step async for step in provider.generate(request, FakeBench())]


def pid_in(step: Any) -> int:
    return int(step.message.removeprefix("pid "))


def pids(provider: Provider) -> list[int]:
    assert isinstance(provider, ApartProvider)
    return provider._workshop.pids


def gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


async def begun(provider: Provider, prompt: str, **settings: Any) -> tuple[Any, int]:
    steps: Any = provider.generate(order(prompt, **settings), FakeBench())
    while not (step := await anext(steps)).message.startswith("pid "):
        assert step.message.startswith("waiting")
    return steps, pid_in(step)


async def test_a_process_comes_with_the_first_generation_serves_the_next_and_goes_when_idle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with smithy(tmp_path) as (_, provider):
        assert provider.description == "works hard"
        assert provider.models()[0].outputs == ("text", "image")
        assert pids(provider) == []
        first = pid_in((await collect(provider, order("hello")))[0])
        monkeypatch.setattr(apart, "IDLE_S", 0.2)
        assert first != os.getpid()
        assert pid_in((await collect(provider, order("hello")))[0]) == first
        await until(lambda: not pids(provider) and gone(first), "the end of the idle process")
        assert (await collect(provider, order("hello")))[-1] == TextDelta("done")


def test_all_else_is_answered_by_the_provider_itself() -> None:
    asked = {name for name, value in vars(Provider).items() if callable(value) and not name.startswith("_")}
    assert asked <= vars(ApartProvider).keys()  # what is not there would be answered as if it had nothing to say


async def test_one_without_a_probe_or_a_list_of_its_own_is_not_taken_for_one_that_has_them(tmp_path: Path) -> None:
    async with smithy(tmp_path) as (host, provider):
        assert not probes(provider)  # else an open circuit would be closed by an answer that says nothing
        assert not discovers(provider)
        own = "    async def probe(self, session):\n        return None\n\n    async def discover(self, session):\n        pass\n"
        (tmp_path / "plugins" / "work.py").write_text(SOURCE.replace("    def until", f"{own}\n    def until"))
        await host.reload("work")
        assert probes(host.providers()[0])
        assert discovers(host.providers()[0])


async def test_one_that_cannot_be_set_apart_has_failed_alone(tmp_path: Path) -> None:
    odd = "\n    @property\n    def heavy(self):\n        raise KeyError('odd')\n"
    (tmp_path / "odd.py").write_text(SOURCE.replace("    heavy = True\n", odd).replace('"smith"', '"odd"'))
    (tmp_path / "work.py").write_text(SOURCE)
    host = PluginHost({}, tmp_path, found=())
    await host.start()
    await host.settled()
    try:
        assert record_of(host, "odd").state is PluginState.FAILED
        assert record_of(host, "odd").reason.startswith("KeyError: 'odd'")
        assert record_of(host, "work").state is PluginState.READY
    finally:
        await host.close()


@pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")
@pytest.mark.parametrize("isolated", [False, True])
async def test_it_steps_back_for_the_daemon(tmp_path: Path, *, isolated: bool) -> None:
    async with smithy(tmp_path, isolated=isolated) as (_, provider):
        pid = pid_in((await collect(provider, order("hello")))[0])
        assert pid != os.getpid()
        assert os.getpriority(os.PRIO_PROCESS, pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICE)
        assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == FIRST_TO_GO
        group = Path(f"/proc/{pid}/autogroup")  # not on every kernel; who is not root may set one in 100 ms
        if group.exists() and os.geteuid() == 0:
            assert group.read_text().split()[-2:] == ["nice", str(NICE)]


async def test_one_that_dies_harms_only_its_own_generation(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with smithy(tmp_path) as (host, provider):
        other, other_pid = await begun(provider, "wait", gate=str(gate))
        doomed, pid = await begun(provider, "wait", gate=str(tmp_path / "never"))
        assert pid != other_pid
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ProviderError, match=r"its process ended \(signal 9\); nothing else was harmed") as caught:
            await anext(doomed)
        assert (caught.value.retryable, caught.value.reason) == (False, "PLUGIN_CRASHED")
        with pytest.raises(ProviderError, match=r"its process ended \(exit code 5\)"):
            await collect(provider, order("die"))
        assert record_of(host, "work").state is PluginState.READY
        assert (await collect(provider, order("hello")))[-1] == TextDelta("done")
        gate.touch()
        assert [step async for step in other] == [TextDelta("done")]


async def test_one_that_died_while_it_was_idle_is_not_used_again(tmp_path: Path) -> None:
    async with smithy(tmp_path) as (_, provider):
        pid = pid_in((await collect(provider, order("hello")))[0])
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not pids(provider), "the end of the process")
        assert (await collect(provider, order("hello")))[-1] == TextDelta("done")


async def test_a_generation_that_is_given_up_takes_its_process_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "CANCEL_TIMEOUT", 60.0)
    gate = tmp_path / "gate"
    async with smithy(tmp_path) as (_, provider):
        steps, pid = await begun(provider, "wait", gate=str(gate))
        await steps.aclose()
        await until(lambda: gone(pid), "the end of the process")
        assert Path(f"{gate}.left").exists()  # the provider could tidy up before
        assert pid_in((await collect(provider, order("hello")))[0]) != pid


async def test_one_that_is_given_up_while_its_process_starts_leaves_none_behind(tmp_path: Path) -> None:
    others = set(psutil.Process().children())  # of this process, and not of this test

    def children() -> set[psutil.Process]:
        return set(psutil.Process().children()) - others

    async with smithy(tmp_path) as (_, provider):
        task = asyncio.create_task(collect(provider, order("wait", gate=str(tmp_path / "never"))))
        await until(children, "the process")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: not children(), "its end")
        assert (await collect(provider, order("hello")))[-1] == TextDelta("done")


async def test_one_that_does_not_obey_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "CANCEL_TIMEOUT", 0.3)
    monkeypatch.setattr(apart, "MOST", 1)
    async with smithy(tmp_path) as (_, provider):
        async with asyncio.timeout(150.0):  # its place is free again each time
            for _ in range(3):
                steps, pid = await begun(provider, "stubborn")
                await steps.aclose()
                await until(lambda pid=pid: gone(pid), "the end of the process")  # type: ignore[misc]
            assert (await collect(provider, order("hello")))[-1] == TextDelta("done")


@pytest.mark.parametrize("isolated", [False, True])
async def test_one_that_is_given_up_while_its_sources_are_sent_is_given_up_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, isolated: bool
) -> None:
    killed: list[str] = []
    await_end = process.ChildProcess._await_end

    async def noting(self: process.ChildProcess, number: int, job: Any) -> None:
        await await_end(self, number, job)
        killed.append(self.reason)

    monkeypatch.setattr(process.ChildProcess, "_await_end", noting)
    monkeypatch.setattr(process, "CANCEL_TIMEOUT", 60.0)
    monkeypatch.setattr(Spool, "opened", classmethod(lambda cls: None))
    send = process.ChildProcess._send
    tasks: list[asyncio.Task[Any]] = []

    def cancelling(self: process.ChildProcess, **fields: Any) -> None:
        send(self, **fields)
        if fields["t"] == "source":
            tasks[0].cancel()

    monkeypatch.setattr(process.ChildProcess, "_send", cancelling)
    async with smithy(tmp_path, isolated=isolated) as (_, provider):
        tasks.append(asyncio.create_task(collect(provider, order("large", (bytes(8 * PIECE),)))))
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        await until(lambda: killed, "its end")
        assert killed == [""]  # it did not have to be killed, with all else that an isolated one does
        assert (await collect(provider, order("hello")))[-1] == TextDelta("done")


async def test_no_more_run_at_a_time_than_there_are_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "MOST", 1)
    monkeypatch.setattr(apart, "MOST_WAITING", 2)
    gate = tmp_path / "gate"
    async with smithy(tmp_path) as (_, provider):
        first, pid = await begun(provider, "wait", gate=str(gate))
        waiting = [asyncio.create_task(collect(provider, order("hello"))) for _ in range(2)]
        given_up: Any = provider.generate(order("hello"), FakeBench())
        assert await anext(given_up) == Progress(-1.0, "waiting until one of 1 generations is done")
        await asyncio.sleep(0.05)
        with pytest.raises(Exhausted, match="2 generations of smith are waiting") as caught:
            await collect(provider, order("hello"))
        assert caught.value.reason == "MEDIA_POOL_FULL"
        await given_up.aclose()
        gate.touch()
        assert [step async for step in first] == [TextDelta("done")]
        found = await asyncio.gather(*waiting)
        assert [pid_in(steps[1]) for steps in found] == [pid, pid]
        assert pids(provider) == [pid]


@pytest.mark.parametrize("spool", ["there", "full", "none"])
async def test_large_contents_go_through_the_spool_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spool: str
) -> None:
    heard: list[str] = []
    receive = process.ChildProcess._receive

    def noting(self: process.ChildProcess, told: dict[str, Any]) -> None:
        heard.append(told["t"])
        receive(self, told)

    monkeypatch.setattr(process.ChildProcess, "_receive", noting)
    if spool == "none":
        monkeypatch.setattr(Spool, "opened", classmethod(lambda cls: None))
    if spool == "full":
        monkeypatch.setattr(Spool, "write", lambda self, content: None)
    sources: tuple[bytes, ...] = (os.urandom(3 * PIECE + 5), b"", b"little", os.urandom(LARGE))
    async with smithy(tmp_path) as (_, provider):
        for _ in range(2):  # also in a process that has had other contents before
            heard.clear()
            steps = await collect(provider, order("large", sources))
            assert steps[1] == Preview("image/png", b"small")
            same = steps[2] == Artifact("image/png", b"".join(sources)[::-1], "back.png", {"seed": 7})
            assert same  # by itself: nobody wants to read how megabytes differ
            assert steps[3] == Artifact("image/png", b"p", "tiny.png")
            assert heard.count("piece") == {"there": 1, "full": 1, "none": 5}[spool]
            if spool == "there":
                sources = sources[2:]


def test_a_spool_without_room_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool.opened()
    assert spool is not None
    assert spool.begin([bytes(LARGE), b"small"]) == [(0, LARGE), None]
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
        assert spool.write(bytes(LARGE)) is None
    assert spool.write(b"x" * LARGE) == (LARGE, LARGE)
    assert spool.read(LARGE, LARGE) == b"x" * LARGE
    with pytest.raises(OSError, match="ends before its content"):
        spool.read(LARGE, LARGE + 1)
    spool.close()
    assert spool.write(bytes(LARGE)) is None
    with pytest.raises(OSError, match="ends before its content"):
        spool.read(0, 1)


async def test_what_kills_a_process_that_loads_is_kept_away_from_the_daemon(tmp_path: Path) -> None:
    async with smithy(tmp_path) as (_, provider):
        (tmp_path / "plugins" / "work.py.fatal").touch()
        with pytest.raises(ProviderError, match=r"ended while it loaded \(exit code 9\); nothing else") as caught:
            await collect(provider, order("hello"))
        assert (caught.value.retryable, caught.value.reason) == (False, "PLUGIN_CRASHED")
        (tmp_path / "plugins" / "work.py.fatal").unlink()
        assert (await collect(provider, order("hello")))[-1] == TextDelta("done")


async def test_where_no_process_can_be_had_the_daemon_does_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with smithy(tmp_path) as (_, provider):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", str(tmp_path / "no-python"))
            steps = await collect(provider, order("hello"))
        assert (pid_in(steps[0]), steps[-1]) == (os.getpid(), TextDelta("done"))
        assert pid_in((await collect(provider, order("hello")))[0]) != os.getpid()


async def test_a_file_that_changed_while_a_show_runs_is_not_loaded_by_a_process(tmp_path: Path) -> None:
    async with smithy(tmp_path) as (host, provider):
        host.may_reload = lambda: "a show runs"
        (tmp_path / "plugins" / "work.py").write_text(SOURCE.replace('"done"', '"changed"'))
        steps = await collect(provider, order("hello"))
        assert (pid_in(steps[0]), steps[-1]) == (os.getpid(), TextDelta("done"))


@pytest.mark.parametrize(
    ("prompt", "said", "reason"),
    [
        ("missing", "anvil is not installed: run pip install anvil", "PLUGIN_UNAVAILABLE"),
        ("bug", "KeyError: 'left'", "PROVIDER_FAILED"),
    ],
)
async def test_what_it_raises_comes_across_and_its_process_stays(
    tmp_path: Path, prompt: str, said: str, reason: str
) -> None:
    async with smithy(tmp_path) as (_, provider):
        with pytest.raises(ProviderError, match=said) as caught:
            await collect(provider, order(prompt))
        assert (caught.value.retryable, caught.value.reason) == (False, reason)
        assert len(pids(provider)) == 1


async def test_all_end_with_the_host(tmp_path: Path) -> None:
    async with smithy(tmp_path) as (_, provider):
        idle = pid_in((await collect(provider, order("hello")))[0])
        steps, pid = await begun(provider, "wait", gate=str(tmp_path / "never"))
        assert pid == idle
        other = pid_in((await collect(provider, order("hello")))[0])
        assert pids(provider) == sorted([pid, other])
    assert gone(pid)
    assert gone(other)
    with pytest.raises(ProviderError, match="its process ended"):
        await anext(steps)


async def test_one_that_still_loads_ends_with_the_host(tmp_path: Path) -> None:
    async with smithy(tmp_path) as (host, provider):
        (tmp_path / "plugins" / "work.py.slow").touch()
        task = asyncio.create_task(collect(provider, order("hello")))
        await until(lambda: pids(provider), "the process")
        (pid,) = pids(provider)
        await host.close()
        assert gone(pid)
        with pytest.raises(ProviderError, match="the plugin work was unloaded: try again"):
            await task


DAEMON = """
import asyncio, sys
from pathlib import Path
from lightfast.host.plugins import PluginHost
from lightfast.sdk import GenerationRequest


async def main():
    host = PluginHost({}, Path(sys.argv[1]), found=())
    await host.start()
    await host.settled()
    provider = host.providers()[0]
    told = asyncio.create_task(tell(provider))
    Path(sys.argv[1], sys.argv[2]).touch()
    async for step in provider.generate(GenerationRequest("any", "text", "busy", {}, 7, ()), None):
        Path(sys.argv[1], "work.py.loads").touch()


async def tell(provider):
    while not (pids := provider._workshop.pids):
        await asyncio.sleep(0.01)
    print("pid", *pids, flush=True)


asyncio.run(main())
"""


@pytest.mark.parametrize("slow", ["work.py.slow", "not"])
async def test_none_outlives_a_daemon_that_is_killed_while_it_loads_or_works(tmp_path: Path, slow: str) -> None:
    (tmp_path / "work.py").write_text(SOURCE)
    daemon = subprocess.Popen([sys.executable, "-c", DAEMON, str(tmp_path), slow], stdout=subprocess.PIPE, text=True)
    output = daemon.stdout
    assert output is not None
    try:
        told = await asyncio.to_thread(lambda: next(line for line in output if line.startswith("pid ")))
        pid = int(told.removeprefix("pid "))
        await until((tmp_path / "work.py.loads").exists, "the beginning")
        assert not gone(pid)
    finally:
        daemon.kill()
        daemon.wait(60)
        output.close()
    await until(lambda: gone(pid), "the end of the process")
