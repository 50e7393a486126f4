"""Peers that do not read, main threads that do not poll: bounded, and never silent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq
from tests.support.link import App, RecordingRegistry, eventually, hello, link_server, tcp_door, zmq_door
from tests.support.link_raw import Raw

from lightfast import sdk
from lightfast.engine.apps import link_outbox
from lightfast.engine.apps.link_outbox import LinkOutbox
from lightfast.engine.apps.link_peer import LinkPeer
from lightfast_link import inbox as client_inbox
from lightfast_link import outbox as client_outbox
from lightfast_link.frame import Frame, decode, encode
from lightfast_link.messages import Change


@contextmanager
def joined_but_deaf(path: str) -> Iterator[zmq.Socket[bytes]]:
    """Open a socket that has said hello and will not read."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as sock:
        sock.setsockopt(zmq.LINGER, 0)
        sock.setsockopt(zmq.RCVHWM, 1)
        sock.connect(path)
        sock.send_multipart(encode(Frame("hello", {**hello(), "versions": [1]})))
        yield sock


async def test_a_deaf_application_is_bounded_and_its_signals_conflate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightfast.engine.apps.link_pulse.DEAD_AFTER", 600.0)  # it answers no ping
    registry = RecordingRegistry()
    async with link_server(registry) as server, zmq_door(server, tmp_path) as (_, found, _bus):
        with joined_but_deaf(found["zmq_router"]) as sock:
            await eventually(lambda: registry.sessions)
            session = registry.sessions[0]
            outbox = session.channel._outbox  # type: ignore[attr-defined]
            for n in range(30_000):
                session.channel.apply([sdk.Wish(0, f"p{n % 10}", "x" * 500 + str(n), 0, True)])
            assert outbox._bytes <= link_outbox.MAX_QUEUED
            assert len(outbox._signals) == 10
            # It begins to read: what arrives last is the latest of each.
            latest: dict[str, str] = {}
            while len([value for value in latest.values() if int(value[500:]) >= 29_990]) < 10:
                assert await asyncio.to_thread(sock.poll, 60_000), latest
                frame = decode(sock.recv_multipart())
                latest |= {item["path"]: item["value"] for item in frame.header.get("batch", ())}
            assert session.lost_reasons == []


async def test_an_application_that_answers_nothing_gets_no_more_than_the_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_outbox, "WINDOW", 100)
    monkeypatch.setattr(link_outbox, "MAX_WAITING", 1000)
    monkeypatch.setattr("lightfast.engine.apps.link_pulse.DEAD_AFTER", 600.0)  # it answers no ping
    registry = RecordingRegistry()
    async with link_server(registry) as server, zmq_door(server, tmp_path) as (_, found, _bus):
        with joined_but_deaf(found["zmq_router"]) as sock:
            await eventually(lambda: registry.sessions)
            session = registry.sessions[0]
            session.channel.apply([sdk.Wish(n, f"p{n}", n, n) for n in range(1, 1201)])
            frames: list[Frame] = []
            while sum(len(frame.header.get("batch", ())) for frame in frames) < 100:
                assert await asyncio.to_thread(sock.poll, 60_000)
                frames.append(decode(sock.recv_multipart()))
            assert not sock.poll(100) or decode(sock.recv_multipart()).type == "ping"
            # The last ones found no room any more: they are rejected, with the reason.
            await eventually(lambda: len(session.rejected) == 200)
            assert session.rejected[0] == (1001, "the application does not keep up: 1000 wishes wait for it")
            sock.send_multipart(encode(Frame("applied", {"wishes": [{"id": n} for n in range(1, 101)]})))
            while sum(len(frame.header.get("batch", ())) for frame in frames) < 200:
                assert await asyncio.to_thread(sock.poll, 60_000)
                frames.append(decode(sock.recv_multipart()))
            assert len(session.settled) == 100


def test_an_outbox_nobody_empties_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_outbox, "MAX_QUEUED", 1000)
    outbox = LinkOutbox(lambda parts: False)
    while not outbox.overfull:
        outbox.now(Frame("pong", {"x": "y" * 100}))
    assert 1000 < outbox._bytes < 1200


async def test_a_tcp_application_that_never_reads_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_outbox, "MAX_QUEUED", 100_000)
    registry = RecordingRegistry()
    async with link_server(registry) as server, tcp_door(server) as (door, host, port):
        raw = await Raw.open(host, port)
        await raw.join()
        raw.deafen()
        session = registry.sessions[0]
        sent = 0
        while not session.lost_reasons:
            session.channel.invoke(sdk.Call(sent, "render", {"data": "x" * 100_000}))
            sent += 1
            assert sent < 1000
            await asyncio.sleep(0)
            for connection in door.connections:
                assert connection.peer
                connection.peer.tick(0.0)
        assert session.lost_reasons == ["the application does not read what it is sent"]
        await eventually(lambda: not door.connections)
        raw.close()


async def test_a_main_thread_that_does_not_poll_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_inbox, "MAX_WISHES", 50)
    monkeypatch.setattr(client_inbox, "MAX_CALLS", 2)
    registry = RecordingRegistry()
    async with link_server(registry) as server, tcp_door(server) as (_, host, port):
        with App.tcp(host, port) as app:
            await app.until("welcome")
            session = registry.sessions[0]
            session.channel.apply([sdk.Wish(n, f"p{n}", n, n) for n in range(1, 61)])
            session.channel.apply([sdk.Wish(0, "knob", float(n), 0, True) for n in range(1000)])
            for n in range(1, 4):
                session.channel.invoke(sdk.Call(n, "save"))
            await eventually(lambda: len(session.rejected) == 10 and session.failed)
            assert session.rejected[0] == (51, "the application is busy: 50 wishes wait for it")
            assert session.failed == [(3, "the application is busy: 2 commands wait for it")]
            await eventually(lambda: app.client.wait(0))
            events = app.client.poll(1000)
            wishes = [wish for event in events if event[0] == "apply" for wish in event[1]]
            assert [wish.path for wish in wishes] == [f"p{n}" for n in range(1, 51)] + ["knob"]
            assert wishes[-1].value == 999.0


async def test_more_reports_than_the_bound_ask_for_a_full_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_outbox, "MAX_REPORTS", 100)
    registry = RecordingRegistry()
    async with link_server(registry) as server, tcp_door(server) as (_, host, port):
        with App.tcp(host, port) as app:
            await app.until("welcome")
            app.client.report([Change(f"p{n}", n) for n in range(101)])
            _kind, reason = await app.until("resync")
            assert reason == "too many reports waited, so they were dropped: report everything again"
            assert app.client.status()["counters"]["dropped_reports"] == 101
            app.client.report([Change("all", "again")])
            app.client.synced()
            await eventually(lambda: registry.sessions[0].synced_count)


async def test_no_more_state_in_flight_than_the_credit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_outbox, "FRAME_CHANGES", 1)
    monkeypatch.setattr("lightfast.engine.apps.link_peer.CREDIT", 4)
    registry = RecordingRegistry()
    async with link_server(registry) as server, tcp_door(server) as (_, host, port):
        with App.tcp(host, port) as app:
            await app.until("welcome")
            acknowledge = LinkPeer._send
            held: list[Frame] = []

            def hold(peer: LinkPeer, frame: Frame) -> None:
                held.append(frame) if frame.type == "state_ack" else acknowledge(peer, frame)

            monkeypatch.setattr(LinkPeer, "_send", hold)
            app.client.report([Change(f"p{n}", n) for n in range(10)])
            await eventually(lambda: len(registry.changes) == 4)
            assert app.client.status()["waiting_reports"] == 6
            peer = registry.sessions[0].channel
            assert isinstance(peer, LinkPeer)
            for ack in list(held):
                acknowledge(peer, ack)
            await eventually(lambda: len(registry.changes) == 8)


async def test_a_value_too_large_for_the_link_is_named(tmp_path: Path) -> None:
    registry = RecordingRegistry()
    async with link_server(registry) as server, tcp_door(server) as (_, host, port):
        with App.tcp(host, port) as app:
            await app.until("welcome")
            app.client.report([Change("big", ["x" * 1_000_000] * 3), Change("small", "x" * 1_000_000)])
            _, path, message = await app.until("unsent")
            assert path == "big"
            assert "bytes on the link: store an asset instead" in message
            await eventually(lambda: registry.changes)
            session = registry.sessions[0]
            session.channel.apply([sdk.Wish(1, "big", ["x" * 1_000_000] * 3, 1), sdk.Wish(2, "small", 1, 2)])
            await eventually(lambda: session.rejected)
            assert "store an asset instead" in session.rejected[0][1]
            session.channel.invoke(sdk.Call(1, "render", {"data": ["x" * 1_000_000] * 9}))
            await eventually(lambda: session.failed)
            assert "the arguments cannot travel" in session.failed[0][1]
            session.channel.invoke(sdk.Call(2, "render"))
            app.client.result((await app.until("command"))[1].id, ["x" * 1_000_000] * 9)
            await eventually(lambda: len(session.failed) == 2)
            assert "has 9000" in session.failed[1][1]
            assert [event[0] for event in app.events].count("lost") == 0


@pytest.mark.parametrize("count", [1, 40])
async def test_more_transfers_than_the_bound_are_refused(count: int) -> None:
    from lightfast_link.messages import LinkError

    app = App.tcp("127.0.0.1", 1)
    for _ in range(min(count, 32)):
        app.client.put_asset(b"x", "x", "x/x")
    if count > 32:
        with pytest.raises(LinkError, match="32 assets are on their way already"):
            app.client.put_asset(b"x", "x", "x/x")
