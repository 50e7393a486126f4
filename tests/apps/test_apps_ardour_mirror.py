"""What Ardour says, as its bridge takes it in: fed with what Ardour 7.3 was heard to say."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.ardour_scene import LIST, Scene

from lightfast.sdk import OscMessage
from lightfast_bridges.ardour import asking
from lightfast_bridges.ardour.asking import Asker
from lightfast_bridges.ardour.details import read_parameter, read_plugins, read_sends
from lightfast_bridges.ardour.session import _before_farewell


async def test_a_fader_and_its_gain_are_told_together() -> None:
    scene = Scene()
    scene.tell(("/strip/fader", 1, 0.467359334230423), ("/strip/gain", 1, -12.000001907348633))
    assert scene.changed == {"strips/Drums/fader": 0.467359334230423, "strips/Drums/gain": -12.000001907348633}


async def test_what_is_the_same_is_not_reported_again() -> None:
    scene = Scene()
    scene.tell(("/strip/mute", 1, 0.0), ("/strip/gain", 1, 0.0), ("/toggle_click", 0.0))
    assert scene.changed == {}


async def test_an_error_is_never_taken_for_a_value() -> None:
    scene = Scene()
    scene.tell(("/strip/gain/1", " "), ("/strip/recenable/3", 0.0), ("/strip/gain", 0), ("/strip/gain", 1, "x"))
    assert scene.changed == {}
    assert scene.surface.held["strips/Drums/gain"] == 0.0


async def test_a_gain_in_the_name_is_not_a_name() -> None:
    scene = Scene()
    scene.tell(("/strip/name", 1, "-12.00"))
    assert scene.surface.stale.is_set()
    scene.surface.stale.clear()
    scene.surface.adopt([*LIST, *LIST])  # told twice, for somebody else has asked, too
    assert scene.changed == {}


async def test_what_is_told_while_the_numbers_change_goes_where_it_belongs() -> None:
    scene = Scene()
    scene.tell(
        ("/strip/name", 4, "Phones - FB"),
        ("/strip/fader", 4, 0.25),
        ("/strip/name", 5, "Master"),
        ("/strip/fader", 5, 0.5),
        ("/strip/list",),
    )
    assert scene.changed == {}
    scene.surface.stale.clear()
    scene.surface.adopt([*LIST[:3], (4, "FB", "Phones - FB", 2, 2, 0, 0, -1), (5, "MA", "Master", 2, 2, 0, 0, -1)])
    assert scene.changed["master/fader"] == 0.5
    assert scene.changed["strips/Phones%20-%20FB/fader"] == 0.25
    assert scene.surface.unread == {"strips/Phones%20-%20FB"} | {
        base for base in scene.surface.unread if base != "strips/Phones%20-%20FB"
    }


async def test_a_rename_moves_the_subtree() -> None:
    scene = Scene()
    scene.surface.adopt([(1, "AT", "Kick", 1, 2, 0, 0, 0), *LIST[1:]])
    assert [(one.moved_from, one.path) for one in scene.session.changes if one.moved_from] == [
        ("strips/Drums", "strips/Kick")
    ]
    assert scene.surface.held["strips/Kick/mute"] is False


async def test_a_strip_that_is_gone_takes_its_values_along() -> None:
    scene = Scene()
    scene.wish(1, "strips/Drums/mute", True)
    scene.surface.adopt([(1, "MT", "Synth", 0, 0, 0, 0, 0), (2, "MA", "Master", 2, 2, 0, 0, -1)])
    assert scene.changed["strips/Drums"] is None
    assert "gone" in scene.session.rejected[1]
    assert not [path for path in scene.surface.held if path.startswith("strips/Drums/")]


def test_the_zeros_of_a_farewell_are_not_believed() -> None:
    told: list[OscMessage] = [
        ("/strip/mute", "if", (1, 1.0)),
        ("/master/name", "s", (" ",)),
        ("/strip/fader", "if", (1, 0.0)),
    ]
    assert _before_farewell(told) == (told[:1], True)
    lost: list[OscMessage] = [("/session_name", "s", (" ",)), ("/strip/fader", "if", (1, 0.0))]
    assert _before_farewell(lost) == ([], True), "the master's name did not come"
    assert _before_farewell([("/session_name", "s", ("song",))])[1] is False
    assert _before_farewell(told[:1]) == (told[:1], False)


def test_sends_plugins_and_parameters_are_read() -> None:
    send = read_sends((4, "Reverb", 1, 0.467359334230423, 1))[0]
    assert (send.number, send.name, send.fader, send.enabled) == (1, "Reverb", 0.467359334230423, True)
    assert [(one.number, one.name, one.active) for one in read_plugins((1, "ACE Amplifier", 0, 2, "EQ", 1))] == [
        (1, "ACE Amplifier", False),
        (2, "EQ", True),
    ]
    found = read_parameter((1, 1, 2, "Mode", 193, "NOTHING", 0.0, 2.0, "", 2, 0.0, "off", 1.0, "on", 1.0))
    assert found is not None
    assert (found.plugin, found.number, found.name, found.low, found.high, found.value, found.hidden) == (
        (1, 2, "Mode", 0.0, 2.0, 1.0, False)
    )
    assert read_parameter((1, 1)) is None


async def test_one_that_takes_longer_each_time_than_it_was_given_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "TIMEOUT", 0.1)
    loop = asyncio.get_running_loop()

    def send(address: str, *_: object) -> None:
        loop.call_later(0.15, asker.hear, address, ("it",))

    asker = Asker(send)
    told = await asker.gather_all([("/strip",)], "/strip")
    assert ("it",) in told["/strip"]
