"""`lightfast say` against a real daemon, with the real rooms behind the desk."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from tests.support.daemon import Daemon
from tests.support.waiting import until

from lightfast.client import Client
from lightfast.engine.desk.coded import ContextLoaded, Fault, StatusUpdate, TaskComplete, TaskReady, parse_event


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    process = Daemon(tmp_path_factory.mktemp("desk")).start()
    try:
        yield process
    finally:
        process.stop()


def lightfast(daemon: Daemon, *words: str, said: str = "", code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "lightfast", "--home", str(daemon.home), *words],
        input=said,
        capture_output=True,
        text=True,
        timeout=120,
        env=daemon.clean_environ(),
        check=False,
    )
    assert done.returncode == code, (done.stdout, done.stderr, daemon.log()[-3_000:])
    return done.stdout


def messages(daemon: Daemon, line: str, code: int = 0) -> list[dict[str, object]]:
    found = lightfast(daemon, "--json", "say", "--follow", line, code=code)
    return [json.loads(each) for each in found.splitlines()]


def test_words_become_a_task_that_is_planned_and_run(daemon: Daemon) -> None:
    found = messages(daemon, "set /desk/test to 4")
    events = [parse_event(str(each["line"])) for each in found]
    assert isinstance(events[0], TaskReady)
    assert events[0].routing == "one_shot"
    last = events[-1]
    assert isinstance(last, TaskComplete)
    assert (last.task, last.result) == (events[0].task, "success")
    assert lightfast(daemon, "get", "/desk/test").split()[-1] == "4"
    with Client(home=daemon.home) as client:
        task = client.call_json("WorkspaceService.GetTask", {"task_id": last.task})["task"]
    assert (task["state"], task["intent_source"]) == ("TASK_STATE_DONE", "desk")


def test_every_other_command_has_its_event(daemon: Daemon) -> None:
    remembered = parse_event(str(messages(daemon, "ms:desk_look|{light:'warm'}|semantic")[-1]["line"]))
    assert isinstance(remembered, StatusUpdate)
    assert (remembered.status, remembered.progress) == ("remembered", 1.0)
    loaded = parse_event(str(messages(daemon, "cl:desk_look")[-1]["line"]))
    assert loaded == ContextLoaded("desk_look", "desk_look: light = warm")
    split = [parse_event(str(each["line"])) for each in messages(daemon, "ts:auto|0.3|a show with lights and sound")]
    assert isinstance(split[0], TaskReady)
    assert (split[0].routing, split[0].confidence) == ("split", 0.3)
    assert StatusUpdate(split[0].task, "split") in split
    unknown = parse_event(str(messages(daemon, "wf:no_such_workflow", code=1)[-1]["line"]))
    assert isinstance(unknown, Fault)
    assert unknown.code == "WORKFLOW_UNKNOWN"
    started = messages(daemon, "wf:snapshot|{name:'desk'}", code=0)
    assert parse_event(str(started[0]["line"])).status == "queued"  # type: ignore[union-attr]
    assert isinstance(parse_event(str(started[-1]["line"])), TaskComplete)


def test_line_by_line_grammar_and_suggestions(daemon: Daemon) -> None:
    found = lightfast(daemon, "say", said="hello\n\nremember that I like teal\ntc:\n")
    assert "Hello. What shall be done?" in found
    assert "understood as ms:teal|I like teal|semantic" in found
    assert "er:FIELD_MISSING" in found
    assert "tc:{title}|{intent type}|{complexity}" in lightfast(daemon, "say", "--grammar")
    assert lightfast(daemon, "say", "--suggest").strip()


def test_an_acknowledged_line_outlives_a_killed_daemon(daemon: Daemon) -> None:
    ack = json.loads(lightfast(daemon, "--json", "say", "set /desk/after to 7"))
    daemon.kill()
    daemon.start()

    def is_done() -> bool:
        (loaded,) = [each for each in messages(daemon, f"cl:{ack['job']}") if str(each["line"]).startswith("cl:")]
        return str(loaded["text"]).splitlines()[0].endswith(": done")

    until(is_done, "the end of the task")
    assert lightfast(daemon, "get", "/desk/after").split()[-1] == "7"
