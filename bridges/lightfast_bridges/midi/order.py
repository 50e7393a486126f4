"""Which came last at a path: what the device said, or what we sent.

What a device says waits in the driver, a pipe and a queue, and may be heard after a wish is settled that was sent
later. So both carry the time at which they happened, and that decides.
"""

from __future__ import annotations


class Order:
    """Compares by path. Times are monotonic seconds; there are as many paths as a device has."""

    def __init__(self) -> None:
        self._heard: dict[str, float] = {}
        self._sent: dict[str, float] = {}

    def heard(self, path: str, at: float) -> None:
        """Take note that the device said something at *at*."""
        self._heard[path] = max(at, self._heard.get(path, at))

    def sent(self, path: str, at: float) -> bool:
        """Take note that we began to send at *at*; say whether the device is known to have spoken after that."""
        self._sent[path] = max(at, self._sent.get(path, at))
        return self._heard.get(path, at) > at

    def sent_after(self, path: str, at: float) -> float | None:
        """Return when we last sent, where that was after *at*; None where it was not."""
        sent = self._sent.get(path)
        return sent if sent is not None and sent > at else None
