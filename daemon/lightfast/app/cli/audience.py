"""Who watches the demo: everything, over gRPC, in a thread of its own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from lightfast.core.errors import DeadlineExceeded

if TYPE_CHECKING:
    from lightfast.client import Client


class Audience:
    """Counts the events of a watch of everything, and looks for gaps and doubles in the revisions."""

    def __init__(self, client: Client) -> None:
        self.events = 0
        self.signals = 0
        self.revisions: list[int] = []
        self._start = client.info().revision
        self._client = client
        self._seen = threading.Condition()
        self._trouble: Exception | None = None
        self._thread = threading.Thread(target=self._watch, name="audience", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        try:
            for batch in self._client.watch("//", start_revision=self._start):
                with self._seen:
                    self.events += len(batch.events)
                    found = [event.entry.revision for event in batch.events]
                    self.signals += found.count(0)
                    # The events of one transaction lie next to each other and share its revision.
                    durable = [revision for revision in found if revision]
                    self.revisions += [r for i, r in enumerate(durable) if i == 0 or durable[i - 1] != r]
                    self._seen.notify_all()
        except Exception as error:  # noqa: BLE001  # told by `report`
            with self._seen:
                self._trouble = error
                self._seen.notify_all()

    def report(self, revision: int, seconds: float = 10.0) -> str:
        """Wait until *revision* was seen, and say what was; `DeadlineExceeded` when it does not come."""
        with self._seen:
            if not self._seen.wait_for(
                lambda: self._trouble or (self.revisions and self.revisions[-1] >= revision), seconds
            ):
                raise DeadlineExceeded(f"the watch did not see revision {revision} within {seconds:g} s")
            if self._trouble:
                raise self._trouble
            expected = list(range(self._start + 1, self.revisions[-1] + 1))
            whole = "none missing, none twice" if self.revisions == expected else "NOT in step with the history"
            more = f", {self.signals} of them signals" if self.signals else ""
            return f"{self.events} events{more}, revisions {expected[0]} to {expected[-1]}: {whole}"
