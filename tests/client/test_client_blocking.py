"""Every method of the blocking client, from more threads than one."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.support.mistakes import Desk
from tests.support.worker import Worker

from lightfast.api.v1 import admin_pb2, context_pb2, types_pb2
from lightfast.client import Client, DaemonGone, mutations
from lightfast.core.errors import Cancelled, Conflict, DeadlineExceeded, LightfastError, NotFound, Unauthenticated


@pytest.fixture
def client(desk: Desk) -> Iterator[Client]:
    with Client(home=str(desk.home)) as found:
        yield found


def test_every_method_once(desk: Desk, client: Client) -> None:
    first = client.set("/b/a", 1, label="one", group="g")
    client.set_many({"/b/b": 2, "/b/c/d": 3})
    assert client.get("/b/a").value == 1
    assert client.get("/b/a", at_revision=first.revision).revision == first.revision
    assert [entry.path for entry in client.select("/b//")] == ["/b/a", "/b/b", "/b/c/d"]
    assert client.select("/b/a", at_time_ns=first.entries[0].record_time, event_time=True)[0].value == 1
    assert [child.path for child in client.children("/b")] == ["/b/a", "/b/b", "/b/c"]
    client.apply([mutations.set_value("/b/a", 5)], group="g2")
    undone = client.undo(group="g2")
    assert client.get("/b/a").value == 1
    client.redo(revision=undone.revision)
    assert client.get("/b/a").value == 5
    client.move("/b", "/moved")
    client.delete("/moved/a")
    client.delete("/moved", recursive=True)
    assert client.select("/moved//") == []
    assert client.history("/b//", limit=1)[0].events
    client.declare(context_pb2.Declaration(pattern="/sig/*", entry_class=types_pb2.ENTRY_CLASS_SIGNAL))
    assert client.publish({"/sig/a": float(number)} for number in range(5)).accepted == 5
    asset = client.write_asset(b"hello", "text/plain", "hello.txt")
    assert client.read_asset(asset.sha256) == b"hello"
    assert any(step.WhichOneof("kind") == "asset" for step in client.generate("image", "a red dot"))
    assert client.info().pid == desk.daemon.pid
    assert client.call(client.aio.admin.GetInfo, admin_pb2.GetInfoRequest()).pid == desk.daemon.pid
    assert int(client.call_json("AdminService.GetInfo", {})["pid"]) == desk.daemon.pid
    assert any(
        "asset" in step for step in client.stream_json("GenerationService.Generate", {"output": "image", "prompt": "x"})
    )
    assert next(client.watch("/sig//", include_snapshot=True)).store_id == client.info().store_id
    assert "store_id" in next(client.watch_json({"patterns": ["/sig//"], "include_snapshot": True}))
    with Worker(desk.home, "blocking"):
        assert "/blocking" in [item.mount for item in client.list_apps()]
        assert client.invoke("/blocking", "double", x=2.0) == 4.0
        assert client.link("/from", "/blocking/level").link_id
    with client.lease(5) as lease_id:
        client.apply([mutations.set_value("/b/leased", 1)], lease_id=lease_id)
    with pytest.raises(NotFound):
        client.get("/b/leased")


def test_errors_are_typed(client: Client) -> None:
    with pytest.raises(NotFound):
        client.get("/not/there")
    with pytest.raises(Conflict):
        client.apply([mutations.set_value("/x", 1)], preconditions=[mutations.at_revision("/x", 99)])
    with pytest.raises(NotFound):
        list(client.generate("image", "x", model="no/body"))


def test_two_threads_share_one_client(client: Client) -> None:
    def count(name: str, failures: list[BaseException]) -> None:
        try:
            for number in range(100):
                client.set(f"/threads/{name}", number)
                assert client.get(f"/threads/{name}").value == number
        except (LightfastError, AssertionError) as error:
            failures.append(error)

    failures: list[BaseException] = []
    threads = [threading.Thread(target=count, args=(name, failures)) for name in "ab"]
    for thread in threads:
        thread.start()
    seen: list[object] = []
    for batch in client.watch("/threads//", start_revision=0):
        seen += [event.entry.value for event in batch.events]
        if len(seen) == 200:
            break
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert sorted(value for value in seen if isinstance(value, int)) == sorted([*range(100), *range(100)])


def test_closing_ends_a_watch_in_another_thread(desk: Desk) -> None:
    client = Client(home=str(desk.home))
    synced, ended = threading.Event(), threading.Event()

    def watch() -> None:
        for batch in client.watch("//", include_snapshot=True):
            if batch.synced:
                synced.set()
        ended.set()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    assert synced.wait(10)
    began = time.monotonic()
    client.close()
    assert ended.wait(5)
    assert time.monotonic() - began < 3
    client.close()
    with pytest.raises(Cancelled) as caught:
        client.get("/a")
    assert caught.value.reason == "CLIENT_CLOSED"


def test_a_watch_left_early_leaves_nothing_behind(client: Client) -> None:
    before = client.info().watchers
    for batch in client.watch("//", include_snapshot=True):
        if batch.synced:
            break
    deadline = time.monotonic() + 10
    while client.info().watchers > before:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_no_daemon_is_told_at_once(tmp_path: object) -> None:
    before = threading.active_count()
    with pytest.raises(DaemonGone) as caught:
        Client(home=str(tmp_path))
    assert "Start it with 'lightfastd'" in caught.value.message
    assert caught.value.reason == "NO_DAEMON"
    assert threading.active_count() == before


def test_a_wrong_token_over_tcp(desk: Desk) -> None:
    with Client(desk.doors["grpc"], token="lf_wrong") as client, pytest.raises(Unauthenticated) as caught:
        client.get("/a")
    assert caught.value.reason == "TOKEN_UNKNOWN"


def test_a_deadline_of_the_client_is_kept(desk: Desk) -> None:
    with Client(home=str(desk.home)) as client:
        assert client.info().pid == desk.daemon.pid
        os.kill(desk.daemon.pid, signal.SIGSTOP)  # a daemon that hangs
        try:
            began = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                client.call(client.aio.admin.GetInfo, admin_pb2.GetInfoRequest(), timeout=0.3)
            assert time.monotonic() - began < 5
        finally:
            os.kill(desk.daemon.pid, signal.SIGCONT)


def test_ctrl_c_in_a_watch_waits_until_its_step_has_ended(client: Client) -> None:
    """The interrupt reaches us while the step is under way in the other thread, and takes its time to unwind."""
    waits, unwound = threading.Event(), threading.Event()

    async def slow() -> AsyncIterator[int]:
        yield 1
        try:
            waits.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            unwound.set()

    def interrupt() -> None:
        waits.wait(10)
        os.kill(os.getpid(), signal.SIGINT)

    items = client._iterate(slow())
    assert next(items) == 1
    hand = threading.Thread(target=interrupt, daemon=True)
    hand.start()
    with pytest.raises(KeyboardInterrupt):
        next(items)
    hand.join(10)
    assert unwound.is_set()
    assert client.info().pid > 0
