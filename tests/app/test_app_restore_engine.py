"""A backup holds the meta-computer: restored, everything is there, and nothing is done twice by itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.app.test_app_purge_engine import PLUGIN
from tests.support.daemon import Daemon
from tests.support.waiting import until

from lightfast.client import Client

WAITS = """
{"instructions": [
  {"id": "s1", "op": "context.set", "arguments": {"path": "/a", "value": 1}},
  {"id": "s2", "op": "wait.seconds", "arguments": {"seconds": 3600}, "after": ["s1"]}
]}
"""


@pytest.mark.slow
def test_a_restored_store_has_all_of_it_and_a_run_under_way_waits_for_a_person(tmp_path: Path) -> None:
    one, two, file = tmp_path / "one", tmp_path / "two", tmp_path / "taken.lfbackup"
    for home in (one, two):
        (home / "config/plugins").mkdir(parents=True, mode=0o700)
        (home / "config/plugins/echo.py").write_text(PLUGIN, encoding="utf-8")
    original, copy = Daemon(one).start(), Daemon(two)
    try:
        with Client(home=one) as client:
            until(lambda: any(each.name == "echo" for each in client.job_types()))
            done = client.submit_job("echo", {"text": "hello"}).job_id
            dead = client.submit_job("echo", {"text": "hello", "fails": True}).job_id
            for job in (done, dead):
                client.wait_for_job(job)
            client.set_schedule("weekly", "0 9 * * 1", "echo", payload={"text": "morning"})
            client.create_workspace("Hall", workspace_id="hall")
            client.create_task("Light", task_id="light", workspace_id="hall")
            client.update_task("light", state="DONE", result="lit")
            client.say("remember that I like teal")
            for step in client.run(WAITS):
                if step.HasField("event"):
                    break
            until(lambda: client.get("/a").value == 1)
            run_id = client.runs()[0].run_id
            client.save_workflow("name: kept\nsteps:\n  - {id: a, op: context.set, arguments: {path: /b, value: 1}}\n")
            events = client.events(limit=1000)
            list(client.backup(str(file)))
            client.update_task("light", result="not in the backup")
        original.kill()
        restored = subprocess.run(
            [sys.executable, "-m", "lightfast", "backup", "restore", str(file), "--home", str(two), "--yes"],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert restored.returncode == 0, restored.stderr
        copy.start()
        with Client(home=two) as client:
            assert client.job(done).result == _same(one, original, done)
            assert "cannot say" in client.job(dead).error
            assert [each.name for each in client.schedules()] == ["weekly"]
            assert (client.task("light").result, len(client.task_versions("light"))) == ("lit", 2)
            assert client.workspaces()[0].workspace_id == "hall"
            run = client.get_run(run_id)
            assert "this store was restored from" in run.reason
            assert [each.step_id for each in run.steps][:1] == ["s1"]
            kept = client.events(limit=1000)
            assert [each.sequence for each in kept][: len(events)] == [each.sequence for each in events]
            assert client.cancel_run(run_id).run_id == run_id
        assert copy.stop() == 0
    finally:
        for each in (original, copy):
            if each.process is not None and each.process.poll() is None:
                each.kill()


def _same(home: Path, daemon: Daemon, job_id: str) -> Any:
    """Return the result of a job in the original."""
    daemon.start()
    with Client(home=home) as client:
        found = client.job(job_id).result
    daemon.kill()
    return found
