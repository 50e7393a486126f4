"""The Hydrogen bridge: its translation by itself, and against a real Hydrogen 1.2, with and without a daemon."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from tests.support.daemon import Daemon
from tests.support.ending import ended
from tests.support.hydrogen import Hydrogen, hydrogen, wanted
from tests.support.netns import Network, network
from tests.support.ports import free_port

from lightfast.client import AsyncClient
from lightfast.core.errors import NotFound
from lightfast.core.osc import decode
from lightfast.core.osc_build import encode
from lightfast.sdk import AppChannel, BridgeError, Call, Hello, Value, Wish
from lightfast.sdk.testing import check_bridge
from lightfast.sdk.testing.bridges import check_hello, check_reports
from lightfast.sdk.testing.fakes import FakeAppSession, FakeBridgeHost
from lightfast_bridges.hydrogen import mixer as mixer_module
from lightfast_bridges.hydrogen.bridge import HydrogenBridge, settings_of
from lightfast_bridges.hydrogen.mixer import Mixer
from lightfast_bridges.hydrogen.tables import TOLERANCE, VERBS, pack
from lightfast_bridges.hydrogen.telling import GAP_S, Telling
from lightfast_link.value import close

_NUMBERS = itertools.count(1)
HYDROGEN = Hello("hydrogen", "hydrogen@here")


class Told:
    """Instead of a socket: what was sent is kept."""

    address = ("127.0.0.1", 0)

    def __init__(self) -> None:
        self.sent: list[tuple[Any, ...]] = []

    def send(self, address: str, *arguments: Any) -> None:
        self.sent.append((address, *arguments))

    def close(self) -> None:
        raise NotImplementedError


def told(mixer: Mixer, *messages: tuple[str, float]) -> None:
    mixer.hear([(address, "f", (value,)) for address, value in messages])


def whole(strips: int) -> list[tuple[str, float]]:
    """Return what Hydrogen tells to who is new."""
    found = [("/Hydrogen/MASTER_VOLUME_ABSOLUTE", 0.5)]
    for number in range(1, strips + 1):
        found += [
            (f"/Hydrogen/STRIP_VOLUME_ABSOLUTE/{number}", 1.0),
            (f"/Hydrogen/PAN_ABSOLUTE/{number}", 0.35),
            (f"/Hydrogen/STRIP_MUTE_TOGGLE/{number}", 0.0),
            (f"/Hydrogen/STRIP_SOLO_TOGGLE/{number}", 0.0),
        ]
    return [*found, ("/Hydrogen/TOGGLE_METRONOME", 0.0), ("/Hydrogen/MUTE_TOGGLE", 0.0)]


# ---------------------------------------------------------------------- by itself


def test_the_whole_mixer_is_known_by_its_end() -> None:
    mixer = Mixer(Told())
    told(mixer, ("/Hydrogen/MUTE_TOGGLE", 1.0))
    assert not mixer.told.is_set(), "that was a mute, and nothing else"
    told(mixer, *whole(3))
    assert mixer.told.is_set()
    assert mixer.held["strips/3/pan"] == pytest.approx(-0.3)
    told(mixer, *whole(2))
    assert "strips/3/pan" not in mixer.held, "another song, with a strip less"
    told(mixer, ("/Hydrogen/PAN_ABSOLUTE_SYM/2", 0.25))
    assert mixer.held["strips/2/pan"] == 0.25


USER = {
    "the master volume, from its window once more": "/Hydrogen/MASTER_VOLUME_ABSOLUTE",
    "the metronome": "/Hydrogen/TOGGLE_METRONOME",
    "the first strip": "/Hydrogen/STRIP_VOLUME_ABSOLUTE/1",
    "a strip": "/Hydrogen/STRIP_VOLUME_ABSOLUTE/2",
    "the last strip": "/Hydrogen/STRIP_SOLO_TOGGLE/3",
    "the mute": "/Hydrogen/MUTE_TOGGLE",
}


@pytest.mark.parametrize("user", USER.values(), ids=USER)
def test_what_comes_in_between_does_not_hide_or_shorten_a_telling(user: str) -> None:
    messages = whole(3)
    for place in range(1, len(messages)):
        mixer = Mixer(Told())
        told(mixer, *whole(3))
        mixer.told.clear()
        told(mixer, *messages[:place], (user, 0.0), *messages[place:])
        assert mixer.told.is_set(), place
        assert "strips/3/pan" in mixer.held, place
        told(mixer, *whole(2))
        assert "strips/3/pan" not in mixer.held, place


def test_two_tellings_at_once_are_the_whole_mixer() -> None:
    """The OSC server and the window may tell at the same time."""
    messages = whole(3)
    for ahead in range(len(messages) + 1):
        mixer = Mixer(Told())
        told(mixer, *whole(3))
        session = mixer.session = FakeAppSession(HYDROGEN, cast("AppChannel", None), "/hydrogen")
        late: list[tuple[str, float] | None] = [None] * ahead
        both = itertools.zip_longest(messages, [*late, *messages])
        told(mixer, *(one for pair in both for one in pair if one is not None))
        assert session.changes == [], ahead


def test_a_user_at_the_mixer_is_no_telling() -> None:
    """The master volume, then the metronome and the mute, with some strips in between."""
    for strips in (0, 2):
        mixer = Mixer(Told())
        told(mixer, *whole(3))
        mixer.told.clear()
        some = [one for one in whole(strips) if "MUTE_TOGGLE/" not in one[0]]
        told(mixer, *some)
        assert not mixer.told.is_set()
        assert "strips/3/pan" in mixer.held
    telling = Telling()
    for number, (address, _) in enumerate(whole(1)):
        assert telling.heard(address, number * (GAP_S + 1)) is None, "nobody tells so slowly"


def test_the_same_pan_in_other_digits_is_no_change() -> None:
    mixer = Mixer(Told())
    told(mixer, *whole(1), ("/Hydrogen/PAN_ABSOLUTE_SYM/1", 0.123457))
    session = mixer.session = FakeAppSession(HYDROGEN, cast("AppChannel", None), "/hydrogen")
    told(mixer, ("/Hydrogen/PAN_ABSOLUTE/1", 0.561728))
    assert session.changes == []


async def test_a_late_answer_does_not_turn_a_mute_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hydrogen stood still: it turns the mute over once for each message, however late."""
    monkeypatch.setattr(mixer_module, "ECHO", 0.01)
    sent = Told()
    mixer = Mixer(sent)
    session = mixer.session = FakeAppSession(HYDROGEN, cast("AppChannel", None), "/hydrogen")
    told(mixer, *whole(1))
    mixer.apply(session, Wish(1, "strips/1/mute", True, 1))
    await session.until(lambda: session.rejected, "the end of waiting")
    assert sent.sent == [("/Hydrogen/STRIP_MUTE_TOGGLE/1", 1.0)]
    told(mixer, ("/Hydrogen/STRIP_MUTE_TOGGLE/1", 1.0))
    assert session.values["strips/1/mute"] is True


async def test_six_digits_of_what_was_wished_are_an_answer() -> None:
    """Hydrogen tells a number with six digits: above 1 that is five behind the point."""
    mixer = Mixer(Told())
    session = mixer.session = FakeAppSession(HYDROGEN, cast("AppChannel", None), "/hydrogen")
    told(mixer, *whole(1))
    for number, path in enumerate(("master/volume", "strips/1/volume")):
        mixer.apply(session, Wish(number, path, 1.171875, 1))
    told(mixer, ("/Hydrogen/MASTER_VOLUME_ABSOLUTE", 1.17188), ("/Hydrogen/STRIP_VOLUME_ABSOLUTE/1", 1.17188))
    mixer.stop()
    assert session.settled == {0: 1.17188, 1: 1.17188}
    assert {one.tolerance for one in HydrogenBridge().parameters() if one.kind == "double"} == {TOLERANCE}


def test_commands_are_packed_as_floats() -> None:
    assert pack(VERBS["relocate"], {"bar": 2}) == [2.0]
    assert pack(VERBS["song_mode_activation"], {"on": True}) == [1.0]
    for command, arguments, wrong in (
        ("relocate", {}, "needs bar"),
        ("play", {"x": 1}, "takes no x"),
        ("open_song", {"path": "song.h2song"}, "whole path"),
        ("relocate", {"bar": True}, "wants a int"),
    ):
        with pytest.raises(ValueError, match=wrong):
            pack(VERBS[command], arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "wrong"),
    [({"remote": "9000"}, "HOST:PORT"), ({"remot": ""}, "did you mean 'remote'"), ({"name": 3}, "hydrogen.name")],
)
def test_a_wrong_setting_is_named(config: dict[str, object], wrong: str) -> None:
    with pytest.raises(BridgeError, match=wrong):
        settings_of(config)


async def test_the_contract() -> None:
    await check_bridge(HydrogenBridge(), config={"remote": f"127.0.0.1:{free_port()}"}, patience=3.0)


# ---------------------------------------------------------------------- a real one


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hydrogen]:
    """One Hydrogen for all tests of this file."""
    wanted()
    with network() as net, hydrogen(net, tmp_path_factory.mktemp("hydrogen")) as found:
        yield found
        print(found.log())


@asynccontextmanager
async def joined(running: Hydrogen) -> AsyncIterator[tuple[FakeAppSession, FakeBridgeHost]]:
    """Run a bridge inside Hydrogen's network, and wait until it has joined."""
    with running.net.inside():
        host = FakeBridgeHost()
        task = asyncio.ensure_future(HydrogenBridge().run(host))
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


async def wish(session: FakeAppSession, path: str, value: Value) -> Value | None:
    number = next(_NUMBERS)
    session.channel.apply([Wish(number, path, value, number)])
    await session.until(lambda: number in session.settled or number in session.rejected, f"{path} = {value!r}")
    if number in session.rejected:
        raise ValueError(session.rejected[number])
    return session.settled[number]


async def call(session: FakeAppSession, command: str, **arguments: Value) -> None:
    number = next(_NUMBERS)
    session.channel.invoke(Call(number, command, arguments, 10.0))
    await session.until(lambda: number in session.results or number in session.failures, command)
    if number in session.failures:
        raise ValueError(session.failures[number])


def say(net: Network, address: str, *arguments: Any) -> list[tuple[Any, ...]]:
    """Be another client for one message, and return the first things that it is told."""
    with net.udp() as other:
        other.settimeout(30.0)
        other.sendto(encode(address, *arguments), ("127.0.0.1", 9000))
        return [(told[0], *told[2]) for told in decode(other.recv(65_536))]


@pytest.mark.real_app
async def test_it_reports_the_mixer_and_takes_wishes(running: Hydrogen) -> None:
    async with joined(running) as (session, _):
        check_hello(session.hello, "hydrogen")
        check_reports(session, "hydrogen")
        assert session.hello.document_id == "18-strips"
        assert session.values["strips/2/pan"] == pytest.approx(-0.3, abs=1e-6)
        for path, value in (
            ("master/volume", 0.75),
            ("master/volume", 0.75),
            ("strips/1/volume", 0.25),
            ("strips/1/pan", 0.5),
            ("strips/1/mute", True),
            ("strips/1/mute", True),
            ("strips/2/solo", True),
            ("strips/1/mute", False),
            ("strips/2/solo", False),
            ("master/mute", True),
            ("master/mute", False),
        ):
            assert await wish(session, path, value) == value, path
        for path, value, reason in (
            ("master/volume", 9.0, "outside 0 to 1.5"),
            ("strips/99/volume", 0.5, "18 strips"),
            ("strips/1/gain", 0.5, "no strips/1/gain"),
            ("strips/1/mute", 1, "wants a bool"),
            ("transport/tempo", 1000.0, "outside 10 to 400"),
        ):
            with pytest.raises(ValueError, match=reason):
                await wish(session, path, value)


@pytest.mark.real_app
async def test_what_another_client_does_is_heard(running: Hydrogen) -> None:
    async with joined(running) as (session, _):
        assert say(running.net, "/Hydrogen/STRIP_VOLUME_ABSOLUTE/3", 0.625)
        await session.until(lambda: session.values["strips/3/volume"] == 0.625, "the change")
        before, held = len(session.changes), dict(session.values)
        say(running.net, "/Hydrogen/STRIP_MUTE_TOGGLE/3", 1.0)
        await session.until(lambda: session.values["strips/3/mute"] is True, "the mute")
        for change in session.changes[before:]:  # its window may still be opening, and has a say of its own
            assert change.value is not None, change
            assert not close(change.value, held[change.path], TOLERANCE), f"told, but not new: {change}"
            held[change.path] = change.value


@pytest.mark.real_app
async def test_what_it_does_not_tell_is_written_and_shows_in_the_saved_song(running: Hydrogen) -> None:
    async with joined(running) as (session, _):
        assert await wish(session, "transport/tempo", 133.0) is None
        assert await wish(session, "transport/playing", True) is None
        assert await wish(session, "transport/playing", False) is None
        assert await wish(session, "song/pattern", 1) is None
        song = running.folder / "saved.h2song"
        await call(session, "save_song_as", path=str(song))
        end = time.monotonic() + 60.0
        while not (song.exists() and "</song>" in song.read_text(encoding="utf-8")):
            assert time.monotonic() < end, "no song was saved"
            await asyncio.sleep(0.02)
        assert re.search(r"<bpm>133</bpm>", song.read_text(encoding="utf-8"))
        await call(session, "new_song", path=str(running.folder / "new.h2song"))
        await call(session, "open_song", path=str(song))
        assert "strips/18/volume" in session.values
        with pytest.raises(ValueError, match="no command"):
            await call(session, "explode")
        with pytest.raises(ValueError, match="whole path"):
            await call(session, "open_song", path="saved.h2song")


async def stopped(pid: int) -> None:
    """Wait until every thread of a process stands still: the one that answers may run on for a moment."""
    states: list[str] = []
    end = time.monotonic() + 60.0
    while time.monotonic() < end:
        states = []
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):  # a thread may have ended meanwhile
                states.append((task / "stat").read_text().rpartition(")")[2].split()[0])
        if set(states) == {"T"}:
            return
        await asyncio.sleep(0.01)
    raise TimeoutError(f"{pid} does not stop: {states}")


@pytest.mark.real_app
async def test_a_frozen_one_is_not_believed(running: Hydrogen) -> None:
    async with joined(running) as (session, _):
        assert running.process is not None
        running.process.send_signal(signal.SIGSTOP)
        try:
            await stopped(running.process.pid)
            with pytest.raises(ValueError, match="does not say that it took"):
                await wish(session, "strips/4/volume", 0.5)
        finally:
            running.process.send_signal(signal.SIGCONT)
        await session.until(lambda: session.values["strips/4/volume"] == 0.5, "the late answer")


@pytest.mark.real_app
async def test_killed_it_is_missed_and_back_it_is_joined(running: Hydrogen) -> None:
    async with joined(running) as (session, host):
        await asyncio.to_thread(running.stop, signal.SIGKILL)
        await session.until(lambda: session.lost_reason is not None, "the loss")
        found = await HydrogenBridge().diagnose({})
        assert [one.level for one in found] == ["error"]
        await asyncio.to_thread(running.start)
        again = await next_session(host, 2)
        await wish(again, "strips/4/volume", 0.25)
        found = await HydrogenBridge().diagnose({})
        assert [one.level for one in found] == ["ok"]


@pytest.mark.real_app
async def test_the_desk_and_hydrogen_hold_the_same(running: Hydrogen, tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "home")
    with running.net.inside():
        daemon.start()
    try:
        async with AsyncClient(home=str(daemon.home)) as client:

            async def holds(path: str, value: Value, status: str = "SETTLED") -> None:
                end = time.monotonic() + 60.0
                entry: Any = None
                while time.monotonic() < end:
                    with contextlib.suppress(NotFound):
                        entry = await client.get(path)
                        if entry.value == value and entry.status == status:
                            return
                    await asyncio.sleep(0.02)
                raise AssertionError(f"{path} is not {value!r}: {entry}")

            await holds("/hydrogen/strips/1/mute", False)
            await client.set("/hydrogen/strips/1/volume", 0.375)
            await holds("/hydrogen/strips/1/volume", 0.375)
            say(running.net, "/Hydrogen/STRIP_VOLUME_ABSOLUTE/1", 0.875)
            await holds("/hydrogen/strips/1/volume", 0.875)
            await client.set("/hydrogen/transport/tempo", 99.0)
            await holds("/hydrogen/transport/tempo", 99.0)
            await client.invoke("/hydrogen", "stop")
    finally:
        print(daemon.log()[-4000:])
        await asyncio.to_thread(daemon.stop)


async def test_another_program_on_the_port_is_told_apart_from_nobody() -> None:
    """It may be started after the first look: then what was said before is not true any more."""
    port = free_port()
    host = FakeBridgeHost({"remote": f"127.0.0.1:{port}"})
    task = asyncio.ensure_future(HydrogenBridge().run(host))
    try:
        await host.until(lambda: host.absences, "nobody is there")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.0.1", port))
            await host.until(lambda: len(host.absences) > 1, "somebody else is there")
        await host.until(lambda: len(host.absences) > 2, "nobody is there again")
    finally:
        await ended(task, "the bridge")
        host.close()
    assert "does not listen" in host.absences[0]
    assert "a program has the port" in host.absences[1]
    assert host.absences[2] == host.absences[0]
