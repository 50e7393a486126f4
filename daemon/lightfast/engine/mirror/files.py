"""The files of a mirror: one record each, written whole or not at all, and what others changed kept aside.

FOLDER/workspaces/ID.json  FOLDER/projects/ID.json  FOLDER/tasks/ID.json
FOLDER/.lightfast-mirror.json, how far they are  FOLDER/.lightfast-mirror-next.json, what is being written
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

STATE = ".lightfast-mirror.json"
NEXT = ".lightfast-mirror-next.json"
FOLDERS: Mapping[str, str] = {"workspace": "workspaces", "project": "projects", "task": "tasks"}
_MOST_ASIDE = 100


class Files:
    """Reads and writes them; all methods block. *hashes* are of what was written last, by the name of the file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store_id = ""
        self.sequence = 0
        """The number of the last event that is in the files."""
        self.aside = 0
        """How many files that others had changed were put aside."""
        self._hashes: dict[str, str] = {}
        self._next: dict[str, list[str]] = {}

    def open(self) -> None:
        """Make the folders, and read how far an earlier mirror came; a damaged note is as good as none."""
        for name in FOLDERS.values():
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        try:
            state = json.loads((self.folder / STATE).read_text(encoding="utf-8"))
            self.store_id, self.sequence = str(state["store_id"]), int(state["sequence"])
            self._hashes = {str(name): str(found) for name, found in state["files"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self.store_id, self.sequence, self._hashes = "", 0, {}
        try:
            coming = json.loads((self.folder / NEXT).read_text(encoding="utf-8"))
            self._next = {str(name): [str(each) for each in found] for name, found in coming.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            self._next = {}

    def write(self, records: Sequence[tuple[str, str, Mapping[str, Any]]]) -> list[tuple[str, str]]:
        """Write records: kind, identity and fields of each; return those for which a file of others was put aside."""
        texts = {(kind, f"{FOLDERS[kind]}/{identity}.json"): _text(fields) for kind, identity, fields in records}
        # Said before it is done: after a kill in the midst of it the files must not be taken for those of others.
        for (_, name), text in texts.items():
            self._next.setdefault(name, []).append(_hash(text.encode()))
        _replace(self.folder / NEXT, json.dumps(self._next, sort_keys=True))
        put_aside = []
        for (kind, name), text in texts.items():
            path = self.folder / name
            new, there = self._next[name][-1], _hash_of(path)
            if there and there != self._hashes.get(name) and there not in self._next[name]:
                self._put_aside(path)
                put_aside.append((kind, path.stem))
            if there != new:
                _replace(path, text)
            self._hashes[name] = new
        return put_aside

    def note(self, store_id: str, sequence: int) -> None:
        """Note how far the files are."""
        self.store_id, self.sequence = store_id, sequence
        state = {"store_id": store_id, "sequence": sequence, "files": self._hashes}
        _replace(self.folder / STATE, json.dumps(state, sort_keys=True))
        self._next = {}

    def forget(self, names: Iterable[str]) -> None:
        """Remove files, and note that all records are to be written again."""
        for name in names:
            (self.folder / name).unlink(missing_ok=True)
            self._hashes.pop(name, None)
        (self.folder / NEXT).unlink(missing_ok=True)
        self.note("", 0)

    def _put_aside(self, path: Path) -> None:
        """Keep what somebody else wrote, under a name that no record has; the import does not read it."""
        for number in range(1, _MOST_ASIDE):
            aside = path.with_suffix(f".theirs-{number}")
            if not aside.exists():
                break
        else:
            aside = path.with_suffix(f".theirs-{_MOST_ASIDE}")
        path.replace(aside)
        self.aside += 1


def _text(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _hash_of(path: Path) -> str:
    try:
        return _hash(path.read_bytes())
    except FileNotFoundError:
        return ""
