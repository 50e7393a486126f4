"""Inputs: what of a recording came from outside, and is written again; the rest follows from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lightfast.context.entry import Delete, Move, Mutation, Set
from lightfast.engine.journal.reader import Change, Commit, Sample
from lightfast_link.path import is_under

OWN = "/lightfast"
"""What the daemon itself tells lies there, and is never replayed."""
_LINK = "link:"
_APP = "app:"
_DAEMON = "daemon"
_TRANSPORT = "transport"
"""The timeline: that it plays is replayed, where it is follows."""


class Choice:
    """Which part of a recording is replayed: that of *apps* (mounts; none: all), with *everything* also consequences.

    An input is what a client wrote, and what an application changed by itself: that becomes a wish. What a link
    carried and what an application answered follows from it; the settled value of a signal follows from its samples.
    """

    def __init__(
        self, apps: Sequence[str] = (), *, everything: bool = False, readonly: Callable[[str], bool] = lambda _: False
    ) -> None:
        """*readonly* says that a path cannot be written here."""
        self._apps = tuple(["/" + app.strip("/") for app in apps])
        self._everything = everything
        self._readonly = readonly
        self._known: dict[str, bool] = {}

    def covers(self, path: str) -> bool:
        """Say whether *path* belongs to the part."""
        known = self._known.get(path)
        if known is None:
            if len(self._known) > 100_000:
                self._known.clear()
            known = self._known[path] = not is_under(path, OWN) and (
                not self._apps or any(is_under(path, app) for app in self._apps)
            )
        return known

    def readonly(self, path: str) -> bool:
        """Say whether *path* cannot be written here."""
        return self._readonly(path)

    def is_input(self, commit: Commit) -> bool:
        """Say whether a transaction came from outside."""
        if self._everything:
            return commit.origin != _DAEMON
        origin = commit.origin
        if origin.startswith(_LINK) or origin == _DAEMON:
            return False
        return not (origin.startswith(_APP) and commit.cause)

    def mutations(self, commit: Commit) -> list[Mutation]:
        """Return what a transaction wrote of the part, as it can be written again."""
        found: list[Mutation] = []
        moved: list[tuple[str, str]] = []
        for change in commit.changes:
            if not self.covers(change.path):
                continue
            if change.type == 2:
                if not _goes_along(change, moved):
                    moved.append((change.source, change.path))
                    found.append(Move(change.source, change.path))
            elif self._readonly(change.path):
                continue
            elif change.type == 1:
                found.append(Delete(change.path))
            elif (change.changed or self._everything) and change.value is not None:
                found.append(Set(change.path, change.value))
        return found

    def updates(self, samples: Sequence[Sample]) -> list[Set]:
        """Return the samples of the part that came from outside, as they can be published again."""
        return [
            Set(sample.path, sample.value)
            for sample in samples
            if sample.value is not None
            and self.covers(sample.path)
            and (self._everything or not (sample.origin == _TRANSPORT or sample.origin.startswith(_LINK)))
            and not self._readonly(sample.path)
        ]


def _goes_along(change: Change, moved: Sequence[tuple[str, str]]) -> bool:
    """Say whether an entry moves with one above it, which was moved already."""
    return any(
        is_under(change.source, source) and change.path == target + change.source[len(source) :]
        for source, target in moved
    )
