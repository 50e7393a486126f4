"""The link over ZMQ: real sockets, both halves."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import zmq
from tests.support.link import App, MemoryAssets, RecordingRegistry, eventually, link_server, short_path, zmq_door

from lightfast import sdk
from lightfast.context.watch import Bus
from lightfast.core.clock import SYSTEM
from lightfast.core.errors import FailedPrecondition
from lightfast.wire.zmq.door import ZmqDoor
from lightfast_link.frame import MAX_FRAME
from lightfast_link.messages import Change, LinkError
from lightfast_link.zmq_transport import ZmqTransport


async def test_an_application_joins_reports_and_obeys(tmp_path: Path) -> None:
    registry, assets = RecordingRegistry(), MemoryAssets()
    async with link_server(registry, assets=assets) as server, zmq_door(server, tmp_path) as (_, found, _bus):
        with App(ZmqTransport(zmq, found["zmq_router"]), key=None) as app:
            assert (await app.until("welcome"))[1]["mount"] == "/blender"
            session = registry.sessions[0]
            app.client.report([Change(f"objects/Cube{n}/location", (float(n), 0.0, 0.0)) for n in range(5000)])
            app.client.synced()
            session.channel.apply([sdk.Wish(n, f"scene/p{n}", n, n + 1) for n in range(3000)])
            await eventually(lambda: session.synced_count)
            assert [change.path for change in session.changes] == [f"objects/Cube{n}/location" for n in range(5000)]
            answered = 0
            while answered < 3000:
                await app.until("apply")
                for event in [event for event in app.events if event[0] == "apply"]:
                    app.events.remove(event)
                    for wish in event[1]:
                        app.client.settled(wish.id, wish.value)
                        answered += 1
            await eventually(lambda: len(session.settled) == 3000)
            assert session.settled == [(n, n) for n in range(3000)]
            app.client.put_asset(b"x" * 2_000_000, "x.bin", "application/octet-stream")
            assert (await app.until("stored"))[2].size == 2_000_000
        await eventually(lambda: session.lost_reasons == ["the application closed the link"])


async def test_a_killed_application_is_noticed_at_once(tmp_path: Path) -> None:
    registry = RecordingRegistry()
    code = (
        "import sys, time, zmq\n"
        "from lightfast_link.client import LinkClient\n"
        "from lightfast_link.zmq_transport import ZmqTransport\n"
        "LinkClient(ZmqTransport(zmq, sys.argv[1]), {'app': 'blender', 'instance_id': 'i'}).start()\n"
        "time.sleep(60)\n"
    )
    async with link_server(registry) as server, zmq_door(server, tmp_path) as (_, found, _bus):
        process = subprocess.Popen([sys.executable, "-c", code, found["zmq_router"]])
        try:
            await eventually(lambda: registry.sessions)
            os.kill(process.pid, signal.SIGKILL)
            await eventually(lambda: registry.sessions[0].lost_reasons)
            # Not of the six seconds of silence that a power cut would take.
            assert registry.sessions[0].lost_reasons == ["the application is gone"]
        finally:
            process.kill()
            process.wait(10)


@pytest.mark.parametrize("ending", ["pass", "os._exit(0)"], ids=["returns", "exits"])
async def test_an_application_that_reports_closes_and_ends_at_once_is_heard_to_the_end(
    tmp_path: Path, ending: str
) -> None:
    """It is gone, and cannot be sent the acknowledgement of its first frame, while the others wait to be read."""
    registry = RecordingRegistry()
    code = (
        "import os, sys, zmq\n"
        "from lightfast_link.client import LinkClient\n"
        "from lightfast_link.messages import Change\n"
        "from lightfast_link.zmq_transport import ZmqTransport\n"
        "client = LinkClient(ZmqTransport(zmq, sys.argv[1]), {'app': 'blender', 'instance_id': 'i'}).start()\n"
        "while not any(event[0] == 'welcome' for event in client.poll()):\n"
        "    client.wait(0.1)\n"
        "client.report([Change(f'p{n}', n) for n in range(3000)])\n"
        "client.close(60)\n"
        f"{ending}\n"
    )
    async with link_server(registry) as server, zmq_door(server, tmp_path) as (_, found, _bus):
        for number in range(3):
            command = [sys.executable, "-c", code, found["zmq_router"]]
            await asyncio.to_thread(subprocess.run, command, check=True, timeout=60)
            session = registry.sessions[number]
            await eventually(lambda: session.lost_reasons)  # noqa: B023 — it is awaited here
            assert session.lost_reasons == ["the application closed the link"]
            assert [change.value for change in session.changes] == list(range(3000))


@pytest.mark.parametrize(
    ("endpoint", "key", "error"),
    [("ipc:///" + "x" * 200, b"", LinkError), ("tcp://127.0.0.1:9", "of the wrong type", TypeError)],
    ids=["refused by ZMQ", "a mistake of ours"],
)
def test_what_cannot_be_opened_leaves_no_context(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, key: Any, error: type[Exception]
) -> None:
    """The collector would end it, and wait for ever for the socket."""
    made: list[zmq.Context[Any]] = []

    class Noted(zmq.Context[Any]):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    monkeypatch.setattr(zmq, "Context", Noted)
    waker, other = socket.socketpair()
    transport = ZmqTransport(zmq, endpoint, server_key=key, public_key=key, secret_key=key)
    with waker, other, pytest.raises(error):
        transport.open(waker, 5.0)
    assert [context.closed for context in made] == [True]


async def test_a_new_hello_finds_a_dead_connection_gone(tmp_path: Path) -> None:
    registry = RecordingRegistry()
    async with link_server(registry) as server, zmq_door(server, tmp_path) as (_, found, _bus):
        transport = ZmqTransport(zmq, found["zmq_router"])
        with App(transport, key=None) as app:
            await app.until("welcome")
            app.client.rehello(document_id="document-2")
            await app.until("welcome", 2)
            assert [event[0] for event in app.events] == ["welcome", "lost", "welcome"]
            assert registry.sessions[0].lost_reasons == ["the application says hello anew"]
            assert registry.sessions[1].hello.document_id == "document-2"
            assert not registry.sessions[1].lost_reasons
            await eventually(lambda: server.peers == 1)


async def test_the_daemon_comes_back_on_the_same_socket(tmp_path: Path) -> None:
    registry = RecordingRegistry()
    async with link_server(registry) as server:
        with App(ZmqTransport(zmq, short_path(tmp_path, "link.sock")), key=None) as app:
            async with zmq_door(server, tmp_path):
                await app.until("welcome")
            assert (await app.until("lost"))[1] == "the daemon stops"
            app.client.report([Change("a", 1)])
            app.client.report([Change("a", 2), Change("b", True)])
            async with zmq_door(server, tmp_path):
                await app.until("welcome", 2)
                await eventually(lambda: len(registry.sessions[1].changes) == 2)
            assert [(change.path, change.value) for change in registry.changes] == [("a", 2), ("b", True)]


async def test_a_stranger_to_hello_is_told(tmp_path: Path) -> None:
    async with link_server() as server, zmq_door(server, tmp_path) as (_, found, _bus):
        with zmq.Context() as context, context.socket(zmq.DEALER) as sock:
            sock.setsockopt(zmq.LINGER, 0)
            sock.connect(found["zmq_router"])
            sock.setsockopt(zmq.RCVTIMEO, 60_000)  # a thread that waits for ever would keep the test's loop from ending
            sock.send_multipart([b"state", b'{"sequence": 1, "changes": []}'])
            error, bye = [await asyncio.to_thread(sock.recv_multipart) for _ in range(2)]
            assert error[0] == b"error"
            assert b"LINK_ORDER" in error[1]
            assert b"state came before hello: this daemon does not know you" in error[1]
            assert bye[0] == b"bye"


async def test_a_message_too_large_ends_its_connection_only(tmp_path: Path) -> None:
    registry = RecordingRegistry()
    async with link_server(registry) as server, zmq_door(server, tmp_path) as (_, found, _bus):
        with App(ZmqTransport(zmq, found["zmq_router"]), key=None) as app:
            await app.until("welcome")
            with zmq.Context() as context, context.socket(zmq.DEALER) as sock:
                sock.setsockopt(zmq.LINGER, 0)
                monitor = sock.get_monitor_socket(zmq.EVENT_DISCONNECTED)
                sock.connect(found["zmq_router"])
                sock.send_multipart([b"state", bytes(MAX_FRAME + 1)])
                assert await asyncio.to_thread(monitor.poll, 60_000)
                sock.disable_monitor()
                monitor.close()
            app.client.report([Change("still", "here")])
            await eventually(lambda: registry.changes)


async def test_a_folder_open_to_others_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o755)
    async with link_server() as server:
        with pytest.raises(FailedPrecondition) as caught:
            async with zmq_door(server, tmp_path, router=f"ipc://{folder}/link.sock"):
                pass
    assert caught.value.reason == "FOLDER_NOT_PRIVATE"
    assert f"chmod 700 {folder}" in caught.value.message


async def test_what_fails_to_open_is_closed_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket left open would keep the end of its context, and with it the end of the daemon, waiting for ever."""

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async with link_server() as server:
        router, pub = short_path(tmp_path, "link.sock"), short_path(tmp_path, "pub.sock")
        door = ZmqDoor(server, Bus("store-1"), clock=SYSTEM, router=router, pub=pub)
        monkeypatch.setattr(Path, "chmod", fail)
        with pytest.raises(OSError, match="No space left"):
            await door.start()
        async with asyncio.timeout(60):
            await door.stop()


async def test_the_sockets_are_gone_after_the_stop(tmp_path: Path) -> None:
    async with link_server() as server:
        async with zmq_door(server, tmp_path) as (door, _found, _bus):
            assert isinstance(door, ZmqDoor)
            assert (tmp_path / "run" / "link.sock").exists()
        assert not list((tmp_path / "run").iterdir())


async def test_it_works_on_a_loop_that_cannot_watch_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*_: object) -> None:
        raise NotImplementedError

    registry = RecordingRegistry()
    monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", cannot)  # as on Windows
    async with link_server(registry) as server, zmq_door(server, tmp_path) as (_, found, _bus):
        with App(ZmqTransport(zmq, found["zmq_router"]), key=None) as app:
            await app.until("welcome")
            for n in range(300):
                app.client.report([Change(f"p{n}", n)])
                await asyncio.sleep(0)
            await eventually(lambda: len(registry.changes) == 300)
            registry.sessions[0].channel.apply([sdk.Wish(n, f"p{n}", n, n) for n in range(300)])
            await eventually(lambda: app.client.wait(0))
            assert [change.value for change in registry.changes] == list(range(300))
            await app.aclose()
        await eventually(lambda: registry.sessions[0].lost_reasons)
