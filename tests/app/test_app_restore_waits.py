"""What waits in a restored store waits on until somebody lets it: jobs, schedules, triggers and lines of the desk."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.daemon import Daemon
from tests.support.mistakes import doctor, run
from tests.support.waiting import until

from lightfast.api.v1 import jobs_pb2
from lightfast.client import Client

DOOR = """
name: door
steps:
  - {id: put, op: context.set, arguments: {path: /opened, value: true}}
triggers:
  - {on: path, pattern: /door}
"""
STOPPED = "this store was restored from a backup"
PAUSE_S = 20
"""When a job of the original is due: after the backup was made."""


def knock(client: Client) -> list[jobs_pb2.Firing]:
    """Change what the trigger looks at, which it may not do yet, and return what came of that so far."""
    client.set("/door", time.time_ns())
    return client.firings("door-1")


@pytest.mark.slow
def test_what_waits_in_a_restored_store_waits_until_somebody_lets_it(tmp_path: Path) -> None:
    one, two, file = tmp_path / "one", tmp_path / "two", tmp_path / "taken.lfbackup"
    original, copy = Daemon(one).start(), Daemon(two)
    try:
        with Client(home=one) as client:
            until(client.job_types)
            client.set_schedule("often", "every 1s", "task_create", payload={"title": "Often"}, disabled=True)
            client.save_workflow(DOOR)
            until(lambda: [each for each in client.triggers() if each.name == "door-1"])
            due = time.time_ns() + PAUSE_S * 1_000_000_000
            job = client.submit_job("task_create", {"title": "Once"}, run_time_ns=due).job_id
            list(client.backup(str(file)))
            assert client.job(job).state == jobs_pb2.JOB_STATE_PENDING
            assert client.wait_for_job(job).state == jobs_pb2.JOB_STATE_SUCCEEDED
            assert not client.resume_jobs()  # this one was never restored
        restored = subprocess.run(
            [sys.executable, "-m", "lightfast", "backup", "restore", str(file), "--home", str(two), "--yes"],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert restored.returncode == 0, restored.stderr
        copy.start()
        with Client(home=two) as client:
            until(client.job_types)
            client.set_schedule("often", "every 1s", "task_create", payload={"title": "Often"})
            assert STOPPED in client.say("remember that I like teal").text
            client.save_workflow(DOOR)
            until(lambda: [each for each in client.triggers() if each.name == "door-1"])
            firing = until(lambda: knock(client))[0]
            assert not firing.fired
            assert firing.reason.startswith("restored: /door=")
            assert {each.state for each in client.jobs()} == {jobs_pb2.JOB_STATE_PENDING}
            assert not client.tasks()
        assert STOPPED in run("--home", two, "jobs", "list").stderr
        findings = doctor(two, "doctor").stdout
        assert "no job is taken, and nothing goes on by itself" in findings
        assert "lightfast jobs resume" in findings
        assert copy.stop() == 0
        copy.start()  # it still waits
        with Client(home=two) as client:
            until(client.job_types)
            assert client.job(job).state == jobs_pb2.JOB_STATE_PENDING
        said = run("--home", two, "jobs", "resume").stdout
        assert said.startswith("they go on: ")
        with Client(home=two) as client:
            assert client.wait_for_job(job).state == jobs_pb2.JOB_STATE_SUCCEEDED
            until(lambda: {each.title for each in client.tasks()} >= {"Once", "Often"})
            until(lambda: knock(client)[0].fired)
            until(lambda: client.get("/opened").value is True)
        assert STOPPED not in run("--home", two, "jobs", "list").stderr
        assert "nothing waits for that" in run("--home", two, "jobs", "resume").stdout
        assert copy.stop() == 0
        copy.start()  # and it is not asked again
        assert STOPPED not in run("--home", two, "jobs", "list").stderr
    finally:
        for each in (original, copy):
            if each.process is not None and each.process.poll() is None:
                each.kill()


@pytest.mark.slow
def test_a_restored_store_in_which_nothing_waits_goes_on_by_itself(tmp_path: Path) -> None:
    one, two, file = tmp_path / "one", tmp_path / "two", tmp_path / "taken.lfbackup"
    original, copy = Daemon(one).start(), Daemon(two)
    try:
        with Client(home=one) as client:
            client.set("/a", 1)
            list(client.backup(str(file)))
        done = run("backup", "restore", file, "--home", two, "--yes")
        assert done.returncode == 0, done.stderr
        copy.start()
        with Client(home=two) as client:
            until(client.job_types)
            job = client.submit_job("task_create", {"title": "New"}).job_id
            assert client.wait_for_job(job).state == jobs_pb2.JOB_STATE_SUCCEEDED
    finally:
        for each in (original, copy):
            if each.process is not None and each.process.poll() is None:
                each.kill()
