"""What lies in a folder: which files hold what, each read with a bound, each mistake with its place.

    FOLDER/ or FOLDER/.NAME/   workspaces/*.json  projects/*.json  tasks/*.json  context/*.json
    FOLDER/                    workflows/*.yaml

A JSON file holds one record, or a list of records.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LARGEST = 8 << 20
"""The largest file that is read, in bytes."""
MOST_FILES = 100_000
KINDS: Mapping[str, tuple[str, ...]] = {
    "workspace": ("workspaces",),
    "project": ("projects",),
    "task": ("tasks",),
    "context": ("context", "contexts"),
    "workflow": ("workflows",),
}
"""What there is, and the folders it lies in; in the order in which it is taken in."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a file: *number* from 1 where the file holds several, *fields* as they stand there."""

    kind: str
    file: Path
    number: int
    fields: Mapping[str, Any]
    text: str = ""
    """The text of a workflow."""

    @property
    def where(self) -> str:
        """Return where it stands, for a person."""
        return f"{self.file}#{self.number}" if self.number else str(self.file)


@dataclass(frozen=True, slots=True)
class BadFile:
    """A file, or one record of it, that cannot be taken in, and what to do about it."""

    where: str
    reason: str


@dataclass(slots=True)
class Found:
    """All that a folder holds."""

    records: list[Record] = field(default_factory=list)
    bad: list[BadFile] = field(default_factory=list)
    files: int = 0


def look(folder: Path) -> Found:
    """Read *folder*; raises `FileNotFoundError` where it is none, or holds nothing of the layout."""
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    hidden = (each for each in sorted(folder.iterdir()) if each.name.startswith(".") and not each.is_symlink())
    roots = [folder, *(each for each in hidden if each.is_dir())]
    found = Found()
    seen = False
    for kind, folders in KINDS.items():
        for place in (root / name for root in roots for name in folders):
            if place.is_dir():
                seen = True
                _read_folder(kind, place, found)
    if not seen:
        names = ", ".join(each[0] for each in KINDS.values())
        raise FileNotFoundError(f"{folder} holds none of the folders {names}: name the folder that does")
    return found


def _read_folder(kind: str, place: Path, found: Found) -> None:
    suffixes = {".yaml", ".yml"} if kind == "workflow" else {".json"}
    for file in sorted(place.rglob("*")):
        if file.is_symlink():
            found.bad.append(BadFile(str(file), "it is a link: only files of the folder itself are read"))
            continue
        if file.suffix not in suffixes or not file.is_file():
            if file.suffix in suffixes and not file.is_dir():
                found.bad.append(BadFile(str(file), "it is no plain file"))
            continue
        if found.files >= MOST_FILES:
            found.bad.append(BadFile(str(place), f"there are more than {MOST_FILES:,} files: import in parts"))
            return
        found.files += 1
        try:
            found.records += _read(kind, file)
        except ValueError as error:
            found.bad.append(BadFile(str(file), str(error)))


def _read(kind: str, file: Path) -> Iterator[Record]:
    try:
        if file.stat().st_size > LARGEST:
            raise ValueError(f"it is larger than {LARGEST >> 20} MiB")
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no UTF-8: byte {error.start} cannot be read; save it as UTF-8") from None
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror}") from None
    if kind == "workflow":
        return iter((Record(kind, file, 0, {}, text),))
    try:
        loaded = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise ValueError("it nests too deeply") from None
    return iter(_records(kind, file, loaded))


def _records(kind: str, file: Path, loaded: Any) -> Sequence[Record]:
    several = loaded
    if isinstance(loaded, Mapping):
        inner = loaded.get(f"{kind}s")
        several = inner if isinstance(inner, list) and not {"id", "title", "name"} & set(loaded) else None
    if several is None:
        return [Record(kind, file, 0, loaded)]
    if not isinstance(several, list):
        raise ValueError(f"it holds {_said(loaded)}: a record in {{…}}, or a list of records, is wanted")  # noqa: TRY004
    for number, each in enumerate(several, 1):
        if not isinstance(each, Mapping):
            raise ValueError(f"record {number} is {_said(each)}: it must be one in {{…}}")  # noqa: TRY004
    return [Record(kind, file, number, each) for number, each in enumerate(several, 1)]


def _said(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 60 else f"{text[:57]}…"
