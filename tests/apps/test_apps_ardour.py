"""The Ardour bridge against a real Ardour 7, without a daemon: each of its habits, one by one."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.support.ardour import Ardour, ardour, wanted
from tests.support.ending import ended
from tests.support.netns import network

from lightfast.sdk import Call, Value, Wish
from lightfast.sdk.testing.bridges import check_hello, check_reports
from lightfast.sdk.testing.fakes import FakeAppSession, FakeBridgeHost
from lightfast_bridges.ardour.bridge import ArdourBridge

pytestmark = pytest.mark.real_app
_NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ardour]:
    """One Ardour for all tests of this file."""
    wanted()
    with network() as net, ardour(net, tmp_path_factory.mktemp("ardour")) as found:
        yield found
        print(found.said())


@asynccontextmanager
async def joined(running: Ardour, **config: Any) -> AsyncIterator[tuple[FakeAppSession, FakeBridgeHost]]:
    """Run a bridge inside Ardour's network, and wait until it has joined."""
    with running.net.inside():
        host = FakeBridgeHost({"poll": 0.2, **config})
        task = asyncio.ensure_future(ArdourBridge().run(host))
        try:
            yield await next_session(host, 1), host
        finally:
            await ended(task, "the bridge")
            host.close()


async def next_session(host: FakeBridgeHost, number: int) -> FakeAppSession:
    await host.until(lambda: len(host.sessions) >= number, f"session {number}")
    session = host.sessions[number - 1]
    await session.until(lambda: session.syncs, "the first report")
    return session


async def wish(session: FakeAppSession, path: str, value: Value | None, moved_from: str = "") -> Value | None:
    """Wish, and return what it was settled with; raise `ValueError` where it was rejected."""
    number = next(_NUMBERS)
    session.channel.apply([Wish(number, path, value, number, moved_from=moved_from)])
    await answered(session, [number], f"{path} = {value!r}")
    if number in session.rejected:
        raise ValueError(session.rejected[number])
    settled = session.settled[number]
    if settled is not None:
        session.values[path] = settled  # a settled wish is not reported as well
    return settled


async def answered(session: FakeAppSession, numbers: Collection[int], what: str) -> None:
    """Wait until these wishes are settled or rejected; fail at once where the session ends."""

    def there() -> bool:
        lost = session.lost_reason is not None
        return lost or all(one in session.settled or one in session.rejected for one in numbers)

    await session.until(there, f"an answer to {what}")
    assert session.lost_reason is None, f"{what}: {session.lost_reason}"


async def call(session: FakeAppSession, command: str, **arguments: Value) -> None:
    number = next(_NUMBERS)
    session.channel.invoke(Call(number, command, arguments, 10.0))
    await session.until(lambda: number in session.results or number in session.failures, command)
    if number in session.failures:
        raise ValueError(session.failures[number])


async def holds(session: FakeAppSession, path: str, value: Value, tolerance: float = 1e-3) -> None:
    """Wait until *path* was reported as *value*."""

    def there() -> bool:
        held = session.values.get(path)
        if isinstance(held, float) and isinstance(value, (int, float)):
            return abs(held - value) <= tolerance
        return held == value

    try:
        await session.until(there, f"{path} at {value!r}")
    except TimeoutError as error:
        raise AssertionError(f"{error}; it is {session.values.get(path)!r}") from None


async def heard(running: Ardour, fits: Callable[[str, tuple[Any, ...]], bool]) -> None:
    """Wait until the second surface is told what fits."""
    told = await asyncio.to_thread(running.control.wait, fits, 10.0)
    assert told is not None


async def test_it_reports_the_session(running: Ardour) -> None:
    async with joined(running) as (session, _):
        check_hello(session.hello, "ardour")
        check_reports(session, "ardour")
        assert session.hello.document_id == "session-song"
        values = session.values
        assert {path.split("/")[1] for path in values if path.startswith("strips/")} >= {
            "Drums",
            "Voice%2FLead",
            "Synth",
            "Reverb",
            "All",
        }
        assert (values["strips/Drums/type"], values["strips/All/type"]) == ("audio_track", "vca")
        assert (values["master/type"], values["strips/Reverb/type"]) == ("master", "audio_bus")
        assert values["master/gain"] == pytest.approx(0.0, abs=0.01)
        assert values["session/sample_rate"] == 48000
        assert (values["transport/playing"], values["transport/speed"]) == (False, 0.0)
        assert str(values["transport/bbt"]).startswith("001|")
        assert str(values["transport/timecode"]).startswith("00:00:")
        assert values["strips/Drums/sends/1/name"] == "Reverb"
        assert values["strips/Drums/plugins/1/name"] == "ACE Amplifier"
        assert values["strips/Drums/plugins/1/parameters/1/min"] == -20.0
        assert "strips/All/recenable" not in values
        declared = {one.pattern: one for one in session.hello.parameters}
        assert (declared["strips/*/gain"].unit, declared["strips/*/gain"].maximum) == ("gain.db", 6.03)


async def test_a_gain_is_settled_as_ardour_rounds_it_and_moves_the_fader(running: Ardour) -> None:
    async with joined(running) as (session, _):
        await wish(session, "strips/Drums/gain", -3.0)
        held = await wish(session, "strips/Drums/gain", -12.0)
        assert held == pytest.approx(-12.0, abs=1e-4)
        await holds(session, "strips/Drums/fader", 0.467359, 1e-5)
        await wish(session, "strips/Drums/fader", 0.5)
        await holds(session, "strips/Drums/gain", -10.469, 1e-3)
        assert await wish(session, "strips/Drums/fader", 0.5) == 0.5, "Ardour says nothing of an equal value"
        assert await wish(session, "strips/Drums/gain", -200.0) == -200.0
        await holds(session, "strips/Drums/fader", 0.0)
        assert await wish(session, "strips/Drums/gain", 6.03) == pytest.approx(6.0206, abs=1e-4), "the upper end"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("strips/Drums/mute", True),
        ("strips/Drums/mute", False),
        ("strips/Drums/solo", True),
        ("strips/Drums/solo", False),
        ("strips/Drums/solo_iso", True),
        ("strips/Voice%2FLead/polarity", True),
        ("strips/Voice%2FLead/comment", "Töne & Lärm"),
        ("strips/Voice%2FLead/trimdB", -6.0),
        ("strips/Voice%2FLead/pan_stereo_position", 0.25),
        ("strips/Voice%2FLead/recenable", True),
        ("strips/Voice%2FLead/recenable", False),
        ("strips/Voice%2FLead/monitor_input", True),
        ("strips/All/fader", 0.25),
        ("master/mute", True),
        ("master/mute", False),
        ("strips/Drums/sends/1/fader", 0.5),
        ("strips/Drums/sends/1/gain", -6.0),
        ("strips/Drums/sends/1/enable", False),
        ("strips/Drums/plugins/1/parameters/1/value", -6.5),
        ("strips/Drums/plugins/1/active", False),
        ("transport/record_enable", True),
        ("transport/record_enable", False),
        ("transport/click", True),
        ("transport/click_level", 0.5),
        ("transport/punch_in", True),
        ("strips/Synth/hide", True),
        ("monitor/dim", True),
        ("monitor/mute", True),
        ("monitor/fader", 0.5),
    ],
)
async def test_what_can_be_set_is_set(running: Ardour, path: str, value: Value) -> None:
    async with joined(running) as (session, _):
        held = await wish(session, path, value)
        assert held == (pytest.approx(value, abs=1e-3) if isinstance(value, float) else value)
        del session.values[path]
        session.channel.resync()
        await session.until(lambda: session.syncs == 2, "a full report")
        await holds(session, path, value)


async def test_what_ardour_refuses_is_rejected(running: Ardour) -> None:
    async with joined(running) as (session, _):
        with pytest.raises(ValueError, match="refuses"):
            await wish(session, "master/solo", True)
        with pytest.raises(ValueError, match="has no recenable"):
            await wish(session, "strips/All/recenable", True)
        with pytest.raises(ValueError, match="outside -20 to 20"):
            await wish(session, "strips/Drums/plugins/1/parameters/1/value", 60.0)
        with pytest.raises(ValueError, match="did not turn transport/loop to True"):
            await wish(session, "transport/loop", True)  # there is no loop range


async def test_another_surface_is_heard_and_its_mistakes_are_not_believed(running: Ardour) -> None:
    async with joined(running) as (session, _):
        control = running.control
        number = control.ssid("Reverb")
        control.send("/strip/gain", number, -9.0)
        await holds(session, "strips/Reverb/gain", -9.0)
        before = len(session.changes)
        for wrong in (-2, "loud", True):
            control.send("/strip/gain", number, wrong)
        control.send("/strip/mute", number, 1.0)
        await holds(session, "strips/Reverb/mute", True)
        # Ardour tells its clock at a pace of its own, ten times a second.
        heard = {one.path for one in session.changes[before:] if not one.path.startswith("transport/")}
        assert heard == {"strips/Reverb/mute"}
        assert session.values["strips/Reverb/gain"] == pytest.approx(-9.0, abs=0.01)
        control.send("/strip/mute", number, 0.0)
        await holds(session, "strips/Reverb/mute", False)


async def test_a_burst_arrives_whole(running: Ardour) -> None:
    async with joined(running) as (session, _):
        numbers = range(1_000_000, 1_000_400)
        wishes = [Wish(one, "strips/Reverb/fader", (one % 400) / 400, one) for one in numbers]
        session.channel.apply(wishes)
        await answered(session, numbers, "the burst")
        assert session.rejected == {}
        told = await asyncio.to_thread(running.control.ask, f"/strip/{running.control.ssid('Reverb')}/fader")
        assert told == (pytest.approx(399 / 400, abs=1e-5),)


async def test_names_are_followed_and_set(running: Ardour) -> None:
    async with joined(running) as (session, _):
        number = running.control.ssid("Voice/Lead")
        running.control.send(f"/strip/name/{number}", "Singer")
        await session.until(lambda: "strips/Singer/gain" in session.values, "the rename")
        assert [(one.moved_from, one.path) for one in session.changes if one.moved_from] == [
            ("strips/Voice%2FLead", "strips/Singer")
        ]
        await wish(session, "strips/Singer/gain", -4.0)
        await holds(session, "strips/Singer/name", "Singer")
        assert await wish(session, "strips/Singer/name", "Drums") == "Drums 1", "Ardour keeps names apart"
        await wish(session, "strips/Voice%2FLead", None, moved_from="strips/Drums%201")
        assert "strips/Voice%2FLead/name" in session.values
        left = {path for path in session.values if path.startswith(("strips/Singer/", "strips/Drums%201/"))}
        assert left <= {"strips/Singer/name"}, "only what the wish for the name was kept by"


async def test_a_wish_on_its_way_finds_its_renamed_strip(running: Ardour) -> None:
    async with joined(running) as (session, _):
        wishes = [
            Wish(901, "strips/Synth/comment", "on its way", 1),
            Wish(902, "strips/Synth/mute", True, 1),
            Wish(903, "strips/Piano", None, 2, moved_from="strips/Synth"),
            Wish(904, "strips/Piano/comment", "arrived", 3),
        ]
        session.channel.apply(wishes[:3])
        await answered(session, [901, 902, 903], "what was on its way")
        assert session.rejected == {}
        session.channel.apply(wishes[3:])
        await answered(session, [904], "the last wish")
        assert session.rejected == {}
        await wish(session, "strips/Synth", None, moved_from="strips/Piano")
        await wish(session, "strips/Synth/mute", False)


async def test_a_strip_that_comes_renumbers_others_but_not_their_paths(running: Ardour) -> None:
    async with joined(running) as (session, _):
        await wish(session, "master/gain", -1.0)
        before = running.control.ssid("Master")
        running.control.send("/cue/new_aux", "Phones", "", "")
        await session.until(lambda: "strips/Phones%20-%20FB/polarity" in session.values, "the new strip")
        assert session.values["master/gain"] == pytest.approx(-1.0, abs=0.01)
        running.control.register()  # the cue had made it a surface for musicians
        assert running.control.ssid("Master") != before
        await wish(session, "master/gain", -2.0)
        await wish(session, "strips/Phones%20-%20FB/gain", -20.0)
        told = await asyncio.to_thread(running.control.ask, f"/strip/{running.control.ssid('Master')}/gain")
        assert told == (pytest.approx(-2.0, abs=0.1),)


async def test_the_transport(running: Ardour) -> None:
    async with joined(running) as (session, _):
        assert await wish(session, "transport/playing", True) is True
        await session.until(
            lambda: isinstance(at := session.values.get("transport/position"), int) and at > 0, "motion"
        )
        await session.until(lambda: "|" in str(session.values.get("transport/bbt")), "bars and beats")
        assert await wish(session, "transport/playing", False) is False
        running.control.send("/transport_play")
        await holds(session, "transport/playing", True)
        await holds(session, "transport/speed", 1.0)
        running.control.send("/transport_stop")
        await holds(session, "transport/playing", False)
        await call(session, "locate", position=96_000, roll=False)
        await holds(session, "transport/position", 96_000)
        await call(session, "add_marker", name="Verse")
        await call(session, "goto_start")
        await holds(session, "transport/position", 0)
        session.channel.apply([Wish(1, "transport/position", 48_000, 0, signal=True)])
        await holds(session, "transport/position", 48_000)
        await call(session, "goto_marker", marker="Verse")
        await holds(session, "transport/position", 96_000)
        await holds(session, "transport/marker", "Verse")
        with pytest.raises(ValueError, match="no command"):
            await call(session, "explode")


async def test_what_moves_the_playhead_is_not_lost_while_the_transport_stops(running: Ardour) -> None:
    async with joined(running) as (session, _):

        async def rolled(since: int) -> None:
            await wish(session, "transport/playing", True)
            await session.until(lambda: session.values.get("transport/position", since) != since, "motion")

        for position in (48_000, 96_000, 144_000):
            await call(session, "goto_start")
            await holds(session, "transport/position", 0)
            await rolled(0)
            await call(session, "transport_stop")
            await call(session, "locate", position=position, roll=False)
            await holds(session, "transport/position", position)
            await rolled(position)
            await wish(session, "transport/playing", False)
            session.channel.apply([Wish(1, "transport/position", 2 * position, 0, signal=True)])
            await holds(session, "transport/position", 2 * position)
            await rolled(2 * position)
            await call(session, "transport_stop")
        await call(session, "goto_start")
        await holds(session, "transport/position", 0)


async def test_plugins_and_sends_changed_in_ardour_are_found(running: Ardour) -> None:
    async with joined(running) as (session, _):
        number = running.control.ssid("Drums")
        running.control.send("/strip/plugin/parameter", number, 1, 1, 3.5)
        running.control.send("/strip/send/fader", number, 1, 0.25)
        await holds(session, "strips/Drums/plugins/1/parameters/1/value", 3.5)
        await holds(session, "strips/Drums/sends/1/fader", 0.25, 1e-5)
        await call(session, "plugin_reset", strip="Drums", plugin=1)
        await holds(session, "strips/Drums/plugins/1/parameters/1/value", 0.0)


async def test_meters_are_signals_when_wanted(running: Ardour) -> None:
    async with joined(running, meters=True) as (session, _):
        await session.until(lambda: "strips/Drums/meter" in session.values, "a meter")
        assert session.values["strips/Drums/meter"] == pytest.approx(-193.0)


async def test_two_bridges_share_one_ardour(running: Ardour) -> None:
    async with joined(running) as (one, _), joined(running) as (other, _):
        await wish(one, "strips/Synth/gain", -7.0)
        await holds(other, "strips/Synth/gain", -7.0)
        await wish(other, "strips/Synth/gain", -8.0)
        await holds(one, "strips/Synth/gain", -8.0)


async def test_frozen_it_is_missed_and_thawed_it_is_back(running: Ardour) -> None:
    async with joined(running, silence=3.0) as (session, host):
        running.freeze()
        try:
            await session.until(lambda: session.trouble, "trouble")
            assert "silent" in session.trouble
            await session.until(lambda: session.lost_reason is not None, "the loss")
        finally:
            running.thaw()
        again = await next_session(host, 2)
        await wish(again, "strips/Synth/gain", -5.0)


async def test_the_way_to_it_is_diagnosed(running: Ardour) -> None:
    with running.net.inside():
        found = await ArdourBridge().diagnose({})
        assert [(one.level, one.subject) for one in found] == [("ok", "UDP 127.0.0.1:3819")]
        found = await ArdourBridge().diagnose({"remote": "127.0.0.1:3820"})
        assert [one.level for one in found] == ["error", "warning"]
        assert "plugins.ardour.remote = '127.0.0.1:3819'" in found[1].remedy


async def test_it_says_farewell_and_comes_back_with_another_session(running: Ardour) -> None:
    """The last test: it ends Ardour in good order, which then sets everything to zero on its surfaces."""
    async with joined(running) as (session, host):
        await wish(session, "strips/Synth/gain", -5.0)
        before = len(session.changes)
        await asyncio.to_thread(running.stop)
        await session.until(lambda: session.lost_reason is not None, "the loss")
        assert not [one for one in session.changes[before:] if not one.path.startswith("transport/")]
        await asyncio.to_thread(running.start)
        again = await next_session(host, 2)
        assert again.values["strips/Synth/gain"] == pytest.approx(0.0, abs=0.01), "nothing was saved"
