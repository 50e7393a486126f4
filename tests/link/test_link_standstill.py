"""A process that stands still hears nothing meanwhile: that is no silence of the other side."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.support.link import App, RecordingRegistry, eventually, link_server, tcp_door
from tests.support.waiting import heard

from lightfast.core.clock import StillClock
from lightfast.engine.apps.link_peer import LinkPeer
from lightfast.engine.apps.link_pulse import DEAD_AFTER, GREETING, LOOK, SILENT_AFTER, Due, Pulse
from lightfast_link import session as client_session
from lightfast_link.messages import LinkError

BOTH = """
import asyncio, json, sys
from pathlib import Path
import zmq
from lightfast_link.zmq_transport import ZmqTransport
from tests.support.link import App, RecordingRegistry, eventually, link_server, tcp_door, zmq_door

async def main():
    registry = RecordingRegistry()
    async with link_server(registry) as server, tcp_door(server) as (_, host, port):
        async with zmq_door(server, Path(sys.argv[1])) as (_, found, _bus):
            apps = [App.tcp(host, port, instance_id="tcp"), App(ZmqTransport(zmq, found["zmq_router"]), key=None)]
            for app in apps:
                app.client.start()
            for app in apps:
                await app.until("welcome")
            print("both are welcome", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            for app in apps:  # each half has heard the other since
                app.client.report([{"path": "after", "value": 1}])
            await eventually(lambda: len(registry.changes) == 2)
            await asyncio.sleep(1.0)  # time enough to judge
            for app in apps:
                app.events += app.client.poll()
            lost = [event for app in apps for event in app.events if event[0] == "lost"]
            reasons = [reason for session in registry.sessions for reason in session.lost_reasons]
            print("lost:", json.dumps([lost, reasons]))
            for app in apps:
                await app.aclose()

asyncio.run(main())
"""
"""Both halves in one process, over TCP and ZMQ."""


@pytest.mark.slow
def test_a_process_that_stood_still_loses_nobody(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", BOTH, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        heard(process, process.stdout, "both are welcome")
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(DEAD_AFTER + 2.0)  # the standstill itself: longer than either half may be silent
        os.kill(process.pid, signal.SIGCONT)
        said, _ = process.communicate("\n", timeout=60)
    finally:
        process.kill()
        process.wait(10)
    assert "lost: [[], []]" in said.splitlines(), said


def looks(pulse: Pulse, now: float, count: int, *, joined: bool = True) -> list[Due]:
    """Look *count* times at *pulse* after *now*, as often as the doors do."""
    return [pulse.due(now + step / 4, joined=joined) for step in range(1, count + 1)]


def test_a_standstill_is_no_silence_of_an_application() -> None:
    pulse = Pulse(0.0)
    assert set(looks(pulse, 0.0, 8)) == {Due.NOTHING}
    assert pulse.due(100.0, joined=True) is Due.NOTHING
    assert pulse.ping_due(100.0), "it is asked at once"
    assert pulse.heard == 0.0, "when it was heard is told as it was"
    # From here on it is silent as anybody may be, less what was silence before.
    rest = DEAD_AFTER - 2.0 - LOOK
    found = looks(pulse, 100.0, round(rest * 4))
    assert found.index(Due.SILENT) == round((SILENT_AFTER - 2.0 - LOOK) * 4) - 1
    assert found.index(Due.DEAD) == len(found) - 1


def test_a_sign_of_life_that_waited_counts() -> None:
    pulse = Pulse(0.0)
    looks(pulse, 0.0, 20)  # it was shown as silent
    assert pulse.beat(100.0)
    assert pulse.due(100.0, joined=True) is Due.NOTHING
    assert looks(pulse, 100.0, round(SILENT_AFTER * 4))[-1] is Due.SILENT, "the standstill does not count twice"


def test_one_standstill_after_another_ends_for_the_dead() -> None:
    pulse = Pulse(0.0)
    found = [pulse.due(30.0 * step, joined=True) for step in range(1, round(DEAD_AFTER / LOOK) + 1)]
    assert found[-1] is Due.DEAD
    assert Due.DEAD not in found[:-1]


def test_a_standstill_is_no_delay_of_a_greeting() -> None:
    pulse = Pulse(0.0)
    assert pulse.due(100.0, joined=False) is Due.NOTHING
    found = looks(pulse, 100.0, round((GREETING - LOOK) * 4), joined=False)
    assert found.index(Due.LATE) == len(found) - 1


async def test_neither_half_loses_the_other_over_a_standstill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_session, "PING_EVERY", 0.1)
    registry, clock = RecordingRegistry(), StillClock()
    async with link_server(registry) as server, tcp_door(server) as (door, host, port):
        server.clock = door._clock = clock
        app = App.tcp(host, port)
        app.client.clock = clock.monotonic
        with app:
            await app.until("welcome")
            (session,) = registry.sessions
            assert isinstance(session.channel, LinkPeer)
            for _ in range(5):
                clock.advance(100.0)
                await eventually(lambda: session.channel._pulse._looked == clock.monotonic())  # type: ignore[attr-defined]
                await eventually(lambda: session.channel._pulse.heard == clock.monotonic())  # type: ignore[attr-defined]
            assert app.client.state == "live"
            assert app.client.status()["sessions"] == 1
            assert session.lost_reasons == []


class Wire:
    """A connection on which nothing comes; *waits* are for how long each wait takes on *clock*."""

    authenticates, key = False, None

    def __init__(self, clock: StillClock, waits: list[float], greets: list[bytes]) -> None:
        self._clock, self._waits, self._greets = clock, waits, greets
        self.sent: list[tuple[float, bytes]] = []

    def __str__(self) -> str:
        return "wire"

    def send(self, parts: list[bytes]) -> bool:
        self.sent.append((self._clock.monotonic(), parts[0]))
        return True

    def wait(self, timeout: float, *, writable: bool) -> None:
        self._clock.advance(self._waits.pop(0) if self._waits else timeout)

    def receive(self) -> list[list[bytes]]:
        greets, self._greets = self._greets, []
        return [greets] if greets else []


WELCOME = [b"welcome", b'{"credit": 8, "mount": "/m", "version": 1}']


@pytest.mark.parametrize(
    ("waits", "greets", "ends"),
    [
        ([0.5, 2.0, 2.0, 2.0], WELCOME, 6.5),
        ([0.5, 1.0, 100.0], WELCOME, 106.0),
        ([0.5, 100.0, 100.0, 100.0], WELCOME, 301.0),
        ([], [], 5.0),
        ([1.0, 100.0], [], 103.0),
    ],
    ids=["without", "one", "only", "greeting", "greeting-late"],
)
def test_a_standstill_is_no_silence_of_the_daemon(waits: list[float], greets: list[Any], ends: float) -> None:
    clock = StillClock()
    client = App(None).client
    client.clock = clock.monotonic
    client._waker_in = _NoWaker()
    wire = Wire(clock, waits, greets)
    with pytest.raises(LinkError):
        client_session.Session(client, wire, wire).run()
    assert clock.monotonic() == pytest.approx(ends)


class _NoWaker:
    def recv(self, size: int) -> bytes:
        raise BlockingIOError
