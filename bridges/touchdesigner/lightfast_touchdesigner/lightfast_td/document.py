"""Which project is open: an identity that survives a restart from the last save.

An id is kept in the component's storage, which TouchDesigner saves with the project. `project.name` counts up with
each save (`show.3.toe`), so the number does not count. A project found under another name while the first one still
exists is a copy, and gets an id of its own, the same one each time.
"""

import glob
import hashlib
import os
import re
import uuid

KEY = "lightfast_document"
_NUMBER = re.compile(r"\.\d+(?=\.toe$)")


def base(folder, name):
    """Return the path of a project without the number of its save."""
    return os.path.normpath(os.path.join(str(folder), _NUMBER.sub("", str(name))))


def exists(path):
    """Say whether any save of the project at the base path *path* exists."""
    stem = path[: -len(".toe")] if path.endswith(".toe") else path
    return os.path.exists(path) or bool(glob.glob(glob.escape(stem) + ".*.toe"))


def decide(stored_id, stored_path, path, there=exists):
    """Return the id of the project at the base path *path*."""
    if not stored_id:
        return _digest(path) if there(path) else uuid.uuid4().hex
    if stored_path and os.path.normcase(stored_path) != os.path.normcase(path) and there(stored_path) and there(path):
        return _digest(stored_id + "\0" + path)
    return stored_id


def _digest(text):
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


class Document:
    """The open project; *generation* counts what happened to it outside the daemon's sight."""

    def __init__(self, td, owner):
        self._td = td
        self._owner = owner
        stored = owner.fetch(KEY, {}, search=False) or {}
        self.path = base(td.project.folder, td.project.name)
        self.id = decide(str(stored.get("id", "")), str(stored.get("path", "")), self.path)
        self.generation = int(stored.get("generation", 0))
        self.keep()

    def keep(self):
        """Put the identity where the next save takes it along."""
        self._owner.store(KEY, {"id": self.id, "path": self.path, "generation": self.generation})

    def saved(self):
        """Take note of a save; say whether the project is another one by it (`Save As`)."""
        path = base(self._td.project.folder, self._td.project.name)
        before, self.path = self.path, path
        changed = path != before and exists(before)
        if changed:
            self.id = _digest(self.id + "\0" + path)
        self.keep()
        return changed
