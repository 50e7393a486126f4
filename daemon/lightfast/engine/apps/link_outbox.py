"""What waits to go to one application.

Policies: signals keep the latest of each path; of the other wishes at most `WINDOW` are unanswered and
`MAX_WAITING` wait behind them, the next are rejected with the reason; frames that the transport does not
take wait up to `MAX_QUEUED` bytes, then the connection is given up: the application does not read.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence

from lightfast import sdk
from lightfast.engine.apps.link_read import write_wish
from lightfast_link.frame import MAX_HEADER, Frame, FrameError, encode

WINDOW = 4096
"""The most wishes that are with the application, unanswered."""
MAX_WAITING = 65_536
MAX_SIGNALS = 16_384
MAX_QUEUED = 16 << 20
"""The most bytes of frames that wait for the transport."""
BATCH_WISHES = 500
BATCH_BYTES = 512 << 10


class LinkOutbox:
    """Queues frames and wishes for *send*, which takes a frame or says `False` while it has no room."""

    def __init__(self, send: Callable[[list[bytes]], bool]) -> None:
        self._send = send
        self._frames: deque[list[bytes]] = deque()
        self._bytes = 0
        self._waiting: deque[sdk.Wish] = deque()
        self._signals: dict[str, sdk.Wish] = {}
        self.open: set[int] = set()
        """Wishes that were sent and are not answered."""
        self.refused: deque[tuple[int, str]] = deque()
        """Wishes that will not be sent, and why; whoever owns the outbox rejects them."""
        self.dropped_signals = 0
        self.held = True
        """Nothing but `now` gets out until the application was welcomed."""

    @property
    def overfull(self) -> bool:
        """Whether the application has not read for too long."""
        return self._bytes > MAX_QUEUED

    def now(self, frame: Frame) -> None:
        """Send a frame, in front of all wishes; raises `FrameError`."""
        parts = encode(frame)
        if self._frames or not self._send(parts):
            self._queue(parts)

    def apply(self, wishes: Sequence[sdk.Wish]) -> None:
        """Take in wishes."""
        for wish in wishes:
            if wish.signal:
                if wish.path in self._signals or len(self._signals) < MAX_SIGNALS:
                    self._signals[wish.path] = wish
                else:
                    self.dropped_signals += 1
                continue
            self._signals.pop(wish.path, None)  # older, and it would get out later
            if len(self._waiting) >= MAX_WAITING:
                reason = f"the application does not keep up: {MAX_WAITING + len(self.open)} wishes wait for it"
                self.refused.append((wish.wish_id, reason))
            else:
                self._waiting.append(wish)
        self.flush()

    def answered(self, wish_id: int) -> bool:
        """Note the answer to a wish; say whether it was open."""
        if wish_id not in self.open:
            return False
        self.open.discard(wish_id)
        return True

    def flush(self) -> None:
        """Send what the transport takes."""
        while self._frames:
            if not self._send(self._frames[0]):
                return
            self._bytes -= sum(map(len, self._frames.popleft()))
        while not self.held and not self._frames:
            batch = self._batch()
            if not batch:
                return
            try:
                parts = encode(Frame("apply", {"batch": batch}))
            except FrameError as error:
                for item in batch:
                    self._refuse(int(str(item["id"])), str(error))
                continue
            if not self._send(parts):
                self._queue(parts)

    def _queue(self, parts: list[bytes]) -> None:
        self._frames.append(parts)
        self._bytes += sum(map(len, parts))

    def _refuse(self, wish_id: int, reason: str) -> None:
        self.open.discard(wish_id)
        self.refused.append((wish_id, reason))

    def _batch(self) -> list[dict[str, object]]:
        batch: list[dict[str, object]] = []
        size = 0
        while len(batch) < BATCH_WISHES and size < BATCH_BYTES:
            if self._waiting and len(self.open) < WINDOW:
                wish = self._waiting.popleft()
                self.open.add(wish.wish_id)
            elif self._signals:
                wish = self._signals.pop(next(iter(self._signals)))
            else:
                break
            item = write_wish(wish)
            length = len(json.dumps(item, ensure_ascii=False).encode("utf-8", "replace"))
            if length > MAX_HEADER // 2:
                if not wish.signal:
                    self._refuse(wish.wish_id, f"the value takes {length} bytes on the link: store an asset instead")
                continue
            batch.append(item)
            size += length
        return batch

    def clear(self) -> None:
        """Forget everything."""
        self._frames.clear()
        self._waiting.clear()
        self._signals.clear()
        self.open.clear()
        self.refused.clear()
        self._bytes = 0
