"""What Live tells in one tick is one datagram after another: the last word on a path counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from lightfast.sdk import AppSession, Change, Value
from lightfast_bridges.ableton.asking import Asker
from lightfast_bridges.ableton.objects import Objects
from lightfast_bridges.ableton.surface import Surface
from lightfast_bridges.ableton.wishes import Wishes


class Ears:
    """Stands for the session and for the wishes: 93 is wished, so hearing it settles the wish there and then."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Value | None]] = []

    def hear(self, path: str, value: Value) -> bool:
        if value == 93.0:
            self.heard.append(("settled", value))
        return value == 93.0

    def report(self, changes: Sequence[Change]) -> None:
        self.heard += [("reported", change.value) for change in changes]


def test_what_is_told_before_the_echo_in_one_tick_is_not_reported_behind_it() -> None:
    """Else two quick writes, as an undo makes them, end with the first."""
    ears = Ears()
    surface = Surface(cast("Asker", None), lambda *_: None, cast("Objects", _Anonymous()))
    surface.session, surface.wishes = cast("AppSession", ears), cast("Wishes", ears)
    tempo = "/live/song/get/tempo"
    surface.hear([(tempo, (150.0,), True), (tempo, (93.0,), True)])
    assert ears.heard == [("settled", 93.0)]
    surface.hear([(tempo, (93.0,), True), (tempo, (150.0,), True)])
    assert ears.heard[1:] == [("settled", 93.0), ("reported", 150.0)], "what is told after it is news"


class _Anonymous:
    def of(self, _: Any) -> str:
        return ""
