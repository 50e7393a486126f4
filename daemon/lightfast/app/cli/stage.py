"""The processes of the demo: a private daemon, and the applications around it, each ended by its id."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from lightfast.core.errors import DeadlineExceeded, FailedPrecondition

T = TypeVar("T")

START_S = 150.0
"""How long a daemon may take to start, in seconds: a machine that has far more to do than it can needs a minute."""


def wait_for(look: Callable[[], T | None], what: str, seconds: float, every: float = 0.02) -> T:
    """Return what *look* finds once it finds something; `DeadlineExceeded` after *seconds*."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found is not None:
            return found
        if time.monotonic() > deadline:
            raise DeadlineExceeded(f"{what} did not happen within {seconds:g} s")
        time.sleep(every)


def free_udp_port() -> int:
    """Return a UDP port that is free now; somebody else may take it before it is used."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Stage:
    """Starts processes with their output in *folder*, and ends them all, last one first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def start(self, name: str, *arguments: str, environ: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start one process of this Python; its output goes to NAME.log."""
        return self.run(name, sys.executable, *arguments, environ=environ)

    def run(self, name: str, *line: str, environ: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a program; its output goes to NAME.log."""
        with self.log(name).open("ab") as output:
            process = subprocess.Popen(
                line,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | (environ or {}),
                start_new_session=True,  # Ctrl-C is for us; we end them in order
            )
        return self.add(name, process)

    def add(self, name: str, process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        """Take a process over."""
        self._running.append((name, process))
        return process

    def log(self, name: str) -> Path:
        """Return the file with the output of a process."""
        return self.folder / f"{name}.log"

    def daemon(self, *settings: str) -> subprocess.Popen[bytes]:
        """Start the daemon of this folder on free ports, and wait until it is ready."""
        flags = [flag for setting in settings for flag in ("--set", setting)]
        for key in ("grpc.listen", "http.listen", "osc.listen", "link.tcp"):
            flags += ["--set", f"{key}=127.0.0.1:0"]
        process = self.start("daemon", "-m", "lightfast", "serve", "--home", str(self.folder), *flags)
        note = self.folder / "run" / "endpoints.json"

        def ready() -> dict[str, object] | None:
            if process.poll() is not None:
                tail = self.log("daemon").read_text(errors="replace")[-2000:]
                raise FailedPrecondition(f"the daemon ended with code {process.returncode}:\n{tail}")
            with contextlib.suppress(OSError, ValueError):
                found: dict[str, object] = json.loads(note.read_text(encoding="utf-8"))
                if found.get("pid") == process.pid:
                    return found
            return None

        wait_for(ready, "the start of the daemon", START_S)
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """End a process the hard way, as a crash does."""
        process.kill()
        process.wait(60)  # one that waits for a slow disk ends when that has answered

    def close(self) -> None:
        """End everything: politely, then not."""
        for _, process in reversed(self._running):
            if process.poll() is None:
                process.terminate()
        killed = []
        for _, process in reversed(self._running):
            try:
                process.wait(8)
            except subprocess.TimeoutExpired:
                process.kill()
                killed.append(process)
        for process in killed:  # all were told: one that takes its time does not leave another behind
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
        self._running.clear()
