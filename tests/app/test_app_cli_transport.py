"""The transport's commands, for people and for programs, against one real daemon."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.daemon import daemon
from tests.support.mistakes import run
from tests.support.waiting import until

from lightfast.client import Client
from lightfast_link.client import LinkClient
from lightfast_link.discover import transport


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Run a daemon, with an application that has no transport."""
    folder = tmp_path_factory.mktemp("transport")
    with daemon(folder):
        hello = {"app": "lamp", "instance_id": "lamp-1", "document_id": "d", "generation": 0}
        client = LinkClient(transport(str(folder)), hello).start()
        try:
            with Client(home=folder) as asking:
                until(lambda: "/lamp" in [app.mount for app in asking.list_apps()], "the application")
            yield folder
        finally:
            client.close()


def said(home: Path, *arguments: str) -> str:
    """Run a command that is expected to work, and return what it printed."""
    done = run("--home", home, "transport", *arguments)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def refused(home: Path, *arguments: str) -> tuple[int, str]:
    """Run a command that is expected to fail."""
    done = run("--home", home, "transport", *arguments)
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_it_plays_stops_and_goes_there(home: Path) -> None:
    assert said(home, "tempo", "97").startswith("stopped  ")
    assert said(home, "play").startswith("playing  ")
    assert "00:01:0" in said(home, "seek", "00:01:00:00"), "the answer tells where it is by then"
    for where in ("12.5", "16b", "250f", "3s"):
        assert said(home, "seek", where).startswith("playing  ")
    assert said(home, "stop").startswith("stopped  ")
    assert said(home, "seek", "10").split("  ")[:3] == ["stopped", "00:00:10:00", "10.000 s"]
    assert said(home).splitlines() == [
        "stopped  00:00:10:00  10.000 s  beat 16.17  97 bpm  led by internal",
        "No application with a transport is joined.",
    ]
    assert said(home, "rate", "29.97df") == "frame rate 29.97df\n"
    assert said(home, "tap") == "97 bpm\n"
    assert said(home, "lead", "internal") == "internal leads\n"


def test_in_json(home: Path) -> None:
    done = run("--home", home, "--json", "transport")
    found = json.loads(done.stdout)
    assert found["transport"]["leading"] == "internal"
    assert {"revision", "store_id"} <= set(found)


def test_what_cannot_be_is_told(home: Path) -> None:
    assert refused(home, "lead", "/nobody")[0] == 4
    code, words = refused(home, "follow", "/lamp")
    assert (code, "has no transport" in words) == (1, True)
    assert refused(home, "tempo", "3")[0] == 2
    assert refused(home, "seek", "x")[0] == 2
    for where in ("-5", "-5b", "-5f"):
        code, words = refused(home, "seek", where)
        assert (code, "lies outside the timeline, which begins at 0" in words) == (2, True), words
    code, words = refused(home, "unfollow", "/nobody")
    assert (code, "there is no application /nobody" in words) == (4, True), words
    with Client(home=home) as client:
        client.set("/transport/follows/later", {"offset": 0.0})
    assert said(home, "unfollow", "later") == "/later follows no more\n", "meant to follow, though not here yet"
    assert refused(home, "seek", "00:99:00:00")[0] == 2
    assert refused(home, "rate", "26")[0] == 2
