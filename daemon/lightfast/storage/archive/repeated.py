"""Calls that may come again: what the one before was told is in the frames themselves.

The first frame of such a call names it, with the number of its frames: `_request`. So a call that was cut off between
its frames and its answer, by a crash, is found when it is made again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from lightfast.core.errors import AlreadyExists
from lightfast.storage.archive import codec
from lightfast.storage.archive import frame as layout
from lightfast.storage.archive.codec import Damaged
from lightfast.storage.archive.frame import BrokenFrame
from lightfast.storage.archive.reader import Reader
from lightfast.storage.archive.records import Frame, NewFrame

MOST = 10_000
"""The calls of about so many frames are remembered; after a start, so many of the last frames are looked at."""


class Told:
    """The ids that the last calls were told, by the name of the call."""

    def __init__(self, found: dict[str, list[str]]) -> None:
        self._ids = found
        self._frames = sum(map(len, found.values()))

    def get(self, request: str) -> list[str] | None:
        """Return what the call *request* was told, if that is remembered."""
        return self._ids.get(request)

    def add(self, request: str, ids: list[str]) -> None:
        """Remember what the call *request* was told, and forget the oldest ones."""
        self._ids[request] = ids
        self._frames += len(ids)
        while self._frames > MOST and len(self._ids) > 1:
            self._frames -= len(self._ids.pop(next(iter(self._ids))))


def marked(frames: Sequence[NewFrame], request: str) -> list[NewFrame]:
    """Return *frames* as those of the call *request*, which is one word."""
    first = msgspec.structs.replace(frames[0], request=f"{request}:{len(frames)}")
    return [first, *frames[1:]]


def check(frames: Sequence[NewFrame], ids: Sequence[str], there: Mapping[str, Frame]) -> None:
    """Raise `AlreadyExists` where *frames* are not those that the call appended; what is locked is believed.

    They are compared, and no digest of them is kept: what is purged could be guessed from it.
    """
    same = len(ids) == len(frames) and all(
        (found := there.get(frame_id)) is None or (found.content, found.kind) == (new.content, new.kind)
        for frame_id, new in zip(ids, frames, strict=True)
    )
    if not same:
        raise AlreadyExists(
            "the request_id was used for other frames before: use a new one",
            reason="REQUEST_ID_REUSED",
            field="request_id",
        )


def told(reader: Reader) -> Told:
    """Return what the last calls before a start were told."""
    ids: dict[int, str] = {}
    calls: dict[str, tuple[int, int]] = {}
    for number in range(max(0, reader.next_number - MOST), reader.next_number):
        place = reader.find_number(number)
        if place is None:
            continue
        try:
            raw = layout.parse(reader.raw(place))
            name, _, count = str(codec.load_own(raw).get("_request", "")).rpartition(":")
        except (BrokenFrame, Damaged):
            continue
        ids[number] = raw.frame_id
        if name and count.isdigit():
            calls[name] = number, int(count)
    found = {}
    for name, (number, length) in calls.items():
        listed = [ids[each] for each in range(number, number + length) if each in ids]
        if len(listed) == length:  # else some of them were purged
            found[name] = listed
    return Told(found)
