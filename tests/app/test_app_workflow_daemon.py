"""Workflows and triggers of a real daemon: files taken as they come, started by hand and by themselves, killed between."""

from __future__ import annotations

from pathlib import Path

from tests.support.daemon import Daemon
from tests.support.waiting import until
from typer.testing import CliRunner

from lightfast.app.cli.root import root
from lightfast.client import Client

TEXT = """
name: greet
parameters: {who: {type: string, default: you}}
steps:
  - {id: put, op: context.set, arguments: {path: /greeted, value: "${params.who}"}}
triggers:
  - {on: path, pattern: /door, when: value == "open", parameters: {who: "${path}"}}
"""
ASKING = """
name: asking
steps:
  - {id: before, op: context.set, arguments: {path: /asking, value: 1}}
  - {id: after, op: context.set, needs: [before], approve: Go on, arguments: {path: /asking, value: 2}}
"""


def call(home: Path, *words: str) -> str:
    done = CliRunner().invoke(root, ["--home", str(home), *words])
    assert done.exit_code == 0, done.output
    return done.output


def test_a_daemon_takes_files_runs_them_and_goes_on_after_a_kill(tmp_path: Path) -> None:
    home = tmp_path / "home"
    daemon = Daemon(home).start()
    try:
        with Client(home=home) as client:
            folder = home / "config" / "workflows"
            until(lambda: folder.is_dir() and len(client.workflows()) == 10)
            (folder / "greet.yaml").write_text(TEXT)
            until(lambda: [each for each in client.workflows() if each.name == "greet"])
            assert "greet" in call(home, "workflow", "list")
            assert "op: context.set" in call(home, "workflow", "run", "greet", "--dry-run")
            call(home, "workflow", "run", "greet", "who=lena")
            until(lambda: client.get("/greeted").value == "lena")
            until(lambda: [each for each in client.triggers() if each.name == "greet-1"])
            client.set("/door", "open")
            until(lambda: client.get("/greeted").value == "/door")
            until(lambda: client.firings("greet-1"))
            assert "fired" in call(home, "triggers", "trace", "greet-1")
            assert "greet-1" in call(home, "triggers", "list")
            assert "greet is right\n" in call(home, "workflow", "check", str(folder / "greet.yaml"))

            assert not client.save_workflow(ASKING).problems
            run_id = client.run_workflow("asking").run_id
            until(lambda: client.get("/asking").value == 1)
            until(lambda: "waits for a person" in call(home, "--json", "runs", "show", run_id))
        daemon.kill()
        daemon.start()
        with Client(home=home) as client:
            assert client.get("/asking").value == 1
            until(lambda: "waits for a person" in call(home, "--json", "runs", "show", run_id))
            assert [each.name for each in client.workflows() if not each.example] == ["asking", "greet"]
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            assert daemon.stop() == 0
