"""jobs, tasks, workspaces, projects: the commands and both clients, against one real daemon."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.daemon import Daemon, daemon
from tests.support.mistakes import run

from lightfast.client import AsyncClient, Client
from lightfast.core.errors import Conflict, InvalidArgument, NotFound

PLUGIN = """
from lightfast.sdk import JobType, hookimpl


class Count(JobType):
    name = "count"
    summary = "Counts to a number."
    payload = {"type": "object", "properties": {"to": {"type": "integer"}}, "required": ["to"]}
    max_attempts = 1

    async def run(self, payload, bench):
        if payload["to"] < 0:
            raise ValueError("nobody counts down")
        bench.progress(0.5, "half-way")
        bench.log("counted")
        return payload["to"]


@hookimpl
def lightfast_job_types(config):
    return [Count()]
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    home = tmp_path_factory.mktemp("jobs") / "home"
    plugins = home / "config/plugins"
    plugins.mkdir(parents=True, mode=0o700)
    (plugins / "counting.py").write_text(PLUGIN, encoding="utf-8")
    with daemon(home) as found:
        yield found


def said(house: Daemon, *arguments: str | Path, code: int = 0) -> str:
    done: subprocess.CompletedProcess[str] = run("--home", house.home, *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def asked(house: Daemon, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said(house, "--json", *arguments).splitlines()]


def failures(house: Daemon, job_id: str) -> int:
    """Return how often a job came to its end without success."""
    with Client(home=house.home) as client:
        return len([each for each in client.events(kinds=["job.dead"], limit=1000) if each.entity_id == job_id])


def test_a_job_from_the_command_line(house: Daemon) -> None:
    types = {each["name"]: each for each in asked(house, "jobs", "types")[0]["types"]}
    assert {"count", "workflow_execute", "task_create", "memory_sync"} <= set(types)
    assert types["count"]["plugin"] == "counting"
    steps = asked(house, "jobs", "submit", "count", "to=3", "--priority", "5", "--wait")
    job = steps[-1]["job"]
    assert job["state"] == "JOB_STATE_SUCCEEDED"
    shown = said(house, "jobs", "show", job["job_id"])
    assert "result 3" in shown
    assert "counted" in shown
    assert "priority 5" in shown
    assert job["job_id"] in said(house, "jobs", "list", "--type", "count", "--state", "succeeded")
    dead = said(house, "jobs", "submit", "count", "to=-1", "--wait", code=1)
    assert "nobody counts down" in dead
    (listed,) = asked(house, "jobs", "list", "--state", "dead")[0]["jobs"]
    before = failures(house, listed["job_id"])
    assert f"{listed['job_id']} is " in said(house, "jobs", "retry", listed["job_id"])  # pending, or further by then
    assert "dead" in said(house, "jobs", "watch", listed["job_id"], code=1)
    assert failures(house, listed["job_id"]) == before + 1
    assert "dead" in said(house, "jobs", "cancel", listed["job_id"])
    assert "there is no type of jobs" in said(house, "jobs", "submit", "nobody", code=2)
    said(house, "jobs", "show", "job-none", code=4)


def test_a_schedule_from_the_command_line(house: Daemon) -> None:
    assert "is due" in said(house, "jobs", "schedule", "set", "nightly", "0 3 * * *", "count", "to=1", "--zone", "UTC")
    (found,) = asked(house, "jobs", "schedules")[0]["schedules"]
    assert (found["name"], found["when"], found["time_zone"], found["missed"]) == (
        "nightly",
        "0 3 * * *",
        "UTC",
        "skip",
    )
    assert "no time" in said(house, "jobs", "schedule", "set", "x", "soon", "count", "to=1", code=2)
    said(house, "jobs", "schedule", "delete", "nightly")
    said(house, "jobs", "schedule", "delete", "nightly", code=4)


def test_work_from_the_command_line(house: Daemon) -> None:
    said(house, "workspaces", "create", "Theatre", "--id", "theatre")
    said(house, "projects", "create", "theatre", "Premiere", "--id", "premiere")
    assert "Theatre" in said(house, "workspaces", "list")
    assert "Premiere" in said(house, "projects", "list", "theatre")
    made = asked(house, "tasks", "create", "Light the stage", "--project", "premiere", "--goal", "applause")[0]["task"]
    task = made["task_id"]
    parts = asked(house, "tasks", "split", task, "hang the lamps", "point them", "--in-order")[0]["parts"]
    assert [part["state"] for part in parts] == ["TASK_STATE_PENDING", "TASK_STATE_BLOCKED"]
    for part in parts:
        assert "done" in said(house, "tasks", "update", part["task_id"], "--state", "done")
    shown = said(house, "tasks", "show", task, "--versions")
    assert "done" in shown
    assert "version 1 of" in shown
    assert task in said(house, "tasks", "list", "applause")
    said(house, "tasks", "update", task, code=2)
    said(house, "tasks", "show", "task-none", code=4)
    said(house, "projects", "archive", "premiere")
    assert "Premiere" not in said(house, "projects", "list", "theatre")
    assert "Premiere" in said(house, "projects", "list", "--archived")


async def test_jobs_and_tasks_through_the_client(house: Daemon) -> None:
    async with AsyncClient(home=house.home) as client:
        first = await client.submit_job("count", {"to": 1}, request_id="one", timeout_s=9.0)
        assert (await client.submit_job("count", {"to": 1}, request_id="one", timeout_s=9.0)).job_id == first.job_id
        assert first.timeout.seconds == 9
        second = await client.submit_job("count", {"to": 2}, after=[first.job_id])
        done = await client.wait_for_job(second.job_id)
        assert (done.result.int_value, [line.text for line in done.log]) == (2, ["counted"])
        assert {job.job_id for job in await client.jobs(states=["SUCCEEDED"])} >= {first.job_id, second.job_id}
        later = await client.submit_job("count", {"to": 1}, run_time_ns=4_000_000_000 * 10**9)
        assert (await client.cancel_job(later.job_id)).state == 6
        with pytest.raises(InvalidArgument) as found:
            await client.submit_job("count", {"to": "x"})
        assert found.value.reason == "JOB_PAYLOAD"
        task = await client.create_task("Sing", metadata={"key": "C"}, state="READY", confidence=0.5)
        changed = await client.update_task(task.task_id, title="Sing loudly", etag=task.etag)
        assert (changed.version, changed.metadata["key"].string_value, changed.state) == (2, "C", task.state)
        with pytest.raises(Conflict):
            await client.update_task(task.task_id, title="Whisper", etag=task.etag)
        assert [each.title for each in await client.task_versions(task.task_id)] == ["Sing loudly", "Sing"]
        then = task.create_time.ToNanoseconds()
        assert (await client.task(task.task_id, at_time_ns=then)).title == "Sing"
        assert [each.task_id for each in await client.tasks("loudly")] == [task.task_id]


def test_the_same_blocking(house: Daemon) -> None:
    with Client(home=house.home) as client:
        job = client.submit_job("count", {"to": 4})
        assert client.wait_for_job(job.job_id).result.int_value == 4
        assert [each.state for each in client.watch_jobs(job.job_id, until_done=True)] == [3]
        assert client.set_schedule("s", "every 1d", "count", payload={"to": 1}).next_time.seconds
        assert [each.name for each in client.schedules()] == ["s"]
        client.delete_schedule("s")
        space = client.create_workspace("Studio")
        project = client.create_project(space.workspace_id, "Song")
        assert [each.project_id for each in client.projects(space.workspace_id)] == [project.project_id]
        task = client.create_task("Mix", project_id=project.project_id)
        parts = client.split_task(task.task_id, [{"title": "drums"}, {"title": "voice"}])
        assert [each.title for each in parts] == ["drums", "voice"]
        with pytest.raises(NotFound):
            client.job("job-none")
