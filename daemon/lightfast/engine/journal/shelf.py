"""The shelf: one file per recording in one folder, by names that cannot lead out of it."""

from __future__ import annotations

import re
from pathlib import Path

from lightfast.core.errors import InvalidArgument, NotFound
from lightfast.engine.journal.form import SUFFIX

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def check_name(name: str) -> str:
    """Return *name*; raise `InvalidArgument` for one that is no plain name."""
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"{name!r:.60} is no name of a recording: use 1 to 100 letters, digits, '.', '_' and '-', "
            "beginning with a letter or digit",
            field="name",
            reason="NAME_INVALID",
        )
    return name


class Shelf:
    """The recordings below *folder*, which is made by the first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def place(self, name: str) -> Path:
        """Return where the recording *name* goes."""
        return self.folder / (check_name(name) + SUFFIX)

    def file(self, name: str) -> Path:
        """Return the file of a recording; raise `NotFound` that lists those there are."""
        path = self.place(name)
        if not path.is_file():
            known = self.names()
            there_are = f"there are {', '.join(known[:10])}" if known else "there is none yet"
            raise NotFound(
                f"there is no recording {name!r}: {there_are}", reason="RECORDING_UNKNOWN", metadata={"name": name}
            )
        return path

    def names(self) -> list[str]:
        """Return the names of all recordings, ordered."""
        if not self.folder.is_dir():
            return []
        return sorted(path.stem for path in self.folder.glob("*" + SUFFIX) if _NAME.fullmatch(path.stem))
