"""What an OSCQuery server said, and when: an older word is never taken for what it holds now."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.apps.test_apps_oscquery import first, joined, nodes, settled
from tests.support.osc_live import until
from tests.support.oscquery import SmallServer

from lightfast.sdk import Wish
from lightfast_bridges.oscquery import session as module
from lightfast_bridges.oscquery.nodes import Tree
from lightfast_bridges.oscquery.remote import Remote

WRITTEN = "safe"
"""It is written by the WebSocket: then the server does not tell us what we wrote."""


async def listened(server: SmallServer) -> None:
    await until(lambda: any("/safe" in paths for paths in server.sockets.values()))


async def test_what_is_turned_back_after_a_wish_is_told() -> None:
    async with SmallServer(nodes()) as server, joined(server) as host:
        session = await first(host)
        await listened(server)
        assert await settled(session, 1, WRITTEN, 1.0) == 1.0
        told = len(session.changes)
        server.turn("/safe", [0.0])
        await session.until(lambda: len(session.changes) > told, "the change back")
        assert session.values[WRITTEN] == 0.0


async def test_what_was_told_before_an_answer_is_not_reported_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLUSH", 60.0)
    async with SmallServer(nodes()) as server, joined(server) as host:
        session = await first(host)
        await listened(server)
        server.turn("/safe", [0.25])
        server.turn("/count", [4])
        held = session.channel._held  # type: ignore[attr-defined]
        await until(lambda: (held[WRITTEN], held["count"]) == (0.25, 4))
        assert await settled(session, 1, WRITTEN, 1.0) == 1.0
        session.channel._flush()  # type: ignore[attr-defined]
        assert session.values["count"] == 4  # what was told at the same time
        assert not [change for change in session.changes if change.path == WRITTEN and change.value == 0.25]


async def test_what_is_told_while_a_value_is_read_back_is_newer(monkeypatch: pytest.MonkeyPatch) -> None:
    read, turned = Remote.value, asyncio.Event()

    async def slow(remote: Remote, address: str) -> Any:
        """Answer with what was there before the server told the new value."""
        value = await read(remote, address)
        if not turned.is_set():
            turned.set()
            server.turn("/safe", [0.25])
            await until(lambda: host.sessions[0].values[WRITTEN] == 0.25)
        return value

    monkeypatch.setattr(Remote, "value", slow)
    async with SmallServer(nodes()) as server, joined(server) as host:
        session = await first(host)
        await listened(server)
        assert await settled(session, 1, WRITTEN, 1.0) == 0.25


async def test_a_poll_from_before_a_wish_is_older_than_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async with SmallServer(nodes(), listen=False) as server, joined(server) as host:
        session = await first(host)
        read, reading, go_on = Remote.tree, asyncio.Event(), asyncio.Event()

        async def slow(remote: Remote) -> Tree:
            """Answer late, with what was there when it was asked."""
            tree = await read(remote)
            reading.set()
            await go_on.wait()
            return tree

        monkeypatch.setattr(Remote, "tree", slow)
        await asyncio.wait_for(reading.wait(), 60.0)
        session.channel.apply([Wish(1, "level", 0.75, revision=1)])
        await session.until(lambda: 1 in session.settled, "settled")
        server.nodes["/count"].value = [4]
        told = len(session.changes)
        go_on.set()
        await session.until(lambda: session.values["count"] == 4, "the next poll")
        assert not [change for change in session.changes[told:] if change.value == 0.5]
