"""`lightfast mcp` on a real daemon, used by the client of the official SDK: over standard input and output, and HTTP."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import httpx2
import mcp
import mcp.client.stdio
import pytest
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from tests.support.alarm import bounded
from tests.support.daemon import Daemon
from tests.support.waiting import heard, until

from lightfast.client import Client

TOOLS = {
    "context_get", "context_set", "context_delete", "apps", "plan", "dry_run", "run", "run_status", "generate",
    "remember", "recall",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the official client wait for the end of ours: who is killed leaves its token until that ends by itself."""
    monkeypatch.setattr(mcp.client.stdio, "PROCESS_TERMINATION_TIMEOUT", 60.0)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Any:
    home = tmp_path_factory.mktemp("mcp")
    running = Daemon(home)
    running.start()
    try:
        with Client(home=home) as client:
            until(lambda: "/ableton" in [app.mount for app in client.list_apps()], "the bridges")
        yield running
    finally:
        if running.process is not None and running.process.poll() is None:
            running.kill()


@asynccontextmanager
async def stdio(daemon: Daemon) -> AsyncIterator[mcp.Client]:
    parameters = StdioServerParameters(
        command=sys.executable, args=["-m", "lightfast", "--home", str(daemon.home), "mcp"]
    )
    async with mcp.Client(parameters, read_timeout_seconds=60) as client:
        yield client


async def use(client: mcp.Client, tool: str, **arguments: Any) -> Any:
    result = await client.call_tool(tool, arguments)
    text = result.content[0].text  # type: ignore[union-attr]
    if result.is_error:
        raise AssertionError(text)
    return json.loads(text)


async def refused(client: mcp.Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    assert result.is_error, result
    return str(result.content[0].text)  # type: ignore[union-attr]


async def test_the_tools_are_few_and_described(daemon: Daemon) -> None:
    async with stdio(daemon) as client:
        tools = (await client.list_tools()).tools
        assert {tool.name for tool in tools} == TOOLS
        assert all(tool.description and tool.input_schema["type"] == "object" for tool in tools)
        assert len(json.dumps([tool.model_dump() for tool in tools], default=str)) < 20_000
        assert "approve" in str(client.instructions)


async def test_the_context_and_the_memory(daemon: Daemon) -> None:
    async with stdio(daemon) as client:
        done = await use(client, "context_set", values={"/mcp/x": 1.5, "/mcp/at": [1, 2, 3], "/mcp/deep": {"a": ["b"]}})
        assert done["paths"] == ["/mcp/x", "/mcp/at", "/mcp/deep"]
        found = await use(client, "context_get", pattern="/mcp//")
        assert {entry["path"]: entry["value"] for entry in found["entries"]} == {
            "/mcp/x": 1.5, "/mcp/at": [1.0, 2.0, 3.0], "/mcp/deep": {"a": ["b"]},
        }  # fmt: skip
        await use(client, "context_delete", path="/mcp/x")
        assert "/mcp/x" not in str(await use(client, "context_get", pattern="/mcp//"))
        assert "NOT_FOUND" in await refused(client, "context_delete", path="/mcp/none")
        assert "null" in await refused(client, "context_set", values={"/mcp/x": None})
        assert "begin with" in await refused(client, "context_set", values={"no path": 1})
        await use(client, "remember", text="the client likes blue", key="colour")
        assert (await use(client, "recall", query="blue"))["memories"][0]["text"] == "the client likes blue"
        assert {app["mount"] for app in (await use(client, "apps"))["apps"]} >= {"/ableton"}
    with Client(home=daemon.home) as owner:
        assert owner.get("/mcp/at").origin.startswith("client:mcp")
        assert "mcp" not in json.dumps(owner.call_json("AdminService.ListTokens", {}))  # it was revoked at the end


async def test_a_plan_is_shown_then_run_and_nothing_is_approved(daemon: Daemon) -> None:
    program = "instructions:\n- {id: a, op: context.set, arguments: {path: /mcp/ran, value: 7}}\n"
    async with stdio(daemon) as client:
        checked = await use(client, "dry_run", program=program)
        assert checked["problems"] == []
        assert not checked["needs_approval"]
        assert [(change["path"], change["after"]) for change in checked["changes"]] == [("/mcp/ran", 7)]
        run = await use(client, "run", program=program, digest=checked["digest"])
        assert run["state"] == "SUCCEEDED", run
        assert (await use(client, "context_get", pattern="/mcp/ran"))["entries"][0]["value"] == 7
        assert "DIGEST" in await refused(client, "run", program=program, digest="0" * 64)
        wrong = await use(client, "dry_run", program="instructions:\n- {id: a, op: context.sett, arguments: {}}\n")
        assert "context.set" in wrong["problems"][0]
        assert "RUN_UNKNOWN" in await refused(client, "run_status", run_id="run-none")


async def test_a_picture_is_made_and_sent_along(daemon: Daemon) -> None:
    async with stdio(daemon) as client:
        result = await client.call_tool(
            "generate", {"kind": "image", "prompt": "a red circle", "settings": {"width": 64, "height": 64}}
        )
        assert not result.is_error, result
        assert [block.type for block in result.content] == ["text", "image"]
        assert "kind is 'smell'" in await refused(client, "generate", kind="smell", prompt="x")


async def test_over_http_with_a_token_of_the_daemon(daemon: Daemon) -> None:
    with Client(home=daemon.home) as owner:
        issued = owner.call_json("AdminService.IssueToken", {"name": "editor", "scopes": ["watch", "operate"]})
        blind = owner.call_json("AdminService.IssueToken", {"name": "reader", "scopes": ["watch"]})
    command = [sys.executable, "-u", "-m", "lightfast", "--home", str(daemon.home), "mcp", "--http", "127.0.0.1:0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        told = await asyncio.to_thread(heard, process, process.stdout, "http://", 50.0)
        url = re.search(r"http://\S+", told)[0]  # type: ignore[index]
        assert httpx.post(url, json={}, timeout=60).status_code == 401
        assert httpx.post(url, json={}, headers={"authorization": "Bearer lf_wrong"}, timeout=60).status_code == 401
        headers = {"authorization": f"Bearer {issued['secret']}"}
        assert httpx.post(url, json={}, headers=headers | {"host": "evil.example"}, timeout=60).status_code >= 400
        for secret, may in ((issued["secret"], True), (blind["secret"], False)):
            async with (
                httpx2.AsyncClient(headers={"authorization": f"Bearer {secret}"}, timeout=60) as http,
                mcp.Client(streamable_http_client(url, http_client=http)) as client,
            ):
                if may:
                    await use(client, "context_set", values={"/mcp/http": 1})
                else:
                    assert "SCOPE_MISSING" in await refused(client, "context_set", values={"/mcp/http": 2})
    finally:
        process.terminate()
        try:
            process.wait(60)
        finally:
            process.kill()
            process.stdout.close()  # type: ignore[union-attr]
    with Client(home=daemon.home) as owner:
        assert owner.get("/mcp/http").origin.startswith("client:editor")


@pytest.mark.parametrize("moment", ["at once", "announced", "serving"])
def test_ctrl_c_over_http_ends_it_without_a_traceback(daemon: Daemon, moment: str) -> None:
    """Also while it is still being loaded, or has just said where it listens."""
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # whatever whoever runs the tests has set
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if {moment!r} == 'at once' and name == 'lightfast.app.cli.root':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from lightfast.app.cli.main import main\n"
        "main()\n"
    )
    command = [sys.executable, "-u", "-c", code, "--home", str(daemon.home), "mcp", "--http", "127.0.0.1:0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        if moment != "at once":
            with bounded(60, "its first words"):
                told = process.stdout.readline()
            if moment == "serving":
                url = re.search(r"http://\S+", told)[0]  # type: ignore[index]
                assert httpx.post(url, json={}, timeout=60).status_code == 401
            process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=150)
    finally:
        process.kill()
    assert (process.returncode, said) == (130, "")


def test_off_loopback_is_refused(daemon: Daemon) -> None:
    command = [sys.executable, "-m", "lightfast", "--home", str(daemon.home), "mcp", "--http", "0.0.0.0:0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 2
    assert "other machines" in done.stderr


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
async def test_two_are_served_at_once_and_a_signal_revokes_the_token(daemon: Daemon, name: str) -> None:
    command = [sys.executable, "-m", "lightfast", "--home", str(daemon.home), "mcp"]
    async with stdio(daemon) as other:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            asked = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
            process.stdin.write(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": asked}) + "\n")
            process.stdin.flush()
            await asyncio.to_thread(heard, process, process.stdout, '"result"', 50.0)
            process.send_signal(getattr(signal, name))  # its standard input stays open
            assert await asyncio.to_thread(process.wait, 60) == 128 + getattr(signal, name)
        finally:
            process.kill()
            process.communicate(timeout=150)
        assert await use(other, "apps")
    with Client(home=daemon.home) as owner:
        assert "mcp" not in json.dumps(owner.call_json("AdminService.ListTokens", {}))


async def test_an_answer_is_never_larger_than_a_window(daemon: Daemon) -> None:
    with Client(home=daemon.home) as owner:
        owner.set("/large/text", "x" * 200_000)
        owner.set("/large/list", [{"name": "y" * 1000}] * 100)
        for number in range(10):
            owner.set(f"/many/{number}", "z" * 19_000)
    async with stdio(daemon) as client:
        found = await use(client, "context_get", pattern="/large//")
        assert all(isinstance(each["value"], str) and len(each["value"]) < 21_000 for each in found["entries"])
        assert all("characters more" in each["value"] for each in found["entries"])
        many = await use(client, "context_get", pattern="/many//")
        assert len(many["entries"]) == 5
        assert many["more"]
