"""Isolated plugins: the provider works in a child process, whose end harms nobody else."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.support.plugins import NotingSink, record_of, until

from lightfast.host.plugins import PluginHost
from lightfast.host.records import PluginState
from lightfast.sdk import Artifact, GenerationRequest, Preview, Progress, Provider, ProviderError, TextDelta, Usage

SOURCE = """
import asyncio, gc, os, subprocess, sys, time
from lightfast.sdk import Artifact, Model, Preview, Progress, Provider, ProviderError, TextDelta, Usage, hookimpl

print("printing does no harm")


class Worker(Provider):
    name = "worker"
    description = "works elsewhere"

    def models(self):
        return [Model("any", outputs=("text", "image"), settings={"properties": {"size": {"type": "integer"}}})]

    async def generate(self, request, bench):
        yield Progress(0.1, f"pid {os.getpid()}")
        if request.prompt == "everything":
            yield TextDelta("häl")
            yield Preview("image/png", b"small")
            yield Usage(1, 2, 0.5)
            big = await bench.run(lambda: bytes(range(256)) * 10000)
            yield Artifact("image/png", big + b"".join(request.sources), "big.png", {"v": list(request.settings["v"])})
        elif request.prompt == "wait":
            try:
                await asyncio.Event().wait()
            finally:
                with open(request.settings["mark"], "w") as mark:
                    mark.write("cancelled")
        elif request.prompt == "stubborn":
            while True:
                time.sleep(1)
        elif request.prompt == "exit":
            sys.exit(4)
        elif request.prompt == "die":
            os._exit(5)
        elif request.prompt == "fail":
            raise ProviderError("no luck", retryable=True, reason="LUCK")
        elif request.prompt == "greedy":
            child = next(each for each in gc.get_objects() if type(each).__name__ == "Child")
            for _ in range(100):
                child._send(t="step", id=max(child._running), step={"kind": "TextDelta", "text": "more"})
        elif request.prompt == "flood":
            yield Artifact("image/png", bytes(100 << 20), "huge.png")
        elif request.prompt == "offspring":
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"], start_new_session=True)
        elif request.prompt == "many":
            for index in range(1000):
                yield TextDelta(str(index) + " ")
        yield TextDelta("done")


@hookimpl
def lightfast_providers(config):
    return [Worker()]
"""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No child is given up because the machine is slow."""
    monkeypatch.setattr("lightfast.host.process.LOAD_TIMEOUT", 120.0)
    monkeypatch.setattr("lightfast.host.process.CANCEL_TIMEOUT", 60.0)


def request(prompt: str, sources: tuple[bytes, ...] = (), **settings: Any) -> GenerationRequest:
    return GenerationRequest("any", "text", prompt, settings, 7, sources)


async def started(tmp_path: Path, source: str = SOURCE) -> tuple[PluginHost, Provider]:
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "work.py").write_text(source)
    sink = NotingSink()
    host = PluginHost({"work": {"isolated": True}}, folder, found=())
    await host.start()
    await host.settled()
    record = record_of(host, "work")
    assert (record.state, record.isolated, record.brings) == (PluginState.READY, True, ("provider:worker",)), record
    del sink
    return host, host.providers()[0]


async def collect(provider: Provider, order: GenerationRequest) -> list[Any]:
    return [step async for step in provider.generate(order, None)]  # type: ignore[arg-type]


async def child_of(provider: Provider) -> int:
    steps = await collect(provider, request("hello"))
    return int(steps[0].message.removeprefix("pid "))


async def test_all_steps_come_across(tmp_path: Path) -> None:
    host, provider = await started(tmp_path)
    assert provider.description == "works elsewhere"
    assert provider.models()[0].settings == {"properties": {"size": {"type": "integer"}}}
    source = b"s" * 3_000_000
    steps = await collect(provider, request("everything", (source, b""), v=(1.0, 2.0)))
    assert int(steps[0].message.removeprefix("pid ")) != os.getpid()
    assert isinstance(steps[0], Progress)
    assert steps[1:4] == [TextDelta("häl"), Preview("image/png", b"small"), Usage(1, 2, 0.5)]
    assert steps[4] == Artifact("image/png", bytes(range(256)) * 10000 + source, "big.png", {"v": [1.0, 2.0]})
    assert steps[5] == TextDelta("done")
    await host.close()


async def test_a_slow_reader_holds_the_child_back_and_loses_nothing(tmp_path: Path) -> None:
    host, provider = await started(tmp_path)
    text = ""
    async for step in provider.generate(request("many"), None):  # type: ignore[arg-type]
        if isinstance(step, TextDelta):
            await asyncio.sleep(0)
            text += step.text
    assert text == "".join(f"{index} " for index in range(1000)) + "done"
    await host.close()


async def test_cancellation_reaches_the_child(tmp_path: Path) -> None:
    host, provider = await started(tmp_path)
    mark = tmp_path / "mark"
    steps = provider.generate(request("wait", mark=str(mark)), None)  # type: ignore[arg-type]
    await anext(steps)
    await steps.aclose()  # type: ignore[attr-defined]
    await until(lambda: mark.exists() and mark.read_text() == "cancelled", "the cancellation in the child")
    await host.close()


@pytest.mark.parametrize("prompt", ["fail", "exit"])
async def test_a_failure_comes_across(tmp_path: Path, prompt: str) -> None:
    host, provider = await started(tmp_path)
    with pytest.raises(ProviderError, match="no luck" if prompt == "fail" else r"sys\.exit\(4\)") as caught:
        await collect(provider, request(prompt))
    assert (caught.value.retryable, caught.value.reason) == (
        (True, "LUCK") if prompt == "fail" else (False, "PROVIDER_FAILED")
    )
    assert (await collect(provider, request("hello")))[-1] == TextDelta("done")
    await host.close()


async def test_a_killed_child_fails_what_runs_and_is_started_anew(tmp_path: Path) -> None:
    host, provider = await started(tmp_path)
    mark = tmp_path / "mark"
    steps = provider.generate(request("wait", mark=str(mark)), None)  # type: ignore[arg-type]
    first = await anext(steps)
    pid = int(first.message.removeprefix("pid "))  # type: ignore[union-attr]
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ProviderError, match=r"its process ended \(signal 9\)") as caught:
        await anext(steps)
    assert (caught.value.retryable, caught.value.reason) == (True, "PLUGIN_CRASHED")
    await until(lambda: record_of(host, "work").state is PluginState.FAILED, "the trouble in the record")
    assert "it is restarted in 0.5 s" in record_of(host, "work").reason
    with pytest.raises(ProviderError, match="restarted"):
        await collect(provider, request("hello"))
    await until(lambda: record_of(host, "work").state is PluginState.READY, "the new child")
    assert await child_of(provider) != pid
    await host.close()


async def test_a_child_that_ends_itself(tmp_path: Path) -> None:
    host, provider = await started(tmp_path)
    with pytest.raises(ProviderError, match=r"its process ended \(exit code 5\)"):
        await collect(provider, request("die"))
    await host.close()


async def test_a_child_that_does_not_obey_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightfast.host.process.CANCEL_TIMEOUT", 0.3)
    host, provider = await started(tmp_path)
    steps = provider.generate(request("stubborn"), None)  # type: ignore[arg-type]
    await anext(steps)
    await steps.aclose()  # type: ignore[attr-defined]
    await until(lambda: "did not give up" in record_of(host, "work").reason, "the end of the stubborn child")
    await until(lambda: record_of(host, "work").state is PluginState.READY, "the new child")
    assert (await collect(provider, request("hello")))[-1] == TextDelta("done")
    await host.close()


async def test_the_child_ends_with_the_host(tmp_path: Path) -> None:
    host, provider = await started(tmp_path)
    pid = await child_of(provider)
    await host.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_child_that_sends_more_than_it_may_ends_for_all_who_wait(tmp_path: Path) -> None:
    host, provider = await started(tmp_path)
    other = provider.generate(request("wait", mark=str(tmp_path / "mark")), None)  # type: ignore[arg-type]
    await anext(other)
    greedy = provider.generate(request("greedy"), None)  # type: ignore[arg-type]
    await anext(greedy)

    async def ended(steps: Any) -> None:
        async for _ in steps:
            pass

    async with asyncio.timeout(60):
        for steps in (other, greedy):
            with pytest.raises(ProviderError, match="it sent more than the 16 steps it has credit for"):
                await ended(steps)
    await host.close()


@pytest.mark.parametrize("prompt", ["flood", "offspring"])
async def test_the_end_of_a_child_is_not_waited_for_longer_than_it_takes(tmp_path: Path, prompt: str) -> None:
    """Its pipes may stay open: nobody reads what it was sending, or a program it has started holds them."""
    host, provider = await started(tmp_path)
    steps = provider.generate(request(prompt), None)  # type: ignore[arg-type]
    pid = int((await anext(steps)).message.removeprefix("pid "))  # type: ignore[union-attr]
    if prompt == "offspring":
        assert await anext(steps) == TextDelta("done")
    async with asyncio.timeout(60):
        await host.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(
    ("source", "state", "reason"),
    [
        ("import not_there_at_all", PluginState.UNAVAILABLE, "run pip install not_there_at_all"),
        ("1 / 0", PluginState.FAILED, "ZeroDivisionError"),
        ("import os; os._exit(9)", PluginState.FAILED, "its process ended while it loaded (exit code 9)"),
        (
            "from lightfast.sdk import hookimpl\n@hookimpl\ndef lightfast_packs(): return []",
            PluginState.FAILED,
            "only providers run",
        ),
    ],
)
async def test_a_child_that_cannot_load(tmp_path: Path, source: str, state: PluginState, reason: str) -> None:
    (tmp_path / "work.py").write_text(source)
    host = PluginHost({"work": {"isolated": True}}, tmp_path, found=())
    await host.start()
    await host.settled()
    record = record_of(host, "work")
    assert (record.state, record.isolated) == (state, True)
    assert reason in record.reason
    await host.close()
