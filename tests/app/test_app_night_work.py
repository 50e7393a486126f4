"""What goes wrong at a show: plugins that misbehave, models that never answer, files that are no workflows, full disks."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.daemon import Daemon
from tests.support.disk import fill, small_disk
from tests.support.joined import daemon_with
from tests.support.night import furnish, plugin
from tests.support.waiting import until

from lightfast.api.v1 import engine_pb2 as pb
from lightfast.api.v1 import jobs_pb2
from lightfast.client import Client
from lightfast.core.errors import Exhausted, LightfastError

MUTE = """
import asyncio
from lightfast.sdk import Model, Provider, TextDelta, hookimpl


class Mute(Provider):
    name = "mute"
    description = "never answers"
    local = True

    def models(self):
        return [Model("one", outputs=("text",), capabilities=("schema", "system", "stream"), free=True)]

    async def generate(self, request, bench):
        await asyncio.Event().wait()
        yield TextDelta("never")


@hookimpl
def lightfast_providers(config):
    return [Mute()]
"""
PING = """
name: {name}
parameters: {{n: {{type: number, default: 0}}}}
steps:
  - {{id: put, op: context.set, arguments: {{path: {to}, value: "${{params.n}}"}}}}
triggers:
  - {{on: path, pattern: {source}, parameters: {{n: "${{value}}"}}}}
"""
FILES = """
name: files
parameters: {{name: {{type: string, default: none}}}}
steps:
  - {{id: put, op: context.set, arguments: {{path: "/files/${{params.name}}", value: 1}}}}
triggers:
  - {{on: file, folder: {folder}, glob: "*", parameters: {{name: "${{name}}"}}, policy: queue, concurrent: 4}}
"""
FILES_AT_ONCE = 1_000 if os.environ.get("LIGHTFAST_CRASHES") else 250
SETTINGS = ("desk.model=mute/one", 'engine.planner=["mute/one"]', "engine.planning_s=1")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("night")
    home, flows = folder / "home", folder / "home" / "config" / "workflows"
    furnish(home, folder / "stage")
    (home / "config" / "plugins" / "mute.py").write_text(MUTE)
    (folder / "drop").mkdir()
    (flows / "files.yaml").write_text(FILES.format(folder=folder / "drop"))
    (flows / "ping.yaml").write_text(PING.format(name="ping", source="/loop/a", to="/loop/b"))
    (flows / "pong.yaml").write_text(PING.format(name="pong", source="/loop/b", to="/loop/c"))
    found = daemon_with(home, "")
    found.flags += SETTINGS
    found.start()
    try:
        with Client(home=home) as client:
            until(lambda: ready(client), "the plugins and the workflows are there")
        yield found
    finally:
        code = found.stop()
    assert code == 0


def ready(client: Client) -> bool:
    flows = [each for each in client.workflows() if not each.example]
    triggers = [each for each in client.triggers() if not each.disabled]
    return len(triggers) == len(flows) >= 1 and any(each.name == "stage.bad" for each in client.operation_kinds())


def value(client: Client, path: str) -> Any:
    try:
        return client.get(path).value
    except LightfastError:
        return None


def bad(client: Client, what: str, timeout: float = 60.0) -> pb.EngineRun:
    """Run a step that misbehaves, and return the run when it has ended, or needs somebody."""
    steps = [{"id": "bad", "op": "stage.bad", "arguments": {"what": what}, "timeout": timeout}]
    run_id = ""
    for message in client.run(json.dumps({"instructions": steps})):
        run_id = message.event.run.run_id or run_id
        if message.event.run.state == pb.RUN_STATE_NEEDS_YOU:
            break
    return client.get_run(run_id)


REASONS = {
    "raise": "ZeroDivisionError: on purpose",
    "base": "BaseException: on purpose",
    "cancel": "gave up by itself",
    "exit": "it called sys.exit(3)",
    "none": "it must return an Outcome",
    "object": "is object",
    "huge": "the most is",
    "deep": "is nested deeper",
    "ever": "took longer than 1 s",
}


def test_operations_that_misbehave_fail_alone(house: Daemon) -> None:
    with Client(home=house.home) as client:
        for what, reason in REASONS.items():
            run = bad(client, what, 1.0 if what == "ever" else 60.0)
            assert (run.state, reason in run.reason) == (pb.RUN_STATE_FAILED, True), (what, run.reason)
        assert bad(client, "fine").state == pb.RUN_STATE_SUCCEEDED


def test_jobs_that_misbehave_fail_alone(house: Daemon) -> None:
    with Client(home=house.home) as client:
        for what in ("raise", "exit", "cancel", "object", "ever"):
            job = client.wait_for_job(client.submit_job("stage_bad", {"what": what}).job_id)
            assert (job.state, bool(job.error)) == (jobs_pb2.JOB_STATE_DEAD, True), what
        assert (
            client.wait_for_job(client.submit_job("stage_bad", {"what": "fine"}).job_id).result.string_value == "fine"
        )


def test_a_plugin_that_is_removed_ends_nothing_that_goes_on(house: Daemon) -> None:
    file, stage = house.home / "config" / "plugins" / "stage.py", house.home.parent / "stage"
    with Client(home=house.home) as client:
        job_id = client.submit_job("stage_bad", {"what": "wait"}, timeout_s=60).job_id
        until(lambda: client.job(job_id).state == jobs_pb2.JOB_STATE_RUNNING, "the job runs")
        file.unlink()
        until(lambda: all(each.name != "stage.bad" for each in client.operation_kinds()), "it is gone")
        (stage / "go").touch()
        assert client.wait_for_job(job_id).state == jobs_pb2.JOB_STATE_SUCCEEDED
        (stage / "go").unlink()
        file.write_text(plugin(stage, 2))
        until(lambda: any(each.name == "stage.bad" for each in client.operation_kinds()), "it is back")
        assert bad(client, "version").state == pb.RUN_STATE_SUCCEEDED


def test_models_that_never_answer_hold_up_no_acknowledgement_and_leave_the_work_to_the_grammar(house: Daemon) -> None:
    with Client(home=house.home) as client:
        for number in range(8):
            assert client.say(f"make it more purple, {number} times").line.startswith("t")
        assert client.say("set /silent to 3").line.startswith("tr:")
        until(lambda: value(client, "/silent") == 3, "the grammar did it")


def test_a_loop_of_triggers_and_a_link_ends(house: Daemon) -> None:
    with Client(home=house.home) as client:
        client.link("/loop/c", "/loop/a")
        client.set("/loop/a", 1)
        client.set("/loop/a", 2)

        def found() -> list[str]:
            return [each.reason for name in ("ping-1", "pong-1") for each in client.firings(name) if not each.fired]

        until(lambda: any("it would be a loop" in each for each in found()), "the loop is seen")


def test_many_files_at_once_and_a_folder_that_is_made_again(house: Daemon) -> None:
    folder = house.home.parent / "drop"
    with Client(home=house.home) as client:
        for number in range(FILES_AT_ONCE):
            (folder / f"f{number}").write_text("x")

        def seen() -> int:
            return sum(each.fired + each.held_back for each in client.triggers() if each.name == "files-1")

        until(lambda: seen() >= FILES_AT_ONCE, "all were looked at")
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / "later").write_text("y")
        until(lambda: value(client, "/files/later") == 1, "it is watched again")


def test_a_workflow_whose_file_becomes_anything_else_goes_on_as_it_was(house: Daemon) -> None:
    file = house.home / "config" / "workflows" / "pulse.yaml"
    with Client(home=house.home) as client:

        def told() -> Any:
            return next(each for each in client.workflows() if each.name == "pulse")

        def problems() -> list[str]:
            return [each.message for each in told().problems]

        version, before = told().version, list[str]()
        for content in (b"\x80\x00" * 900, b"a: " + b"x" * 300_000, b"[" * 100_000, Path("/dev/zero"), None):
            before = problems()
            part = file.with_suffix(".part")
            if isinstance(content, bytes):
                part.write_bytes(content)
            elif content is None:
                os.mkfifo(part)
            else:
                part.symlink_to(content)
            part.replace(file)
            if content is not None:  # to the eyes of the daemon a pipe is what the link to a device was
                until(lambda: problems() not in ([], before), "it is read")  # noqa: B023
            assert told().version == version
            assert client.run_workflow("pulse", {"n": 1}).version == version


def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    home, stage = tmp_path / "home", tmp_path / "stage"
    furnish(home, stage)
    house = daemon_with(home, "")
    with small_disk(home / "state", "24m"):
        house.start()
        try:
            with Client(home=home) as client:
                until(lambda: ready(client), "the plugins and the workflows are there")
                jobs = [client.submit_job("stage_bad", {"what": "wait"}, timeout_s=60).job_id for _ in range(4)]
                steps = [
                    {"id": "wait", "op": "stage.bad", "arguments": {"what": "wait"}, "timeout": 60},
                    {"id": "put", "op": "context.set", "arguments": {"path": "/after", "value": 1}, "after": ["wait"]},
                ]
                run_id = ""
                for message in client.run(json.dumps({"instructions": steps})):
                    run_id = message.event.run.run_id or run_id
                    if message.event.step.step_id == "wait":
                        break
                ballast = fill(home / "state")
                for refused in (
                    lambda: client.say("set /x to 1"),
                    lambda: client.submit_job("stage_count", {"n": 1}),
                    lambda: list(client.run(json.dumps({"instructions": steps}))),
                ):
                    with pytest.raises(Exhausted, match="disk is full"):
                        refused()
                (stage / "go").touch()
                (home / "config" / "workflows" / "ping.yaml").write_text(
                    PING.format(name="ping", source="/loop/a", to="/loop/b")
                )
                until(lambda: len([each for each in client.triggers() if not each.disabled]) == 2, "it is used")
                ballast.unlink()
                assert client.say("set /x to 2").line.startswith("tr:")
                until(lambda: value(client, "/x") == 2, "the desk goes on")
                until(lambda: client.get_run(run_id).state == pb.RUN_STATE_SUCCEEDED, "the run goes on")
                assert {client.wait_for_job(each).state for each in jobs} == {jobs_pb2.JOB_STATE_SUCCEEDED}
                client.set("/loop/a", 5)
                until(lambda: value(client, "/loop/b") == 5, "the trigger fires")
            assert house.stop() == 0
        finally:
            house.kill()
