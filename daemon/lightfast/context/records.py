"""What the store answers with. All records are immutable; times are nanoseconds since 1970, UTC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import msgspec

from lightfast.context.entry import Entry, Event, Transaction
from lightfast.core.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class RequestKey:
    """Makes a call idempotent for 24 hours: who called what, under which id, with which payload."""

    client: str
    method: str
    request_id: str
    payload_hash: str


class Applied(msgspec.Struct, frozen=True):
    """A committed transaction: its revision (0 for signals only) and the entries after it, deleted ones left out."""

    revision: int
    entries: tuple[Entry, ...]


class Published(msgspec.Struct, frozen=True):
    """What became of one batch of signals; *first_reason* says why the first refused one was refused."""

    accepted: int
    dropped: int
    first_reason: str = ""


class Child(msgspec.Struct, frozen=True, gc=False):
    """One child of a path; *name* is the last segment, decoded."""

    path: str
    name: str
    has_value: bool
    has_children: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Entries ordered by path, all as of *revision*.

    *tier* is where they come from, `live` or `history`; those at the paths *archived* come from the `archive`.
    """

    entries: tuple[Entry, ...]
    revision: int
    next_page_token: str
    oldest_revision: int
    tier: str
    archived: frozenset[str] = frozenset()

    def tier_of(self, entry: Entry) -> str:
        """Return where *entry* of this page comes from."""
        if entry.path in self.archived:
            return "archive"
        return self.tier if entry.revision else "live"  # what has not settled has no past


class Gap(NamedTuple):
    """A part of the history that cannot be read: revisions, the frame they lie in, and what is wrong with it."""

    first: int
    last: int
    frame: str
    why: str


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Transactions, newest first, each with the events that match, read as of *revision*.

    What was there before an event may be *missing*, too, where it lies in such a gap.
    """

    transactions: tuple[Transaction, ...]
    revision: int
    next_page_token: str
    oldest_revision: int
    missing: tuple[Gap, ...] = ()


@dataclass(frozen=True, slots=True)
class Undone:
    """An undo: its revision (0 where nothing was done), what it took back, newest first, and what stood in the way."""

    revision: int
    undone: tuple[int, ...] = ()
    conflicts: tuple[Entry, ...] = ()


class Feed(Protocol):
    """What the store hands its news to; the bus of `lightfast.context.watch` is one."""

    def publish(self, transaction: Transaction) -> None:
        """Take a committed transaction."""

    def signals(self, events: Sequence[Event]) -> None:
        """Take volatile updates."""


class Compacted(NamedTuple):
    """The oldest revision that can still be read, and the rows that were dropped."""

    oldest: int
    dropped: int


def check_texts(origin: str, label: str, group: str) -> None:
    """Raise `InvalidArgument` for a text of a transaction that is too long to keep."""
    for name, text in (("origin", origin), ("label", label), ("group", group)):
        if text and (len(text) > 1000 or "\0" in text):
            raise InvalidArgument(f"{name} is longer than 1000 characters, or holds a NUL", field=name)
