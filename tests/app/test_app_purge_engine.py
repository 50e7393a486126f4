"""A text that went through the meta-computer is purged from every table and memory of a real daemon."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from tests.app.test_app_purge_gateway import holders, purged
from tests.support.daemon import Daemon
from tests.support.files import content, files
from tests.support.waiting import until

from lightfast.client import Client
from lightfast.context.upkeep.purge_needles import Needles
from lightfast.core.errors import NotFound

SECRET = 'sk-live "Zwölf\'s" 4711'
HARMLESS = "a red lantern"
PLUGIN = '''
"""Jobs that keep, log and say what they are told."""
import asyncio

from lightfast.sdk import JobType, hookimpl


class Echo(JobType):
    name = "echo"
    summary = "Says it again."
    payload = {"type": "object"}
    max_attempts = 1

    async def run(self, payload, bench):
        text = str(payload["text"])
        bench.log("heard " + text)
        bench.progress(0.5, "at " + text)
        await bench.keep("kept " + text)
        if payload.get("fails"):
            raise ValueError("cannot say " + text)
        return {"said": text}


@hookimpl
def lightfast_job_types(config):
    return [Echo()]
'''
WORKFLOW = """
name: {name}
summary: {text}
steps:
  - {{id: put, op: context.set, arguments: {{path: /{name}, value: 1}}}}
triggers:
  - {{on: path, pattern: "/door/{name}", when: 'value == "open"'}}
"""
OF_WORK = {
    *("desk_lines", "engine_events", "job_logs", "job_schedules", "jobs", "projects", "run_events", "run_steps"),
    *("runs", "task_versions", "trigger_firings", "workflow_files", "workspaces"),
}


def tables(home: Path, text: str) -> set[str]:
    """Return the tables with a row that holds *text* in one of its forms."""
    forms = Needles(text).texts
    found = set()
    connection = sqlite3.connect(f"file:{home}/state/lightfast.db?mode=ro", uri=True)
    try:
        listed = "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'"
        names = [name for (name,) in connection.execute(listed)]
        for name in names:
            if name.startswith("task_words"):
                continue
            rows = connection.execute(f'SELECT * FROM "{name}"')
            if any(form in str(value) for row in rows for value in row for form in forms):
                found.add(name)
    finally:
        connection.close()
    return found


def plant(client: Client, home: Path, text: str, name: str) -> dict[str, str]:
    """Bring *text* wherever the meta-computer keeps something; return identities of some of it."""
    quoted = json.dumps(text, ensure_ascii=False)
    folder = home / "config" / "workflows"
    folder.mkdir(exist_ok=True)
    good = WORKFLOW.format(name=name, text=quoted)
    (folder / f"{name}.yaml").write_text(good, encoding="utf-8")
    until(lambda: [each for each in client.workflows() if each.name == name], "the workflow")
    until(lambda: [each for each in client.triggers() if each.workflow == name], "the trigger")
    client.set(f"/door/{name}", text)
    until(lambda: client.firings(f"{name}-1"), "the trace")
    (folder / f"{name}.yaml").write_text("name: [", encoding="utf-8")  # the last good text is what is used now
    until(lambda: [each for each in client.workflows() if each.name == name and each.problems], "the problem")

    program = json.dumps(
        {"instructions": [{"id": "s1", "op": "context.set", "arguments": {"path": f"/ran/{name}", "value": text}},
                          {"id": "s2", "op": "context.get", "arguments": {"path": f"/ran/{name}"}}],
         "returns": "${s2}"}
    )  # fmt: skip
    list(client.run(program))

    jobs = [
        client.submit_job("echo", {"text": text}).job_id,
        client.submit_job("echo", {"text": text, "fails": True}).job_id,
    ]
    for job in jobs:
        client.wait_for_job(job)
    client.set_schedule(f"of-{name}", "0 9 * * 1", "echo", payload={"text": text}, disabled=True)

    client.create_workspace(f"Space {name}", workspace_id=f"ws-{name}", description=f"about {text}")
    client.create_project(f"ws-{name}", f"Project {name}", project_id=f"p-{name}", description=f"about {text}")
    task = client.create_task(
        f"Do {text}", task_id=f"task-{name}", description=f"so {text}", business_goal=text, workspace_id=f"ws-{name}"
    ).task_id
    client.update_task(task, result=f"did {text}", metadata={"note": text})
    client.task(task)

    client.say(f"remember that {text}")
    client.say(f"cl:{task}")
    until(lambda: _are_over(home), "the end of the lines")
    return {"task": task, "job": jobs[0]}


def _are_over(home: Path) -> bool:
    connection = sqlite3.connect(f"file:{home}/state/lightfast.db?mode=ro", uri=True)
    try:
        rows = connection.execute("SELECT count(*) FROM desk_lines WHERE state NOT IN ('DONE', 'FAILED', 'ANSWERED')")
        return bool(rows.fetchone() == (0,))
    finally:
        connection.close()


@pytest.mark.slow
def test_a_text_is_gone_from_all_that_the_meta_computer_keeps(tmp_path: Path) -> None:
    home, mirror = tmp_path / "home", tmp_path / "mirror"
    (home / "config/plugins").mkdir(parents=True, mode=0o700)
    (home / "config/plugins/echo.py").write_text(PLUGIN, encoding="utf-8")
    daemon = Daemon(home, flags=(f"workspaces.mirror={mirror}",)).start()
    try:
        with Client(home=home) as client:
            until(lambda: any(each.name == "echo" for each in client.job_types()), "the type")
            secret = plant(client, home, SECRET, "secret")
            harmless = plant(client, home, HARMLESS, "harmless")
            until(lambda: SECRET.encode() in _bytes(mirror) or _escaped(SECRET) in _bytes(mirror), "the mirror")
            until(lambda: HARMLESS.encode() in _bytes(mirror), "the mirror")
            assert tables(home, SECRET) >= OF_WORK, OF_WORK - tables(home, SECRET)
            assert tables(home, HARMLESS) >= OF_WORK

            removed, remaining = purged(home, SECRET)
            assert remaining == []
            assert set(removed) >= {
                *("events", "jobs", "schedules", "tasks", "workspaces", "projects", "runs", "firings"),
                *("workflow_files", "lines", "mirror"),
            }, removed
            assert holders(home, SECRET) == []
            assert tables(home, SECRET) == set()
            until((mirror / "tasks" / f"{secret['task']}.json").exists, "the mirror")
            assert not any(form in _bytes(mirror) for form in Needles(SECRET).plain)

            # What is shown is what is left.
            assert client.task(secret["task"]).title == "(purged)"
            assert [each.title for each in client.tasks("4711")] == []
            with pytest.raises(NotFound):
                client.job(secret["job"])
            assert not [each for each in client.schedules() if each.name == "of-secret"]
            assert not any("4711" in each.line for each in client.suggest_next())
            loaded = client.say(f"cl:{secret['task']}")
            assert "4711" not in f"{loaded.line}{loaded.text}"

            # The rest is as it was.
            assert tables(home, HARMLESS) >= OF_WORK
            assert client.task(harmless["task"]).title == f"Do {HARMLESS}"
            assert HARMLESS in str(client.job(harmless["job"]).result)
            assert [each for each in client.workflows() if each.name == "harmless" and each.version]
            assert any(HARMLESS in each.line for each in client.suggest_next(20))
        assert daemon.stop() == 0, daemon.log()
        daemon.start()
        with Client(home=home) as client:
            assert tables(home, SECRET) == set()
            assert client.task(harmless["task"]).title == f"Do {HARMLESS}"
        assert daemon.stop() == 0, daemon.log()
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.kill()


def _bytes(folder: Path) -> bytes:
    return b"\n".join(content(path) for path in files(folder))


def _escaped(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False)[1:-1].encode()
