"""The leash on a real daemon: nothing asks for nothing, a panic and a lock hold runs, secrets show nowhere."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.daemon import Daemon, daemon
from tests.support.files import holding
from tests.support.mistakes import run
from tests.support.waiting import until

from lightfast.api.v1 import engine_pb2 as pb
from lightfast.client import Client
from lightfast.core.errors import FailedPrecondition, NotFound

SECRETS = ("lf_" + "planted0SECRET" * 2, "sk-" + "planted0SECRET" * 2)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with daemon(tmp_path_factory.mktemp("leash") / "home") as found:
        yield found


def said(house: Daemon, *arguments: str | Path, code: int = 0) -> str:
    """Run a command, and return all it printed."""
    done = run("--home", house.home, *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_from_the_first_moment_on_a_picture_of_the_house_asks_nobody(house: Daemon) -> None:
    """The first in this module: the daemon has just started, and has asked no provider anything yet."""
    told = said(house, "do", "make an image of a sunset and put it at /show/poster")
    assert "succeeded" in told
    assert "approv" not in told
    assert "asset:" in said(house, "get", "/show/poster")
    with Client(home=house.home) as client:
        plans = [
            each.plan for each in client.run("s1 = generate.image 'a storm' path=/show/storm") if each.HasField("plan")
        ]
        assert not plans[0].needs_approval
        *_, last = client.run("s1 = generate.image 'a storm' path=/show/other")
        assert last.event.run.state == pb.RUN_STATE_SUCCEEDED


def there(client: Client, path: str) -> bool:
    """Say whether there is an entry."""
    try:
        return client.get(path) is not None
    except NotFound:
        return False


def start(client: Client, program: str) -> str:
    """Start a run, and return its identity without waiting for its end."""
    for message in client.run(program):
        if message.HasField("event"):
            return message.event.run.run_id or message.event.step.step_id
    raise AssertionError("there was no run")


def test_in_a_panic_no_run_acts_and_none_begins(house: Daemon) -> None:
    with Client(home=house.home) as client:
        identity = start(client, "s1 = wait.seconds 600\ns2 = context.set /panic/a 1 after=s1\n")
        waiting = start(client, "s1 = wait.pattern /panic/go\ns2 = context.set /panic/b 1 after=s1\n")
        client.panic("smoke")
        try:
            for one in (identity, waiting):
                until(lambda one=one: client.get_run(one).state == pb.RUN_STATE_PAUSED, "the pause")  # type: ignore[misc]
                assert "lightfast runs resume" in client.get_run(one).reason
                with pytest.raises(FailedPrecondition) as refused:
                    client.resume(one)
                assert refused.value.reason == "PANIC"
            with pytest.raises(FailedPrecondition) as refused:
                start(client, "s1 = context.set /panic/c 1\n")
            assert refused.value.reason == "PANIC"
            for words in ("s1 = context.get /panic/a", "s1 = generate.image 'a cat'"):
                with pytest.raises(FailedPrecondition) as refused:
                    start(client, words)
                assert refused.value.reason == "PANIC"
            assert "is refused" in said(house, "do", "set /panic/d to 1", code=1)
            client.set("/panic/go", 1)
            assert not [path for path in ("a", "b", "c", "d") if there(client, f"/panic/{path}")]
        finally:
            client.release_panic()
        assert client.get_run(waiting).state == pb.RUN_STATE_PAUSED
        client.cancel_run(identity)
        client.set("/panic/go", 2)
        client.resume(waiting)
        numbers = itertools.count(3)

        def is_over() -> bool:
            client.set("/panic/go", next(numbers))  # again: nobody knows when it waits again
            return client.get_run(waiting).state == pb.RUN_STATE_SUCCEEDED

        until(is_over, "the end of the run")


def test_a_locked_show_refuses_a_run_as_it_refuses_the_edit(house: Daemon) -> None:
    said(house, "scene", "save", "opening")
    strong = house.token
    with (
        Client(home=house.home) as client,
        Client(house.endpoints["grpc"], token=strong, home=house.home, session="mcp1234") as model,
    ):
        client.lock_show("tonight")
        try:
            with pytest.raises(FailedPrecondition) as refused:
                start(client, "s1 = scene.delete name=opening")
            assert refused.value.reason == "SHOW_LOCKED"
            with pytest.raises(FailedPrecondition) as refused:
                start(model, "s1 = context.set /locked/a 1")
            assert refused.value.reason == "SHOW_LOCKED"
            *_, last = model.run("s1 = context.get /locked/a")
            assert last.event.run.state != pb.RUN_STATE_FAILED or last.event.run.reason
            *_, last = client.run("s1 = context.set /locked/b 1")
            assert last.event.run.state == pb.RUN_STATE_SUCCEEDED
        finally:
            client.unlock_show()
        *_, last = model.run("s1 = context.set /locked/a 1")
        assert last.event.run.state == pb.RUN_STATE_SUCCEEDED


@pytest.mark.parametrize("secret", SECRETS, ids=["token", "key"])
def test_a_secret_in_a_program_shows_nowhere(house: Daemon, tmp_path: Path, secret: str) -> None:
    file = tmp_path / "secret.txt"
    file.write_text(f's1 = value.compute "\'{secret}\'"\ns2 = context.set /secret/a "{secret}"\n@returns ${{s1}}\n')
    told = []
    with Client(home=house.home) as client:
        *_, last = client.run(file.read_text())
        identity = last.event.run.run_id
        told += [str(each) for each in client.watch_run(identity)]
        told += [str(client.get_run(identity)), str(client.runs())]
        job = client.submit_job("task_create", {"title": secret})
        until(lambda: client.job(job.job_id).state not in (1, 2), "the job")
        told += [str(client.job(job.job_id))]
    told += [said(house, "runs", "show", identity), said(house, "--json", "runs", "show", identity)]
    told += [said(house, "--json", "jobs", "list"), house.log()]
    for text in told:
        assert secret not in text
        assert "planted" not in text
    assert "***" in told[-3]
    assert secret in said(house, "get", "/secret/a"), "what is written is written"
    with Client(home=house.home) as client:
        *_, _ = client.purge(text=secret, reason="planted")
    assert not holding(house.home / "state", [secret.encode()])


def test_an_mcp_client_is_told_no_secret_and_has_no_tool_to_approve(house: Daemon) -> None:
    script = f"""
import asyncio, json, sys
import mcp
from mcp.client.stdio import StdioServerParameters
async def main():
    parameters = StdioServerParameters(command=sys.executable, args=["-m", "lightfast", "--home", {str(house.home)!r}, "mcp"])
    async with mcp.Client(parameters, read_timeout_seconds=60) as client:
        names = [each.name for each in (await client.list_tools()).tools]
        checked = await client.call_tool("dry_run", {{"program": "s1 = value.compute \\"'{SECRETS[0]}'\\"\\n@returns ${{s1}}"}})
        digest = json.loads(checked.content[0].text)["digest"]
        done = await client.call_tool("run", {{"program": "s1 = value.compute \\"'{SECRETS[0]}'\\"\\n@returns ${{s1}}", "digest": digest}})
        print(json.dumps([names, done.content[0].text]))
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    names, text = json.loads(done.stdout.splitlines()[-1])
    assert not [name for name in names if "approve" in name or "resolve" in name]
    assert "planted" not in text
