"""What stays in memory of an entry whose values are on the disk alone."""

from __future__ import annotations

import msgspec

from lightfast.context.entry import Entry


class Stub(msgspec.Struct, frozen=True, gc=False):
    """Stands in the tree for the live entry at *path*, written by *revision* into the *row* of the history.

    Rows are never changed, so whatever is read from there later is this entry and no other. *size* is the length
    of its text, in bytes.
    """

    path: str
    revision: int
    row: int
    size: int


Held = Entry | Stub
"""What a path of the tree leads to."""
