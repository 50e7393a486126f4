"""A progress bar for long work, where somebody looks at a terminal."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

from lightfast.app.cli.session import Session

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bar:
    """Shows how much of *what* is done, on standard error; nothing where that is no terminal, or with --json.

    *sizes* says that the numbers are bytes.
    """

    def __init__(self, what: str, session: Session, *, sizes: bool = False) -> None:
        self._what = what
        self._sizes = sizes
        self._wanted = sys.stderr.isatty() and not session.as_json
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if self._wanted:
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn

            counts = DownloadColumn() if self._sizes else MofNCompleteColumn()
            self._progress = Progress(
                TextColumn("{task.description}"), BarColumn(), counts, console=Console(stderr=True), transient=True
            )
            self._progress.start()
            self._task = self._progress.add_task(self._what, total=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def at(self, done: int, total: int = 0, what: str = "") -> None:
        """Show that *done* of *total* (0: not known) is through, and what is done now."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, total=total or None, description=what or self._what)
