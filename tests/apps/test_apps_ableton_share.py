"""One Live for many clients: what each of them hears, over real sockets, and who is told what is wrong."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.support.osc_live import Host, Live, Session, bridged, joined, simulated, until
from tests.support.ports import free_port

from lightfast.sdk.osc import OscMessage, decode, encode
from lightfast_bridges.ableton import share as sharing
from lightfast_bridges.ableton.ledger import Ask, Found, Ledger

_NUMBERS = itertools.count(1)


class Client:
    """A client as people write them for AbletonOSC: it sends to the port and hears on its own socket, or on *ear*."""

    def __init__(self, port: int, ear: int = 0) -> None:
        self._to = ("127.0.0.1", port)
        self.mouth = _bound(0)
        self.ear = _bound(ear) if ear else self.mouth
        self.heard: list[OscMessage] = []
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.ear, self._read)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                self.heard += decode(self.ear.recv(65_536))

    def send(self, address: str, *arguments: Any) -> None:
        self.mouth.sendto(encode(address, *arguments), self._to)

    def raw(self, data: bytes) -> None:
        self.mouth.sendto(data, self._to)

    def told(self, address: str) -> list[tuple[Any, ...]]:
        return [tuple(message.args) for message in self.heard if message.address == address]

    async def hear(self, address: str, *arguments: Any) -> tuple[Any, ...]:
        """Wait for a message that begins with *arguments*, take it out of what was heard, and return what it says."""

        def found() -> OscMessage | None:
            fits = (one for one in self.heard if one.address == address and one.args[: len(arguments)] == arguments)
            return next(fits, None)

        message: OscMessage = await until(found)
        self.heard.remove(message)
        return tuple(message.args)

    async def ask(self, address: str, *arguments: Any) -> tuple[Any, ...]:
        self.send(address, *arguments)
        return await self.hear(address)

    async def settled(self) -> None:
        """Wait until Live has worked off everything that was sent before."""
        number = next(_NUMBERS)
        self.send("/live/song/get/loop", number)  # which is repeated behind the value
        await self.hear("/live/song/get/loop", False, number)

    def close(self) -> None:
        self._loop.remove_reader(self.ear)
        self.mouth.close()
        self.ear.close()


def _bound(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", port))
    sock.setblocking(False)
    return sock


class Room:
    """A simulated Live, the bridge that shares it, and clients."""

    def __init__(self, live: Live, host: Host, session: Session, port: int) -> None:
        self.live, self.host, self.session, self.port = live, host, session, port
        self.clients: list[Client] = []

    async def client(self, ear: int = 0) -> Client:
        """Return a client that is served: before Live is in step, it is told to wait."""
        client = Client(self.port, ear)
        self.clients.append(client)

        def served() -> bool:
            if not client.told("/live/test"):
                client.send("/live/test")
            return bool(client.told("/live/test"))

        await until(served)
        await client.settled()
        client.heard.clear()
        return client


@contextlib.asynccontextmanager
async def shared(*, tick: float = 0.005, **config: Any) -> AsyncIterator[Room]:
    reply_port, port = free_port(), free_port()
    table = {"reply_port": reply_port, "share": f"127.0.0.1:{port}", "silence": 5.0, **config}
    async with (
        simulated(reply_port=reply_port, tick=tick) as live,
        bridged(remote=f"127.0.0.1:{live.port}", **table) as host,
    ):
        room = Room(live, host, await joined(host), port)
        try:
            yield room
        finally:
            for client in room.clients:
                client.close()


async def test_two_clients_are_answered_each_for_itself() -> None:
    async with shared() as room:
        one, two = await room.client(), await room.client()
        assert await one.ask("/live/song/get/tempo") == (120.0,)
        assert await two.ask("/live/track/get/name", 2) == (2, "Keys")
        assert await one.ask("/live/song/get/track_names") == ("Drums", "Bass", "Keys", "Vocals")
        assert await two.ask("/live/device/get/parameters/name", 1, 0) == (
            1, 0, "Device On", "Filter Freq", "Filter Res", "Volume",
        )  # fmt: skip
        assert await one.ask("/live/track/get/mute", 1.0) == (1, False)
        assert (await one.ask("/live/clip/get/notes", 1, 1))[2:4] == (36, 0.0)
        await one.settled()
        await two.settled()
        assert one.heard == []
        assert two.heard == []


async def test_the_same_question_at_once_is_answered_to_both_and_once_each() -> None:
    async with shared() as room:
        clients = [await room.client() for _ in range(3)]
        for number in range(20):
            for client in clients:
                client.send("/live/track/get/volume", number % 4)
        for client in clients:
            await client.settled()
            assert [args[0] for args in client.told("/live/track/get/volume")] == [number % 4 for number in range(20)]


async def test_what_a_client_sets_it_reads_back_and_everybody_who_listens_hears() -> None:
    async with shared() as room:
        one, two, deaf = await room.client(), await room.client(), await room.client()
        two.send("/live/song/start_listen/tempo")
        assert await two.hear("/live/song/get/tempo") == (120.0,)
        for tempo in (90.0, 91.0, 92.0):
            one.send("/live/song/set/tempo", tempo)
            assert await one.ask("/live/song/get/tempo") == (tempo,)
            assert await two.hear("/live/song/get/tempo", tempo) == (tempo,)
        await until(lambda: room.session.values["song/tempo"] == 92.0)
        await deaf.settled()
        assert deaf.heard == []


async def test_listeners_are_counted_over_clients_and_the_bridge() -> None:
    async with shared() as room:
        one, two = await room.client(), await room.client()
        track = room.live.live.tracks[0]

        def watchers(name: str) -> int:
            return len(track._watchers.get(name, ()))

        for client in (one, two):
            client.send("/live/track/start_listen/output_meter_level", 0)
            await client.hear("/live/track/get/output_meter_level", 0)
        assert watchers("output_meter_level") == 1
        one.send("/live/track/stop_listen/output_meter_level", 0)
        one.send("/live/track/stop_listen/output_meter_level", 0)  # twice: the other one's is its own
        await one.settled()
        track["output_meter_level"] = 0.5
        assert await two.hear("/live/track/get/output_meter_level", 0) == (0, 0.5)
        assert one.told("/live/track/get/output_meter_level") == []
        two.send("/live/track/stop_listen/output_meter_level", 0)
        await until(lambda: watchers("output_meter_level") == 0)
        one.send("/live/track/start_listen/volume", 0)  # which the bridge listens to itself
        await one.hear("/live/track/get/volume", 0)
        one.send("/live/track/stop_listen/volume", 0)
        await one.settled()
        assert watchers("volume") == 1
        track["volume"] = 0.25
        await until(lambda: room.session.values["tracks/0/volume"] == 0.25)


async def test_the_bridge_leaves_a_listener_to_the_clients_that_want_it() -> None:
    async with shared() as room:
        client = await room.client()
        client.send("/live/track/start_listen/output_meter_level", 1)
        await client.hear("/live/track/get/output_meter_level", 1)
        for command in ("start_listen", "stop_listen"):
            await room.session.call(command, path="tracks/1/output_meter_level")
        await client.settled()
        client.heard.clear()
        room.live.live.tracks[1]["output_meter_level"] = 0.75
        assert await client.hear("/live/track/get/output_meter_level", 1) == (1, 0.75)


async def test_a_parameter_tells_value_and_text_and_a_float_index_is_the_same_listener() -> None:
    async with shared() as room:
        one, two = await room.client(), await room.client()
        one.send("/live/device/start_listen/parameter/value", 3, 0, 1)
        two.send("/live/device/start_listen/parameter/value", 3.0, 0.0, 1.0)
        for client in (one, two):
            assert await client.hear("/live/device/get/parameter/value") == (3, 0, 1, 90.0)
            assert await client.hear("/live/device/get/parameter/value_string") == (3, 0, 1, "90.00")
        room.live.live.tracks[3].devices[0].knobs[1]["value"] = 100.0
        for client in (one, two):
            assert await client.hear("/live/device/get/parameter/value", 3, 0, 1) == (3, 0, 1, 100.0)
            assert await client.hear("/live/device/get/parameter/value_string") == (3, 0, 1, "100.00")


async def test_beats_go_to_who_wants_them() -> None:
    async with shared() as room:
        one, two = await room.client(), await room.client()
        one.send("/live/song/set/tempo", 990.0)
        one.send("/live/song/start_listen/beat")
        two.send("/live/song/start_playing")
        first = (await one.hear("/live/song/get/beat"))[0]
        assert (await one.hear("/live/song/get/beat"))[0] > first
        assert two.told("/live/song/get/beat") == []


async def test_an_error_goes_to_whose_message_caused_it_and_breaks_nobody_else() -> None:
    async with shared() as room:
        one, two = await room.client(), await room.client()
        for number in range(5):
            one.send("/live/track/get/name", 40 + number)
            one.send("/live/nothing")
            two.send("/live/track/get/name", number % 4)
        await one.settled()
        await two.settled()
        assert len(one.told("/live/error")) == 10
        assert ("Unknown OSC address: /live/nothing",) in one.told("/live/error")
        assert two.told("/live/error") == []
        assert len(two.told("/live/track/get/name")) == 5
        room.session.wish(1, "song/tempo", 5000.0)  # the bridge's own error is nobody else's
        await until(lambda: 1 in room.session.rejected)
        assert "Invalid value" in room.session.rejected[1]
        assert len(one.told("/live/error")) == 10
        assert two.told("/live/error") == []


async def test_garbage_of_one_client_is_its_own() -> None:
    async with shared() as room:
        one, two = await room.client(), await room.client()
        for data in (b"", b"\0", b"garbage", b"#bundle\0", b"/live/test\0\0,z\0\0", b"\xff" * 3000):
            one.raw(data)
        one.send("/live/song/set/tempo", [1.0, 2.0])
        await one.hear("/live/error")
        one.send("/live/song/start_listen/*")
        assert "listen to each property by its name" in (await one.hear("/live/error"))[0]
        assert await two.ask("/live/song/get/tempo") == (120.0,)
        assert two.told("/live/error") == []


async def test_bundles_and_wildcards_pass() -> None:
    async with shared() as room:
        one = await room.client()
        parts = [encode("/live/song/get/tempo"), encode("/live/track/get/name", 0)]
        bundle = b"#bundle\0" + struct.pack(">Q", 1) + b"".join(struct.pack(">i", len(part)) + part for part in parts)
        one.raw(bundle)
        assert await one.hear("/live/song/get/tempo") == (120.0,)
        assert await one.hear("/live/track/get/name") == (0, "Drums")
        one.send("/live/song/get/punch_*")
        assert await one.hear("/live/song/get/punch_in") == (False,)
        assert await one.hear("/live/song/get/punch_out") == (False,)


async def test_a_client_that_only_hears_on_one_port() -> None:
    ear = free_port()
    async with shared(share_reply_port=ear) as room:
        one = await room.client(ear=ear)
        assert await one.ask("/live/song/get/tempo") == (120.0,)
        one.send("/live/song/start_listen/tempo")
        await one.hear("/live/song/get/tempo")
        room.live.live.song["tempo"] = 99.0
        assert await one.hear("/live/song/get/tempo") == (99.0,)


async def test_listeners_of_clients_come_back_with_live() -> None:
    async with shared(silence=2.0) as room:
        one = await room.client()
        one.send("/live/track/start_listen/output_meter_level", 2)
        await one.hear("/live/track/get/output_meter_level", 2)
        await room.live.stop()
        await until(lambda: room.session.gone)
        one.send("/live/song/get/tempo")
        assert "Live does not answer" in (await one.hear("/live/error"))[0]
        await room.live.start()
        await joined(room.host, 2)
        await one.hear("/live/track/get/output_meter_level", 2)
        room.live.live.tracks[2]["output_meter_level"] = 0.125
        assert await one.hear("/live/track/get/output_meter_level", 2, 0.125) == (2, 0.125)


async def test_a_client_that_has_abletonosc_loaded_anew_makes_nobody_deaf() -> None:
    async with shared() as room:
        one, two = await room.client(), await room.client()
        room.live.live.add_track(0, midi=True, name="New")  # from now on faders are stuck with what they had
        await until(lambda: room.session.values.get("tracks/1/name") == "Drums")
        two.send("/live/track/start_listen/output_meter_level", 1)
        await two.hear("/live/track/get/output_meter_level", 1)
        one.send("/live/api/reload")
        await two.hear("/live/track/get/output_meter_level", 1)  # it is listened to again
        room.live.live.tracks[1]["output_meter_level"] = 0.5
        assert await two.hear("/live/track/get/output_meter_level", 1, 0.5) == (1, 0.5)
        room.live.live.tracks[1]["volume"] = 0.125
        await until(lambda: room.session.values["tracks/1/volume"] == 0.125)
        assert len(room.live.live.tracks[1]._watchers["volume"]) == 1


async def test_a_client_that_is_gone_takes_its_listeners_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "SILENT_S", 0.0)
    monkeypatch.setattr(sharing.Share.sweep, "__defaults__", (0.0,))
    async with shared() as room:
        one, two = await room.client(), await room.client()
        track = room.live.live.tracks[0]
        one.send("/live/track/start_listen/output_meter_level", 0)
        await one.hear("/live/track/get/output_meter_level", 0)
        room.clients.remove(one)
        one.close()
        await until(lambda: not track._watchers["output_meter_level"])  # the next sweep
        assert await two.ask("/live/song/get/tempo") == (120.0,)


async def test_clients_and_listeners_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "MAX_CLIENTS", 2)
    monkeypatch.setattr(sharing, "MAX_LISTENS", 3)
    async with shared() as room:
        one, two = await room.client(), await room.client()
        third = Client(room.port)
        room.clients.append(third)
        third.send("/live/test")
        assert "2 clients share Live already" in (await third.hear("/live/error"))[0]
        for number in range(4):
            one.send("/live/track/start_listen/mute", number)
        assert "listen to 3 properties already" in (await one.hear("/live/error"))[0]
        assert await two.ask("/live/song/get/tempo") == (120.0,)


async def test_a_flood_of_one_client_leaves_the_other_one_and_the_bridge_alone() -> None:
    async with shared(budget=64) as room:
        one, two = await room.client(), await room.client()
        for number in range(1500):
            one.send("/live/song/set/tempo", 60.0 + number % 100)
        one.send("/live/song/set/tempo", 77.0)
        assert await two.ask("/live/track/get/name", 0) == (0, "Drums")
        room.session.wish(1, "tracks/0/volume", 0.5)
        await until(lambda: 1 in room.session.settled)
        await until(lambda: room.live.live.song["tempo"] == 77.0 or one.told("/live/error"))
        assert room.session.gone == ""


async def test_without_live_a_client_is_told() -> None:
    port = free_port()
    async with bridged(remote=f"127.0.0.1:{free_port()}", reply_port=free_port(), share=f"127.0.0.1:{port}") as host:
        await until(lambda: host.reasons)
        client = Client(port)
        try:
            client.send("/live/test")
            assert "Live does not answer" in (await client.hear("/live/error"))[0]
        finally:
            client.close()


async def test_at_lives_real_pace() -> None:
    async with shared(tick=0.1, poll=2.0) as room:
        one, two = await room.client(), await room.client()
        one.send("/live/song/set/tempo", 71.0)
        one.send("/live/song/get/tempo")
        two.send("/live/song/get/tempo")
        assert await one.hear("/live/song/get/tempo") == (71.0,)
        assert await two.hear("/live/song/get/tempo") == (71.0,)


def _marks(ledger: Ledger, peer: tuple[str, int], *asked: Ask) -> Callable[[int], tuple[Found, Any]]:
    marks = ledger.begin(peer, list(asked))
    return lambda which: ledger.hear("/live/song/get/is_playing", (False, marks[which]))


def test_the_ledger_when_marks_are_lost() -> None:
    ledger, one, two = Ledger(), ("127.0.0.1", 1), ("127.0.0.1", 2)
    tempo = "/live/song/get/tempo"
    first, second = _marks(ledger, one, Ask(tempo)), _marks(ledger, two, Ask(tempo))
    assert ledger.hear(tempo, (1.0,)) == (Found.EVENT, None), "before the mark it is no answer"
    first(0)
    assert ledger.hear(tempo, (2.0,)) == (Found.ANSWER, one)
    assert ledger.hear(tempo, (3.0,)) == (Found.EVENT, None), "it was answered already"
    assert ledger.hear("/live/error", ("x",)) == (Found.ERROR, one)
    second(0)  # the end of the first was lost
    assert ledger.hear("/live/error", ("x",)) == (Found.ERROR, two)
    second(1)
    assert ledger.hear("/live/error", ("x",)) == (Found.EVENT, None)
    assert len(ledger) == 0
