"""`lightfast import` into real daemons: all of a layout, bad files, kills in between, and what a mirror wrote."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.app.test_app_import import layout
from tests.support.daemon import Daemon
from tests.support.waiting import until

from lightfast.client import Client

MANY = 400
WORKFLOW = """
name: good
steps:
  - {id: put, op: context.set, arguments: {path: /good, value: 1}}
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    process = Daemon(tmp_path_factory.mktemp("import") / "home").start()
    try:
        yield process
    finally:
        process.stop()


def begin(daemon: Daemon, *words: str | Path) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "lightfast", "--home", str(daemon.home), *map(str, words)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def take_in(daemon: Daemon, folder: Path, *flags: str, code: int = 0) -> dict[str, Any]:
    """Import *folder*, and return the report."""
    process = begin(daemon, "--json", "import", folder, *flags)
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, f"{out}\n{err}"
    found: dict[str, Any] = json.loads(out)
    return found


def source(folder: Path) -> Path:
    folder.mkdir()
    layout(folder)
    (folder / "workflows/good.yaml").write_text(WORKFLOW)
    return folder


def imported(report: dict[str, Any], what: str = "imported") -> dict[str, int]:
    return {kind: count[what] for kind, count in report["counts"].items() if count[what]}


def test_all_of_a_layout_arrives(daemon: Daemon, tmp_path: Path) -> None:
    folder = source(tmp_path / "source")
    everything = {"workspace": 1, "project": 1, "task": 3, "context": 1, "workflow": 1}
    with Client(home=daemon.home) as client:
        assert imported(take_in(daemon, folder, "--dry-run")) == everything
        assert client.tasks() == []
        assert client.workspaces() == []

        (folder / ".kingly/tasks/broken.json").write_text("{")
        (folder / "workflows/bad.yaml").write_text("name: bad\nsteps:\n  - {id: a, op: no.such}\n")
        report = take_in(daemon, folder, "--report", str(tmp_path / "report.json"), code=1)
        assert imported(report) == everything
        assert sorted(Path(each["where"]).name for each in report["bad"]) == ["bad.yaml", "broken.json"]
        assert "line 3" in next(each["reason"] for each in report["bad"] if each["where"].endswith("bad.yaml"))
        assert json.loads((tmp_path / "report.json").read_text()) == report

        assert {task.task_id for task in client.tasks()} == {"task_1", "task_2", "part"}
        second = client.task("task_2")
        assert (list(second.after), second.intent_type, second.workspace_id) == (["task_1"], "create", "ws1")
        assert client.task("part").parent_task_id == "task_2"
        assert client.projects("ws1")[0].name == "Show"
        assert [each.name for each in client.workflows() if not each.example] == ["good"]
        assert (
            "dark" in client.call_json("MemoryService.GetMemory", {"memory": "user_preference"})["versions"][0]["text"]
        )

        for name in (".kingly/tasks/broken.json", "workflows/bad.yaml"):
            (folder / name).unlink()
        assert imported(take_in(daemon, folder)) == {"workflow": 1}  # the others are there, and the same
        versions = len(client.task_versions("task_2"))

        (folder / ".kingly/workspaces/main.json").write_text('{"id": "ws1", "name": "Other"}')
        assert imported(take_in(daemon, folder, code=1), "different") == {"workspace": 1}
        assert client.workspaces()[0].name == "Main"
        assert imported(take_in(daemon, folder, "--update"), "updated") == {"workspace": 1}
        assert client.workspaces()[0].name == "Other"
        assert len(client.task_versions("task_2")) == versions


def test_a_folder_that_is_none_is_a_mistake_of_the_caller(daemon: Daemon, tmp_path: Path) -> None:
    for folder in (tmp_path / "none", tmp_path):
        process = begin(daemon, "import", folder)
        _, err = process.communicate(timeout=150)
        assert process.returncode == 2, err
        assert str(folder) in err


@pytest.mark.slow
def test_a_daemon_killed_in_the_middle_loses_and_doubles_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "source" / "tasks"
    folder.mkdir(parents=True)
    for number in range(MANY):
        fields = {"id": f"t{number}", "title": f"Task {number}", "metadata": {"number": number}}
        (folder / f"{number:04}.json").write_text(json.dumps(fields | ({"parent_id": "t0"} if number else {})))
    daemon = Daemon(tmp_path / "home").start()
    try:
        process = begin(daemon, "--json", "import", folder.parent)
        with Client(home=daemon.home) as client:
            until(lambda: len(client.tasks(limit=MANY)) >= 20, "the first tasks")
        daemon.kill()
        out, err = process.communicate(timeout=120)
        assert process.returncode not in (0, None), (out, err)
        assert "Traceback" not in err
        daemon.start()
        report = take_in(daemon, folder.parent)
        count = report["counts"]["task"]
        assert count["there"] >= 20
        assert (count["there"] + count["imported"], report["bad"], report["mismatches"]) == (MANY, [], [])
        with Client(home=daemon.home) as client:
            assert {task.task_id for task in client.tasks(limit=1_000)} == {f"t{number}" for number in range(MANY)}
            assert all(task.version == 1 for task in client.tasks(limit=1_000))
    finally:
        daemon.kill()


@pytest.mark.slow
def test_what_a_mirror_wrote_is_taken_in_by_another_daemon(tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    first = Daemon(tmp_path / "first", flags=(f"workspaces.mirror={mirror}",)).start()
    second = Daemon(tmp_path / "second")
    try:
        with Client(home=first.home) as client:
            client.create_workspace("Hall", workspace_id="hall", description="the great one")
            client.create_project("hall", "Show", project_id="show")
            client.create_task("Light", task_id="light", workspace_id="hall", project_id="show", confidence=0.5)
            for number in range(30):
                client.create_task(f"Lamp {number}", task_id=f"lamp-{number}", after=["light"], parent_task_id="light")
            client.update_task("light", state="DONE", result="it shines", metadata={"lux": 200, "zones": ["a", "b"]})
        first.kill()  # whatever of it is in the files by now
        first.start()
        with Client(home=first.home) as client:
            wanted = {task.task_id: task for task in client.tasks(limit=100)}

        def written() -> bool:
            found = {path.stem: json.loads(path.read_text())["status"] for path in (mirror / "tasks").glob("*.json")}
            return found == {task_id: "done" if task_id == "light" else "pending" for task_id in wanted}

        until(written, "all files")
        assert first.stop() == 0, first.log()
        second.start()
        report = take_in(second, mirror)
        assert imported(report) == {"workspace": 1, "project": 1, "task": 31}
        with Client(home=second.home) as client:
            there = {task.task_id: task for task in client.tasks(limit=100)}
            assert there.keys() == wanted.keys()
            for task_id, task in wanted.items():
                for name in ("title", "description", "state", "after", "parent_task_id", "workspace_id", "result"):
                    assert getattr(there[task_id], name) == getattr(task, name), (task_id, name)
                assert f"{task_id}.json" in str(there[task_id].metadata["imported_from"])
            assert client.workspaces()[0].description == "the great one"
        assert imported(take_in(second, mirror)) == {}  # begun again it does nothing
    finally:
        for daemon in (first, second):
            if daemon.process is not None and daemon.process.poll() is None:
                daemon.kill()
