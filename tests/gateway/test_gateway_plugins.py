"""The gateway behind the plugin host: a provider is replaced while it works, one is missing, one dies."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support.gateway import house
from tests.support.plugins import record_of, until

from lightfast.core.errors import FailedPrecondition, Unavailable
from lightfast.gateway.calls import GenerateCall, StepProgress
from lightfast.gateway.operations import OperationState
from lightfast.gateway.rooms import Patience
from lightfast.gateway.router import Gateway
from lightfast.host.plugins import PluginHost
from lightfast.host.records import PluginState
from lightfast.sdk import Bridge, Embedder, JobType, Model, Operation, Provider, TextDelta

SOURCE = """
import asyncio, os
from lightfast.sdk import Model, Progress, Provider, TextDelta, hookimpl


class Slow(Provider):
    name = "slow"
    description = "waits for a file"

    def models(self):
        return [Model("one", outputs=("text",))]

    async def generate(self, request, bench):
        yield Progress(0.5, f"pid {os.getpid()}")
        while not os.path.exists(request.prompt):
            await asyncio.sleep(0.01)
        yield TextDelta("VERSION")


@hookimpl
def lightfast_providers(config):
    return [Slow()]
"""


class Sink:
    """Hands providers to the gateway, as the daemon does."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    def provider_added(self, plugin: str, provider: Provider, models: Sequence[Model]) -> None:
        self.gateway.register(provider, plugin, models)

    def provider_removed(self, plugin: str, provider: Provider) -> None:
        self.gateway.unregister(provider)

    def bridge_added(self, plugin: str, bridge: Bridge, config: Mapping[str, Any]) -> None:
        raise AssertionError("no bridge here")

    def bridge_removed(self, plugin: str, bridge: Bridge) -> None:
        raise AssertionError("no bridge here")

    def embedder_added(self, plugin: str, embedder: Embedder) -> None:
        raise AssertionError("no embedder here")

    def embedder_removed(self, plugin: str, embedder: Embedder) -> None:
        raise AssertionError("no embedder here")

    def operation_added(self, plugin: str, operation: Operation) -> None:
        pass

    def operation_removed(self, plugin: str, operation: Operation) -> None:
        pass

    def job_type_added(self, plugin: str, job_type: JobType) -> None:
        pass

    def job_type_removed(self, plugin: str, job_type: JobType) -> None:
        pass


async def text_of(gateway: Gateway, prompt: str) -> str:
    call = GenerateCall("slow/one", prompt=prompt)
    return "".join([step.kind.text async for step in gateway.generate(call, "c") if isinstance(step.kind, TextDelta)])


async def test_what_runs_ends_on_the_old_version_and_what_comes_takes_the_new(tmp_path: Path) -> None:
    folder, gate = tmp_path / "plugins", tmp_path / "gate"
    folder.mkdir()
    path = folder / "slow.py"
    path.write_text(SOURCE.replace("VERSION", "old"))
    async with house(tmp_path) as rooms:
        host = PluginHost({}, folder, sink=Sink(rooms.gateway), found=(), debounce=0.05)
        await host.start()
        await host.settled()
        steps = rooms.gateway.generate(GenerateCall("slow/one", prompt=str(gate)), "c")
        await anext(steps)
        draft = folder / "slow.draft"
        draft.write_text(SOURCE.replace("VERSION", "new"))
        draft.replace(path)
        await until(lambda: record_of(host, "slow").generation == 2, "the new version")
        gate.touch()
        assert "".join([step.kind.text async for step in steps if isinstance(step.kind, TextDelta)]) == "old"
        assert await text_of(rooms.gateway, str(gate)) == "new"
        await host.close()
        assert [record.name for record in rooms.gateway.providers()] == ["puppet"]


async def test_an_isolated_child_killed_at_work_fails_the_operation_as_retryable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightfast.host.isolated.BACKOFF", (4.0, 4.0))  # time to look at what is down
    folder, gate = tmp_path / "plugins", tmp_path / "gate"
    folder.mkdir()
    (folder / "slow.py").write_text(SOURCE)
    async with house(tmp_path) as rooms:
        host = PluginHost({"slow": {"isolated": True}}, folder, sink=Sink(rooms.gateway), found=())
        await host.start()
        await host.settled()
        rooms.gateway.patience = Patience(again=0)
        steps = rooms.gateway.generate(GenerateCall("slow/one", prompt=str(gate)), "c")
        pid = 0
        operation_id = ""
        while not pid:
            step = await anext(steps)
            operation_id = step.operation_id
            if isinstance(step.kind, StepProgress) and step.kind.message.startswith("pid"):
                pid = int(step.kind.message.removeprefix("pid "))
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(Unavailable, match=r"slow/one failed: its process ended \(signal 9\)") as caught:
            await anext(steps)
        assert caught.value.reason == "PLUGIN_CRASHED"
        assert (await rooms.gateway.operation(operation_id)).state is OperationState.FAILED
        slow = next(record for record in rooms.gateway.providers() if record.name == "slow")
        assert not slow.available
        assert "restarted" in slow.reason
        await until(lambda: record_of(host, "slow").state is PluginState.READY, "the new child")
        gate.touch()
        assert await text_of(rooms.gateway, str(gate)) == "VERSION"
        await host.close()


async def test_a_heavy_generation_whose_process_is_killed_fails_once_and_harms_nothing_else(tmp_path: Path) -> None:
    folder, gate, others = tmp_path / "plugins", tmp_path / "gate", tmp_path / "others"
    folder.mkdir()
    (folder / "slow.py").write_text(SOURCE.replace('"slow"', '"slow"\n    heavy = True'))
    async with house(tmp_path) as rooms:
        host = PluginHost({}, folder, sink=Sink(rooms.gateway), found=())
        await host.start()
        await host.settled()
        rooms.gateway.patience = Patience(again=3_000, first=0.1, longest=0.1)
        pids: list[int] = []

        async def run(gate: Path) -> str:
            text = ""
            async for step in rooms.gateway.generate(GenerateCall("slow/one", prompt=str(gate)), "c"):
                if isinstance(step.kind, StepProgress) and step.kind.message.startswith("pid"):
                    pids.append(int(step.kind.message.removeprefix("pid ")))
                elif isinstance(step.kind, TextDelta):
                    text += step.kind.text
            return text

        other = asyncio.create_task(run(others))
        await until(lambda: len(pids) == 1, "the other one")
        doomed = asyncio.create_task(run(gate))
        await until(lambda: len(pids) == 2, "the one that is killed")
        os.kill(pids[1], signal.SIGKILL)
        with pytest.raises(FailedPrecondition, match=r"slow/one failed: its process ended \(signal 9\)") as caught:
            await doomed
        assert caught.value.reason == "PLUGIN_CRASHED"
        assert next(record for record in rooms.gateway.providers() if record.name == "slow").available
        gate.touch()
        assert await run(gate) == "VERSION"
        others.touch()
        assert await other == "VERSION"
        assert len(set(pids)) == len(pids) == 3  # it was not tried again by itself
        await host.close()


async def test_a_child_that_is_killed_is_asked_again_when_it_is_back(tmp_path: Path) -> None:
    folder, gate = tmp_path / "plugins", tmp_path / "gate"
    folder.mkdir()
    (folder / "slow.py").write_text(SOURCE)
    async with house(tmp_path) as rooms:
        host = PluginHost({"slow": {"isolated": True}}, folder, sink=Sink(rooms.gateway), found=())
        await host.start()
        await host.settled()
        rooms.gateway.patience = Patience(again=3_000, first=0.1, longest=0.1)
        pids: list[int] = []
        text = ""
        async for step in rooms.gateway.generate(GenerateCall("slow/one", prompt=str(gate)), "c"):
            if isinstance(step.kind, StepProgress) and step.kind.message.startswith("pid"):
                pids.append(int(step.kind.message.removeprefix("pid ")))
                if len(pids) == 1:
                    os.kill(pids[0], signal.SIGKILL)
                else:
                    gate.touch()
            elif isinstance(step.kind, TextDelta):
                text += step.kind.text
        assert text == "VERSION"
        assert len(set(pids)) == 2
        await host.close()


async def test_a_provider_whose_plugin_misses_something_is_listed_with_the_reason(tmp_path: Path) -> None:
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "grand.py").write_text("import not_there_at_all\n" + SOURCE)
    async with house(tmp_path) as rooms:
        host = PluginHost({}, folder, sink=Sink(rooms.gateway), found=())
        rooms.gateway.plugins = host.records
        await host.start()
        await host.settled()
        grand = next(record for record in rooms.gateway.providers() if record.name == "grand")
        assert not grand.available
        assert "pip install not_there_at_all" in grand.reason
        await host.close()
