"""Conflict records at `/lightfast/conflicts/<id>`: a wish that was overwritten, or a question to the user.

A record is a map: path, origin and revision of the wish, reason, time, the values `wished` and `reported` (left
out where there is none), and for a question `open`, which is true. A question is asked when an application returns
with other values and its policy is `ask`: until it is answered, the entry shows the wish and the report as
PENDING, nothing is sent, and what the application reports meanwhile goes into the record. Reporting the wished
value, or a newer wish for the path, answers it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lightfast.context.entry import Delete, Entry, Set, Status
from lightfast.core.clock import Clock
from lightfast.core.ids import new_id
from lightfast_link.path import is_under, join
from lightfast_link.value import Value

ROOT = "/lightfast/conflicts"
"""Below it lies one map per conflict."""
MAX_CONFLICTS = 1000
"""The most overwritten wishes that are kept in the tree; the oldest goes first, and stays in the history.

Questions do not count: there is at most one for each path.
"""
MAX_TOLD = 50_000
"""Of so many paths it is remembered which wish was recorded last, so that its deletion is not recorded again."""


@dataclass(slots=True)
class Asked:
    """One open question: where its record lies, and what the record says."""

    target: str
    body: dict[str, Value]

    @property
    def conflict_id(self) -> str:
        """Return the id to answer it by."""
        return self.target.rpartition("/")[2]

    @property
    def reason(self) -> str:
        """Return what the entry in question shows."""
        return f"{self.body['reason']!s}: lightfast apps resolve {self.conflict_id} wished (or: reported)"


class Conflicts:
    """Makes the records, and keeps their number within bounds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: list[str] = []
        self._told: dict[str, int] = {}
        self._asked: dict[str, Asked] = {}
        self._not_there: dict[str, int] = {}

    def load(self, entries: list[Entry]) -> None:
        """Take over what is there already."""
        for entry in sorted(entries, key=lambda entry: entry.create_revision):
            body = entry.value
            if isinstance(body, dict) and body.get("open"):
                self._asked[str(body["path"])] = Asked(entry.path, body)
            else:
                self._kept.append(entry.path)

    def record(
        self,
        path: str,
        *,
        wished: Value | None,
        reported: Value | None,
        origin: str,
        revision: int,
        reason: str,
    ) -> list[Set | Delete]:
        """Return the writes that record one overwritten wish, for the transaction that overwrites it.

        *origin* and *revision* are the wish's; a value of `None` is an absence and is left out.
        """
        body = self._body(path, wished, reported, origin, revision, reason)
        target = join(ROOT, new_id("conflict"))
        writes: list[Set | Delete] = [Set(target, body)]
        self._kept.append(target)
        if wished is not None:
            self._told[path] = revision
            if len(self._told) > MAX_TOLD:
                del self._told[next(iter(self._told))]
        while len(self._kept) > MAX_CONFLICTS:
            writes.append(Delete(self._kept.pop(0)))
        return writes

    def went(self, entry: Entry | None, records: Callable[[], Iterable[Entry]]) -> list[Set | Delete]:
        """Return the writes that record a wish which was at *entry* when the application deleted that.

        It was committed while the report was queued. There is nothing to write where *records* tell of it already.
        """
        if entry is None or entry.status is not Status.PENDING or entry.value is None:
            return []
        told = self._told.pop(entry.path, -1)
        if told >= entry.revision:
            return []
        for body in [record.value for record in records()] if told >= 0 else ():
            if isinstance(body, dict) and body.get("path") == entry.path and body.get("wished") == entry.value:
                return []
        return self.record(
            entry.path,
            wished=entry.value,
            reported=None,
            origin=entry.origin,
            revision=entry.revision,
            reason=f"{entry.path} was deleted in the application",
        )

    def ask(self, entry: Entry, wished: Value, reported: Value | None) -> tuple[Asked, list[Set | Delete]]:
        """Return the question which of two values holds at *entry*, and the writes that put it into the tree."""
        known = self._asked.get(entry.path)
        what = "holds another value" if reported is not None else "does not have it"
        body = self._body(
            entry.path, wished, reported, entry.origin, entry.revision, f"the application returned and {what}"
        )
        body["open"] = True
        asked = Asked(known.target if known is not None else join(ROOT, new_id("conflict")), body)
        self._asked[entry.path] = asked
        return asked, [Set(asked.target, body)]

    def asked(self, path: str) -> Asked | None:
        """Return the open question about *path*."""
        return self._asked.get(path) if self._asked else None

    def asked_below(self, path: str) -> list[str]:
        """Return the paths at and below *path* with an open question."""
        return [known for known in self._asked if is_under(known, path)]

    def reported(self, path: str, value: Value) -> list[Set | Delete]:
        """Return the writes that bring the question about *path* up to date: the application reported *value*."""
        asked = self._asked[path]
        asked.body = {**asked.body, "reported": value, "time": self._clock.now_ns()}
        return [Set(asked.target, asked.body)]

    def answered(self, path: str) -> list[Set | Delete]:
        """Return the writes that take the question about *path* away, if there is one."""
        asked = self._asked.pop(path, None)
        return [Delete(asked.target)] if asked is not None else []

    def moved(self, source: str, target: str) -> list[Set | Delete]:
        """Return the writes that let the questions about a subtree follow its rename."""
        writes: list[Set | Delete] = []
        for path in self.asked_below(source):
            asked = self._asked.pop(path)
            asked.body = {**asked.body, "path": target + path[len(source) :]}
            self._asked[str(asked.body["path"])] = asked
            writes.append(Set(asked.target, asked.body))
        return writes

    def resolved(self, target: str, path: str, *, gone: int = 0) -> Callable[[], None]:
        """Forget the record at *target*, and return what remembers it again, should it not come to that.

        *gone* is the cause of the deletion of *path*, where that goes, which the application never had.
        """
        kept = target in self._kept
        if kept:
            self._kept.remove(target)
        asked = self._asked.get(path)
        if asked is None or asked.target != target:
            asked = None
        else:
            del self._asked[path]
            if gone:
                self._not_there[path] = gone
                while len(self._not_there) > MAX_CONFLICTS:  # those of applications that were away then
                    del self._not_there[next(iter(self._not_there))]

        def not_yet() -> None:
            if kept:
                self._kept.insert(0, target)
            if asked is not None:
                self._asked.setdefault(path, asked)
                self._not_there.pop(path, None)

        return not_yet

    def never_there(self, deleted: Entry) -> bool:
        """Say, once, whether an application needs no wish that what was *deleted* be gone."""
        if self._not_there.get(deleted.path, 0) != deleted.cause or not deleted.cause:
            return False
        del self._not_there[deleted.path]
        return True

    def _body(
        self, path: str, wished: Value | None, reported: Value | None, origin: str, revision: int, reason: str
    ) -> dict[str, Value]:
        body: dict[str, Value] = {
            "path": path,
            "origin": origin,
            "revision": revision,
            "reason": reason,
            "time": self._clock.now_ns(),
        }
        if wished is not None:
            body["wished"] = wished
        if reported is not None:
            body["reported"] = reported
        return body


def shown(value: Value | None) -> str:
    """Return a value as it stands in a reason: short."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
