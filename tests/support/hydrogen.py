"""A real Hydrogen without a screen, on a JACK of its own, in a network of its own."""

from __future__ import annotations

import contextlib
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

from lightfast.core.osc import decode
from lightfast.core.osc_build import encode

PORT = 9000
UP_S = 90.0
WINDOW_S = 30.0
"""The longest that it says nothing while its window opens; on an idle machine it takes two seconds."""
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
                self._wait_window()
                return self
            time.sleep(0.01)
        raise AssertionError(f"Hydrogen did not open its port (exit code {self.process.poll()}):\n{self.log()}")

    def _wait_window(self) -> None:
        """Wait until its window is open: while it opens, it sets every volume and pan to what it has just read.

        What another program writes between the two is lost. The master volume is the last, and is told to clients.
        """
        with self.net.udp() as client, contextlib.suppress(TimeoutError):  # nothing more is told: it is open already
            client.settimeout(WINDOW_S)
            client.sendto(encode("/Hydrogen/NEW"), ("127.0.0.1", self.port))
            for address in ("/Hydrogen/MUTE_TOGGLE", "/Hydrogen/MASTER_VOLUME_ABSOLUTE"):
                while decode(client.recv(65_536))[0].address != address:
                    pass

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
