"""The bridge to scsynth without scsynth: what it reads, what it refuses, and a server that loses and breaks things."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from tests.support.ending import ended
from tests.support.osc_live import until
from tests.support.ports import free_port
from tests.support.scsynth import synthdef

from lightfast.sdk import BridgeError, Call, Value, Wish
from lightfast.sdk.osc import decode, encode
from lightfast.sdk.testing import FakeAppSession, FakeBridgeHost, check_bridge
from lightfast_bridges.supercollider.bridge import SuperColliderBridge
from lightfast_bridges.supercollider.render import Score
from lightfast_bridges.supercollider.settings import settings_of
from lightfast_bridges.supercollider.synthdef import names_of
from lightfast_bridges.supercollider.tree import below, read_tree

TREE = (1, 0, 2, 1, 1, 1002, -1, "tone", 4, "freq", "c7", "amp", 0.5, "pan", -1.0, 3, 1.0, 1000, -1, "tick", 0)
QUICK = {"poll": 0.1, "silence": 5.0, "gone": 15.0, "buses": "0-1", "buffers": 4}


class FakeServer(asyncio.DatagramProtocol):
    """Answers as scsynth does; it can be made to lose datagrams, to fall silent, and to be another one."""

    def __init__(self) -> None:
        self.tree: tuple[Any, ...] = TREE
        self.buses: dict[int, float] = {}
        self.controls: dict[tuple[int, str], float] = {(1002, "amp"): 0.5}
        self.lose: list[str] = []
        """Addresses of messages that get lost, each once."""
        self.mute = False
        self.full = False
        self.heard: list[tuple[str, tuple[Any, ...]]] = []
        self.peer: Any = None
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.peer = addr
        for address, _, arguments in decode(data):
            if address in self.lose:
                self.lose.remove(address)
                continue
            self.heard.append((address, tuple(arguments)))
            if not self.mute:
                self.answer(address, tuple(arguments))

    def say(self, address: str, *arguments: Any) -> None:
        if self.peer is not None and not self.transport.is_closing():
            self.transport.sendto(encode(address, *arguments), self.peer)

    def answer(self, address: str, said: tuple[Any, ...]) -> None:
        if address == "/status":
            self.say("/status.reply", 1, 3, 2, 2, 1, 0.5, 1.5, ("d", 48_000.0), ("d", 48_001.0))
        elif address == "/version":
            self.say("/version.reply", "scsynth", 3, 13, ".0", "", "na")
        elif address == "/notify" and self.full:
            self.say("/fail", "/notify", "too many users\n")
        elif address == "/notify":
            self.say("/done", "/notify", 2, 64)
        elif address == "/g_queryTree":
            self.say("/g_queryTree.reply", *self.tree)
        elif address == "/c_set":
            self.buses.update(zip(said[::2], said[1::2], strict=True))
        elif address == "/c_get":
            self.say("/c_set", *(part for bus in said for part in (bus, self.buses.get(bus, 0.0))))
        elif address == "/b_query":
            self.say("/b_info", *(part for one in said for part in (one, 100 if one == 2 else 0, 1, 48_000.0)))
        elif address == "/n_set" and said[0] == 1002:
            self.controls[said[0], said[1]] = said[2]
        elif address == "/s_get" and said[0] == 1002:
            self.say("/n_set", said[0], said[1], self.controls.get((said[0], said[1]), 0.0))
        elif address in {"/n_set", "/s_get", "/n_free"}:
            self.say("/fail", address, f"Node {said[0]} not found")
        elif address == "/sync":
            self.say("/synced", *said)


@contextlib.asynccontextmanager
async def running(**config: Any) -> AsyncIterator[tuple[FakeBridgeHost, FakeServer]]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(FakeServer, local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    host = FakeBridgeHost({"remote": f"127.0.0.1:{port}", **QUICK, **config})
    task = asyncio.ensure_future(SuperColliderBridge().run(host))
    try:
        yield host, server
    finally:
        if task.done() and not task.cancelled():
            task.result()
        await ended(task, "the bridge")
        host.close()
        transport.close()


async def joined(host: FakeBridgeHost, number: int = 1) -> FakeAppSession:
    await host.until(lambda: len(host.sessions) >= number, f"session {number}")
    session = host.sessions[number - 1]
    await session.until(lambda: session.syncs, "in step")
    return session


@pytest.mark.parametrize("turns", range(6))
async def test_it_ends_when_it_is_cancelled_while_its_session_ends(turns: int) -> None:
    async with running() as (host, _):
        (await joined(host)).channel.close("the engine is done with it")
        for _ in range(turns):
            await asyncio.sleep(0)


async def test_contract_without_a_server() -> None:
    await check_bridge(SuperColliderBridge(), config={"remote": f"127.0.0.1:{free_port()}"})


async def test_all_is_reported_and_a_name_is_a_mount() -> None:
    async with running(name="foh") as (host, server):
        session = await joined(host)
        assert (session.mount, session.hello.app_version, session.hello.generation) == ("/foh", "3.13.0", -1)
        assert session.values["nodes/1002/controls/amp"] == 0.5
        assert session.values["nodes/1002/mapped/freq"] == "c7"
        assert session.values["nodes/1002/controls/3"] == 1.0
        assert session.values["nodes/1002/parent"] == 1
        assert session.values["buffers/2/frames"] == 100
        assert "buffers/1/frames" not in session.values
        assert session.values["buses/0"] == 0.0
        assert session.values["status/sampleRate"] == 48_000.0
    assert server.heard[-1] == ("/notify", (0,))  # it takes itself off the list


async def test_what_is_lost_is_sent_again() -> None:
    async with running() as (host, server):
        session = await joined(host)
        server.lose += ["/n_set", "/s_get", "/c_set", "/c_get"]
        session.channel.apply([Wish(1, "nodes/1002/controls/amp", 0.25, 1), Wish(2, "buses/1", 0.75, 2)])
        await session.until(lambda: {1, 2} <= session.settled.keys(), "both settled")
        assert session.settled == {1: 0.25, 2: 0.75}
        assert server.controls[1002, "amp"] == 0.25


async def test_what_cannot_be_is_refused_with_a_reason() -> None:
    async with running() as (host, _):
        session = await joined(host)
        wrong: list[tuple[str, Value | None, str]] = [
            ("nodes/9/controls/amp", 1.0, "no nodes/9 in scsynth now"),
            ("nodes/1002/controls/nope", 1.0, "has no control 'nope'"),
            ("nodes/1002/controls/amp", float("nan"), "32-bit"),
            ("nodes/1002/controls/amp", "loud", "holds a number"),
            ("nodes/1002/controls/amp", None, "cannot be removed"),
            ("nodes/1002/defname", "x", "cannot be set"),
            ("nodes/0", None, "cannot be removed"),
            ("buses/x", 1.0, "nothing at"),
            ("buses/1", None, "no buses/1"),
            ("weather", 1.0, "nothing at"),
        ]
        session.channel.apply([Wish(number, path, value, 1) for number, (path, value, _) in enumerate(wrong, 1)])
        assert len(session.rejected) == len(wrong), session.rejected
        for number, (_, _, reason) in enumerate(wrong, 1):
            assert reason in session.rejected[number]


async def test_a_node_that_goes_takes_its_wishes_along() -> None:
    async with running() as (host, server):
        session = await joined(host)
        server.lose += ["/s_get"] * 9
        session.channel.apply([Wish(1, "nodes/1002/controls/amp", 0.25, 1), Wish(2, "nodes/1002", None, 2)])
        server.tree = (1, 0, 1, 1000, -1, "tick", 0)
        server.say("/n_end", 1002, 1, -1, -1, 0)
        await session.until(lambda: 1 in session.rejected and 2 in session.settled, "both answered")
        assert "gone" in session.rejected[1]
        assert "nodes/1002/defname" not in session.values


async def test_a_failure_belongs_to_its_command() -> None:
    async with running() as (host, _):
        session = await joined(host)
        session.channel.invoke(Call(1, "n_free", {"id": 77}))
        session.channel.invoke(Call(2, "c_set", {"bus": 5, "value": 0.5}))
        session.channel.invoke(Call(3, "b_alloc", {"buffer": 4000, "frames": 1}))
        session.channel.invoke(Call(4, "s_new", {"definition": "x", "action": "above"}))
        session.channel.invoke(Call(5, "s_new", {"definition": "x", "controls": {"freq": "loud"}}))
        session.channel.invoke(Call(6, "n_free"))
        session.channel.invoke(Call(7, "n_free", {"id": 0}))
        await session.until(lambda: len(session.failures) == 6 and 2 in session.results, "all answered")
        assert session.failures[1] == "scsynth refused n_free: Node 77 not found"
        assert "max_buffers" in session.failures[3]
        assert "addToHead" in session.failures[4]
        assert "a bus like c7" in session.failures[5]
        assert "needs id" in session.failures[6]


async def test_silence_is_told_then_ends_the_session() -> None:
    async with running(silence=0.4, gone=1.2) as (host, server):
        session = await joined(host)
        server.mute = True
        await session.until(lambda: "has not answered" in session.trouble, "degraded")
        server.mute = False
        await session.until(lambda: not session.trouble, "well again")
        server.mute = True
        await session.until(lambda: session.lost_reason, "lost")
        assert "silent" in str(session.lost_reason)
        server.mute = False
        again = await joined(host, 2)
        assert again.hello.document_id == session.hello.document_id


async def test_a_standstill_of_ours_is_no_silence_of_the_server() -> None:
    async with running(silence=0.4, gone=1.2) as (host, server):
        session = await joined(host)
        heard = len(server.heard)
        await until(lambda: len(server.heard) > heard + 10)
        time.sleep(2.0)  # the whole process, as where a machine sleeps
        heard = len(server.heard)
        await until(lambda: session.lost_reason or len(server.heard) > heard + 20)
        assert (session.lost_reason, session.trouble) == (None, "")


async def test_another_server_in_its_place_is_seen_at_once() -> None:
    async with running() as (host, server):
        session = await joined(host)
        server.buses.clear()  # with the marker
        server.tree = (1, 0, 0)
        server.say("/n_go", 5, 0, -1, -1, 0)  # the tree is read before the next look at the buses
        await session.until(lambda: session.lost_reason, "lost")
        assert session.lost_reason == "scsynth was started again"
        assert "nodes/1002/defname" in session.values  # what another server lacks was not ended in this one
        server.tree = TREE
        again = await joined(host, 2)
        assert again.hello.document_id == session.hello.document_id
        server.buses.clear()
        server.tree = (1, 0, 1, 1002, -1, "something else", 0)
        third = await joined(host, 3)  # nothing may be put back into it
        assert third.hello.document_id != session.hello.document_id


async def test_two_bridges_share_the_marker() -> None:
    async with running() as (host, _):
        session = await joined(host)
        second = FakeBridgeHost(dict(host.config))
        task = asyncio.ensure_future(SuperColliderBridge().run(second))
        try:
            await joined(second)
            await asyncio.sleep(0.5)
            assert second.sessions[0].lost_reason is None
            assert session.lost_reason is None
        finally:
            await ended(task, "the bridge")
            second.close()


async def test_without_a_login_it_works_and_says_so() -> None:
    async with running() as (host, server):
        server.full = True
        session = await joined(host)
        await session.until(lambda: "logins" in session.trouble, "the trouble")
        server.tree = (1, 0, 1, 7, -1, "new", 1, "x", 0.5)
        await session.until(lambda: session.values.get("nodes/7/controls/x") == 0.5, "the new node")


async def test_garbage_is_harmless() -> None:
    async with running() as (host, server):
        session = await joined(host)
        for address, said in (
            ("/g_queryTree.reply", ()),
            ("/g_queryTree.reply", (1, 0, 5)),
            ("/n_go", (1,)),
            ("/n_end", ()),
            ("/n_move", (1002,)),
            ("/n_on", ()),
            ("/c_set", ("a", "b")),
            ("/b_info", ("x", 1, 1, "y")),
            ("/status.reply", (1, "many")),
            ("/fail", ()),
            ("/n_set", (1002, "amp", "loud")),
        ):
            server.say(address, *said)
        server.transport.sendto(b"\xff" * 40, server.peer)
        session.channel.apply([Wish(1, "buses/0", 0.5, 1)])
        await session.until(lambda: 1 in session.settled, "the next wish")
        assert session.lost_reason is None


async def test_diagnosis() -> None:
    async with running() as (host, _):
        await joined(host)
        assert (await SuperColliderBridge().diagnose(host.config))[-1].level == "ok"
    assert (await SuperColliderBridge().diagnose({"remote": f"127.0.0.1:{free_port()}"}))[-1].level == "warning"
    assert (await SuperColliderBridge().diagnose({"remot": "x"}))[-1].level == "error"


@pytest.mark.parametrize(
    "config",
    [{"remote": "here"}, {"buses": "a-b"}, {"buses": "0-99999"}, {"poll": 5}, {"buffers": True}, {"buffer": 3}],
)
def test_wrong_settings_are_named(config: dict[str, Any]) -> None:
    with pytest.raises(BridgeError, match="supercollider"):
        settings_of(config)


def test_buses_of_the_settings() -> None:
    assert settings_of({"buses": "0-2, 7"}).buses == (0, 1, 2, 7)
    assert settings_of({"buses": [3, 4]}).buses == (3, 4)


def test_the_tree_is_read() -> None:
    nodes = read_tree(TREE)
    assert {number: node.parent for number, node in nodes.items()} == {0: -1, 1: 0, 1002: 1, 1000: 0}
    assert nodes[1002].controls == {"amp": 0.5, "pan": -1.0, "3": 1.0}
    assert sorted(below(nodes, 1)) == [1, 1002]
    broken: Sequence[tuple[Any, ...]] = ((), (1,), (1, 0, 3), (*TREE, 9), (1, 0, 1, 5, -1))
    for one in broken:
        with pytest.raises(ValueError, match="tree"):
            read_tree(one)


def test_every_cut_of_a_definition_is_noticed() -> None:
    whole = synthdef("tone")
    assert names_of(whole) == ["tone"]
    for size in range(len(whole)):
        with pytest.raises(ValueError, match="definition"):
            names_of(whole[:size])


def test_a_definition_that_refers_to_nothing_is_noticed() -> None:
    whole = bytearray(synthdef("tone"))
    at = whole.index(b"SinOsc") + len("SinOsc") + 1 + 4 + 4 + 2
    whole[at : at + 4] = struct.pack(">i", 55)
    with pytest.raises(ValueError, match="SinOsc comes from output 0 of unit 55"):
        names_of(bytes(whole))


def test_a_score_is_checked() -> None:
    good: list[Any] = [[0.5, "/s_new", "tone", 1, 0, 0], [0.0, "c_set", 0, 1.0], [9.0, "n_free", 1]]
    score = Score.of({"score": good, "duration": 1.0}, [synthdef("tone")])
    assert [time for time, _ in score.bundles] == [0.0, 0.0, 0.5, 9.0]
    assert score.file().count(b"#bundle") == 4  # what comes too late is left out, and an end is put
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"score": [[0.0, "b_read", 0, "/etc/passwd"]], "duration": 1}, "may not say 'b_read'"),
        ({"score": [[0.0, "/d_load", "x"]], "duration": 1}, "may not say"),
        ({"score": [[0.0, "b_alloc", 0, 1, 1, b"/b_read"]], "duration": 1}, "no argument of a score"),
        ({"score": [[-1.0, "c_set", 0, 0]], "duration": 1}, "the time"),
        ({"score": [[float("nan"), "c_set", 0, 0]], "duration": 1}, "the time"),
        ({"score": ["c_set"], "duration": 1}, r"score\[0\]"),
        ({"score": []}, "duration"),
        ({"score": [], "duration": 4000.0}, "duration"),
        ({"score": [], "duration": 3600.0, "channels": 60}, "MiB"),
        ({"score": [], "duration": 1, "format": "mp3"}, "format"),
        ({"score": [], "duration": 1, "sample_rate": 1}, "Hz"),
    ]
    for given, reason in wrong:
        with pytest.raises(ValueError, match=reason):
            Score.of(given, [])
