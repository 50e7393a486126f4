"""apps conflicts, resolve and diagnose, declare and describe: against one real daemon."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.mistakes import Desk, run
from tests.support.worker import Worker


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    found = Desk(tmp_path_factory.mktemp("desk"))
    try:
        with Worker(found.home):
            yield found
    finally:
        found.close()


def said(desk: Desk, *arguments: str | Path) -> str:
    """Run a command that is expected to work, and return what it printed."""
    done = run("--home", desk.home, *arguments)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


def test_there_are_no_conflicts_at_first(desk: Desk) -> None:
    assert said(desk, "apps", "conflicts") == "No conflicts.\n"
    assert json.loads(said(desk, "--json", "apps", "conflicts", "worker")) == {"entries": []}
    done = run("--home", desk.home, "apps", "resolve", "conflict_x", "wished")
    assert done.returncode == 4
    assert "there is no conflict 'conflict_x'" in done.stderr


def test_diagnose(desk: Desk) -> None:
    told = said(desk, "apps", "diagnose", "worker")
    assert told.startswith("ok      /worker: live for "), told
    assert "last message: " in told
    done = run("--home", desk.home, "apps", "diagnose", "/maya")
    assert (done.returncode, done.stdout) == (4, "")
    assert "there is no application '/maya': there are " in done.stderr
    assert "; kinds that can join: " in done.stderr
    found = json.loads(said(desk, "--json", "apps", "diagnose", "/worker"))["findings"]
    assert found[0]["level"] == "FINDING_LEVEL_OK"


def test_declare_keeps_what_is_declared_already(desk: Desk) -> None:
    assert said(desk, "declare", "/worker/level", "--policy", "owner", "--hold", "30") == (
        "/worker/level is owner from now on\n"
    )
    (declared,) = json.loads(said(desk, "--json", "describe", "/worker/level"))["declarations"]
    assert (declared["type"], declared["maximum"], declared["policy"], declared["owner_hold"]) == (
        "double",
        10.0,
        "CONFLICT_POLICY_OWNER",
        "30s",
    )
    told = said(desk, "describe", "/worker//")
    assert "/worker/level  double  0.0..10.0" in told
    assert "owner 30s" in told
    said(desk, "declare", "/free/*", "--policy", "compare_and_set")
    done = run("--home", desk.home, "set", "/free/x", "1")
    assert done.returncode == 1
    assert "add a precondition on it" in done.stderr
    said(desk, "declare", "/free/*", "--remove")
    said(desk, "set", "/free/x", "1")
    assert run("--home", desk.home, "declare", "/x", "--policy", "mine").returncode == 2
    assert said(desk, "describe", "/nothing/here") == "Nothing is declared there.\n"
