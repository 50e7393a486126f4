"""A real Hydrogen without a screen, on a JACK of its own, in a network of its own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.jack import Jack, start_jack
from tests.support.netns import Network

PORT = 9000
UP_S = 90.0
DEFAULTS = Path("/usr/share/hydrogen/data/hydrogen.default.conf")
INSTALL = "apt-get install --no-install-recommends hydrogen jackd2"


def wanted() -> None:
    """Skip where there is no Hydrogen, with the line that installs it."""
    if shutil.which("hydrogen") is None or not DEFAULTS.exists():
        pytest.skip(f"no Hydrogen here: {INSTALL}")


@dataclass
class Hydrogen:
    """One Hydrogen with its JACK and its settings in *folder*."""

    net: Network
    folder: Path
    port: int = PORT
    process: subprocess.Popen[bytes] | None = None
    jack: Jack | None = None

    def start(self) -> Hydrogen:
        """Start both, and wait until the OSC port is open."""
        settings = self.folder / ".hydrogen"
        settings.mkdir(parents=True, exist_ok=True)
        text = DEFAULTS.read_text(encoding="utf-8")
        for name, value in (("oscEnabled", "true"), ("oscFeedbackEnabled", "true"), ("oscServerPort", str(self.port))):
            text, count = re.subn(f"<{name}>.*?</{name}>", f"<{name}>{value}</{name}>", text)
            assert count == 1, f"Hydrogen's settings have no {name}"
        (settings / "hydrogen.conf").write_text(text, encoding="utf-8")
        self.jack = start_jack(self.folder, net=self.net)
        environ = {
            **os.environ,
            **self.jack.environ,
            "HOME": str(self.folder),
            "QT_QPA_PLATFORM": "offscreen",
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "XDG_DATA_HOME": str(self.folder / "data"),
            "XDG_RUNTIME_DIR": str(self.folder),
        }
        with self.log_file.open("ab") as output:
            self.process = self.net.popen(
                ["hydrogen", "-n", "-d", "jack", "--child"],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environ, cwd=self.folder,
            )  # fmt: skip
        end = time.monotonic() + UP_S
        while time.monotonic() < end and self.process.poll() is None:
            if f":{self.port:04X} " in Path(f"/proc/{self.process.pid}/net/udp").read_text(encoding="ascii"):
                return self
            time.sleep(0.01)
        raise AssertionError(f"Hydrogen did not open its port (exit code {self.process.poll()}):\n{self.log()}")

    @property
    def log_file(self) -> Path:
        """Where it prints."""
        return self.folder / "hydrogen.log"

    def log(self) -> str:
        """Return what it printed."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")[-4000:]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End both; may be called twice."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(30)
        if self.jack is not None:
            self.jack.stop()


@contextmanager
def hydrogen(net: Network, folder: Path) -> Iterator[Hydrogen]:
    """Run a Hydrogen for the length of a block."""
    running = Hydrogen(net, folder)
    try:
        yield running.start()
    finally:
        running.stop()
