"""The Ardour bridge without Ardour: its tables, its commands, its settings, and the contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.support.ardour_scene import named
from tests.support.ports import free_port

from lightfast.sdk import BridgeError
from lightfast.sdk.osc import decode, encode
from lightfast.sdk.pacing import Pacer
from lightfast.sdk.testing import check_bridge
from lightfast_bridges.ardour import commands, diagnosis, law
from lightfast_bridges.ardour.bridge import ArdourBridge, settings_of
from lightfast_bridges.ardour.leaves import declarations
from lightfast_bridges.ardour.session import BURST, PAUSE
from lightfast_bridges.ardour.strips import compare, placed

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


# ---------------------------------------------------------------------- the rest


async def test_a_flood_is_paced_and_keeps_its_order() -> None:
    sent: list[tuple[Any, ...]] = []
    pacer = Pacer(lambda *one: sent.append(one), "ardour", burst=BURST, every=PAUSE)
    for number in range(3 * BURST):
        pacer.send("/x", number)
    assert len(sent) == BURST
    async with asyncio.timeout(60):
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
        found = await bridge.diagnose({"remote": f"127.0.0.1:{free_port()}"})
        assert [one.level for one in found] == ["error", "warning"]
        assert "Control Surfaces" in found[0].remedy


async def test_the_contract() -> None:
    await check_bridge(ArdourBridge(), config={"remote": f"127.0.0.1:{free_port()}"}, patience=3.0)
