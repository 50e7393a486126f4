"""The MCP bridge against real servers of the official SDK, each in a process of its own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.desk import Desk, bounded, open_desk, until

from lightfast.core.errors import FailedPrecondition, LightfastError
from lightfast.engine.apps.bridges import BridgeRunner
from lightfast.engine.apps.records import AppState, Result
from lightfast.sdk import BridgeError
from lightfast_bridges.mcp.bridge import McpBridge
from lightfast_bridges.mcp.gathering import Gatherer
from lightfast_bridges.mcp.settings import settings_of
from lightfast_bridges.mcp.tools import to_value
from lightfast_link.value import Value

ROOT = Path(__file__).parents[2]
START_S = 100.0
"""The most seconds a server may take to start: the SDK alone takes a busy machine many to load."""


class NoPort:
    pass


@asynccontextmanager
async def joined(place: Path, **more: Any) -> AsyncIterator[Desk]:
    config = {
        "name": "test", "command": sys.executable, "arguments": ["-m", "tests.support.mcp_server", str(place)],
        "folder": str(ROOT), "environment": {"PYTHONPATH": str(ROOT)}, "patience": START_S, **more,
    }  # fmt: skip
    async with open_desk(place) as desk:
        runner = BridgeRunner(desk.registry, NoPort(), first_pause=0.05)  # type: ignore[arg-type]
        runner.add(McpBridge(), {name: each for name, each in config.items() if each is not None})
        try:
            yield desk
        finally:
            await bounded(runner.close())


def there(desk: Desk) -> bool:
    return any(app.mount == "/test" and app.state is AppState.LIVE for app in desk.registry.list())


async def call(desk: Desk, command: str, arguments: Mapping[str, Value] | None = None, timeout: float = 60) -> Any:
    async for step in await desk.registry.invoke("/test", command, arguments or {}, timeout):
        if isinstance(step, Result):
            return step.value
    raise AssertionError("no result")


def count(folder: Path, name: str) -> int:
    return len((folder / name).read_text()) if (folder / name).exists() else 0


@pytest.mark.limit(320)
async def test_tools_become_commands_with_their_schemas(tmp_path: Path) -> None:
    async with joined(tmp_path, trust_hints=True) as desk:
        await until(lambda: there(desk), desk.registry.list, START_S)
        commands = {command.name: command for command in desk.registry.commands("/test")}
        assert set(commands) == {"look", "add_note", "wipe_all", "fails", "picture", "dies", "hangs"}
        look = commands["look"]
        assert (look.effect, commands["add_note"].effect, commands["wipe_all"].effect) == (
            "read",
            "reversible",
            "destructive",
        )
        assert [(each.name, each.kind, each.required) for each in look.arguments] == [
            ("key", "string", True), ("seconds", "double", False),
        ]  # fmt: skip
        assert '"required":["key"]' in look.schema
        assert await call(desk, "look", {"key": "abc"}) == {"key": "abc", "length": 3}
        assert await call(desk, "wipe_all") == {"result": "wiped"}
        assert count(tmp_path, "wipe") == 1
        with pytest.raises(FailedPrecondition, match="the reason"):
            await call(desk, "fails", {"why": "the reason"})
        with pytest.raises(LightfastError, match="missing argument 'key'"):
            await call(desk, "look")


@pytest.mark.limit(320)
async def test_what_a_server_says_of_itself_is_not_believed_unasked(tmp_path: Path) -> None:
    async with joined(tmp_path, read=["add_note"]) as desk:
        await until(lambda: there(desk), desk.registry.list, START_S)
        effects = {command.name: command.effect for command in desk.registry.commands("/test")}
        assert effects.pop("add_note") == "read"
        assert set(effects.values()) == {"destructive"}


@pytest.mark.limit(320)
async def test_a_burst_goes_side_by_side_and_the_same_read_once(tmp_path: Path) -> None:
    async with joined(tmp_path, trust_hints=True) as desk:
        await until(lambda: there(desk), desk.registry.list, START_S)
        keys = ["a", "b", "c", "a", "b", "c", "a", "d", "d", "e"]
        answers = await bounded(asyncio.gather(*(call(desk, "look", {"key": key, "seconds": 0.3}) for key in keys)))
        assert [answer["key"] for answer in answers] == keys
        assert count(tmp_path, "look") == 5
        await bounded(asyncio.gather(*(call(desk, "add_note", {"text": "same"}) for _ in range(4))))
        assert count(tmp_path, "add_note") == 4


@pytest.mark.limit(320)
async def test_a_server_that_dies_is_contained_and_comes_back(tmp_path: Path) -> None:
    async with joined(tmp_path) as desk:
        await until(lambda: there(desk), desk.registry.list, START_S)
        with pytest.raises(LightfastError):
            await call(desk, "dies")
        await until(lambda: not there(desk), desk.registry.list)
        await until(lambda: there(desk), desk.registry.list, START_S)
        assert await call(desk, "look", {"key": "again"}) == {"key": "again", "length": 5}


@pytest.mark.limit(320)
async def test_a_server_that_hangs_is_given_up_and_started_anew(tmp_path: Path) -> None:
    async with joined(tmp_path, patience=15.0) as desk:
        await until(lambda: there(desk), desk.registry.list, START_S)
        with pytest.raises(LightfastError, match=r"did not (answer|finish)"):
            await call(desk, "hangs", timeout=1.0)
        await until(lambda: not there(desk), desk.registry.list, START_S)
        await until(lambda: there(desk), desk.registry.list, START_S)


@pytest.mark.limit(320)
async def test_over_http(tmp_path: Path) -> None:
    port_file = tmp_path / "port"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.mcp_server", str(tmp_path), "--http", str(port_file)], cwd=ROOT
    )
    try:
        await until(lambda: port_file.exists() and port_file.read_text(), seconds=START_S)
        url = f"http://127.0.0.1:{port_file.read_text()}/mcp"
        async with joined(tmp_path, command=None, arguments=None, folder=None, environment=None, url=url) as desk:
            await until(lambda: there(desk), desk.registry.list, START_S)
            assert await call(desk, "look", {"key": "x"}) == {"key": "x", "length": 1}
            process.kill()
            process.wait(60)
            with pytest.raises(LightfastError):
                await call(desk, "look", {"key": "y"})
            await until(lambda: not there(desk), desk.registry.list, START_S)
    finally:
        process.kill()
        process.wait(60)


@pytest.mark.limit(320)
async def test_a_program_that_is_none_is_named(tmp_path: Path) -> None:
    async with joined(tmp_path, command="no-such-program-at-all") as desk:
        await until(
            lambda: any("no-such-program-at-all" in app.state_reason for app in desk.registry.list()),
            desk.registry.list,
        )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"command": "x"}, "name is missing"),
        ({"name": "a", "command": "x", "url": "http://127.0.0.1/"}, "two servers"),
        ({"name": "a", "url": "ftp://x"}, "write it like"),
        ({"name": "a", "url": "http://me:secret@127.0.0.1/"}, "holds a name or a password"),
        ({"name": "a", "command": "x", "arguments": "--all"}, "list of texts"),
        ({"name": "a", "command": "x", "environment": {"A": 1}}, "table of texts"),
        ({"name": "a", "comand": "x"}, "did you mean 'command'"),
        ({"name": "a", "command": "x", "gather": 0}, "from 1 to 100"),
    ],
)
def test_what_is_wrong_in_the_settings_is_named(config: dict[str, Any], message: str) -> None:
    with pytest.raises(BridgeError, match=message):
        settings_of(config)


async def test_gathering_waits_for_ten_or_a_while_and_never_reads_what_is_old() -> None:
    sent: list[str] = []
    gate = asyncio.Event()

    async def send(tool: str, arguments: Mapping[str, Any], timeout: float) -> Any:
        sent.append(tool)
        await gate.wait()
        return f"{tool} {len(sent)}"

    async with asyncio.TaskGroup() as tasks:
        gatherer = Gatherer(send, tasks.create_task, most=10, window=3600.0)
        waiting = [tasks.create_task(gatherer.ask(f"r{number % 5}", {}, 5, read=True)) for number in range(10)]
        await asyncio.sleep(0.01)
        assert sent == []  # five of them are different, and the while is long
        waiting += [tasks.create_task(gatherer.ask(f"w{number}", {}, 5, read=False)) for number in range(5)]
        await until(lambda: len(sent) >= 10, lambda: sent)
        assert sorted(sent) == ["r0", "r1", "r2", "r3", "r4", "w0", "w1", "w2", "w3", "w4"]
        late = tasks.create_task(gatherer.ask("r0", {}, 5, read=True))  # a write came in between
        await asyncio.sleep(0)
        gatherer.flush()
        await until(lambda: sent.count("r0") == 2, lambda: sent)
        gate.set()
        await asyncio.wait([*waiting, late], timeout=60)
    assert gatherer.counts.asked == 16
    assert gatherer.counts.sent == 11
    assert gatherer.counts.merged == 5
    quick = Gatherer(send, asyncio.get_running_loop().create_task, window=0.01)
    assert await bounded(quick.ask("alone", {}, 5, read=False))


async def test_answers_are_kept_as_long_as_is_said_and_never_past_a_change() -> None:
    sent: list[str] = []

    async def send(tool: str, arguments: Mapping[str, Any], timeout: float) -> Any:
        sent.append(tool)
        return len(sent)

    async with asyncio.TaskGroup() as tasks:
        gatherer = Gatherer(send, tasks.create_task, window=0.001, lifetimes={"slow": 3600.0, "never": 0.0})

        async def ask(tool: str, *, read: bool = True) -> Any:
            return await bounded(gatherer.ask(tool, {"a": 1}, 5, read=read))

        assert [await ask("slow"), await ask("slow"), await ask("never"), await ask("never")] == [1, 1, 2, 3]
        await ask("write", read=False)
        assert await ask("slow") == 5
        assert gatherer.counts.hits == 1
        # A read that was under way while something was changed is not kept: it may be from before.
        gate = asyncio.Event()

        async def slow(tool: str, arguments: Mapping[str, Any], timeout: float) -> Any:
            sent.append(tool)
            if tool == "slow":
                await gate.wait()
            return len(sent)

        late = Gatherer(slow, tasks.create_task, window=0.001, lifetimes={"*": 3600.0})
        reading = tasks.create_task(late.ask("slow", {}, 5, read=True))
        asked = len(sent)
        await until(lambda: len(sent) > asked, lambda: sent)
        await late.ask("write", {}, 5, read=False)
        gate.set()
        await reading
        before = len(sent)
        await late.ask("slow", {}, 5, read=True)
        assert len(sent) == before + 1


def test_values_of_json() -> None:
    assert to_value({"a": [1, None, 2**70, {"b": None, "c": True}]}) == {"a": [1, float(2**70), {"c": True}]}
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    with pytest.raises(BridgeError, match="deeper"):
        to_value(deep)
