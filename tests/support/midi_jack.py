"""A MIDI device on a private JACK server: two ports of a program of its own, which says what it is told to, and hears."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

import pytest
from tests.support.jack import Jack

INSTALL = "pip install 'lightfast[midi]'"
PATIENCE = 60.0
HEARD = re.compile(r"(\d+\.\d{6}) ((?:[0-9a-f]{2})+)\n")
SCRIPT = """
import sys, time
import rtmidi

def tell(text):
    sys.stdout.write(text + "\\n")  # in one piece: what is heard is told by another thread
    sys.stdout.flush()

name = sys.argv[1]
out = rtmidi.MidiOut(rtapi=rtmidi.API_UNIX_JACK, name=name + " out")
out.open_virtual_port("keys")
into = rtmidi.MidiIn(rtapi=rtmidi.API_UNIX_JACK, name=name + " in")
into.ignore_types(False, False, False)
into.set_callback(lambda heard, _: tell("%.6f %s" % (time.monotonic(), bytes(heard[0]).hex())))
into.open_virtual_port("lights")
tell("ready")
for line in sys.stdin:
    for word in line.split():
        if word.startswith("+"):
            time.sleep(float(word))
        else:
            out.send_message(list(bytes.fromhex(word)))
out.delete()
into.delete()
"""


class Device:
    """A program with the JACK ports `NAME out:keys` and `NAME in:lights`."""

    def __init__(self, jack: Jack, name: str = "pad") -> None:
        try:
            import rtmidi
        except ImportError:
            pytest.skip(f"python-rtmidi is not installed: {INSTALL}")
        if rtmidi.API_UNIX_JACK not in rtmidi.get_compiled_api():
            pytest.skip(f"python-rtmidi was built without JACK: apt-get install libjack-jackd2-dev, {INSTALL}")
        self.heard: list[tuple[float, bytes]] = []
        self._ready = threading.Event()
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", SCRIPT, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **jack.environ},
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        if not self._ready.wait(PATIENCE):
            self.close()
            raise AssertionError("the device did not come")

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("ready"):
                self._ready.set()
            elif heard := HEARD.fullmatch(line):  # what JACK itself has to say goes there, too
                self.heard.append((float(heard[1]), bytes.fromhex(heard[2])))

    def say(self, *messages: bytes, every: float = 0.0) -> None:
        """Send messages, *every* so many seconds."""
        assert self.process.stdin is not None
        pause = f" +{every} " if every else " "
        self.process.stdin.write(pause.join(message.hex() for message in messages) + "\n")
        self.process.stdin.flush()

    @property
    def messages(self) -> list[bytes]:
        """All that was heard."""
        return [message for _, message in list(self.heard)]

    def hears(self, wanted: Callable[[Sequence[bytes]], object], what: str) -> list[bytes]:
        """Wait until what was heard is *wanted*."""
        deadline = time.monotonic() + PATIENCE
        while not wanted(self.messages):
            assert time.monotonic() < deadline, f"{what}; heard {self.messages[-20:]}"
            time.sleep(0.01)
        return self.messages

    def close(self) -> None:
        """End the program: in good order, so that its ports are gone when this returns, or by force where it hangs."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(60)
        self._reader.join(60)
        if self.process.stdout is not None:
            self.process.stdout.close()
