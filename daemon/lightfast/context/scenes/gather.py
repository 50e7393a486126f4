"""What a scene holds: read from the store, now or at a revision of the past, whatever tier keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lightfast.context.declarations import RESERVED
from lightfast.context.entry import Entry, Status
from lightfast.context.reader import compiled
from lightfast.context.scenes.records import SceneEntry
from lightfast.context.store import Store
from lightfast.core.errors import Exhausted
from lightfast_link.path import is_under
from lightfast_link.value import Value

EVERYTHING = ("//",)
ASIDE = ("/transport", "/pins", "/statistics")
"""What is no part of a look: left out unless a pattern names it. A recall would stop the timeline otherwise."""
_PAGE = 10_000


class Gathered(NamedTuple):
    """Entries ordered by path, all as of *revision*."""

    revision: int
    entries: list[SceneEntry]


class Choice:
    """Which paths are meant: those that a pattern matches, and none of *exclude* does; never the daemon's own."""

    def __init__(self, patterns: Sequence[str], exclude: Sequence[str] = ()) -> None:
        """Raise `InvalidArgument` for a malformed pattern; without patterns everything is meant."""
        self.patterns = tuple(patterns) or EVERYTHING
        self._wanted = [compiled(pattern) for pattern in self.patterns]
        self._left_out = [compiled(pattern) for pattern in exclude]
        self._all = "//" in self.patterns
        self._named = [pattern for pattern in self._wanted if pattern.text != "//"]

    def excludes(self, path: str) -> bool:
        """Say whether *path* is left out, where a pattern has matched it."""
        if is_under(path, RESERVED) or any(pattern.matches(path) for pattern in self._left_out):
            return True
        aside = any(is_under(path, each) for each in ASIDE)
        return aside and not any(pattern.matches(path) for pattern in self._named)

    def __contains__(self, path: str) -> bool:
        if not self._all and not any(pattern.matches(path) for pattern in self._wanted):
            return False
        return not self.excludes(path)


async def gather(store: Store, choice: Choice, at_revision: int | None, most: int) -> Gathered:
    """Return what the *choice* holds; raise `Exhausted` (SCENE_TOO_LARGE) for more than *most* entries."""
    revision = at_revision
    found: dict[str, SceneEntry] = {}
    for pattern in choice.patterns:
        token = ""
        while True:
            page = await store.read(pattern=pattern, at_revision=revision, page_size=_PAGE, page_token=token)
            for entry in page.entries:
                if (kept := _kept(store, entry)) is not None and not choice.excludes(entry.path):
                    found[entry.path] = kept
            if len(found) > most:
                raise Exhausted(
                    f"the patterns match more than {most} entries: save a narrower scene", reason="SCENE_TOO_LARGE"
                )
            token = page.next_page_token
            if not token:
                revision = page.revision
                break
    if at_revision is None:
        _overlay(store, found)
    return Gathered(revision or 0, [found[path] for path in sorted(found)])


def _overlay(store: Store, found: dict[str, SceneEntry]) -> None:
    """Put the signals in that move just now: the pages after the first show them as they settled last."""
    for path, kept in found.items():
        entry = store.get(path) if kept.signal else None
        if entry is not None and not entry.revision and entry.value is not None:
            found[path] = SceneEntry(path, entry.value, 0, entry.object_id, signal=True)


def _kept(store: Store, entry: Entry) -> SceneEntry | None:
    value = standing(entry)
    if value is None or entry.lease:
        return None  # what is tied to a lease says who is there, and goes when they go
    declared = store.declaration(entry.path) if entry.signal else None
    if declared is not None and declared.access == "r":
        return None  # a meter, a playhead: nobody can bring its moment back
    return SceneEntry(entry.path, value, entry.revision, entry.object_id, entry.signal)


def standing(entry: Entry) -> Value | None:
    """Return what *entry* stands for: its value; where an application refused that, what it has instead."""
    if entry.status is Status.REJECTED and entry.reported is not None:
        return entry.reported
    return entry.value
