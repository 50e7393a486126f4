"""Folding: the state a recording holds at one moment, and what followed from its inputs."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from lightfast.context.watch_batch import Filter
from lightfast.engine.journal.inputs import Choice
from lightfast.engine.journal.reader import Commit, Reader, Samples
from lightfast_link.value import Value

MAX_CAUSED = 500_000
"""How many caused events are compared; what is beyond is not, and that is said."""


class Held(NamedTuple):
    """One value of a state."""

    value: Value
    signal: bool


class Caused(NamedTuple):
    """What followed from the inputs: the last value that *root* (a recorded revision) brought to a path.

    *paths* are all that something was caused at; *cut* says that there was more than can be compared.
    """

    values: dict[tuple[int, str], Value]
    paths: dict[str, Value]
    cut: bool


def state_at(path: Path, at: int, choice: Choice) -> dict[str, Held]:
    """Return what was held just before *at* (in ns since the recording began; below 0: at its very end)."""
    state: dict[str, Held] = {}
    with Reader(path) as reader:
        wanted = Filter(reader.head["patterns"])
        for item in reader.items():
            if isinstance(item, list):
                state.update({entry.path: Held(entry.value, entry.signal) for entry in item if entry.value is not None})
            elif 0 <= at <= item.at:
                break
            elif isinstance(item, Commit):
                _fold(state, item, wanted)
            elif isinstance(item, Samples):
                for sample in item.samples:
                    if sample.value is not None:
                        state[sample.path] = Held(sample.value, signal=True)
    return {key: held for key, held in state.items() if choice.covers(key)}


def _fold(state: dict[str, Held], commit: Commit, wanted: Filter) -> None:
    for change in commit.changes:
        if change.type == 2:
            state.pop(change.source, None)
        if change.type == 1 or change.value is None or not wanted.matches(change.path):
            state.pop(change.path, None)
        elif change.changed or change.path not in state or not change.signal:
            # A signal that went on while an older value of it settled is newer than that.
            state[change.path] = Held(change.value, change.signal)


def written_in(path: Path, start: int, end: int, choice: Choice) -> set[str]:
    """Return the paths that the recording sets from *start* up to *end* (in ns; below 0: its very end)."""
    found: set[str] = set()
    with Reader(path) as reader:
        for item in reader.items():
            if not isinstance(item, (Commit, Samples)) or item.at < start:
                continue
            if 0 <= end < item.at:
                break
            if isinstance(item, Commit):
                found.update([change.path for change in item.changes if change.type != 1])
            else:
                found.update([sample.path for sample in item.samples])
    return {one for one in found if choice.covers(one)}


class Roots:
    """Follows causes back to the inputs."""

    def __init__(self) -> None:
        self.inputs: dict[int, int] = {}
        """The revision of an input, and the recorded revision it stands for."""
        self._parents: dict[int, int] = {}
        self._values: dict[tuple[int, str], Value] = {}
        self._paths: dict[str, Value] = {}
        self._waiting: list[tuple[int, str, Value]] = []
        self._cut = False

    def caused(self, revision: int, cause: int, path: str, value: Value) -> None:
        """Note an event with a cause."""
        if len(self._waiting) >= MAX_CAUSED:
            self._cut = True
            return
        self._parents[revision] = cause
        self._waiting.append((cause, path, value))

    def result(self) -> Caused:
        """Return what followed from the inputs that are known by now."""
        for cause, path, value in self._waiting:
            root = self._root(cause)
            if root:
                self._values[root, path] = value
                self._paths[path] = value
        self._waiting.clear()
        return Caused(self._values, self._paths, self._cut)

    def _root(self, revision: int) -> int:
        for _ in range(1000):
            found = self.inputs.get(revision)
            if found is not None:
                return found
            revision = self._parents.get(revision, 0)
            if not revision:
                break
        return 0


def caused_in(path: Path, start: int, end: int, choice: Choice) -> Caused:
    """Return what followed in the recording from the inputs from *start* up to *end* (ns; below 0: its very end)."""
    roots = Roots()
    with Reader(path) as reader:
        for item in reader.items():
            if not isinstance(item, Commit) or item.at < start:
                continue
            if 0 <= end < item.at:
                break
            if choice.is_input(item):
                roots.inputs[item.revision] = item.revision
            elif item.cause:
                for change in item.changes:
                    if change.type == 0 and change.changed and change.value is not None and choice.covers(change.path):
                        roots.caused(item.revision, item.cause, change.path, change.value)
    return roots.result()
