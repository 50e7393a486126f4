"""A real daemon process on a home of its own, with every port chosen by the system."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PORTS = ("grpc", "http", "link.tcp", "osc")
READY_S = 150.0
STOP_S = 45.0


class Daemon:
    """One daemon process. `start` waits until it serves, `stop` until it has drained."""

    def __init__(self, home: Path, *, flags: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> None:
        self.home = home
        self.flags = [f"{door if '.' in door else door + '.listen'}=127.0.0.1:0" for door in PORTS] + list(flags)
        self.environ = dict(environ or {})
        self.process: subprocess.Popen[str] | None = None
        self.log_file = home / "daemon.log"
        self.ready_s = 0.0
        """How long the last start took, from exec to `endpoints.json`."""

    def command(self) -> list[str]:
        """Return the command line."""
        flags = [part for flag in self.flags for part in ("--set", flag)]
        return [sys.executable, "-m", "lightfast", "serve", "--home", str(self.home), *flags]

    def clean_environ(self) -> dict[str, str]:
        """Return the environment without settings of the tester's own."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LIGHTFAST_")}
        for name in ("NOTIFY_SOCKET", "JOURNAL_STREAM", "STATE_DIRECTORY", "RUNTIME_DIRECTORY"):
            inherited.pop(name, None)
        return inherited | self.environ

    def start(self, within: float = READY_S) -> Self:
        """Start the process and wait for its endpoints."""
        self.home.mkdir(parents=True, exist_ok=True)
        begin = time.monotonic()
        with self.log_file.open("a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.clean_environ(), text=True
            )
        self.wait_ready(within, begin)
        return self

    def wait_ready(self, within: float, begin: float | None = None) -> None:
        """Wait until the process serves; *begin* is when it was started."""
        assert self.process is not None
        begin = time.monotonic() if begin is None else begin
        while not self._is_written(self.process.pid):
            if self.process.poll() is not None:
                raise AssertionError(f"the daemon ended with {self.process.returncode} at its start:\n{self.log()}")
            if time.monotonic() - begin > within:
                self.kill()
                raise AssertionError(f"the daemon was not ready within {within} s:\n{self.log()}")
            time.sleep(0.005)
        self.ready_s = time.monotonic() - begin

    def _is_written(self, pid: int) -> bool:
        try:
            return bool(self.endpoints["pid"] == pid)
        except (FileNotFoundError, ValueError):
            return False

    @property
    def endpoints(self) -> dict[str, Any]:
        """The bound addresses, as the daemon wrote them."""
        found: dict[str, Any] = json.loads((self.home / "run" / "endpoints.json").read_text(encoding="utf-8"))
        return found

    @property
    def token(self) -> str:
        """The owner's token."""
        return Path(self.endpoints["token_file"]).read_text(encoding="ascii").strip()

    @property
    def pid(self) -> int:
        """The process."""
        assert self.process is not None
        return self.process.pid

    def log(self) -> str:
        """Return what the daemon wrote down so far."""
        return self.log_file.read_text(encoding="utf-8") if self.log_file.exists() else ""

    def wait_log(self, text: str, within: float = 60.0) -> str:
        """Wait until *text* is in the log, and return its line."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            for line in self.log().split("\n")[:-1]:  # the last one may be half there
                if text in line:
                    return line
            time.sleep(0.02)
        raise AssertionError(f"{text!r} did not show up in the log within {within} s:\n{self.log()}")

    def stop(self, within: float = STOP_S) -> int:
        """Ask it to stop, and return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.wait(within)

    def wait(self, within: float = STOP_S) -> int:
        """Wait until the process has ended, and return its exit code."""
        assert self.process is not None
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the daemon did not stop within {within} s:\n{self.log()}") from None

    def kill(self) -> None:
        """Kill it, as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(60)

    def run_to_end(self, within: float = READY_S) -> subprocess.CompletedProcess[str]:
        """Run a daemon that is expected to refuse to start, and return how it ended."""
        self.home.mkdir(parents=True, exist_ok=True)
        return subprocess.run(
            self.command(), capture_output=True, text=True, timeout=within, env=self.clean_environ(), check=False
        )

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            if error is None:
                code = self.stop()
                assert code == 0, f"the daemon ended with {code} when it was stopped:\n{self.log()}"
            else:
                self.kill()
        elif self.process is not None and error is not None:
            error.add_note(f"the daemon had ended with {self.process.returncode} by itself")


@contextmanager
def daemon(home: Path, **options: Any) -> Iterator[Daemon]:
    """Run a daemon on *home* for the length of a block, and see that it drains."""
    with Daemon(home, **options) as found:
        yield found
