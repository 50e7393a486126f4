"""What `lightfast doctor` says of the mirror of tasks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from lightfast.app.cli.checks import BAD, OK, WARN, Finding


def check_mirror(folder: str) -> Iterator[Finding]:
    """Look whether the folder of the mirror can be written; nothing is said where none is wanted."""
    if not folder:
        return
    path = Path(folder).expanduser()
    there = next((each for each in (path, *path.parents) if each.exists()), path)
    if not there.is_dir():
        advice = f"move {there} away, or set another [workspaces] mirror"
        yield Finding(BAD, f"the mirror of tasks, {path}, is no folder", advice)
    elif not os.access(there, os.W_OK | os.X_OK):
        yield Finding(BAD, f"the mirror of tasks, {path}, cannot be written", f"allow it: chmod u+rwx {there}")
    else:
        aside = len(list(path.glob("*/*.theirs-*")))
        yield Finding(
            WARN if aside else OK,
            f"the mirror of tasks is {path}" + (f"; files of others were put aside there: {aside}" if aside else ""),
            "look at them (*.theirs-N), then delete them" if aside else "",
        )
