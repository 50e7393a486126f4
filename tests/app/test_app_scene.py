"""scene, at, history, undo, redo on the command line, against a real daemon with an application on it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.support.mistakes import Desk, run
from tests.support.worker import Worker

from lightfast.api.v1 import context_pb2, scenes_pb2
from lightfast.api.v1.apps_pb2 import APP_STATE_LIVE
from lightfast.client import Client

MESSAGES = {
    name: message
    for module in (context_pb2, scenes_pb2)
    for name, message in module.DESCRIPTOR.message_types_by_name.items()
}
LEVEL = "/worker/level"


class Moody(Worker):
    """Refuses what lies above its mood."""

    mood = 10.0

    def _take(self, event: tuple[Any, ...]) -> None:
        if event[0] != "apply":
            super()._take(event)
            return
        for wish in event[1]:
            if not wish.signal and wish.value > self.mood:
                self.client.rejected(wish.id, "it is not in the mood")
            elif not wish.signal:
                self.client.settled(wish.id, wish.value)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    found = Desk(tmp_path_factory.mktemp("desk"))
    try:
        yield found
    finally:
        found.close()


@pytest.fixture
def worker(desk: Desk) -> Iterator[Moody]:
    found = Moody(desk.home)
    with found:
        in_step(desk.client)
        yield found


def in_step(client: Client) -> None:
    deadline = time.monotonic() + 60
    while not any(
        app.mount == "/worker" and app.state == APP_STATE_LIVE and not app.pending for app in client.list_apps()
    ):
        assert time.monotonic() < deadline, "the application is not in step"
        time.sleep(0.01)


def reported(client: Client, value: float) -> None:
    deadline = time.monotonic() + 60
    while (entry := client.get(LEVEL)).reported != value or entry.status != "SETTLED":
        assert time.monotonic() < deadline, f"{LEVEL} did not report {value}: {entry}"
        time.sleep(0.01)


def did(desk: Desk, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = run("--home", desk.home, *arguments)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done


def said(desk: Desk, *arguments: str) -> str:
    done = did(desk, *arguments)
    assert done.stderr == ""
    return done.stdout


def in_json(desk: Desk, message: str, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    fields = set(MESSAGES[message].fields_by_name)
    objects = [json.loads(line) for line in did(desk, "--json", *arguments, code=code).stdout.splitlines()]
    assert objects
    for item in objects:
        assert set(item) <= fields, set(item) - fields
    return objects


def test_a_scene_from_save_to_delete(desk: Desk, worker: Moody) -> None:
    client = desk.client
    client.set_many({"/stage/x": 1.0, "/stage/name": "one", "/stage/no": 1})
    client.set(LEVEL, 2.0)
    reported(client, 2.0)
    told = said(
        desk, "scene", "save", "verse", "/stage//", "/worker//", "--exclude", "/stage/no", "--description", "A B"
    )
    assert told == "verse is version 1: 3 values of /worker, as of revision " + told.split()[-1] + "\n"
    assert "would be version 2" in said(desk, "scene", "save", "verse", "--dry-run")
    listed = said(desk, "scene", "list").splitlines()
    assert listed[0].split() == ["SCENE", "VERSION", "VALUES", "SAVED", "REVISION", "OF"]
    assert listed[1].endswith("/worker  A B")
    shown = said(desk, "scene", "show", "verse")
    assert "without /stage/no" in shown
    assert '/stage/name    "one"' in shown
    assert in_json(desk, "GetSceneResponse", "scene", "show", "verse")[0]["scene"]["version"] == "1"
    assert said(desk, "scene", "diff", "verse") == "They hold the same.\n"

    revision = client.set_many({"/stage/x": 9.0, "/stage/name": "two", "/stage/no": 2}).revision
    client.set(LEVEL, 8.0)
    reported(client, 8.0)
    rows = said(desk, "scene", "diff", "verse", "now", "--only", "/stage//").splitlines()
    assert [row.split() for row in rows] == [
        ["PATH", "VERSE", "NOW"], ["/stage/name", '"one"', '"two"'], ["/stage/no", "-", "2"], ["/stage/x", "1", "9"]
    ]  # fmt: skip
    assert "/stage/x" in said(desk, "scene", "diff", f"rev:{revision - 1}", f"rev:{revision}")
    assert in_json(desk, "DiffScenesResponse", "scene", "diff", "verse")[0]["differences"]

    dry = said(desk, "scene", "recall", "verse", "--dry-run")
    assert "/stage/name" in dry
    assert client.get("/stage/name").value == "two"
    done = said(desk, "scene", "recall", "verse", "--morph", "0.3", "--curve", "smooth")
    assert done.startswith("3 values changed; 1 are reported by their applications\n")
    assert (client.get("/stage/x").value, client.get("/stage/no").value) == (1.0, 2)
    reported(client, 2.0)

    group = done.split("--group ")[1].strip()
    told = said(desk, "undo", "--group", group, "--dry-run")
    assert told.startswith("would take back ")
    told = said(desk, "undo", "--group", group)
    assert told.startswith("took back ")
    assert told.endswith("1 of 1 values are reported by their applications\n")
    reported(client, 8.0)
    assert client.get("/stage/name").value == "two"
    worker.mood = 1.5
    refused = did(desk, "redo", "--group", group, code=1)
    assert refused.stdout.endswith("0 of 1 values are reported by their applications\n")
    assert refused.stderr == f"{LEVEL}: rejected, it is not in the mood; it has 8\n"

    # Recalled again, the refused value is named; the recall of the rest goes through.
    failed = did(desk, "scene", "recall", "verse", code=1)
    assert failed.stderr == f"{LEVEL}: it is not in the mood (it has 8)\n"
    last = in_json(desk, "RecallSceneResponse", "scene", "recall", "verse", "/worker//", code=1)[-1]
    assert (last["phase"], last["problems"][0]["path"]) == ("RECALL_PHASE_VERIFIED", LEVEL)

    assert said(desk, "scene", "delete", "verse") == "gone\n"
    assert "no scene 'verse'" in did(desk, "scene", "show", "verse", code=4).stderr
    assert said(desk, "scene", "list") == "No scenes yet: lightfast scene save NAME\n"


def test_an_application_that_is_away_is_named(desk: Desk) -> None:
    client = desk.client
    with Moody(desk.home):
        in_step(client)
        client.set(LEVEL, 3.0)
        reported(client, 3.0)
        said(desk, "scene", "save", "away", "/worker//")
        client.set(LEVEL, 4.0)
        reported(client, 4.0)
    deadline = time.monotonic() + 60
    while client.get(LEVEL).status != "STALE":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    failed = did(desk, "scene", "recall", "away", code=1)
    assert failed.stderr.startswith(f"{LEVEL}: waits: /worker is away")
    said(desk, "scene", "delete", "away")


def test_at_shows_what_everything_held(desk: Desk) -> None:
    client = desk.client
    first = client.set_many({"/past/a": 1, "/past/b": "x"}, label="first").revision
    time.sleep(0.02)
    then = datetime.now(UTC).isoformat()
    time.sleep(0.02)
    revision = client.set("/past/a", 2, label="second").revision
    shown = said(desk, "at", then, "/past//")
    head, *lines = shown.splitlines()
    assert first <= int(head.rpartition(", revision ")[2]) < revision  # the daemon's own news may come between
    assert [line.split()[:3] for line in lines] == [
        [], ["/past"], ["PATH", "VALUE", "REVISION"], ["/past/a", "1", str(first)], ["/past/b", '"x"', str(first)],
    ]  # fmt: skip
    assert "/lightfast" not in said(desk, "at", then)
    with_tier = said(desk, "at", then, "/past/a", "--tier")
    assert "TIER" in with_tier
    (page,) = in_json(desk, "GetResponse", "at", "now", "/past/a")
    assert page["entries"][0]["value"] == {"int_value": "2"}
    assert said(desk, "at", "-1000d", "/past//").endswith("Nothing was there then.\n")
    assert said(desk, "at", then, "/past//", "--axis", "event").count("/past/") >= 2
    assert "last Tuesday 18:00" in did(desk, "at", "soon", code=2).stderr
    assert "future" in did(desk, "at", "2100-01-01", code=2).stderr
    # The same times bound the history, and a scene may be saved of them.
    assert "first" not in said(desk, "history", "/past//", "--since", then)
    assert "second" not in (told := said(desk, "history", "/past//", "--until", then))
    assert "first" in told
    said(desk, "scene", "save", "then", "/past//", "--at", then)
    assert said(desk, "scene", "diff", "then", f"at:{then}") == "They hold the same.\n"
    said(desk, "scene", "delete", "then")


def test_history_says_what_was_taken_back_and_conflicts_are_printed(desk: Desk) -> None:
    client = desk.client
    client.set("/u/a", 1)
    second = client.set("/u/a", 2, group="gesture", label="mine").revision
    assert said(desk, "undo", str(second)).startswith(f"took back {second}; ")
    told = said(desk, "history", "/u//")
    undo = told.split()[0]
    assert f"TAKEN BACK by {undo}" in told
    assert f"takes back {second}" in told
    said(desk, "redo", str(second))
    client.set("/u/a", 3)
    dry = did(desk, "undo", "--group", "gesture", "--dry-run", code=5)
    assert dry.stderr.startswith("conflict: /u/a = 3 was written since by local")
    real = did(desk, "undo", "--group", "gesture", code=5)
    assert "in the way: /u/a" in real.stderr
    assert client.get("/u/a").value == 3
    assert "give a revision" in did(desk, "undo", code=2).stderr


def test_an_empty_time_and_a_pattern_with_a_slip_are_told_of(desk: Desk) -> None:
    """A variable that is not set must not mean now, and a scene that holds nothing must not look like one."""
    done = run("--home", desk.home, "get", "/transport/tempo", "--at-time", "")
    assert done.returncode == 2
    assert "no time that is understood" in done.stderr
    done = run("--home", desk.home, "scene", "save", "slip", "/no/such//")
    assert done.returncode == 0
    assert "nothing that slip is to hold was there" in done.stderr
