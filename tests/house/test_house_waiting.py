"""What the tests themselves wait with: each wait has an end, and says what it was for."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

import pytest
from tests.support import looping
from tests.support.alarm import TookTooLong, bounded
from tests.support.waiting import heard, seen_on, until

ASKS = """
import getpass, time
first = getpass.getpass("one: ")
time.sleep(0.5)  # what was typed meanwhile would be thrown away
print("two: ", getpass.getpass("again: ") == first)
"""


def started(program: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-u", "-c", program], stdout=subprocess.PIPE, text=True)


def test_a_line_is_heard_and_the_rest_is_left() -> None:
    with started("print('a'); print('it is ready'); input() if 0 else print('b')") as process:
        assert "it is ready\n" in heard(process, process.stdout, "ready")
        process.communicate(timeout=30)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("program", "within", "why"),
    [
        ("print('a'); import time; time.sleep(600)", 0.5, "before 0.5 s were over"),
        ("print('a')", 60.0, "before its end: a"),
        (
            "import sys, time; sys.stdout.write('never a whole line: ready'); time.sleep(600)",
            0.5,
            "before 0.5 s were over",
        ),
    ],
)
def test_a_process_that_does_not_say_it_is_killed(program: str, within: float, why: str) -> None:
    with started(program) as process:
        with pytest.raises(AssertionError, match=why):
            heard(process, process.stdout, "ready", within)
        assert process.wait(30) in (0, -signal.SIGKILL)


def on_a_terminal(program: str, answers: Sequence[str], within: float) -> str:
    terminal, theirs = pty.openpty()
    try:
        line = [sys.executable, "-W", "ignore", "-c", program]
        process = subprocess.Popen(line, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
        os.close(theirs)
        return seen_on(terminal, process, answers, within)
    finally:
        os.close(terminal)


def test_each_question_gets_its_answer_and_no_answer_comes_before_its_question() -> None:
    assert "two:  True" in on_a_terminal(ASKS, ["secret", "secret"], 60.0)


def test_a_question_without_an_answer_is_the_end() -> None:
    with pytest.raises(AssertionError, match="it did not end within 3 s"):
        on_a_terminal(ASKS, ["secret"], 3.0)


def test_what_blocks_is_woken() -> None:
    with (
        pytest.raises(TookTooLong, match=r"the event did not come to its end within 0\.2 s"),
        bounded(0.2, "the event"),
    ):
        threading.Event().wait()
    with pytest.raises(TookTooLong, match="the outer one"), bounded(0.5, "the outer one"):  # noqa: PT012  # it is what fails
        with bounded(60, "the inner one"):
            pass
        threading.Event().wait()


def test_a_wait_says_what_it_was_for() -> None:
    with pytest.raises(AssertionError, match=r"the light did not come within 0 s: OSError\('dark'\)"):
        until(fails, "the light", 0)


def fails() -> bool:
    raise OSError("dark")


def test_an_async_test_whose_task_stays_fails_and_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looping, "END_S", 0.2)
    staying: list[asyncio.Task[None]] = []

    async def stay() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    async def main() -> None:
        staying.append(asyncio.ensure_future(stay()))
        await asyncio.sleep(0)

    with pytest.raises(AssertionError, match=r"(?s)does not end within 0\.2 s of the test.*in stay"):
        looping.run(main())
    staying[0].get_coro().close()


def test_an_async_test_whose_thread_stays_fails_and_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looping, "END_S", 0.2)
    begun, end = threading.Event(), threading.Event()

    def stay() -> None:
        begun.set()
        end.wait()

    async def main() -> None:
        task = asyncio.ensure_future(asyncio.to_thread(stay))
        assert await asyncio.to_thread(begun.wait, 60)  # what has not begun would not stay
        task.cancel()
        raise ValueError("its own")

    with pytest.raises(ValueError, match="its own") as caught:
        looping.run(main())
    end.set()
    assert "end.wait" in caught.value.__notes__[0] or "in wait" in caught.value.__notes__[0]


def test_an_async_test_that_leaves_nothing_passes() -> None:
    async def main() -> None:
        asyncio.ensure_future(asyncio.sleep(60))  # noqa: RUF006  # that nobody holds it is the case
        await asyncio.sleep(0)

    looping.run(main())
