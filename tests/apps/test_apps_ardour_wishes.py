"""Wishes for Ardour, without Ardour: what is sent, and what settles or rejects them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.ardour_scene import LIST, Scene, named
from tests.support.osc_live import until

from lightfast_bridges.ardour.target import target_of


async def test_a_wish_is_sent_by_number_and_settled_by_the_echo() -> None:
    scene = Scene()
    scene.wish(1, "master/gain", -12)
    assert scene.sent == [("/strip/gain/4", -12.0)]
    scene.tell(("/strip/fader", 4, 0.467359334230423), ("/strip/gain", 4, -12.000001907348633))
    assert scene.session.settled == {1: -12.000001907348633}
    assert scene.changed == {"master/fader": 0.467359334230423}


async def test_a_wish_for_what_is_there_is_settled_by_asking() -> None:
    scene = Scene()
    scene.wish(1, "strips/Drums/gain", 0.0)
    await until(lambda: ("/strip/1/fader",) in scene.sent)
    scene.tell(("/strip/1/fader", 0.7817867398262024))
    assert scene.session.settled == {1: 0.0}


async def test_what_ardour_does_not_do_is_rejected_with_a_reason() -> None:
    scene = Scene()
    scene.wish(1, "strips/Drums/mute", True)
    answered = 0
    while not scene.session.rejected:
        await until(lambda: scene.sent.count(("/strip/1/mute",)) > answered)  # noqa: B023
        answered += 1
        scene.tell(("/strip/1/mute", 0))
    assert scene.sent.count(("/strip/mute/1", 1.0)) == 3
    assert "audio engine stands still" in scene.session.rejected[1]


async def test_silence_is_a_rejection_too() -> None:
    scene = Scene()
    scene.wish(1, "strips/Drums/comment", "x")
    await scene.session.until(lambda: 1 in scene.session.rejected, "the rejection")
    assert "does not answer" in scene.session.rejected[1]


async def test_a_refusal_is_heard() -> None:
    scene = Scene()
    scene.wish(1, "strips/Drums/mute", True)
    scene.tell(("/strip/mute/1", 0.0))
    assert "refuses" in scene.session.rejected[1]


async def test_of_two_wishes_for_one_thing_the_later_one_counts() -> None:
    scene = Scene()
    scene.wish(1, "strips/Drums/gain", -12.0)
    scene.wish(2, "strips/Drums/fader", 0.5)
    scene.tell(("/strip/fader", 1, 0.467359334230423), ("/strip/gain", 1, -12.000001907348633))
    scene.tell(("/strip/fader", 1, 0.5), ("/strip/gain", 1, -10.46902084350586))
    assert scene.session.settled == {1: -12.000001907348633, 2: 0.5}
    assert scene.changed["strips/Drums/gain"] == -10.46902084350586


async def test_what_toggles_is_not_toggled_twice() -> None:
    scene = Scene()
    scene.wish(1, "transport/click", False)
    assert scene.session.settled == {1: False}
    scene.wish(2, "transport/click", True)
    scene.wish(3, "transport/click", True)
    assert scene.sent == [("/toggle_click",)]
    scene.tell(("/toggle_click", 1.0))
    assert scene.session.settled == {1: False, 2: True, 3: True}


async def test_a_rename_is_answered_by_the_new_list() -> None:
    scene = Scene()
    scene.wish(1, "strips/Pad", None, moved_from="strips/Synth")
    assert scene.sent == [("/strip/name/2", "Pad"), ("/strip",)]
    scene.surface.adopt([LIST[0], (2, "MT", "Pad", 0, 0, 0, 0, 0), *LIST[2:]])
    assert scene.session.settled == {1: None}
    scene.wish(2, "strips/Lead", None, moved_from="strips/Pad")
    scene.surface.adopt([LIST[0], (2, "MT", "Lead 1", 0, 0, 0, 0, 0), *LIST[2:]])
    assert "taken" in scene.session.rejected[2]
    scene.wish(3, "strips/Nope", None, moved_from="master/gain")
    assert "no strip" in scene.session.rejected[3]


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("strips/Nobody/gain", 0.0, "there is no strip strips/Nobody"),
        ("strips/Drums/gian", 0.0, "no property gian"),
        ("strips/Drums/recenable", True, "has no recenable"),
        ("strips/Drums%20(vca)/polarity", True, "has no polarity"),
        ("strips/Drums/gain", "loud", "wants a double"),
        ("strips/Drums/gain", float("nan"), "wants a double"),
        ("strips/Drums/mute", 1, "wants a bool"),
        ("strips/Drums/type", "bus", "only be read"),
        ("strips/Drums/name", "", "needs a name"),
        ("strips/Drums/mute", None, "cannot be removed"),
        ("strips/Drums/sends/1/fader", 0.5, "there is no strips/Drums/sends/1/fader"),
        ("transport/tempo", 120.0, "the tempo cannot be reached over OSC"),
        ("transport/position", 1 << 31, "outside 0 to 2147483647"),
        ("session/name", "x", "only be read"),
        ("monitor/dim", True, "no monitor section"),
    ],
)
async def test_an_impossible_wish_is_rejected_at_once(path: str, value: Any, reason: str) -> None:
    scene = Scene()
    scene.wish(1, path, value)
    assert reason in scene.session.rejected[1]
    assert scene.sent == []


def test_a_parameter_is_held_to_its_range() -> None:
    base = "strips/Drums/plugins/1/parameters/1"
    held = {f"{base}/value": 0.0, f"{base}/min": -20.0, f"{base}/max": 20.0}
    strips = {strip.base: strip for strip in named((1, "AT", "Drums"))}
    assert target_of(f"{base}/value", -6, strips, held).set == ("/strip/plugin/parameter", 1, 1, 1, -6.0)
    with pytest.raises(ValueError, match="outside -20 to 20"):
        target_of(f"{base}/value", 21.0, strips, held)
