"""A JACK server of a test's own: the dummy driver, a private name, no sound card.

JACK keeps a list of all servers of this machine in shared memory, with room for eight. One that is killed, or dies,
stays in it until a server of the same name is started and ended in good order. So whatever is still on it at its end is
struck off the list that way, and so is, when the list is full, whatever others have left there.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.support.netns import Network

READY_S = 90.0
"""Seconds that a server may take to be ready; on an idle machine it takes one."""
STRIKES = 3
STOP_S = 5.0
GONE_S = 60.0
"""Seconds that a server has to be gone after it was killed."""
FULL = "Too many servers already active"
REGISTRY = Path("/dev/shm/jack-shm-registry")
_NUMBERS = itertools.count(1)


@dataclass
class Jack:
    """A running server. Its clients are started with *environ*, and told nothing else."""

    name: str
    rate: int
    period: int
    log: Path
    process: subprocess.Popen[bytes]
    environ: dict[str, str] = field(default_factory=dict)

    def stop(self) -> None:
        """End it, by force where it lingers, and see that it is off the list; may be called twice."""
        _end(self.process)
        strike_off(self.name)

    def kill(self) -> None:
        """Kill it, and strike it off the list."""
        self.process.kill()
        self.process.wait(GONE_S)
        strike_off(self.name)


def start_jack(folder: Path, *, net: Network | None = None, rate: int = 48_000, period: int = 1024) -> Jack:
    """Start a server, inside *net* where one is given, and wait until it takes clients.

    Its log goes into *folder*. Skips the test where JACK is not installed.
    """
    if shutil.which("jackd") is None or shutil.which("jack_wait") is None:
        pytest.skip("no JACK here: apt-get install --no-install-recommends jackd2")
    end = time.monotonic() + READY_S
    while True:
        jack = _spawn(folder, net, rate, period)
        try:
            _wait_ready(jack)
        except BaseException as error:
            jack.stop()
            if FULL not in str(error) or time.monotonic() > end:
                raise
        else:
            return jack
        for name in left_behind():
            strike_off(name)
        time.sleep(0.2)  # or others end


def _spawn(folder: Path, net: Network | None, rate: int, period: int) -> Jack:
    name = f"lightfast-{os.getpid()}-{next(_NUMBERS)}"
    environ = {"JACK_DEFAULT_SERVER": name, "JACK_NO_AUDIO_RESERVATION": "1", "JACK_NO_START_SERVER": "1"}
    log = folder / f"{name}.log"
    popen = subprocess.Popen if net is None else net.popen
    with log.open("wb") as output:
        process = popen(
            _command(name, rate, period),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **environ},
        )
    return Jack(name, rate, period, log, process, environ)


def _command(name: str, rate: int, period: int) -> list[str]:
    return [*_last_processor(), "jackd", "-r", "-n", name, "-d", "dummy", "-r", str(rate), "-p", str(period)]


def _last_processor() -> list[str]:
    """Return what keeps a server to the last processor: then it does not interrupt clients on the others."""
    if shutil.which("taskset") is None or len(processors := sorted(os.sched_getaffinity(0))) < 2:
        return []
    return ["taskset", "-c", str(processors[-1])]


def listed() -> dict[str, int]:
    """Return the servers of tests that are on the list, with their process ids."""
    try:
        found = re.findall(rb"(?s)(.{4})jack-\d+:(lightfast-\d+-\d+):", REGISTRY.read_bytes())
    except OSError:
        return {}
    return {name.decode(): int.from_bytes(pid, sys.byteorder) for pid, name in found}


def left_behind() -> list[str]:
    """Return the servers on the list that are dead: so is their process, or, where its id was given again, the test's."""
    return [name for name, pid in listed().items() if not (_lives(pid) and _lives(int(name.split("-")[1])))]


def _lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def strike_off(name: str) -> None:
    """Take a dead server off the list, where it is on it, by starting one of its name and ending it in good order."""
    end = time.monotonic() + READY_S
    for _ in range(STRIKES):  # one that lives in fact lets no other take its name
        if (dead := listed().get(name)) is None:
            return
        process = subprocess.Popen(
            _command(name, 48_000, 1024), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        # One that is ended before it is on the list itself changes nothing there.
        while listed().get(name) == dead and process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server in good order, by force where it lingers."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(GONE_S)


def _wait_ready(jack: Jack) -> None:
    end = time.monotonic() + READY_S
    while time.monotonic() < end and jack.process.poll() is None:
        try:
            asked = subprocess.run(
                ["jack_wait", "-s", jack.name, "-w", "-t", "2"],
                env={**os.environ, **jack.environ},
                capture_output=True,
                timeout=15.0,
                check=False,
            )
        except subprocess.TimeoutExpired:
            continue
        if asked.returncode == 0 and b"not" not in asked.stdout:
            return
    said = jack.log.read_text(encoding="utf-8", errors="replace")
    raise AssertionError(f"jackd was not ready within {READY_S} s (exit code {jack.process.poll()}):\n{said[-4000:]}")


@contextmanager
def jack_server(folder: Path, *, net: Network | None = None, rate: int = 48_000, period: int = 1024) -> Iterator[Jack]:
    """Run a server for the length of a block; see `start_jack`."""
    jack = start_jack(folder, net=net, rate=rate, period=period)
    try:
        yield jack
    finally:
        jack.stop()
