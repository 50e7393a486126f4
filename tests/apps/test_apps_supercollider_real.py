"""A real scsynth on a dummy JACK, a real daemon, and a second client of the server that is not ours."""

from __future__ import annotations

import asyncio
import io
import itertools
import socket
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.joined import Desk, daemon_with, desk, frozen
from tests.support.scsynth import Client, Scsynth, synthdef
from tests.support.waiting import until

from lightfast.core.errors import LightfastError
from lightfast.sdk import Simulator
from lightfast.sdk.testing import check_bridge
from lightfast_bridges.supercollider.bridge import SuperColliderBridge
from lightfast_link.value import Asset, close

pytestmark = pytest.mark.real_app


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scsynth]:
    found = Scsynth(tmp_path_factory.mktemp("sc"))
    try:
        found.start()
        found.wait()
        yield found
    finally:
        found.close()


@pytest.fixture(scope="module")
def other(server: Scsynth) -> Iterator[Client]:
    client = Client(server.port)
    try:
        yield client
    finally:
        client.close()


@pytest.fixture(scope="module")
def house(server: Scsynth, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    settings = {"remote": f"127.0.0.1:{server.port}", "buses": "0-3", "poll": 0.2, "silence": 1.0}
    with desk(daemon_with(tmp_path_factory.mktemp("home"), "supercollider", **settings), "/supercollider") as found:
        found.live()
        yield found


def test_it_is_there(house: Desk) -> None:
    app = house.app()
    assert (app.kind, app.simulator) == ("supercollider", False)
    assert app.app_version.startswith("3.")
    assert house.value("status/sampleRate") == 48_000.0
    assert house.value("nodes/0/isGroup") is True
    until(lambda: (house.value("status/peakCPU") or 0.0) > 0.0, "a load")


def test_definitions_synths_and_groups(house: Desk, other: Client) -> None:
    assert house.invoke("d_recv", definition=synthdef("tone")) == ["tone"]
    group = house.invoke("g_new")
    synth = house.invoke("s_new", definition="tone", target=group, controls={"freq": 330, "pan": [-0.5, 0.5]})
    assert close(other.control(synth, "freq"), 330.0)
    house.holds(f"nodes/{synth}/controls/freq", 330.0)
    assert house.value(f"nodes/{synth}/defname") == "tone"
    assert house.value(f"nodes/{synth}/parent") == group
    assert close(house.value(f"nodes/{synth}/controls/3"), 0.5)  # the second of pan
    with pytest.raises(LightfastError, match="SynthDef not found"):
        house.invoke("s_new", definition="nope")
    with pytest.raises(LightfastError, match="duplicate node ID"):
        house.invoke("s_new", definition="tone", id=synth)
    with pytest.raises(LightfastError, match="Node 99 not found"):
        house.invoke("n_free", id=99)
    house.invoke("g_freeAll", id=group)
    until(lambda: house.value(f"nodes/{synth}/defname") is None, "the synth is gone")
    house.invoke("n_free", id=group)


def test_set_here_it_is_really_there(house: Desk, other: Client) -> None:
    synth = house.invoke("s_new", definition="tone", id=3000)
    house.holds(f"nodes/{synth}/controls/amp", 0.1)
    assert house.set(f"nodes/{synth}/controls/freq", 123.4).status == "SETTLED"
    assert close(other.control(synth, "freq"), 123.4, 1e-4)
    assert house.set("buses/2", 0.625).status == "SETTLED"
    assert other.bus(2) == 0.625
    assert house.set("buses/200", 0.5).status == "SETTLED"  # asked for, so it is followed from now on
    other.send("/c_set", 200, 0.75)
    house.holds("buses/200", 0.75)
    assert house.set(f"nodes/{synth}/running", False).status == "SETTLED"
    house.client.delete(house.path(f"nodes/{synth}"), recursive=True)
    until(lambda: 3000 not in other.tree(), "freed in scsynth")
    refused = house.set("nodes/77/controls/freq", 1.0)
    assert (refused.status, "no nodes/77" in str(refused)) == ("REJECTED", True)


def test_what_another_client_does_is_seen(house: Desk, other: Client) -> None:
    other.send("/s_new", "tone", 4000, 0, 0, "freq", 220.0)
    house.holds("nodes/4000/controls/freq", 220.0)
    other.send("/n_set", 4000, "freq", 221.0)  # of this nobody is told
    house.holds("nodes/4000/controls/freq", 221.0)
    other.send("/n_map", 4000, "freq", 7)
    house.holds("nodes/4000/mapped/freq", "c7")
    until(lambda: house.value("nodes/4000/controls/freq") is None, "the mapped control")
    other.send("/n_run", 4000, 0)
    house.holds("nodes/4000/running", False)
    other.send("/g_new", 4001, 0, 0)
    house.holds("nodes/4001/isGroup", True)
    other.send("/n_order", 0, 4001, 4000)
    house.holds("nodes/4000/parent", 4001)
    other.send("/c_set", 1, -2.5)
    house.holds("buses/1", -2.5)
    other.send("/n_free", 4001)
    until(lambda: house.value("nodes/4000/defname") is None, "the group and what was in it")


def test_buffers_and_files(house: Desk, other: Client) -> None:
    assert house.invoke("b_alloc", buffer=3, frames=4800, channels=1) == {
        "frames": 4800,
        "channels": 1,
        "sampleRate": 48_000.0,
    }
    house.holds("buffers/3/frames", 4800)
    other.send("/b_set", 3, 100, 0.5)
    other.sync()
    written = house.invoke("b_write", buffer=3, format="int16")
    assert isinstance(written, Asset)
    data = house.client.read_asset(written.sha256)
    with wave.open(io.BytesIO(data)) as sound:
        assert (sound.getnframes(), sound.getframerate()) == (4800, 48_000)
        assert 16_000 < int.from_bytes(sound.readframes(101)[-2:], "little", signed=True) < 16_800
    assert house.invoke("b_allocRead", buffer=5, file=written)["frames"] == 4800
    house.holds("buffers/5/frames", 4800)
    house.invoke("b_free", buffer=3)
    until(lambda: house.value("buffers/3/frames") is None, "the freed buffer")
    with pytest.raises(LightfastError, match="the server has 1024"):
        house.invoke("b_alloc", buffer=5000, frames=10)


def test_a_broken_definition_does_not_reach_the_server(house: Desk, server: Scsynth) -> None:
    whole = synthdef("tone")
    for broken in (b"garbage", whole[:30], whole[:-9], whole + b"\0", b"SCgf\0\0\0\2\0\1\4tone"):
        with pytest.raises(LightfastError, match="definition"):
            house.invoke("d_recv", definition=broken)
    assert server.process is not None
    assert server.process.poll() is None
    house.live()


def test_render(house: Desk) -> None:
    score = [[0.0, "s_new", "low", 1000, 0, 0, "freq", 440.0, "amp", 0.5], [0.5, "n_free", 1000]]
    made = house.invoke("render", score=score, synthdefs=[synthdef("low")], duration=1.0, sample_rate=8000, channels=1)
    assert isinstance(made, Asset)
    assert made.media_type == "audio/wav"
    with wave.open(io.BytesIO(house.client.read_asset(made.sha256))) as sound:
        assert (sound.getframerate(), sound.getnchannels()) == (8000, 1)
        assert 7900 <= sound.getnframes() <= 8200
        frames = sound.readframes(sound.getnframes())
    samples = [int.from_bytes(frames[at : at + 2], "little", signed=True) for at in range(0, len(frames), 2)]
    first, second = samples[400:3600], samples[4400:7800]
    assert 14_000 < max(first) < 17_500
    assert max(map(abs, second)) == 0
    crossings = sum(a < 0 <= b for a, b in itertools.pairwise(first))
    assert 170 <= crossings <= 182  # 0.4 s of 440 Hz
    with pytest.raises(LightfastError, match="b_allocRead"):
        house.invoke("render", score=[[0.0, "b_allocRead", 0, "/etc/passwd"]], duration=1.0)
    with pytest.raises(LightfastError, match="nope not found"):
        house.invoke("render", score=[[0.0, "s_new", "nope", 1000, 0, 0]], duration=0.1)


def test_killed_what_can_be_is_put_back_and_the_rest_is_named(house: Desk, server: Scsynth, other: Client) -> None:
    house.invoke("s_new", definition="tone", id=5000)
    house.holds("nodes/5000/defname", "tone")
    house.set("buses/0", 0.375)
    server.kill()
    began = time.monotonic()
    server.start()
    server.wait()
    up = time.monotonic()
    until(lambda: other.bus(0) == 0.375, "the bus is put back")
    print(f"\nscsynth: back after {up - began:.2f} s, in step {time.monotonic() - up:.2f} s later")
    app = house.live()
    lost = {path.removeprefix("/supercollider/") for path in app.lost_paths}
    assert {"nodes/5000/controls/freq", "nodes/5000/defname"} <= lost
    until(lambda: house.value("nodes/5000/controls/freq") is None, "what is lost leaves the tree")
    other.send("/d_recv", synthdef("tone"))
    other.sync()
    other.send("/s_new", "tone", 5001, 0, 0)  # we are told again
    house.holds("nodes/5001/defname", "tone")


def test_frozen_it_is_said_and_it_comes_back(house: Desk, server: Scsynth, other: Client) -> None:
    assert server.process is not None
    with frozen(server.process.pid):
        assert "answer" in house.troubled()
    house.live()
    assert house.set("buses/1", 0.125).status == "SETTLED"
    assert other.bus(1) == 0.125


def test_the_server_may_restart_unseen_and_the_daemon_may_die(house: Desk, server: Scsynth, other: Client) -> None:
    house.set("buses/3", 0.25)
    other.send("/g_new", 6000, 0, 0)
    house.daemon.kill()
    other.send("/c_set", 3, 0.5)
    began = time.monotonic()
    house.daemon.start()
    house.client.close()
    house.client = type(house.client)(home=house.daemon.home)
    house.live()
    print(f"\nscsynth: in step {time.monotonic() - began:.2f} s after the daemon was killed")
    house.holds("buses/3", 0.5)
    house.holds("nodes/6000/isGroup", True)
    assert 6000 in other.tree()  # it was not ours to free


def test_garbage_to_the_socket_of_the_bridge_is_harmless(house: Desk) -> None:
    import psutil

    process = psutil.Process(house.daemon.pid)
    ports = {one.laddr.port for one in process.net_connections("udp")}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for port in ports:
            for data in (
                b"",
                b"\0",
                b"#bundle\0\xff",
                b"/g_queryTree.reply\0\0,ii\0\0\0\0\1\0\0\0\0",
                b"/n_end\0\0,s\0\0x\0\0\0",
                b"/status.reply\0\0\0,\0\0\0",
                b"/c_set\0\0,ss\0a\0\0\0b\0\0\0",
                b"/n_go\0\0\0,i\0\0\0\0\0\1",
                b"/fail\0\0\0,ii\0\0\0\0\1\0\0\0\1",
                b"/b_info\0,s\0\0x\0\0\0",
            ):
                stranger.sendto(data, ("127.0.0.1", port))
    assert house.set("buses/2", 0.1875).status == "SETTLED"
    house.live()


class Played(Simulator):
    """The real server in the place of a simulator, for the contract."""

    name = "supercollider"
    description = "scsynth itself."
    default_listen = ("127.0.0.1", 0)

    def __init__(self, server: Scsynth) -> None:
        self.server = server

    async def run(self, listen: tuple[str, int], reply_port: int, ready: Callable[[tuple[str, int]], None]) -> None:
        ready(("127.0.0.1", self.server.port))
        await asyncio.Event().wait()


async def test_contract(server: Scsynth, tmp_path: Path) -> None:
    await check_bridge(
        SuperColliderBridge(),
        config={"remote": "127.0.0.1:9"},
        simulator=Played(server),
        configure=lambda _, __: {"remote": f"127.0.0.1:{server.port}", "poll": 0.2, "silence": 1.0},
        wish=("buses/9", 0.5),
    )
