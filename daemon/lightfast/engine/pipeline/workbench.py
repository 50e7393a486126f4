"""What an operation may use while it works: the context, a note on the disk, and how far it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from lightfast.engine.pipeline.ports import RunJournal
from lightfast_link.value import Value


class Workbench:
    """The `Bench` of one step."""

    __slots__ = ("_journal", "_kept", "_step_id")

    def __init__(self, journal: RunJournal, step_id: str, kept: Callable[[str], None] | None = None) -> None:
        self._journal = journal
        self._step_id = step_id
        self._kept = kept

    async def read(self, paths: Sequence[str] = (), pattern: str = "") -> Mapping[str, Value]:
        """Return values of the context by path; a path that holds nothing is left out."""
        return await self._journal.read(paths, pattern)

    async def keep(self, note: str) -> None:
        """Keep *note* on the disk. A step that only reads is done again anyway: its note is not kept."""
        if self._kept is not None:
            await self._journal.kept(self._step_id, note)
            self._kept(note)

    def progress(self, fraction: float, message: str = "") -> None:
        """Tell how far it is, 0 to 1; -1 where that is not known."""
        self._journal.progressed(self._step_id, min(1.0, fraction) if fraction >= 0.0 else -1.0, message)
