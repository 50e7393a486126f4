"""What REAPER tells in one wake-up is one message after another: the last word on a path counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from lightfast.sdk import AppSession, Change, Value, Wish
from lightfast_bridges.reaper.mirror import Mirror
from lightfast_bridges.reaper.wishes import Wishes, presets_first

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


def test_a_preset_is_loaded_before_the_parameters_of_the_same_scene() -> None:
    """It sets them all: what is wished of them besides would be undone. A later wish stays the later one."""
    parameter, preset = "tracks/Bass/fx/1/parameters/1/value", "tracks/Bass/fx/1/preset"
    scene = [Wish(1, parameter, 0.25, 7), Wish(2, preset, "Warm", 7), Wish(3, "tracks/Bass/mute", True, 7)]
    assert [wish.wish_id for wish in presets_first(scene)] == [2, 1, 3]
    later = [Wish(1, parameter, 0.25, 7), Wish(2, preset, "Warm", 8)]
    assert [wish.wish_id for wish in presets_first(later)] == [1, 2]
    renamed = [Wish(1, "tracks/Bass", None, 7, moved_from="tracks/Low"), Wish(2, preset, "Warm", 7)]
    assert [wish.wish_id for wish in presets_first(renamed)] == [1, 2]
