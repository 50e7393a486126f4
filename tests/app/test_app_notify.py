"""sd_notify over real sockets, and a watchdog that is fed only while all is well."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightfast.app.notify import Health, Notifier
from lightfast.core.clock import StillClock
from lightfast.core.errors import Unavailable
from lightfast.core.tasks import TaskGroup


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        found.bind(str(tmp_path / "notify"))
        found.settimeout(60)
        yield found


def said(manager: socket.socket) -> str:
    return manager.recv(4096).decode()


async def hear(manager: socket.socket, wanted: str, within: float = 60.0) -> str:
    manager.setblocking(False)
    async with asyncio.timeout(within):
        while True:
            message = (await asyncio.get_running_loop().sock_recv(manager, 4096)).decode()
            if wanted in message:
                return message


def test_the_states_are_told(manager: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    notifier.ready("serving on x")
    assert said(manager) == "READY=1\nSTATUS=serving on x"
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    first, second = said(manager).split("\n")
    assert first == "RELOADING=1"
    assert before <= int(second.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    notifier.stopping()
    assert said(manager) == "STOPPING=1\nSTATUS=stopping"
    notifier.close()
    notifier.ready("to nobody")


def test_an_abstract_socket_works() -> None:
    name = f"lightfast-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name)
        manager.settimeout(60)
        notifier = Notifier({"NOTIFY_SOCKET": "@" + name})
        notifier.status("hello")
        assert said(manager) == "STATUS=hello"
        notifier.close()


def test_without_a_manager_nothing_is_said() -> None:
    notifier = Notifier({"WATCHDOG_USEC": "1000000"})
    notifier.ready("x")
    assert notifier.watchdog_s == 0


def test_a_manager_that_is_gone_is_no_error(tmp_path: Path) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    notifier.ready("x")
    notifier.close()


@pytest.mark.parametrize(
    ("pid", "wanted"), [(str(os.getpid()), 20.0), ("", 20.0), ("1", 0.0)], ids=["ours", "none", "other"]
)
def test_the_watchdog_of_another_process_is_not_ours(manager: socket.socket, pid: str, wanted: float) -> None:
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "20000000", "WATCHDOG_PID": pid}
    notifier = Notifier(environ)
    assert notifier.watchdog_s == wanted
    notifier.close()


@pytest.fixture
def notifier(manager: socket.socket) -> Iterator[Notifier]:
    found = Notifier({"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "200000"})
    yield found
    found.close()


async def test_the_watchdog_is_fed_while_all_is_well(manager: socket.socket, notifier: Notifier) -> None:
    checks: list[float] = []

    async def check(timeout: float) -> None:
        checks.append(timeout)

    health = Health(notifier, check, lag_limit_s=0.3, clock=StillClock())
    async with TaskGroup("test") as tasks:
        tasks.start(health.run(), "health")
        for _ in range(3):
            assert await hear(manager, "WATCHDOG") == "WATCHDOG=1"
    assert len(checks) >= 3
    assert checks[0] == pytest.approx(0.05)
    assert health.trouble == ""


async def test_a_store_that_does_not_answer_stops_the_feeding(manager: socket.socket, notifier: Notifier) -> None:
    broken = True

    async def check(timeout: float) -> None:
        if broken:
            raise Unavailable("the disk is gone")

    health = Health(notifier, check, lag_limit_s=0.3, clock=StillClock())
    async with TaskGroup("test") as tasks:
        tasks.start(health.run(), "health")
        assert await hear(manager, "STATUS") == "STATUS=in trouble: the store does not answer: the disk is gone"
        with pytest.raises(TimeoutError):
            await hear(manager, "WATCHDOG", within=0.5)
        broken = False
        assert await hear(manager, "WATCHDOG") == "WATCHDOG=1"


async def test_a_blocked_loop_stops_the_feeding(manager: socket.socket, notifier: Notifier) -> None:
    async def check(timeout: float) -> None:
        return

    clock = StillClock()  # how late it is, is what this clock says, whatever the machine does
    health = Health(notifier, check, lag_limit_s=0.3, clock=clock)
    async with TaskGroup("test") as tasks:
        tasks.start(health.run(), "health")
        await hear(manager, "WATCHDOG")
        clock.advance(0.65)  # within a sleep of 0.05 s: it begins again before anybody hears of it
        assert "the event loop was blocked for 0.6 s (limit 0.3 s)" in await hear(manager, "STATUS")
        assert health.lag_s == pytest.approx(0.6)
        await hear(manager, "WATCHDOG")
        assert health.lag_s < 0.3
