"""Comparing a replay with its recording: the state it ended in, and what followed from the inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from lightfast.context.entry import Declaration, Entry
from lightfast.engine.journal.fold import Caused, Held
from lightfast_link.value import Value, close


class Difference(NamedTuple):
    """One difference, of one of these kinds.

    `state` (another value at the end), `missing` (nothing at the end, or nothing was caused there), `extra`
    (something is there at the end that was deleted, or was caused there), `caused` (an input caused another value),
    `refused` (an input could not be written). *tolerance* is absolute, 0 means 1e-6 relative.
    """

    kind: str
    path: str
    recorded: Value | None
    replayed: Value | None
    tolerance: float = 0.0
    note: str = ""


class Rules:
    """The tolerance of each parameter: as it is declared now, else as it was when it was recorded."""

    def __init__(self, now: Callable[[str], Declaration | None], recorded: Callable[[str], Declaration | None]) -> None:
        self._now = now
        self._recorded = recorded

    def tolerance(self, path: str) -> float:
        """Return how far two numbers at *path* may differ."""
        for find in (self._now, self._recorded):
            declared = find(path)
            if declared is not None and declared.tolerance:
                return declared.tolerance
        return 0.0

    def is_meter(self, path: str) -> bool:
        """Say whether *path* is a signal that only its application moves: no replay can bring it back."""
        return any(
            declared is not None and declared.signal and declared.access == "r"
            for declared in (self._now(path), self._recorded(path))
        )


def compare_state(
    wanted: Mapping[str, Held], before: Mapping[str, Held], get: Callable[[str], Entry | None], rules: Rules
) -> Iterator[Difference]:
    """Yield where what is held now differs from *wanted*; what was there *before* and is not wanted must be gone."""
    for path in sorted(wanted):
        if rules.is_meter(path):
            continue
        entry, value = get(path), wanted[path].value
        if entry is None or entry.value is None:
            yield Difference("missing", path, value, None, note="nothing is there at the end")
            continue
        tolerance = rules.tolerance(path)
        if not close(value, entry.value, tolerance):
            why = f"{entry.status.value.lower()}: {entry.status_reason}" if entry.status_reason else ""
            yield Difference("state", path, value, entry.value, tolerance, why)
    for path in sorted(before):
        if path not in wanted and not rules.is_meter(path):
            entry = get(path)
            if entry is not None and entry.value is not None:
                yield Difference("extra", path, None, entry.value, note="it was deleted when it was recorded")


def compare_caused(recorded: Caused, replayed: Caused, rules: Rules) -> Iterator[Difference]:
    """Yield where an input caused another value, and where only one of both caused anything at all.

    Links conflate, so how often something was carried is no difference; what one input led to is.
    """
    for path in sorted(recorded.paths.keys() - replayed.paths.keys()):
        yield Difference("missing", path, recorded.paths[path], None, note="nothing was caused there")
    for path in sorted(replayed.paths.keys() - recorded.paths.keys()):
        yield Difference(
            "extra", path, None, replayed.paths[path], note="nothing was caused there when it was recorded"
        )
    for (root, path), value in recorded.values.items():
        other = replayed.values.get((root, path))
        if other is None:
            continue
        tolerance = rules.tolerance(path)
        if not close(value, other, tolerance):
            yield Difference("caused", path, value, other, tolerance, f"by the recorded revision {root}")
