"""Which document is open: an identity that survives a restart from the last save.

An id is stored in the scenes together with the path it was saved at. A file found at another
path while the first still exists is a copy, and gets an id of its own, the same one each time.
The generation counts what happened to the document outside the daemon's sight; a file that was
written by a Blender that had not joined is recognized by being younger than its last joined save.
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from typing import Callable, NamedTuple, Set

import bpy

PROPERTY = "lightfast_document"
SAVE_TAKES = 60.0
"""Seconds that a save may take, from our note in the file to its last byte."""
_made: Set[str] = set()


class Stored(NamedTuple):
    """What a file says of itself; *saved* is the time of its last joined save, in seconds since 1970."""

    id: str = ""
    path: str = ""
    generation: int = 0
    saved: float = 0.0


def decide(stored_id: str, stored_path: str, path: str, exists: Callable[[str], bool] = os.path.exists) -> str:
    """Return the id of the document at *path*, empty for one never saved."""
    if not stored_id:
        return _digest(os.path.normpath(path)) if path else uuid.uuid4().hex
    if path and stored_path and not _same(stored_path, path) and exists(stored_path):
        return _digest(stored_id + "\0" + os.path.normpath(path))
    return stored_id


def generation_of(stored: Stored, modified: float) -> int:
    """Return the generation of a file that was last *modified* then: a later one if it was saved unseen."""
    if stored.saved and modified > stored.saved + SAVE_TAKES:
        return max(stored.generation + 1, int(modified))
    return stored.generation


def read() -> Stored:
    """Return what the open file says of itself."""
    for scene in bpy.data.scenes:
        group = scene.get(PROPERTY)
        if hasattr(group, "get") and group.get("id"):
            return Stored(
                str(group["id"]),
                str(group.get("path", "")),
                int(group.get("generation", 0)),
                float(group.get("saved", 0)),
            )
    return Stored()


def current() -> Stored:
    """Return the identity of the open file; one that was never saved has an id of this process only."""
    path, stored = bpy.data.filepath, read()
    if path:
        modified = os.path.getmtime(path) if os.path.exists(path) else 0.0
        return Stored(decide(stored.id, stored.path, path), path, generation_of(stored, modified), stored.saved)
    if stored.id in _made:
        return stored
    made = Stored(decide("", "", ""))
    _made.add(made.id)
    return made


def keep(document_id: str, path: str, generation: int, *, saving: bool = False) -> None:
    """Store the identity in the open file, with the *path* it is, or is about to be, saved at."""
    saved = time.time() if saving else read().saved
    for scene in bpy.data.scenes:
        if scene.library is None:
            scene[PROPERTY] = {"id": document_id, "path": path, "generation": float(generation), "saved": saved}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _same(left: str, right: str) -> bool:
    return os.path.normcase(os.path.normpath(left)) == os.path.normcase(os.path.normpath(right))
