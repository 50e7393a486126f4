"""The Ardour bridge without Ardour: its tables, its mirror and its wishes, fed with what Ardour 7.3 was heard to say."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from lightfast.sdk import BridgeError, Hello, OscMessage, Wish
from lightfast.sdk.osc import decode, encode
from lightfast.sdk.pacing import Pacer
from lightfast.sdk.testing import check_bridge
from lightfast.sdk.testing.fakes import FakeAppSession
from lightfast_bridges.ardour import commands, diagnosis, law
from lightfast_bridges.ardour.bridge import ArdourBridge, settings_of
from lightfast_bridges.ardour.details import read_parameter, read_plugins, read_sends
from lightfast_bridges.ardour.leaves import declarations
from lightfast_bridges.ardour.session import BURST, PAUSE, _before_farewell
from lightfast_bridges.ardour.strips import Strip, compare, placed
from lightfast_bridges.ardour.surface import Surface
from lightfast_bridges.ardour.target import target_of
from lightfast_bridges.ardour.wishes import Wishes

LIST = [
    (1, "AT", "Drums", 1, 2, 0, 0, 0),
    (2, "MT", "Synth", 0, 0, 0, 0, 0),
    (3, "V", "Drums", -1, -1, 0, 0, -1),
    (4, "MA", "Master", 2, 2, 0, 0, -1),
]


class NoChannel:
    """The engine's end of a session that has none."""

    def apply(self, wishes: Sequence[Wish]) -> None:
        raise NotImplementedError

    def invoke(self, call: Any) -> None:
        raise NotImplementedError

    def cancel(self, call_id: int) -> None:
        raise NotImplementedError

    def resync(self) -> None:
        raise NotImplementedError

    def close(self, reason: str) -> None:
        raise NotImplementedError


class Scene:
    """A surface with its wishes; what is sent is kept in *sent*."""

    def __init__(self, listed: Sequence[tuple[Any, ...]] = LIST) -> None:
        self.surface = Surface(parameters=8)
        self.session = FakeAppSession(Hello("ardour", "a"), NoChannel(), "/ardour")
        self.sent: list[tuple[Any, ...]] = []
        self.wishes = Wishes(self.session, lambda *one: self.sent.append(one), self.surface)
        self.surface.adopt(listed)
        self.tell(
            ("/strip/fader", 1, 0.7817867398262024),
            ("/strip/gain", 1, 0.0),
            ("/strip/mute", 1, 0.0),
            ("/strip/fader", 4, 0.7817867398262024),
            ("/strip/gain", 4, 0.0),
            ("/toggle_click", 0.0),
        )
        self.surface.session, self.surface.wishes = self.session, self.wishes
        self.surface.full()
        self.session.changes.clear()

    def tell(self, *messages: tuple[Any, ...]) -> None:
        told: list[OscMessage] = [(address, "", args) for address, *args in messages]
        self.surface.hear(told)

    def wish(self, wish_id: int, path: str, value: Any, moved_from: str = "") -> None:
        self.wishes.apply(Wish(wish_id, path, value, wish_id, moved_from=moved_from))

    @property
    def changed(self) -> dict[str, Any]:
        return {change.path: change.value for change in self.session.changes}


async def until(true: Callable[[], Any], seconds: float = 10.0) -> None:
    """Wait until *true* gives something true."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.005)


# ---------------------------------------------------------------------- the law of the faders


@pytest.mark.parametrize(
    ("decibels", "position"),
    [
        (0.0, 0.7817867398262024),
        (-12.000001907348633, 0.467359334230423),
        (-10.46902084350586, 0.5),
        (-21.738811492919922, 0.30000001192092896),
        (6.020600318908691, 1.0),
        (-200.0, 0.0),
    ],
)
def test_the_law_is_that_of_ardour(decibels: float, position: float) -> None:
    assert law.position(decibels) == pytest.approx(position, abs=1e-6)
    assert law.decibels(position) == pytest.approx(decibels, abs=1e-4)


def test_the_law_knows_longer_faders() -> None:
    assert law.top_of(law.position(-6.0, top=10.0), -6.0) == pytest.approx(10.0)
    assert law.decibels(law.position(-6.0, top=10.0), top=10.0) == pytest.approx(-6.0)
    assert law.top_of(0.0, -200.0) is None


# ---------------------------------------------------------------------- strips and their numbers


def named(*rows: tuple[int, str, str]) -> list[Strip]:
    return placed(Strip(ssid, code, name, 1, 2) for ssid, code, name in rows)


def test_each_strip_has_a_place_of_its_own() -> None:
    bases = [strip.base for strip in named((2, "V", "A/b"), (1, "AT", "A/b"), (3, "MA", "Master"), (4, "V", "A/b"))]
    assert bases == ["strips/A%2Fb", "strips/A%2Fb%20(vca)", "master", "strips/A%2Fb%20(vca%202)"]


@pytest.mark.parametrize(
    ("after", "gone", "renamed", "new"),
    [
        ([(1, "AT", "Kick"), (2, "AT", "Bass")], [], [("strips/Drums", "strips/Kick")], []),
        ([(2, "AT", "Drums"), (1, "AT", "Bass")], [], [], []),
        ([(1, "AT", "Bass")], ["strips/Drums"], [], []),
        ([(1, "B", "Verb"), (2, "AT", "Drums"), (3, "AT", "Bass")], [], [], ["strips/Verb"]),
        ([(1, "B", "Kick"), (2, "AT", "Bass")], ["strips/Drums"], [], ["strips/Kick"]),
        (
            [(1, "AT", "Kick"), (2, "AT", "Low")],
            [],
            [("strips/Drums", "strips/Kick"), ("strips/Bass", "strips/Low")],
            [],
        ),
    ],
)
def test_two_lists_tell_what_happened(
    after: list[tuple[int, str, str]], gone: list[str], renamed: list[tuple[str, str]], new: list[str]
) -> None:
    before = named((1, "AT", "Drums"), (2, "AT", "Bass"))
    found = compare(before, placed(named(*after), before))
    assert (list(found.gone), list(found.renamed), list(found.new)) == (gone, renamed, new)


# ---------------------------------------------------------------------- what Ardour says


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


# ---------------------------------------------------------------------- wishes


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


# ---------------------------------------------------------------------- the rest


async def test_a_flood_is_paced_and_keeps_its_order() -> None:
    sent: list[tuple[Any, ...]] = []
    pacer = Pacer(lambda *one: sent.append(one), "ardour", burst=BURST, every=PAUSE)
    for number in range(3 * BURST):
        pacer.send("/x", number)
    assert len(sent) == BURST
    async with asyncio.timeout(5):
        while len(sent) < 3 * BURST:
            await asyncio.sleep(0.005)
    assert [one[1] for one in sent] == list(range(3 * BURST))
    pacer.stop()


@pytest.mark.parametrize(
    ("command", "arguments", "packed"),
    [
        ("locate", {"position": 48000, "roll": True}, [48000, 1]),
        ("add_marker", {}, []),
        ("goto_marker", {"marker": "Verse"}, ["Verse"]),
        ("goto_marker", {"marker": 2}, [2]),
        ("cancel_all_solos", {}, [1.0]),
        ("plugin_reset", {"strip": "Drums", "plugin": 1}, [1, 1]),
        ("plugin_reset", {"strip": "/strips/Drums", "plugin": 1}, [1, 1]),
        ("jump_bars", {"bars": 2}, [2.0]),
    ],
)
def test_commands_are_packed(command: str, arguments: dict[str, Any], packed: list[Any]) -> None:
    strips = {strip.base: strip for strip in named((1, "AT", "Drums"))}
    assert commands.pack(commands.VERBS[command], arguments, strips) == packed


@pytest.mark.parametrize(
    ("command", "arguments", "wrong"),
    [
        ("locate", {"position": 1.5, "roll": False}, "position wants a int"),
        ("locate", {"roll": False}, "needs position"),
        ("undo", {"steps": 2}, "takes no steps"),
        ("plugin_reset", {"strip": "Nobody", "plugin": 1}, "no strip 'Nobody'"),
        ("add_marker", {"name": ""}, "name wants a string"),
    ],
)
def test_wrong_arguments_are_named(command: str, arguments: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        commands.pack(commands.VERBS[command], arguments, {})


@pytest.mark.parametrize(
    ("config", "wrong"),
    [
        ({"remote": "localhost"}, "HOST:PORT"),
        ({"remot": "127.0.0.1:3819"}, r"ardour\.remot is no setting of this plugin: did you mean 'remote'"),
        ({"poll": True}, "ardour.poll"),
        ({"meters": 1}, "ardour.meters"),
        ({"silence": 1.0}, "above 2"),
        ({"reply_port": 80}, "1025 to 65535"),
    ],
)
def test_a_wrong_setting_is_named(config: dict[str, object], wrong: str) -> None:
    with pytest.raises(BridgeError, match=wrong):
        settings_of(config)


def test_a_longer_fader_is_declared() -> None:
    declared = {one.pattern: one for one in declarations(20.01)}
    assert declared["strips/*/gain"].maximum == 20.01
    assert declared["strips/*/fader"].unit == "gain.fader.ardour"


@asynccontextmanager
async def answering(answer: Callable[[str], bytes | None]) -> AsyncIterator[tuple[str, int]]:
    """Run a UDP server that answers by address."""

    class Server(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, address: tuple[str | Any, int]) -> None:
            for told, _, _ in decode(data):
                if (said := answer(told)) is not None:
                    self.transport.sendto(said, address)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Server, local_addr=("127.0.0.1", 0))
    try:
        yield transport.get_extra_info("sockname")
    finally:
        transport.close()


def closed_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_the_way_to_ardour_is_diagnosed(monkeypatch: pytest.MonkeyPatch) -> None:
    reply = encode("/set_surface", 0, 31, 0, 0, 0, 0, 0, 1, 0)
    async with (
        answering(lambda told: reply if told == "/set_surface" else None) as ardour,
        answering(lambda _: None) as mute,
    ):
        monkeypatch.setattr(diagnosis, "PORTS", [ardour[1], mute[1]])
        bridge = ArdourBridge()
        found = await bridge.diagnose({"remote": f"127.0.0.1:{ardour[1]}"})
        assert [one.level for one in found] == ["ok"]
        found = await bridge.diagnose({"remote": f"127.0.0.1:{mute[1]}"})
        assert [one.level for one in found] == ["warning", "warning"]
        assert "does not answer as Ardour does" in found[0].what
        assert f"127.0.0.1:{ardour[1]}" in found[1].remedy
        found = await bridge.diagnose({"remote": f"127.0.0.1:{closed_port()}"})
        assert [one.level for one in found] == ["error", "warning"]
        assert "Control Surfaces" in found[0].remedy


async def test_the_contract() -> None:
    await check_bridge(ArdourBridge(), config={"remote": f"127.0.0.1:{closed_port()}"}, patience=3.0)
