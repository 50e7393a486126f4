"""What REAPER tells in one wake-up is one message after another: the last word on a path counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from lightfast.sdk import AppSession, Change, Value
from lightfast_bridges.reaper.mirror import Mirror
from lightfast_bridges.reaper.wishes import Wishes

TEMPO = "/tempo/raw"


class Ears:
    """Stands for the session and for the wishes: 93 is wished, so hearing it settles the wish there and then."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Value | None]] = []

    def hear(self, _path: str, value: Value) -> bool:
        if value == 93.0:
            self.heard.append(("settled", value))
        return value == 93.0

    def report(self, changes: Sequence[Change]) -> None:
        self.heard += [("reported", change.value) for change in changes]


def test_what_is_told_before_the_echo_in_one_wake_up_is_not_reported_behind_it() -> None:
    """Else two quick writes, as an undo makes them, end with the first."""
    ears = Ears()
    mirror = Mirror(tracks=8)
    mirror.session, mirror.wishes = cast("AppSession", ears), cast("Wishes", ears)
    mirror.hear([(TEMPO, "f", (150.0,)), (TEMPO, "f", (93.0,))])
    assert ears.heard == [("settled", 93.0)]
    mirror.hear([(TEMPO, "f", (93.0,)), (TEMPO, "f", (150.0,))])
    assert ears.heard[1:] == [("settled", 93.0), ("reported", 150.0)], "what is told after it is news"
