"""Connections break: nothing that was reported is lost, nothing is taken twice."""

from __future__ import annotations

import asyncio
import random
import socket
from functools import partial

import pytest
from tests.support.link import App, RecordingRegistry, eventually, link_server, tcp_door
from tests.support.ports import free_port

from lightfast import sdk
from lightfast.core.clock import StillClock
from lightfast.engine.apps.link_peer import LinkPeer
from lightfast_link import outbox as client_outbox
from lightfast_link import session as client_session
from lightfast_link.messages import Change


class Cable:
    """A connection to the door that can be cut, or stopped in one direction."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.back = asyncio.Event()
        self.back.set()
        self.forth = asyncio.Event()
        self.forth.set()
        self.port = 0

    async def __aenter__(self) -> Cable:
        self.port = free_port(socket.SOCK_STREAM)  # it is closed and opened again
        self._server = await asyncio.start_server(self._join, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers |= {writer, far_writer}
        for source, target, gate in ((reader, far_writer, self.forth), (far_reader, writer, self.back)):
            task = asyncio.get_running_loop().create_task(self._carry(source, target, gate))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, gate: asyncio.Event) -> None:
        try:
            while data := await source.read(65536):
                await gate.wait()
                target.write(data)
                await target.drain()
        except ConnectionError:
            pass
        finally:
            target.close()

    def cut(self) -> None:
        """Cut every connection, at once and without goodbye."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        self.back.set()
        self.forth.set()


async def test_what_was_not_acknowledged_is_sent_again_and_taken_once() -> None:
    registry = RecordingRegistry()
    async with link_server(registry) as server, tcp_door(server) as (_, _host, port), Cable(port) as cable:
        with App.tcp("127.0.0.1", cable.port) as app:
            await app.until("welcome")
            app.client.report([Change("a", 1)])
            await eventually(lambda: len(registry.changes) == 1)
            cable.back.clear()  # the acknowledgements no longer arrive
            for n in range(2, 6):
                app.client.report([Change("a", n)])
                await eventually(partial(lambda n: len(registry.changes) == n, n))
            cable.cut()
            await app.until("welcome", 2)
            app.client.report([Change("a", 6)])
            await eventually(lambda: len(registry.changes) >= 6)
            assert [change.value for change in registry.changes] == [1, 2, 3, 4, 5, 6]
            assert [len(session.changes) for session in registry.sessions] == [5, 1]


async def test_what_never_arrived_is_sent_again_in_order() -> None:
    registry = RecordingRegistry()
    async with link_server(registry) as server, tcp_door(server) as (_, _host, port), Cable(port) as cable:
        with App.tcp("127.0.0.1", cable.port) as app:
            await app.until("welcome")
            cable.forth.clear()  # what we send no longer arrives
            for n in range(5):
                app.client.report([Change("a", n)])
                await eventually(partial(lambda n: app.client.status()["counters"].get("sent_changes", 0) == n + 1, n))
            app.client.synced()
            cable.cut()
            await app.until("welcome", 2)
            await eventually(lambda: len(registry.changes) == 5)
            assert [change.value for change in registry.changes] == [0, 1, 2, 3, 4]
            # The mark belonged to the session that is gone: this one has not reported everything yet.
            assert [session.synced_count for session in registry.sessions] == [0, 0]
            assert server.counters["duplicates"] == 0


async def test_a_daemon_that_forgot_takes_what_it_never_acknowledged() -> None:
    registry = RecordingRegistry()
    async with link_server(registry) as server, tcp_door(server) as (_, host, port), Cable(port) as cable:
        with App.tcp(host, cable.port) as app:
            await app.until("welcome")
            cable.back.clear()
            app.client.report([Change("a", 1)])
            await eventually(lambda: registry.changes)
            server._streams.clear()  # as after a restart of the daemon
            cable.cut()
            await app.until("welcome", 2)
            # Taken twice by two lives of the daemon: the value is the same, and nothing is missing.
            await eventually(lambda: len(registry.changes) == 2)
            assert [session.changes for session in registry.sessions] == [[sdk.Change("a", 1)]] * 2


async def test_reports_made_while_away_keep_the_latest_of_each_path() -> None:
    registry = RecordingRegistry()
    async with link_server(registry) as server, tcp_door(server) as (_, host, port), Cable(port) as cable:
        with App.tcp(host, cable.port) as app:
            await app.until("welcome")
            cable.forth.clear()
            app.client.report([Change("in/flight", 0)])
            await eventually(lambda: app.client.status()["counters"].get("sent_changes") == 1)
            cable._server.close()  # type: ignore[union-attr]
            cable.cut()
            await app.until("lost")
            for n in range(1000):
                app.client.report([Change("x", n), Change(f"y{n % 3}", n)])
            app.client.report([Change("new", moved_from="x"), Change("new/child", 1), Change("y0", None)])
            assert app.client.status()["waiting_reports"] == 7
            cable._server = await asyncio.start_server(cable._join, "127.0.0.1", cable.port)
            await app.until("welcome", 2)
            await eventually(lambda: len(registry.sessions[1].changes) == 8)
    assert [(change.path, change.value, change.moved_from) for change in registry.sessions[1].changes] == [
        ("in/flight", 0, ""),
        ("y1", 997, ""),
        ("y2", 998, ""),
        ("x", 999, ""),
        ("y0", 999, ""),
        ("new", None, "x"),
        ("new/child", 1, ""),
        ("y0", None, ""),
    ]


@pytest.mark.parametrize("seed", range(3))
async def test_a_connection_that_breaks_at_random_loses_nothing_and_doubles_nothing(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_outbox, "FRAME_CHANGES", 3)
    registry, random_ = RecordingRegistry(), random.Random(seed)
    async with link_server(registry) as server, tcp_door(server) as (_, _host, port), Cable(port) as cable:
        with App.tcp("127.0.0.1", cable.port) as app:
            await app.until("welcome")
            for n in range(400):
                app.client.report([Change(f"p{n}", n)])
                if random_.random() < 0.03:
                    random_.choice([cable.back, cable.forth]).clear()
                if random_.random() < 0.02:
                    cable.cut()
                await asyncio.sleep(0)
            cable.cut()
            await eventually(lambda: len(registry.changes) >= 400 and app.client.state == "live")
            app.client.report([Change("end", True)])
            await eventually(lambda: registry.changes[-1].path == "end")
            assert [change.path for change in registry.changes] == [f"p{n}" for n in range(400)] + ["end"]


async def test_answers_and_wishes_of_a_lost_session_are_void() -> None:
    registry = RecordingRegistry()
    async with link_server(registry) as server, tcp_door(server) as (_, _host, port), Cable(port) as cable:
        with App.tcp("127.0.0.1", cable.port) as app:
            await app.until("welcome")
            registry.sessions[0].channel.apply([sdk.Wish(1, "a", 1, 1)])
            registry.sessions[0].channel.invoke(sdk.Call(1, "save"))
            (wish,) = (await app.until("apply"))[1]
            call = (await app.until("command"))[1]
            registry.sessions[0].channel.apply([sdk.Wish(2, "b", 2, 2)])
            await eventually(lambda: app.client.wait(0))
            cable.cut()
            await eventually(lambda: len(registry.sessions) == 2 and app.client.state == "live")
            await app.until("welcome", 2)
            assert [event[0] for event in app.events] == ["welcome", "apply", "command", "lost", "welcome"]
            # The second life of the daemon counts from one again: old answers must not hit its wishes.
            registry.sessions[1].channel.apply([sdk.Wish(1, "c", 3, 3)])
            registry.sessions[1].channel.invoke(sdk.Call(1, "open"))
            (new,) = (await app.until("apply", 2))[1]
            new_call = (await app.until("command", 2))[1]
            app.client.settled(wish.id, 1)
            app.client.error(call.id, "too late")
            app.client.settled(new.id, 3)
            app.client.result(new_call.id, "opened")
            await eventually(lambda: registry.sessions[1].results and registry.sessions[1].settled)
            assert registry.sessions[1].settled == [(1, 3)]
            assert (registry.sessions[1].results, registry.sessions[1].failed) == ([(1, "opened")], [])


async def test_a_mark_of_the_old_session_is_not_taken_for_the_new() -> None:
    registry = RecordingRegistry()
    async with link_server(registry) as server, tcp_door(server) as (_, _host, port), Cable(port) as cable:
        with App.tcp("127.0.0.1", cable.port) as app:
            await app.until("welcome")
            cable.cut()
            await eventually(lambda: len(registry.sessions) == 2 and app.client.state == "live")
            app.client.synced()  # the main thread has not seen the second welcome yet
            app.client.report([Change("after", 1)])
            await eventually(lambda: registry.changes)
            assert registry.sessions[1].synced_count == 0
            await app.until("welcome", 2)
            app.client.synced()
            await eventually(lambda: registry.sessions[1].synced_count == 1)


async def test_a_silent_daemon_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_session, "PING_EVERY", 0.1)
    pongs: list[object] = []
    monkeypatch.setitem(client_session.Session._HANDLERS, "pong", lambda _, frame: pongs.append(frame))
    clock = StillClock()
    async with link_server() as server, tcp_door(server) as (_, _host, port), Cable(port) as cable:
        app = App.tcp("127.0.0.1", cable.port)
        app.client.clock = clock.monotonic
        with app:
            await app.until("welcome")
            for count in range(1, 5):  # pings keep it alive for longer than it may be silent
                clock.advance(3.0)
                await eventually(lambda count=count: len(pongs) == count)  # type: ignore[misc]
            assert app.client.state == "live"
            cable.back.clear()
            while app.client.state == "live":  # again, as something may be on the way
                clock.advance(6.0)
                await asyncio.sleep(0.01)
            assert (await app.until("lost"))[1] == "the daemon was silent for 6 s"
            assert app.client.status()["sessions"] == 1


async def test_a_silent_application_is_lost() -> None:
    registry, clock = RecordingRegistry(), StillClock()
    async with link_server(registry) as server, tcp_door(server) as (door, _host, port), Cable(port) as cable:
        server.clock = door._clock = clock
        with App.tcp("127.0.0.1", cable.port) as app:
            await app.until("welcome")
            (session,) = registry.sessions
            assert isinstance(session.channel, LinkPeer)
            pulse = session.channel._pulse
            for _ in range(4):  # pings keep it alive for longer than it may be silent
                clock.advance(3.0)
                await eventually(lambda: pulse.heard == clock.monotonic())
            assert not session.lost_reasons
            cable.forth.clear()
            while not session.lost_reasons:  # again, as something may be on the way
                clock.advance(6.0)
                await asyncio.sleep(0.01)
            assert session.lost_reasons == ["the application was silent for 6 s"]


async def test_without_a_daemon_it_says_so_and_goes_on_trying() -> None:
    port = free_port(socket.SOCK_STREAM)
    async with link_server() as server:
        with App.tcp("127.0.0.1", port) as app:
            await eventually(lambda: "Connection refused" in app.client.status()["lost"])
            assert not app.client.wait(0)
            async with tcp_door(server, f"127.0.0.1:{port}"):
                await app.until("welcome")


async def test_another_place_is_found_at_the_next_attempt() -> None:
    from lightfast_link.tcp import TcpTransport

    async with link_server() as server:
        place: list[int] = []

        def find() -> TcpTransport:
            if not place:
                raise OSError("no daemon is running")
            return TcpTransport("127.0.0.1", place[-1])

        with App(find) as app:
            await eventually(lambda: app.client.status()["lost"] == "cannot reach the daemon: no daemon is running")
            for count in (1, 2):
                async with tcp_door(server) as (_, _host, port):
                    place.append(port)
                    await app.until("welcome", count)
                await app.until("lost", count)
