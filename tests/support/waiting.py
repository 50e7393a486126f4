"""Waiting for what a daemon brings about, and for what a process says; a wait that ends says what it was for."""

from __future__ import annotations

import asyncio
import os
import select
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import IO, Any

from lightfast.core.errors import LightfastError


def until(holds: Callable[[], Any], what: str = "it", within: float = 60.0) -> Any:
    """Return what *holds* finds once that is something; a daemon that cannot be asked yet is asked again."""
    deadline = time.monotonic() + within
    while True:
        trouble: Exception | None = None
        try:
            if found := holds():
                return found
        except (LightfastError, OSError) as error:
            trouble = error
        assert time.monotonic() < deadline, f"{what} did not come within {within:g} s: {trouble!r}"
        time.sleep(0.02)


async def seen(look: Callable[[], Awaitable[Any]], what: str = "it", within: float = 60.0) -> Any:
    """Return what *look* finds once that is something, as `until` does, without blocking the loop."""
    deadline = time.monotonic() + within
    while True:
        trouble: Exception | None = None
        try:
            if found := await look():
                return found
        except (LightfastError, OSError) as error:
            trouble = error
        assert time.monotonic() < deadline, f"{what} did not come within {within:g} s: {trouble!r}"
        await asyncio.sleep(0.02)


def heard(process: subprocess.Popen[str], stream: IO[str] | None, text: str, within: float = 60.0) -> str:
    """Read *stream*, a pipe of *process*, until a whole line with *text* came; return all that was said so far.

    A process that does not say it is killed. What it says later is for `communicate`.
    """
    assert stream is not None
    deadline = time.monotonic() + within
    said = b""
    while not any(text in line for line in said.decode(errors="replace").split("\n")[:-1]):
        ready, _, _ = select.select([stream.fileno()], [], [], max(0.0, deadline - time.monotonic()))
        piece = os.read(stream.fileno(), 65536) if ready else b""
        if not piece:
            process.kill()
            process.wait(60)
            stream.close()
            why = "its end" if ready else f"{within:g} s were over"
            raise AssertionError(f"{text!r} was not said before {why}: {said.decode(errors='replace')}")
        said += piece
    return said.decode(errors="replace")


def seen_on(terminal: int, process: subprocess.Popen[Any], answers: Sequence[str] = (), within: float = 60.0) -> str:
    """Return all that *process* shows on its *terminal* until it ends; each question, `…: `, gets the next answer.

    A process that does not end is killed.
    """
    deadline = time.monotonic() + within
    said, asked, waiting = b"", 0, list(answers)
    try:
        while True:
            ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"it did not end within {within:g} s: {said.decode(errors='replace')}"
            try:
                piece = os.read(terminal, 65536)
            except OSError:  # so Linux says that nobody has it open any more
                piece = b""
            if not piece:
                break
            said += piece
            # Only a new question: what is typed before it is asked is thrown away where the echo is switched off.
            if waiting and said[asked:].endswith(b": "):
                asked = len(said)
                os.write(terminal, waiting.pop(0).encode() + b"\n")
        process.wait(max(1.0, deadline - time.monotonic()))
    finally:
        process.kill()
        process.wait(60)
    return said.decode(errors="replace")
