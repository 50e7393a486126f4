"""run, runs, approve: against one real daemon, at a terminal and without one."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.burning import BURN as BURNING
from tests.support.daemon import Daemon, daemon
from tests.support.mistakes import run


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    home = tmp_path_factory.mktemp("runs") / "home"
    plugins = home / "config/plugins"
    plugins.mkdir(parents=True, mode=0o700)
    (plugins / "burning.py").write_text(BURNING, encoding="utf-8")
    with daemon(home) as found:
        yield found


def said(house: Daemon, *arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = run("--home", house.home, *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def at_terminal(house: Daemon, *arguments: str, answer: str) -> tuple[int, str, str]:
    """Run a command at a terminal, answer its question, and return its code, what it printed and what it asked."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "lightfast", "--home", str(house.home), *arguments]
    process = subprocess.Popen(
        command, stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, text=True, env=house.clean_environ()
    )
    os.close(theirs)
    asked, answered, deadline = b"", False, time.monotonic() + 120
    try:
        while True:
            ended = process.poll() is not None
            assert time.monotonic() < deadline, asked
            if not select.select([ours], [], [], 0.05)[0]:
                if ended:  # and nothing more came from it
                    break
            else:
                try:
                    asked += os.read(ours, 4096)
                except OSError:  # the terminal closes with its last program
                    break
            if b"[y/N]" in asked and not answered:
                answered = True
                os.write(ours, answer.encode() + b"\n")
        printed, _ = process.communicate(timeout=150)
        return process.returncode, printed, asked.decode()
    finally:
        process.kill()
        process.wait(60)
        os.close(ours)


def run_id(printed: str) -> str:
    return next(word for word in printed.split() if word.startswith("run-"))


def test_a_program_from_a_file_and_from_stdin(house: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "simple.txt"
    file.write_text("s1 = context.set /cli/a 1\n@returns ${s1}\n", encoding="utf-8")
    assert "s1 = context.set /cli/a 1" in said(house, "run", file, "--dry-run").stdout
    told = said(house, "run", file).stdout
    identity = run_id(told)
    assert f"{identity} running\n  s1 context.set done  1\n{identity} succeeded\n1\n" in told
    listed = said(house, "runs", "--state", "succeeded").stdout
    assert identity in listed
    shown = said(house, "runs", "show", identity).stdout
    assert "asked for by local" in shown
    assert "would be s1 context.set undone" in said(house, "runs", "rollback", identity, "--dry-run").stdout
    assert "is rolled back: 1 step taken back" in said(house, "runs", "rollback", identity).stdout
    lines = said(house, "--json", "run", file).stdout.splitlines()
    kinds = [next(iter(json.loads(line))) for line in lines]
    assert kinds == ["plan", "event", "event", "event"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("run", "no-such-file"), 2, "cannot be read"),
        (("runs", "--state", "asleep"), 2, "is no state"),
        (("runs", "show", "run-none"), 4, "there is no run 'run-none'"),
        (("runs", "resolve", "run-none", "s1"), 2, "say one of --happened"),
    ],
)
def test_mistakes_are_told(house: Daemon, arguments: tuple[str, ...], code: int, words: str) -> None:
    done = said(house, *arguments, code=code)
    assert words in " ".join((done.stdout + done.stderr).split())


def test_a_wrong_program_says_what_is_wrong(house: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "wrong.txt"
    file.write_text("s1 = no.such\n", encoding="utf-8")
    done = said(house, "run", file, code=2)
    assert "OPERATION_UNKNOWN" in done.stdout + done.stderr


def test_without_a_terminal_nobody_approves_and_the_command_is_told(house: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "burn.txt"
    file.write_text("s1 = test.burn\n", encoding="utf-8")
    done = said(house, "run", file, code=1)
    line = next(each for each in done.stderr.splitlines() if each.startswith("it waits for an approval: lightfast"))
    command = line.removeprefix("it waits for an approval: lightfast ").split()
    identity = command[1]
    assert said(house, "approve", identity, code=1).stderr.splitlines()[-1] == line
    assert "awaiting approval" in said(house, "runs", "show", identity).stdout
    assert "DIGEST" not in said(house, *command).stdout
    said(house, "runs", "watch", identity)
    assert "approved by client:owner" in said(house, "runs", "show", identity).stdout
    refused = said(house, "run", file, code=1).stderr
    other = next(word for word in refused.split() if word.startswith("run-"))
    assert (
        "refused by client:owner: too hot" in said(house, "approve", other, "--refuse", "--comment", "too hot").stdout
    )


@pytest.mark.parametrize(("answer", "code", "state"), [("y", 0, "succeeded"), ("", 1, "awaiting approval")])
def test_at_a_terminal_the_owner_is_asked(house: Daemon, tmp_path: Path, answer: str, code: int, state: str) -> None:
    file = tmp_path / "burn.txt"
    file.write_text("s1 = test.burn\n", encoding="utf-8")
    found, printed, asked = at_terminal(house, "run", str(file), answer=answer)
    assert found == code, printed + asked
    identity = next(word for word in asked.split() if word.startswith("run-"))
    assert "needs your approval" in asked
    assert state in said(house, "runs", "show", identity).stdout
