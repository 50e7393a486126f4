"""Interleaved pairs, rows of the table, processes under the watch."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import psutil


@dataclass(slots=True)
class Row:
    """One line of the table: ours against a peer. *ratio* is ours / peer, *goal* says what is wanted."""

    name: str
    ours: float
    peer: float
    unit: str
    ratio: float
    goal: str
    met: bool | None
    note: str = ""
    pairs: list[tuple[float, float]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return the row as JSON data."""
        return asdict(self)


async def interleave(
    pairs: int, ours: Callable[[], Awaitable[float]], peer: Callable[[], Awaitable[float]]
) -> list[tuple[float, float]]:
    """Measure ours and the peer in turn, *pairs* times; who is first alternates, so that drift cancels out."""
    found = []
    for number in range(pairs):
        if number % 2:
            theirs = await peer()
            mine = await ours()
        else:
            mine = await ours()
            theirs = await peer()
        found.append((mine, theirs))
    return found


def compare(
    name: str, pairs: Sequence[tuple[float, float]], unit: str, *, least: float = 0.0, most: float = 0.0, note: str = ""
) -> Row:
    """Return the row of interleaved *pairs*: medians, and the median of the ratios against the goal."""
    ratio = statistics.median(mine / theirs for mine, theirs in pairs)
    spread = sorted(mine / theirs for mine, theirs in pairs)
    goal = f"≥ {least:g}×" if least else f"≤ {most:g}×" if most else "—"
    met = ratio >= least if least else ratio <= most if most else None
    return Row(
        name,
        statistics.median(mine for mine, _ in pairs),
        statistics.median(theirs for _, theirs in pairs),
        unit,
        ratio,
        goal,
        met,
        f"{note}{'; ' if note else ''}ratios {spread[0]:.2f}–{spread[-1]:.2f} over {len(spread)} pairs",
        list(pairs),
    )


def single(name: str, value: float, unit: str, *, most: float = 0.0, note: str = "") -> Row:
    """Return the row of one absolute number, with an upper goal where *most* is given."""
    goal = f"≤ {most:g} {unit}" if most else "—"
    return Row(name, value, 0.0, unit, 0.0, goal, value <= most if most else None, note)


def cpu_seconds(pid: int) -> float:
    """Return the processor time a process has used, its children not counted."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


class Peer:
    """A helper process of the bench that prints one line `ready …` when it serves."""

    def __init__(self, module: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"tests.bench.{module}", *arguments], stdout=subprocess.PIPE, stdin=subprocess.PIPE
        )
        assert self.process.stdout is not None
        line: list[str] = []
        while line[:1] != ["ready"]:  # what it logs before is not for us
            text = self.process.stdout.readline()
            if not text:
                raise RuntimeError(f"{module} ended with code {self.process.wait(10)} before it was ready")
            line = text.decode().split()
        self.words = line[1:]

    @property
    def pid(self) -> int:
        """The process."""
        return self.process.pid

    def ask(self, line: str) -> str:
        """Send a line and return the answer; bounded by the process being alive."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().decode().strip()

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)


class Watch:
    """Processor time of a process over a block of work."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.cpu = cpu_seconds(pid)
        self.clock = time.perf_counter()

    def cpu_used(self) -> float:
        """Return the seconds of processor time since the start."""
        return cpu_seconds(self.pid) - self.cpu

    def elapsed(self) -> float:
        """Return the seconds on the clock since the start."""
        return time.perf_counter() - self.clock
