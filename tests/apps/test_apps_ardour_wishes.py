"""Wishes for Ardour, without Ardour: what is sent, and what settles or rejects them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support.ardour_scene import LIST, Scene, named
from tests.support.osc_live import until

from lightfast.sdk import Wish
from lightfast_bridges.ardour import wishes
from lightfast_bridges.ardour.playhead import LOOKS
from lightfast_bridges.ardour.target import target_of
from lightfast_bridges.ardour.wishes import MARKS, TRIES


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


async def test_silence_is_a_rejection_too_once_ardour_has_come_to_it() -> None:
    scene = Scene()
    scene.wish(1, "strips/Drums/comment", "x")
    for count in range(1, MARKS + 1):
        await until(lambda: len(set(scene.marks)) == count)  # noqa: B023
        assert scene.session.rejected == {}
        scene.tell((scene.marks[-1],))
    await scene.session.until(lambda: 1 in scene.session.rejected, "the rejection")
    assert "does not answer" in scene.session.rejected[1]


async def test_one_that_stands_still_has_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wishes, "ANSWER", 0.05)
    scene = Scene()
    scene.wish(1, "strips/Drums/comment", "x")
    scene.wish(2, "transport/click", True)
    scene.wish(3, "strips/Pad", None, moved_from="strips/Synth")
    asked = ("/strip/1/comment",)
    await until(lambda: scene.sent.count(asked) > TRIES + 1 and scene.sent.count(("/strip",)) > TRIES + 1)
    assert scene.session.rejected == {}
    assert scene.sent.count(("/toggle_click",)) == 1, "twice would turn it back"
    scene.tell(("/strip/1/comment", "x"), ("/toggle_click", 1.0))
    scene.surface.adopt([LIST[0], (2, "MT", "Pad", 0, 0, 0, 0, 0), *LIST[2:]])
    assert scene.session.settled == {1: "x", 2: True, 3: None}


async def test_what_cannot_be_asked_for_is_judged_by_how_far_ardour_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wishes, "ANSWER", 0.1)
    scene = Scene()
    scene.wish(1, "transport/click", True)
    scene.wish(2, "strips/Pad", None, moved_from="strips/Synth")
    first = scene.marks[0]
    await until(lambda: scene.marks.count(first) > TRIES)
    for back in range(MARKS):
        await until(lambda: len(set(scene.marks)) == 2 * back + 2)  # noqa: B023
        assert scene.session.rejected == {}, f"only {back} marks have come back"
        scene.tell(*[(mark,) for mark in set(scene.marks)])
    await scene.session.until(lambda: len(scene.session.rejected) == 2, "the rejections")
    assert "did not turn" in scene.session.rejected[1]
    assert "did not rename" in scene.session.rejected[2]
    assert scene.sent.count(("/toggle_click",)) == 1


@pytest.mark.parametrize("told", ["/transport_frame", "/position/samples"])
async def test_a_position_that_was_dropped_is_sent_again_until_it_is_there(told: str) -> None:
    scene = Scene()
    locate, ask = ("/locate", 48_000, 0), ("/transport_frame",)
    scene.wishes.apply(Wish(1, "transport/position", 48_000, 0, signal=True))
    for times in (1, 2):
        assert scene.sent.count(locate) == times
        asked = scene.sent.count(ask)
        await until(lambda: scene.sent.count(ask) > asked)  # noqa: B023
        scene.tell(("/transport_frame", 1024))
    assert scene.sent.count(locate) == 3
    scene.tell((told, 48_000) if told == "/transport_frame" else (told, "48000"))
    scene.tell(("/transport_frame", 96_000))  # a hand in Ardour, later: it is not thrown back
    await asyncio.sleep(2 * LOOKS[2])
    assert scene.sent[-1] == locate
    assert scene.sent.count(locate) == 3


async def test_what_leads_away_is_sent_again_until_the_playhead_has_moved() -> None:
    scene = Scene()
    start, ask = ("/goto_start",), ("/transport_frame",)
    scene.wishes.playhead.move(start, None)
    assert scene.sent == [ask, start], "where it was is asked first"
    scene.tell(("/transport_frame", 1024))
    for times in (1, 2):
        assert scene.sent.count(start) == times
        asked = scene.sent.count(ask)
        await until(lambda: scene.sent.count(ask) > asked)  # noqa: B023
        scene.tell(("/transport_frame", 1024 if times == 1 else 0))
    await asyncio.sleep(2 * LOOKS[2])
    assert scene.sent.count(start) == 2


async def test_a_transport_that_rolls_is_not_thrown_back() -> None:
    scene = Scene()
    scene.tell(("/transport_stop", 0.0))
    scene.wishes.apply(Wish(1, "transport/position", 48_000, 0, signal=True))
    await until(lambda: ("/transport_frame",) in scene.sent)
    scene.tell(("/transport_frame", 50_000))
    await asyncio.sleep(2 * LOOKS[1])
    assert scene.sent == [("/locate", 48_000, 1), ("/transport_frame",)]


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
