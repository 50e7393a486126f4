"""The Live simulator's manners, asked by a plain socket as any AbletonOSC client would."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.osc_live import Live, bridged, joined, simulated, until
from tests.support.ports import free_port

from lightfast.sdk import PluginError
from lightfast.sdk.osc import OscMessage, decode, encode
from lightfast_bridges.ableton import lightfast_bridges, lightfast_simulators
from lightfast_bridges.ableton.live_set import demo_set
from lightfast_bridges.ableton.names import KINDS
from lightfast_bridges.ableton.simulator import AbletonSimulator, LiveSurface


class Client:
    """Sends from one socket and hears on another one, the reply port, as AbletonOSC wants it."""

    def __init__(self) -> None:
        self.ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.ear.bind(("127.0.0.1", 0))
        self.ear.setblocking(False)
        self.mouth = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.to = ("", 0)
        self.heard: list[OscMessage] = []

    @property
    def reply_port(self) -> int:
        return int(self.ear.getsockname()[1])

    def send(self, address: str, *arguments: Any) -> None:
        self.mouth.sendto(encode(address, *arguments), self.to)

    async def hear(self) -> OscMessage:
        """Return the next message."""
        while not self.heard:
            async with asyncio.timeout(30):
                self.heard += decode(await asyncio.get_running_loop().sock_recv(self.ear, 65_536))
        return self.heard.pop(0)

    async def ask(self, address: str, *arguments: Any) -> OscMessage:
        self.send(address, *arguments)
        return await self.hear()

    async def quiet(self) -> None:
        """Check that nothing more comes before the answer to a test message."""
        assert await self.ask("/live/test") == ("/live/test", "s", ("ok",))


@contextlib.asynccontextmanager
async def talking(tick: float = 0.003, *, fork: bool = False) -> AsyncIterator[tuple[Live, Client]]:
    client = Client()
    with client.ear, client.mouth:
        async with simulated(reply_port=client.reply_port, tick=tick, fork=fork) as live:
            client.to = ("127.0.0.1", live.port)
            assert (await client.hear()).address == "/live/startup"
            assert await client.hear() == ("/live/application/get/average_process_usage", "", ())
            yield live, client


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        (("/live/test",), ("/live/test", "s", ("ok",))),
        (("/live/simulator",), ("/live/simulator", "s", ("Lightfast Live simulator",))),
        (("/live/application/get/version",), ("/live/application/get/version", "ii", (12, 0))),
        (("/live/song/get/tempo",), ("/live/song/get/tempo", "f", (120.0,))),
        (("/live/song/get/tempo", 7), ("/live/song/get/tempo", "fi", (120.0, 7))),
        (("/live/song/get/is_playing",), ("/live/song/get/is_playing", "F", (False,))),
        (("/live/song/get/num_tracks",), ("/live/song/get/num_tracks", "i", (4,))),
        (("/live/song/get/track_names",), ("/live/song/get/track_names", "ssss", ("Drums", "Bass", "Keys", "Vocals"))),
        (("/live/song/get/track_names", 1, 3), ("/live/song/get/track_names", "ss", ("Bass", "Keys"))),
        (("/live/track/get/mute", 1), ("/live/track/get/mute", "iF", (1, False))),
        (("/live/track/get/mute", 1.0), ("/live/track/get/mute", "iF", (1, False))),
        (("/live/track/get/send", 0, 1), ("/live/track/get/send", "iif", (0, 1, 0.0))),
        (
            ("/live/track/get/clips/name", 0),
            ("/live/track/get/clips/name", "iNssN", (0, None, "Drums Verse", "Drums Chorus", None)),
        ),
        (
            ("/live/clip/get/notes", 1, 1, 40, 10, 0.0, 4.0),
            ("/live/clip/get/notes", "iiifffF", (1, 1, 43, 2.0, 0.5, 90.0, False)),
        ),
        (("/live/device/get/num_parameters", 1, 0), ("/live/device/get/num_parameters", "iii", (1, 0, 4))),
        (
            ("/live/device/get/parameters/is_quantized", 3, 0),
            ("/live/device/get/parameters/is_quantized", "iiTFFT", (3, 0, True, False, False, True)),
        ),
        (
            ("/live/song/get/track_data", 0, 2, "track.name", "clip_slot.has_clip"),
            (
                "/live/song/get/track_data",
                "sFTTFsFTTF",
                ("Drums", False, True, True, False, "Bass", False, True, True, False),
            ),
        ),
        (
            ("/live/song/get/track_data", 0, 1, "clip.name", "device.class_name"),
            ("/live/song/get/track_data", "NssNs", (None, "Drums Verse", "Drums Chorus", None, "DrumGroupDevice")),
        ),
        (("/live/song/get/cue_points",), ("/live/song/get/cue_points", "sfsf", ("Intro", 0.0, "Drop", 32.0))),
        (("/live/nothing",), ("/live/error", "s", ("Unknown OSC address: /live/nothing",))),
        (("/live/song/set/is_playing", 1), ("/live/error", "s", ("Unknown OSC address: /live/song/set/is_playing",))),
        (("/live/track/get/name", 9), ("/live/error", "s", ("Error handling OSC message: Index out of range",))),
        (("/live/track/get/name", "*"), ("/live/track/get/name", "ss", ("*", "Drums"))),
    ],
)
async def test_replies(request_: tuple[Any, ...], reply: tuple[str, str, tuple[Any, ...]]) -> None:
    async with talking() as (_, client):
        assert await client.ask(*request_) == reply


async def test_setters_say_nothing() -> None:
    async with talking() as (live, client):
        client.send("/live/song/set/tempo", 99.5)
        client.send("/live/track/set/mute", 0, True)
        client.send("/live/clip/set/name", 0, 1, "Beat")
        client.send("/live/device/set/parameter/value", 3, 0, 1, 100.0)
        await client.quiet()
        assert live.live.song["tempo"] == 99.5
        assert live.live.tracks[0]["mute"] is True
        assert live.live.tracks[0].slots[1].clip["name"] == "Beat"  # type: ignore[index]
        assert live.live.tracks[3].devices[0].knobs[1]["value"] == 100.0


async def test_listeners_tell_now_and_then_changes_only() -> None:
    async with talking() as (_, client):
        assert await client.ask("/live/song/start_listen/tempo") == ("/live/song/get/tempo", "f", (120.0,))
        client.send("/live/song/set/tempo", 120.0)  # what it has already
        await client.quiet()
        assert await client.ask("/live/song/set/tempo", 90.0) == ("/live/song/get/tempo", "f", (90.0,))
        assert await client.ask("/live/song/start_listen/tempo") == ("/live/song/get/tempo", "f", (90.0,))
        assert await client.ask("/live/song/set/tempo", 91.0) == ("/live/song/get/tempo", "f", (91.0,))
        await client.quiet()  # listening twice does not tell twice
        client.send("/live/song/stop_listen/tempo")
        client.send("/live/song/set/tempo", 92.0)
        await client.quiet()


async def test_listeners_are_known_by_their_exact_arguments() -> None:
    async with talking() as (live, client):
        for number in (0, 0.0):
            assert (await client.ask("/live/track/start_listen/volume", number)).args[0] == 0
        live.live.tracks[0]["volume"] = 0.5
        assert [await client.hear(), await client.hear()] == [("/live/track/get/volume", "if", (0, 0.5))] * 2


async def test_a_parameter_tells_its_value_and_its_text() -> None:
    async with talking() as (_, client):
        first = await client.ask("/live/device/start_listen/parameter/value", 3, 0, 1)
        assert first == ("/live/device/get/parameter/value", "iiif", (3, 0, 1, 90.0))
        assert await client.hear() == ("/live/device/get/parameter/value_string", "iiis", (3, 0, 1, "90.00"))


async def test_beats_are_told_once_each() -> None:
    async with talking() as (_, client):
        client.send("/live/song/set/tempo", 990.0)
        client.send("/live/song/start_listen/beat")
        client.send("/live/song/start_playing")
        beats = [(await client.hear()).args[0] for _ in range(4)]
        assert beats == sorted(set(beats))  # a machine that stands still for a beat skips it


async def test_wildcards_answer_for_each_address() -> None:
    async with talking() as (_, client):
        client.send("/live/song/get/punch_*")
        assert {(await client.hear()).address for _ in range(2)} == {
            "/live/song/get/punch_in",
            "/live/song/get/punch_out",
        }


async def test_bundles_stop_at_the_first_error() -> None:
    async with talking() as (live, client):
        parts = [
            encode("/live/song/set/tempo", 100.0),
            encode("/live/track/get/name", 9),
            encode("/live/song/set/tempo", 50.0),
        ]
        bundle = b"#bundle\0" + struct.pack(">Q", 1) + b"".join(struct.pack(">i", len(one)) + one for one in parts)
        client.mouth.sendto(bundle, client.to)
        assert (await client.hear()).address == "/live/error"
        await client.quiet()
        assert live.live.song["tempo"] == 100.0


async def test_garbage_does_not_stop_it() -> None:
    async with talking() as (_, client):
        for data in (b"", b"\0", b"garbage", b"#bundle\0", b"/live/test\0\0,z\0\0", b"\xff" * 3000):
            client.mouth.sendto(data, client.to)
        await client.quiet()


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (("/live/song/set/tempo", 1000.0), "Invalid value 1000 for tempo"),
        (("/live/song/set/tempo", "fast"), "tempo takes a number"),
        (("/live/song/set/root_note", 1.0), "root_note takes an int"),
        (("/live/track/set/name", 0, 5), "name takes a string"),
        (("/live/track/set/send", 0, 0, 2.0), "Invalid value 2 for send"),
        (("/live/clip/get/name", 0, 0), "'NoneType'"),
        (("/live/song/set/tempo",), "Index out of range"),
        (("/live/clip_slot/create_clip", 3, 0, 4.0), "MIDI track"),
        (("/live/clip/get/notes", 3, 1), "not a MIDI clip"),
        (("/live/song/get/track_data", 0, 1, "tree.name"), "Unknown object identifier"),
    ],
)
async def test_errors(message: tuple[Any, ...], text: str) -> None:
    async with talking() as (_, client):
        error = await client.ask(*message)
        assert error.address == "/live/error"
        assert text in error.args[0]


async def test_every_property_of_the_table_answers() -> None:
    async with talking(fork=True) as (_, client):
        for kind in KINDS.values():
            ids = {"device": (1, 0), "chain": (2, 1, 0)}.get(kind.name, (1, 1)[: kind.ids])
            for name in kind.properties:
                reply = await client.ask(f"/live/{kind.name}/get/{name}", *ids)
                assert reply.address == f"/live/{kind.name}/get/{name}"
                assert reply.args[: len(ids)] == ids
                assert len(reply.args) == len(ids) + 1 or kind.properties[name].shape


async def test_scenes_and_clips_play() -> None:
    async with talking() as (live, client):
        client.send("/live/scene/fire", 1)
        await client.quiet()
        assert [track["playing_slot_index"] for track in live.live.tracks] == [1, 1, 1, 1]
        client.send("/live/clip_slot/fire", 0, 0)  # an empty slot stops its track
        client.send("/live/track/stop_all_clips", 1)
        await client.quiet()
        assert [track["playing_slot_index"] for track in live.live.tracks] == [-2, -2, 1, 1]


async def test_taken_port_is_explained() -> None:
    async with talking() as (live, _):
        with pytest.raises(PluginError, match="is Live or another simulator running"):
            await AbletonSimulator().run(("127.0.0.1", live.port), 11_001, lambda _: None)


def test_one_that_answers_itself_goes_on() -> None:
    """Its reply port is its own, by a mistake or as the system happened to give it: each answer is a question."""
    port = free_port()
    surface = LiveSurface(demo_set(), port)
    surface.open(("127.0.0.1", port))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.sendto(encode("/no/such/address"), ("127.0.0.1", port))
    ticking = threading.Thread(target=surface.tick, args=(0.0,), daemon=True)
    ticking.start()
    try:
        ticking.join(60)
        assert not ticking.is_alive()
    finally:
        surface.close()


def test_plugin_brings_bridge_and_simulator() -> None:
    (bridge,) = lightfast_bridges({})
    (simulator,) = lightfast_simulators()
    assert (bridge.kind, bridge.link) == ("ableton", False)
    assert (simulator.name, simulator.default_listen, simulator.default_reply_port) == (
        "ableton", ("127.0.0.1", 11_000), 11_001,
    )  # fmt: skip
    assert "simulated" in simulator.description


async def test_the_bridge_joins_at_lives_real_pace() -> None:
    reply_port = free_port()
    async with (
        simulated(reply_port=reply_port, tick=0.1) as live,
        bridged(remote=f"127.0.0.1:{live.port}", reply_port=reply_port, poll=2.0, silence=6.0) as host,
    ):
        session = await joined(host)
        session.wish(1, "song/tempo", 60.0)
        await until(lambda: 1 in session.settled)
