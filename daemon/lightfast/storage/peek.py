"""Looks at a database file without opening it, so that a store of a newer version stays untouched.

SQLite itself cannot look without leaving `-shm` or `-wal` files behind, so the few bytes that
matter are read here: from the newest committed copy of page 1, which may still be in the log.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

_MAGIC = b"SQLite format 3\0"
_WAL_MAGIC = (0x377F0682, 0x377F0683)
_USER_VERSION = 60
_APPLICATION_ID = 68


class Header(NamedTuple):
    """What the first page says."""

    user_version: int
    application_id: int


def peek(path: Path) -> Header | None:
    """Return the header of the database at *path*; `None` where there is none yet.

    Raises `ValueError` if the file is something else, `OSError` if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            page = file.read(100)
    except FileNotFoundError:
        return None
    newest = _from_log(path.with_name(path.name + "-wal"))
    if newest is not None:
        page = newest
    if not page:
        return None
    if len(page) < 100 or not page.startswith(_MAGIC):
        raise ValueError("it does not begin like an SQLite database")
    (user_version,) = struct.unpack_from(">i", page, _USER_VERSION)
    (application_id,) = struct.unpack_from(">i", page, _APPLICATION_ID)
    return Header(user_version, application_id)


def _from_log(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return _newest_first_page(file)
    except FileNotFoundError:
        return None


def _newest_first_page(file: BinaryIO) -> bytes | None:
    """Walk the frames of a log: page 1 counts once a later frame, or its own, ends a commit."""
    head = file.read(32)
    if len(head) < 32:
        return None
    magic, _, page_size, _, salt_1, salt_2 = struct.unpack_from(">6I", head)
    if magic not in _WAL_MAGIC:
        return None
    committed = candidate = None
    while len(frame := file.read(24)) == 24:
        number, size_after_commit, frame_1, frame_2 = struct.unpack_from(">4I", frame)
        if (frame_1, frame_2) != (salt_1, salt_2):
            break  # the rest is left over from before the log was last reset
        if number == 1:
            candidate = file.read(100)
            file.seek(page_size - 100, 1)
        else:
            file.seek(page_size, 1)
        if size_after_commit and candidate is not None:
            committed = candidate
    return committed
