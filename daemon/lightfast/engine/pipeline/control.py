"""How a run is steered while it goes on."""

from __future__ import annotations

from collections.abc import Callable


class Control:
    """Pause, resume and cancel one run; all are plain calls, before it begins or while it goes on."""

    def __init__(self) -> None:
        self.paused = False
        self.leave = False
        self.cancelled: str | None = None
        self.refused = ""
        """The reason of the error for which it fails; empty: it is cancelled by somebody."""
        self._changed: Callable[[], None] | None = None

    def pause(self, *, leave: bool = False) -> None:
        """Start no further step; what is under way ends, and is committed.

        *leave*: the run then ends as PAUSED, to be taken up with what its journal has; else it waits for `resume`.
        """
        self.paused, self.leave = True, leave
        self._tell()

    def resume(self) -> None:
        """Go on."""
        self.paused = self.leave = False
        self._tell()

    def cancel(self, reason: str = "") -> None:
        """End the run: what is under way is ended, too, and waited for within a bound."""
        self.cancelled = reason or "it was cancelled"
        self._tell()

    def refuse(self, error: str, reason: str) -> None:
        """Let the run fail: nothing more is begun, and what an earlier daemon left is noted as it stands."""
        self.refused = reason
        self.cancel(error)

    def follow(self, changed: Callable[[], None] | None) -> None:
        """Call *changed* after each change, in place of who was called before."""
        self._changed = changed

    def _tell(self) -> None:
        if self._changed is not None:
            self._changed()
