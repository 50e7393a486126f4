"""What waits to be sent: reports, conflated by path, and answers, in order.

Policies, all counted in `counters`:

* *reports*: the latest of each path is kept, in the order of the last changes; a rename is a
  barrier that nothing is conflated across. More than `MAX_REPORTS` waiting: all are dropped, and
  the application is asked for a full report, which says the same and more.
* *answers* (settled, rejected, progress, result): kept in order while the session lives, void with it.
  More than `MAX_ANSWERS` waiting: the session is ended, for the daemon does not read.
"""

from __future__ import annotations

import json
from collections import OrderedDict, deque
from typing import Any, Deque, Dict, List, Optional, Tuple

from lightfast_link.frame import MAX_HEADER, Frame
from lightfast_link.messages import Change
from lightfast_link.value import Value, to_json

MAX_REPORTS = 262_144
MAX_ANSWERS = 65_536
FRAME_CHANGES = 500
"""The most changes of one `state` frame."""
FRAME_BYTES = 512 << 10
"""About the most bytes of one `state` frame of several changes."""


class Outbox:
    """Holds what waits; not safe between threads by itself, `LinkClient` holds a lock around it."""

    def __init__(self, counters: Dict[str, int]) -> None:
        self._counters = counters
        self._reports: "OrderedDict[Tuple[int, str], Change]" = OrderedDict()
        self._era = 0
        self._barrier = 0
        """The era that the last rename began: before it, a path may have been another's."""
        self._settled: List[Dict[str, Any]] = []
        self._answers: Deque[Frame] = deque()
        self._settled_size = 0
        self._inflight: "OrderedDict[int, Dict[str, Any]]" = OrderedDict()
        self._unsent: Deque[Dict[str, Any]] = deque()
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._reports)

    def add(self, change: Change) -> bool:
        """Take in a report; say `False` when the bound was passed and everything was dropped."""
        if change.moved_from:
            self._era += 1
        key = (self._era, change.path)
        if self._reports.pop(key, None) is not None:
            self._counters["conflated"] += 1
        self._reports[key] = change
        if change.moved_from:
            self._era += 1
            self._barrier = self._era
        if len(self._reports) <= MAX_REPORTS:
            return True
        self._counters["dropped_reports"] += len(self._reports)
        self._reports.clear()
        return False

    def mark_synced(self) -> None:
        """Mark where the full report ends."""
        self._era += 1
        self._reports[(self._era, "")] = Change("")
        self._era += 1

    def answer(self, frame: Frame) -> None:
        """Queue an answer."""
        self._flush_settled()
        self._answers.append(frame)

    def settled(self, wish_id: int, value: Optional[Value]) -> None:
        """Queue the answer to a wish that was carried out; neighbors share a frame."""
        item: Dict[str, Any] = {"id": wish_id}
        if value is not None:
            item["value"] = to_json(value)
        size = _size(item)
        if size > MAX_HEADER // 2:
            del item["value"]  # the daemon then takes the wish for what the application holds
            self._counters["dropped_values"] += 1
            size = 0
        self._settled.append(item)
        self._settled_size += size
        if len(self._settled) >= FRAME_CHANGES or self._settled_size >= FRAME_BYTES:
            self._flush_settled()

    def supersede(self, path: str, value: Optional[Value]) -> None:
        """Let what waits to be reported of *path* say *value*: the answer to a wish goes out first, and is newer."""
        first = next(iter(self._reports))[0] if self._reports else self._era + 1
        for key in [(era, path) for era in range(max(first, self._barrier), self._era + 1)]:
            older = self._reports.get(key)
            if older is not None and not older.moved_from:
                self._reports[key] = Change(path, value, object_id=older.object_id)
        for header in self._unsent:
            for item in header["changes"]:
                if item["path"] == path and "moved_from" not in item:
                    item.pop("value", None)
                    item.update(encode_change(Change(path, value)))

    def _flush_settled(self) -> None:
        if self._settled:
            self._answers.append(Frame("applied", {"wishes": self._settled}))
            self._settled = []
            self._settled_size = 0

    @property
    def overfull(self) -> bool:
        """Too many answers wait."""
        return len(self._answers) > MAX_ANSWERS

    def next_answer(self) -> Optional[Frame]:
        """Return the oldest answer, which stays until `sent_answer`."""
        if not self._answers:
            self._flush_settled()
        return self._answers[0] if self._answers else None

    def sent_answer(self) -> None:
        """Forget the oldest answer."""
        self._answers.popleft()

    def end_session(self) -> int:
        """Drop answers and marks, which are void without the session; reports and what is in flight stay.

        Returns how many changes the daemon has not acknowledged.
        """
        self._answers.clear()
        self._settled = []
        self._settled_size = 0
        self._unsent.clear()
        for key in [key for key in self._reports if not key[1]]:
            del self._reports[key]
        for header in self._inflight.values():
            header.pop("synced", None)
        return len(self._reports) + sum(len(header["changes"]) for header in self._inflight.values())

    def resend(self) -> None:
        """Put what is still in flight first, because a new session is live."""
        self._unsent = deque(self._inflight.values())
        self._counters["resent_frames"] += len(self._unsent)

    def acknowledged(self, sequence: int) -> None:
        """Forget what is in flight up to *sequence*."""
        while self._inflight and next(iter(self._inflight)) <= sequence:
            self._inflight.popitem(last=False)

    def next_state(self, credit: int) -> Tuple[Optional[Dict[str, Any]], List[Tuple[str, str]]]:
        """Return the header of the next `state` frame, which stays until `sent_state`, and what cannot be sent.

        At most *credit* frames are in flight; then the header is `None`, as when nothing waits.
        """
        if self._unsent:
            return self._unsent[0], []
        if len(self._inflight) >= credit:
            return None, []
        changes, refused, synced = self._take()
        if not changes and not synced:
            return None, refused
        self._sequence += 1
        header: Dict[str, Any] = {"sequence": self._sequence, "changes": changes}
        if synced:
            header["synced"] = True
        self._inflight[self._sequence] = header
        self._unsent.append(header)
        self._counters["sent_changes"] += len(changes)
        return header, refused

    def sent_state(self) -> None:
        """Note that the header that `next_state` returned is on its way."""
        self._unsent.popleft()

    def _take(self) -> Tuple[List[Dict[str, Any]], List[Tuple[str, str]], bool]:
        """Take the changes of one frame off the reports; returns them, those too large, and whether a mark follows."""
        changes: List[Dict[str, Any]] = []
        refused: List[Tuple[str, str]] = []
        size = 0
        while self._reports and len(changes) < FRAME_CHANGES and size < FRAME_BYTES:
            key, change = next(iter(self._reports.items()))
            if not key[1]:
                del self._reports[key]
                return changes, refused, True
            item = encode_change(change)
            length = _size(item)
            if size + length > MAX_HEADER // 2 and changes:
                break
            del self._reports[key]
            if length > MAX_HEADER // 2:
                refused.append((change.path, "the value takes %d bytes on the link: store an asset instead" % length))
                continue
            size += length
            changes.append(item)
        return changes, refused, False


def encode_change(change: Change) -> Dict[str, Any]:
    """Return *change* as it travels in `state`."""
    item: Dict[str, Any] = {"path": change.path}
    if change.moved_from:
        item["moved_from"] = change.moved_from
    elif change.value is not None:
        item["value"] = to_json(change.value)
    if change.event_time:
        item["event_time"] = change.event_time
    if change.object_id:
        item["object_id"] = change.object_id
    return item


def _size(item: Dict[str, Any]) -> int:
    """Return about how many bytes *item* takes, never too few."""
    size = 96 + 4 * (len(item.get("path", "")) + len(item.get("moved_from", "")) + len(item.get("object_id", "")))
    value = item.get("value")
    if value is None or isinstance(value, (bool, int, float)):
        return size
    if isinstance(value, str) and len(value) < 256:
        return size + 6 * len(value)
    return size + len(json.dumps(value, ensure_ascii=False).encode("utf-8"))
