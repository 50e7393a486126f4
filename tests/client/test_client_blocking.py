"""Every method of the blocking client, from more threads than one."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.support.alarm import bounded
from tests.support.mistakes import Desk, clean_environ
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
    # Each a path of its own: of one path a busy daemon may take the newest value alone, and says so.
    assert client.publish({f"/sig/{name}": 1.0} for name in "abcde").accepted == 5
    asset = client.write_asset(b"hello", "text/plain", "hello.txt")
    assert client.read_asset(asset.sha256) == b"hello"
    client.set("/shown", asset)
    assert getattr(client.get("/shown").value, "sha256", "") == asset.sha256
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

    def watch() -> None:
        for batch in client.watch("/threads//", start_revision=0):
            seen.extend(event.entry.value for event in batch.events)
            if len(seen) == 200:
                return

    threads.append(threading.Thread(target=watch, daemon=True))  # for ever, where a write has failed
    threads[-1].start()
    for thread in threads:
        thread.join(150)
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
    assert synced.wait(60)
    client.close()
    assert ended.wait(60)
    client.close()
    with pytest.raises(Cancelled) as caught:
        client.get("/a")
    assert caught.value.reason == "CLIENT_CLOSED"


def test_a_watch_left_early_leaves_nothing_behind(client: Client) -> None:
    before = client.info().watchers
    for batch in client.watch("//", include_snapshot=True):
        if batch.synced:
            break
    deadline = time.monotonic() + 60
    while client.info().watchers > before:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_no_daemon_is_told_at_once(tmp_path: object) -> None:
    before = threading.active_count()
    with pytest.raises(DaemonGone) as caught:
        Client(home=str(tmp_path))
    assert "Start it with 'lightfastd'" in caught.value.message
    assert caught.value.reason == "NO_DAEMON"
    assert threading.active_count() <= before  # one that ends meanwhile is of another test


def test_a_wrong_token_over_tcp(desk: Desk) -> None:
    with Client(desk.doors["grpc"], token="lf_wrong") as client, pytest.raises(Unauthenticated) as caught:
        client.get("/a")
    assert caught.value.reason == "TOKEN_UNKNOWN"


def test_a_deadline_of_the_client_is_kept(desk: Desk) -> None:
    with Client(home=str(desk.home)) as client:
        assert client.info().pid == desk.daemon.pid
        os.kill(desk.daemon.pid, signal.SIGSTOP)  # a daemon that hangs
        try:
            with pytest.raises(DeadlineExceeded), bounded(60, "the call"):  # it would wait until the daemon goes on
                client.call(client.aio.admin.GetInfo, admin_pb2.GetInfoRequest(), timeout=0.3)
        finally:
            os.kill(desk.daemon.pid, signal.SIGCONT)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let Ctrl-C interrupt us, also where a shell has started us in the background and told us to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_in_a_watch_waits_until_its_step_has_ended(client: Client) -> None:
    """The interrupt reaches us while the step is under way in the other thread, and takes its time to unwind."""
    waits, unwound, over = threading.Event(), threading.Event(), threading.Event()

    async def slow() -> AsyncIterator[int]:
        yield 1
        try:
            waits.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            unwound.set()

    def interrupt() -> None:
        if waits.wait(30) and not over.is_set():  # later it would end the whole run of the tests
            os.kill(os.getpid(), signal.SIGINT)

    items = client._iterate(slow())
    assert next(items) == 1
    hand = threading.Thread(target=interrupt, daemon=True)
    hand.start()
    try:
        with pytest.raises(KeyboardInterrupt), bounded(60, "the step that is interrupted"):
            next(items)
    finally:
        over.set()
        hand.join(60)
    assert unwound.is_set()
    assert client.info().pid > 0


FORGOTTEN = """
import asyncio, gc, os
from lightfast.client import Client

client = Client("127.0.0.1:1")

async def source():
    try:
        yield 1
        await asyncio.Event().wait()
    finally:
        print("ended", flush=True)

async def nothing():
    await asyncio.sleep(0.01)

watch = client._iterate(source())
next(watch)
"""


@pytest.mark.parametrize(
    ("then", "told"),
    [
        ("", ""),  # the interpreter ends with the watch open, and the client's thread no longer runs
        (
            """
            async def collect():
                gc.collect()

            cycle = [watch]
            cycle.append(cycle)
            gc.disable()
            del watch, cycle
            client._run(collect())  # in the client's own thread, which would have to end the watch
            client._run(nothing())
            client.close()
            """,
            "ended\n",
        ),
        (
            """
            with client._closing:  # held while a call is handed over, and the collector may come at any time
                watch.close()
            client.close()
            """,
            "ended\n",
        ),
        (
            """
            from lightfast.client import blocking

            blocking.END_S = blocking.LOOK_S = 0.1

            async def endless():  # as where the collector comes while a thread holds what the client's waits for
                try:
                    yield 1
                finally:
                    await asyncio.Event().wait()

            late = client._iterate(endless())
            next(late)
            try:
                late.close()
            except TimeoutError:
                print("went on", flush=True)
            watch.close()
            client.close()
            """,
            "went on\nended\n",
        ),
        (
            """
            if (child := os.fork()) == 0:  # without the client's thread
                try:
                    client._run(nothing())
                except BaseException as error:
                    print(error.reason, flush=True)
                client.close()
                os._exit(0)
            os.waitpid(child, 0)
            watch.close()
            client.close()
            """,
            "CLIENT_CLOSED\nended\n",
        ),
    ],
    ids=["exit", "collected in its thread", "collected under its lock", "an end that does not come", "fork"],
)
def test_nobody_waits_for_a_thread_that_cannot_answer(then: str, told: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORGOTTEN + textwrap.dedent(then)],
        capture_output=True, text=True, timeout=150, check=True, env=clean_environ(),
    )  # fmt: skip
    assert done.stdout == told


def test_what_goes_wrong_in_what_is_published_is_raised(client: Client) -> None:
    with pytest.raises(ZeroDivisionError):
        client.publish({"/sig/a": 1 / number} for number in (2, 1, 0))
    assert client.publish([{"/sig/a": 1.0}]).accepted == 1


def test_ctrl_c_does_not_wait_for_what_is_published(desk: Desk) -> None:
    """The source waits for ever, in a thread; the process ends all the same."""
    code = """
import os, signal, sys, threading
from lightfast.client import Client

signal.signal(signal.SIGINT, signal.default_int_handler)

def source():
    yield {"/sig/a": 1.0}
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait()

try:
    with Client(home=sys.argv[1]) as client:
        client.publish(source())
except KeyboardInterrupt:
    print("interrupted")
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(desk.home)],
        capture_output=True, text=True, timeout=150, check=True, env=clean_environ(),
    )  # fmt: skip
    assert done.stdout == "interrupted\n"
