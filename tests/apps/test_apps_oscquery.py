"""The OSCQuery bridge against a small independent server, honest or hostile."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.ending import ended
from tests.support.osc_live import until
from tests.support.oscquery import Node, SmallServer

from lightfast.core.osc_build import encode
from lightfast.sdk import Call, Wish
from lightfast.sdk.testing import FakeBridgeHost, check_bridge
from lightfast.sdk.testing.fakes import FakeAppSession
from lightfast_bridges.oscquery.bridge import OscQueryBridge
from lightfast_bridges.oscquery.nodes import Tree
from lightfast_bridges.oscquery.remote import Remote

NODES: dict[str, Any] = {
    "/level": ("f", [0.5], {"RANGE": [{"MIN": 0, "MAX": 1}], "UNIT": ["gain.linear"], "DESCRIPTION": "The level."}),
    "/on": ("F", [False]),
    "/count": ("i", [3]),
    "/name": ("s", ["one"], {"RANGE": [{"VALS": ["one", "two"]}]}),
    "/place": ("fff", [1.0, 2.0, 3.0], {"RANGE": [{"MIN": -1, "MAX": 1}, {"MIN": -2, "MAX": 5}, {"MIN": 0, "MAX": 9}]}),
    "/grouped": ("[ff]", [[1.0, 2.0]]),
    "/color": ("r", ["#FF8000FF"]),
    "/same": ("ff", 4.0),
    "/deep/a b/é": ("d", [2.5]),
    "/read": ("f", [1.0], {"ACCESS": 1}),
    "/write": ("f", [None], {"ACCESS": 2}),
    "/none": ("f", [1.0], {"ACCESS": 0}),
    "/safe": ("f", [0.0], {"CRITICAL": True}),
    "/bang": ("N", [None], {"DESCRIPTION": "Bang."}),
}


def nodes() -> dict[str, Node]:
    found = {}
    for path, (tags, value, *more) in NODES.items():
        found[path] = Node(tags, value, *more)
    return found


@contextlib.asynccontextmanager
async def joined(server: SmallServer, **config: Any) -> AsyncIterator[FakeBridgeHost]:
    host = FakeBridgeHost({"servers": [server.url], "poll": 0.05, **config})
    task = asyncio.ensure_future(OscQueryBridge().run(host))
    try:
        yield host
    finally:
        await ended(task, "the bridge")
        host.close()


async def first(host: FakeBridgeHost) -> FakeAppSession:
    await host.until(lambda: host.sessions, "a hello")  # on a busy machine it may take a second look
    session = host.sessions[-1]
    await session.until(lambda: session.syncs, "the full report")
    return session


async def settled(session: FakeAppSession, number: int, path: str, value: Any) -> Any:
    session.channel.apply([Wish(number, path, value, revision=number)])
    await session.until(lambda: number in session.settled or number in session.rejected, f"an answer to {path}")
    assert number in session.settled, session.rejected
    return session.settled[number]


async def test_it_bears_absence() -> None:
    await check_bridge(OscQueryBridge(), config={"servers": ["http://127.0.0.1:9"]})
    await check_bridge(OscQueryBridge(), config={"servers": "x"})
    await check_bridge(OscQueryBridge(), config={})


async def test_the_tree_is_joined_with_all_that_is_known_of_it() -> None:
    async with SmallServer(nodes()) as server, joined(server) as host:
        session = await first(host)
        assert session.mount == "/small"
        assert session.values == {
            "level": 0.5, "on": False, "count": 3, "name": "one", "place": (1.0, 2.0, 3.0), "grouped": (1.0, 2.0),
            "color": "#FF8000FF", "same": (4.0, 4.0), "deep/a%20b/é": 2.5, "read": 1.0, "safe": 0.0,
        }  # fmt: skip
        known = {parameter.pattern: parameter for parameter in session.hello.parameters}
        level = known["level"]
        assert (level.kind, level.minimum, level.maximum, level.unit) == ("double", 0.0, 1.0, "gain.linear")
        assert (level.description, level.access) == ("The level.", "rw")
        assert (known["place"].minimum, known["place"].maximum) == (-2.0, 9.0)
        assert (known["name"].choices, known["read"].access, known["write"].access) == (("one", "two"), "r", "w")
        assert "none" not in known
        assert [(command.name, command.description) for command in session.hello.commands] == [("bang", "Bang.")]


async def test_changes_cross_both_ways() -> None:
    async with SmallServer(nodes()) as server, joined(server) as host:
        session = await first(host)
        server.turn("/level", [0.25])
        server.turn("/place", [3.0, 2.0, 1.0])
        server.turn("/on", [True])
        await session.until(
            lambda: (
                (session.values["level"], session.values["place"], session.values["on"])
                == (0.25, (3.0, 2.0, 1.0), True)
            ),
            "changes of the server",
        )
        assert await settled(session, 1, "level", 0.75) == 0.75
        assert await settled(session, 2, "on", False) is False
        assert await settled(session, 3, "grouped", (5.0, 6.0)) == (5.0, 6.0)
        assert await settled(session, 4, "deep/a%20b/é", 1.25) == 1.25
        assert await settled(session, 5, "write", 9.0) is None
        assert await settled(session, 6, "safe", 1.0) == 1.0
        assert await settled(session, 7, "level", 0.75) == 0.75  # what it holds already
        for number, (path, value) in enumerate([("read", 1.0), ("nothing", 1.0), ("level", None), ("count", "x")], 10):
            session.channel.apply([Wish(number, path, value, revision=number)])
            await session.until(functools.partial(session.rejected.get, number), path)
        session.channel.invoke(Call(1, "bang"))
        await session.until(lambda: 1 in session.results, "the command")
        await until(lambda: ("/bang", ()) in server.heard)
        session.channel.invoke(Call(2, "boom"))
        await session.until(lambda: 2 in session.failures, "the refusal")


async def test_what_the_server_makes_of_a_value_is_what_it_holds() -> None:
    class Rounding(SmallServer):
        def turn(self, path: str, value: list[Any], writer: Any = None) -> None:
            if path != "/count":
                super().turn(path, [round(value[0], 1)], writer)

    async with Rounding(nodes()) as server, joined(server) as host:
        session = await first(host)
        assert await settled(session, 1, "level", 0.77) == 0.8
        session.channel.apply([Wish(2, "count", 9, revision=2)])
        await session.until(lambda: 2 in session.rejected, "the refusal")
        assert "kept 3" in session.rejected[2]


async def test_a_server_that_tells_nothing_is_polled() -> None:
    async with SmallServer(nodes(), listen=False) as server, joined(server) as host:
        session = await first(host)
        assert not server.sockets
        server.nodes["/level"].value = [0.125]
        await session.until(lambda: session.values["level"] == 0.125, "a change")
        assert await settled(session, 1, "level", 0.5) == 0.5
        server.nodes["/new"] = Node("f", [1.0])
        await host.until(lambda: len(host.sessions) == 2, "another structure")
        assert (await first(host)).values["new"] == 1.0


async def test_structure_is_followed() -> None:
    async with SmallServer(nodes()) as server, joined(server) as host:
        session = await first(host)
        server.nodes["/added/here"] = Node("f", [7.0])
        server.tell("PATH_ADDED", "/added/here")
        await host.until(lambda: len(host.sessions) == 2, "the addition")
        second = await first(host)
        assert second.values["added/here"] == 7.0
        assert second.hello.generation > session.hello.generation  # its own values hold
        await until(lambda: any("/added/here" in paths for paths in server.sockets.values()))
        server.turn("/added/here", [8.0])
        await second.until(lambda: second.values["added/here"] == 8.0, "a change of the new one")
        server.nodes["/renamed"] = server.nodes.pop("/level")
        server.tell("PATH_RENAMED", {"OLD": "/level", "NEW": "/renamed"})
        await second.until(lambda: "renamed" in second.values, "the rename")
        assert any(change.moved_from == "level" for change in second.changes)
        await host.until(lambda: len(host.sessions) == 3, "the new structure")
        third = await first(host)
        assert await settled(third, 1, "renamed", 0.25) == 0.25
        del server.nodes["/count"]
        server.tell("PATH_CHANGED", "/")
        await third.until(lambda: "count" not in third.values, "the removal")


@pytest.mark.parametrize("another", [False, True], ids=["the same structure", "another structure"])
async def test_what_is_told_while_the_tree_is_read_is_newer(monkeypatch: pytest.MonkeyPatch, another: bool) -> None:
    async with SmallServer(nodes()) as server, joined(server) as host:
        session = await first(host)
        await until(lambda: any("/level" in paths for paths in server.sockets.values()))
        read, told = Remote.tree, asyncio.Event()

        async def slow(remote: Remote) -> Tree:
            """Answer with what was there before the server told the new value."""
            tree = await read(remote)
            if not told.is_set():
                server.turn("/level", [0.75])
                await until(lambda: session.values["level"] == 0.75)
                told.set()
            return tree

        monkeypatch.setattr(Remote, "tree", slow)
        if another:
            server.nodes["/added"] = Node("f", [7.0])
            server.tell("PATH_ADDED", "/added")
        else:
            session.channel.resync()
        await until(lambda: len(host.sessions) == 2 or session.syncs == 2)
        assert told.is_set()
        last = await first(host)
        assert last.values["level"] == 0.75
        server.turn("/count", [4])  # all that was read is reported before what comes then
        await last.until(lambda: last.values["count"] == 4, "what is told then")
        assert last.values["level"] == 0.75


async def test_a_broken_socket_is_mended_and_listens_to_all_again() -> None:
    async with SmallServer(nodes()) as server, joined(server) as host:
        session = await first(host)
        await until(lambda: any("/level" in paths for paths in server.sockets.values()))
        await server.drop()
        server.nodes["/level"].value = [0.0625]  # while nobody listened
        await session.until(lambda: session.values["level"] == 0.0625, "what was missed")
        await until(lambda: any("/level" in paths for paths in server.sockets.values()))
        server.turn("/level", [0.875])
        await session.until(lambda: session.values["level"] == 0.875, "what is told again")
        assert len(host.sessions) == 1


async def test_it_goes_and_returns() -> None:
    async with SmallServer(nodes()) as server, joined(server) as host:
        session = await first(host)
        await server.stop()
        await session.until(lambda: session.lost_reason, "its absence")
        await server.start()
        await host.until(lambda: len(host.sessions) == 2, "its return")
        assert (await first(host)).mount == "/small"


async def test_udp_from_anybody_is_not_believed() -> None:
    async with SmallServer(nodes()) as server, joined(server) as host:
        session = await first(host)
        ours = host._sockets[0].address[1]
        server._udp.sendto(encode("/level", 1.0), ("127.0.0.1", ours))
        server.turn("/level", [0.375])
        await session.until(lambda: session.values["level"] == 0.375, "the right one")
        assert [change.value for change in session.changes if change.path == "level"] == [0.5, 0.375]


async def test_a_named_host_is_never_written_to() -> None:
    """HOST_INFO may name any host: what is written goes to the server's own."""
    async with SmallServer(nodes(), OSC_IP="192.0.2.1", WS_IP="192.0.2.1") as server, joined(server) as host:
        session = await first(host)
        assert server.sockets
        assert await settled(session, 1, "level", 0.25) == 0.25


@pytest.mark.parametrize(
    ("path", "answer", "reason"),
    [
        ("/?HOST_INFO", b"no json", "no JSON"),
        ("/?HOST_INFO", b"[]", "not an object"),
        ("/?HOST_INFO", b"[" * 100_000, "too deep"),
        ("/", b'{"CONTENTS":' * 10_000 + b"1" + b"}" * 10_000, "too deep"),
        ("/", b" " * (9 << 20), "more than 8192 KiB"),
        ("/", json.dumps({"CONTENTS": {str(n): {} for n in range(100_001)}}).encode(), "more than 100000 nodes"),
        ("/", json.dumps({"CONTENTS": {str(n): {"TYPE": "f"} for n in range(10_001)}}).encode(), "10000 values"),
    ],
)
async def test_a_hostile_answer_is_refused_with_a_reason(path: str, answer: bytes, reason: str) -> None:
    async with SmallServer(nodes()) as server:
        server.raw[path] = answer
        async with joined(server) as host:
            await host.until(lambda: host.absences or host.sessions, "the reason")
            assert not host.sessions
            assert reason in host.absences[0]
            del server.raw[path]  # it comes to its senses
            await host.until(lambda: host.sessions, "a hello")


async def test_odd_nodes_cost_themselves_alone() -> None:
    odd: dict[str, Any] = {
        "good": {"TYPE": "f", "VALUE": [1.0]},
        "bare": {"TYPE": "f", "VALUE": 2.0, "FULL_PATH": 7, "ACCESS": "x", "RANGE": "wide", "UNIT": {}, "CLIPMODE": 3},
        "none": {"TYPE": "f", "VALUE": None},
        "null": {"TYPE": "f", "VALUE": [None]},
        "text": {"TYPE": "f", "VALUE": ["x"]},
        "huge": {"TYPE": "f" * 5000, "VALUE": [1.0] * 5000},
        "big": {"TYPE": "i", "VALUE": [10**400]},
        "inf": {"TYPE": "f", "VALUE": [1e999]},
        "odd": {"TYPE": "q"},
        "list": {"TYPE": ["f"]},
        "string": "node",
        "deep": {"CONTENTS": [1]},
        "few": {"TYPE": "fff", "VALUE": [1.0]},
        "range": {"TYPE": "f", "VALUE": [1.0], "RANGE": [{"MIN": 5, "MAX": 1}]},
        "b\x00d": {"TYPE": "f", "VALUE": [1.0]},
        "long" * 400: {"TYPE": "f", "VALUE": [1.0]},
        "": {"TYPE": "f", "VALUE": [3.0]},
    }
    async with SmallServer(nodes()) as server:
        server.raw["/"] = json.dumps({"CONTENTS": odd}).encode()
        async with joined(server) as host:
            session = await first(host)
            assert session.values == {
                "good": 1.0, "bare": 2.0, "range": 1.0, "b%00d": 1.0, "%": 3.0,
            }  # fmt: skip
            assert "left out" in session.trouble


async def test_a_flood_of_frames_is_borne() -> None:
    async with SmallServer(nodes()) as server, joined(server) as host:
        session = await first(host)
        socket = next(iter(server.sockets))
        for number in range(5000):
            await socket.send(encode("/level", number / 5000))
        for wrong in (b"", b"\xff" * 100, b"/level\0\0,f\0\0", "{", "[" * 5000, '{"COMMAND": 5}', '{"COMMAND": "X"}'):
            await socket.send(wrong)
        server.turn("/level", [1.0])
        await session.until(lambda: session.values["level"] == 1.0, "the last value")
        reports = len([change for change in session.changes if change.path == "level"])
        assert reports < 5000  # gathered, not told one by one
