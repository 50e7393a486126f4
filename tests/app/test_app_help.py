"""What a newcomer meets first: the grouped help, one manner of telling states, and mistakes that need no daemon."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer
from tests.support.mistakes import clean_environ

from lightfast.app.cli import states
from lightfast.app.cli.panels import PANELS
from lightfast.app.cli.root import root


def said(*arguments: str, text: bytes = b"") -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "lightfast", *arguments],
        input=text, capture_output=True, timeout=150, check=False, env=clean_environ() | {"COLUMNS": "200"},
    )  # fmt: skip
    return done.returncode, done.stdout.decode() + done.stderr.decode()


def test_every_command_has_its_place_in_the_help() -> None:
    command = typer.main.get_command(root)
    names = [name for panel in PANELS.values() for name in panel]
    assert len(names) == len(set(names))
    assert command.list_commands(None) == names  # type: ignore[attr-defined]
    code, told = said("--help")
    assert code == 0
    assert [told.index(panel) for panel in PANELS] == sorted(told.index(panel) for panel in PANELS)


@pytest.mark.parametrize("text", ["needs-you", "NEEDS_YOU", "needs you", "RUN_STATE_NEEDS_YOU"])
def test_a_state_is_taken_in_every_manner(text: str) -> None:
    assert states.wanted([text], ("RUNNING", "NEEDS_YOU"), "RUN") == ["RUN_STATE_NEEDS_YOU"]
    assert states.word("RUN_STATE_NEEDS_YOU", "RUN") == "needs you"


@pytest.mark.parametrize("command", [("runs",), ("jobs", "list"), ("tasks", "list")], ids=" ".join)
def test_a_state_that_is_none_names_those_there_are(command: tuple[str, ...]) -> None:
    code, told = said(*command, "--state", "soon")
    assert code == 2
    assert "'soon' is no state: use " in told


def test_a_program_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    code, told = said("plan", "gone.yaml")
    assert (code, "there is no file gone.yaml" in told) == (2, True)
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"s1 = \xff")
    code, told = said("plan", str(bad))
    assert (code, "is not valid UTF-8 at byte 5" in told) == (2, True), told
    code, told = said("run", "-", text=b"\xff")
    assert (code, "the input is not valid UTF-8 at byte 0" in told) == (2, True), told
