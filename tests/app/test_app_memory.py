"""The commands of the memory against one real daemon."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from tests.app.test_app_cli import in_json, said
from tests.support.mistakes import Desk, run


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    found = Desk(tmp_path_factory.mktemp("desk"))
    try:
        yield found
    finally:
        found.close()


def test_what_was_true_and_what_was_known(desk: Desk) -> None:
    first = said(desk, "remember", "the", "tempo", "is", "120", "--key", "tempo", "--fact", "--valid-from", "-3h")
    assert re.match(r"memory-\w{16}  version 1  since ", first)
    shown: Any = in_json(desk, "GetMemoryResponse", "memory", "show", "tempo")[0]
    known = shown["versions"][0]["record_time"]
    second = said(
        desk, "remember", "the tempo is 96", "--key", "tempo", "--fact", "--valid-from", "-2h", "--tag", "song"
    )
    assert "version 2" in second
    assert "the tempo is 96" in said(desk, "recall", "tempo")
    assert "the tempo is 120" in said(desk, "recall", "tempo", "--as-of", "-150m")
    assert said(desk, "recall", "tempo", "--as-of", "4 hours ago").strip() == "Nothing matches."
    assert "the tempo is 120" in said(desk, "recall", "tempo", "--known-at", known)
    explained = said(desk, "recall", "tempo", "--explain", "--ranking", "relevance", "--facts", "--tag", "song")
    assert "embedder: trigram" in explained
    assert "keyword 1, vector 1" in explained
    told = said(desk, "memory", "show", "tempo")
    assert told.index("version 2: the tempo is 96") < told.index("version 1: the tempo is 120")
    assert "known since" in told


def test_relations(desk: Desk) -> None:
    said(desk, "relate", "lamp", "stands on", "table", "--exclusive", "--valid-from", "-1h", "--meta", "height=0.75")
    moved = said(desk, "relate", "lamp", "stands on", "floor", "--exclusive", "--source", "me")
    assert "lamp stands on floor" in moved
    assert "no longer: lamp stands on table" in moved
    assert "lamp stands on floor" in said(desk, "recall", "--about", "lamp", "--depth", "1")
    relation = moved.split()[0]
    assert said(desk, "forget", relation, "--reason", "gone").strip() == "0 memories and 1 relations ended"


def test_notes_that_end_and_come_twice(desk: Desk) -> None:
    text = "a long enough note about the colour of the curtain in the second act"
    said(desk, "remember", text, "--strength", "0.9", "--valid-to", "+2h", "--meta", "act=2")
    done = run("--home", desk.home, "remember", text + "!")
    assert done.returncode == 0
    assert "nearly the same" in done.stderr
    said(desk, "remember", "curtain", "--key", "curtain", "--valid-to", "2099-01-01")
    listed = said(desk, "memory", "list")
    assert "curtain" in listed
    assert (
        said(desk, "forget", "curtain", "--from", "-1m", "--reason", "no").strip() == "1 memories and 0 relations ended"
    )
    assert "\n" not in said(desk, "memory", "ls", "--tag", "none").strip()
    message: Any
    (message,) = in_json(desk, "ListMemoriesResponse", "memory", "list", "--all", "-n", "1000")
    assert "curtain" in {item.get("key") for item in message["memories"]}
    assert "reason no" in said(desk, "memory", "show", "curtain")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("memory", "show", "nothing"), 4, "no memory 'nothing'"),
        (("forget", "nothing"), 4, "no memory 'nothing'"),
        (("remember", "x", "--strength", "2"), 2, "strength is 2"),
        (("remember", "x", "--valid-from", "whenever"), 2, "no time that is understood"),
        (("remember", "x", "--valid-to", "-1h"), 2, "valid_to does not come after"),
        (("recall", "x", "--ranking", "best"), 2, "fused, relevance, newest"),
        (("recall", "x", "--embedder", "nobody"), 4, "no embedder 'nobody'"),
        (("recall", "x", "--as-of", "tomorrow"), 2, "no time that is understood"),
        (("relate", "a", "b"), 2, "OBJECT"),
        (("remember", "x", "--confidence", "nan"), 2, "nan is no number"),
    ],
)
def test_what_is_refused(desk: Desk, arguments: tuple[str, ...], code: int, told: str) -> None:
    done = run("--home", desk.home, *arguments)
    assert done.returncode == code, done
    assert told in " ".join(done.stderr.replace("│", " ").split()), done.stderr


def test_a_text_of_others_does_not_command_the_terminal(desk: Desk) -> None:
    said(desk, "remember", "danger \x1b]0;mine\x07 \u202eback \x1b[31m", "--key", "danger")
    for command in (("recall", "danger"), ("memory", "list"), ("memory", "show", "danger")):
        told = said(desk, *command)
        assert r"danger \x1b]0;mine\x07 \u202eback \x1b[31m" in told
        assert not {"\x1b", "\x07", "\u202e"} & set(told)


@pytest.mark.parametrize(
    ("data", "code", "told"),
    [(b"bad \xff\xfe", 2, b"UTF-8"), (b"x" * 5_000_000, 1, b"too large for one call, which may carry 4,194,304")],
)
@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_an_input_that_cannot_be_sent_is_told_of(desk: Desk, data: bytes, code: int, told: bytes, errors: str) -> None:
    line = [sys.executable, "-m", "lightfast", "--home", str(desk.home), "remember", "-"]
    environ = {**os.environ, "PYTHONIOENCODING": f"utf-8:{errors}"}
    done = subprocess.run(line, input=data, capture_output=True, timeout=120, check=False, env=environ)
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert b"Traceback" not in done.stderr
