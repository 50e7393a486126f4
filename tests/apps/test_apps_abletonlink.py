"""Ableton Link: what is heard before joining, the peer's protocol, and real peers in a network of their own."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.daemon import Daemon
from tests.support.netns import Network, network

from lightfast.client import Client
from lightfast.sdk import BridgeError, MissingDependency
from lightfast_bridges.abletonlink import INSTALL, bridge, lightfast_bridges
from lightfast_bridges.abletonlink.bridge import OFF, AbletonLinkBridge, _end, command
from lightfast_bridges.abletonlink.hear import tempo_of

OTHER = """
import asyncio, json, sys
from aalink import Link

async def main():
    link = Link(float(sys.argv[1]))
    link.start_stop_sync_enabled = True
    await asyncio.sleep(0.6)
    link.enabled = True
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        for name, value in json.loads(line).items():
            setattr(link, name, value)
        print(json.dumps({"tempo": link.tempo, "playing": link.playing, "peers": link.num_peers}), flush=True)

asyncio.run(main())
"""
"""A peer as any other program is one: it says how it stands when it is asked."""


def discovery(tempo: float, kind: int = 1, before: bytes = b"") -> bytes:
    """Return a datagram of Link's discovery."""
    timeline = struct.pack(">qqq", round(60e6 / tempo), 0, 0)
    return (
        b"_asdp_v\x01"
        + struct.pack(">BBH8s", kind, 5, 0, b"abcdefgh")
        + before
        + b"tmln"
        + struct.pack(">I", 24)
        + timeline
    )


async def test_a_peer_that_nobody_hears_any_more_is_ended() -> None:
    """Its output is full: asyncio does not see that it has ended until somebody reads on."""
    program = "import sys, time; sys.stdout.write('x' * 1_000_000); sys.stdout.flush(); time.sleep(600)"
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdin=pipe, stdout=pipe, limit=1 << 16
    )
    async with asyncio.timeout(40):
        await _end(process)
    assert process.returncode is not None


class Process:
    """A process of which only its output is there."""

    pid = 1

    def __init__(self, stdout: asyncio.StreamReader) -> None:
        self.stdout = stdout


@pytest.mark.parametrize(("said", "reason"), [(b'{"error": "no network"}\n', "no network"), (b"", "did not join")])
async def test_a_peer_that_joined_while_the_daemon_stood_still_has_joined(
    monkeypatch: pytest.MonkeyPatch, said: bytes, reason: str
) -> None:
    monkeypatch.setattr(bridge, "PATIENCE_S", 0.2)
    host: Any = Host()
    reader = asyncio.StreamReader()
    source, target = os.pipe()
    with os.fdopen(source, "rb") as readable, os.fdopen(target, "wb", buffering=0) as writable:
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), readable
        )
        process: Any = Process(reader)
        try:
            running = asyncio.ensure_future(bridge._Line(host, process).run())
            await asyncio.sleep(0)
            writable.write(said)
            time.sleep(0.5)  # the loop stands still
            with pytest.raises(BridgeError, match=reason):
                await running
        finally:
            transport.close()


def test_the_tempo_of_a_session_is_heard() -> None:
    assert tempo_of(discovery(133.0)) == pytest.approx(133.0, abs=1e-3)
    other = b"sess" + struct.pack(">I", 8) + b"12345678"
    assert tempo_of(discovery(90.0, kind=2, before=other)) == pytest.approx(90.0, abs=1e-3)
    assert tempo_of(discovery(90.0, kind=3)) is None  # a goodbye
    assert tempo_of(b"_asdp_v\x02" + discovery(90.0)[8:]) is None
    assert tempo_of(discovery(90.0)[:-1]) is None


@given(st.binary(max_size=200), st.integers(0, 64))
def test_what_is_no_discovery_is_left_alone(noise: bytes, cut: int) -> None:
    assert tempo_of(noise) is None
    found = tempo_of(discovery(100.0)[:cut] + noise)
    assert found is None or found > 0


class Host:
    """A host that notes what is said."""

    def __init__(self, **config: Any) -> None:
        self.config = config
        self.said: list[str] = []

    def absent(self, reason: str) -> None:
        self.said.append(reason)

    async def sleep(self, seconds: float) -> None:
        assert seconds >= 60
        raise asyncio.CancelledError


async def test_it_is_off_unless_it_is_switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: Any, **__: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", nothing)
    host: Any = Host()
    with pytest.raises(asyncio.CancelledError):
        await AbletonLinkBridge().run(host)
    assert host.said == [OFF]
    (finding,) = await AbletonLinkBridge().diagnose({})
    assert (finding.level, finding.remedy) == ("note", OFF)


def test_without_the_library_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency) as missing:
        lightfast_bridges({})
    assert missing.value.install == INSTALL


def test_the_command_line_has_the_settings() -> None:
    line = command({"tempo": 90, "quantum": 3, "start_stop": False})
    assert line[:3] == [sys.executable, "-m", "lightfast_bridges.abletonlink.peer"]
    assert line[3:] == ["--tempo", "90.0", "--quantum", "3.0"]
    assert command({})[-1] == "--start-stop"


def needs_aalink() -> None:
    """Skip without the library."""
    if importlib.util.find_spec("aalink") is None:
        pytest.skip(f"Ableton Link needs its library: {INSTALL}")


def until(condition: Callable[[], object], what: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until *condition* holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what()}"
        time.sleep(0.02)


class Other:
    """A program that is a peer."""

    def __init__(self, net: Network, tempo: float) -> None:
        self.process = net.popen(
            [sys.executable, "-W", "ignore", "-c", OTHER, str(tempo)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **wishes: Any) -> dict[str, Any]:
        """Let it set something, and say how it stands."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(wishes) + "\n")
        self.process.stdin.flush()
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        if self.process.stdout is not None:
            self.process.stdout.close()


def _ended(pid: int) -> bool:
    """Say whether a process is over; one that nobody has looked after yet counts."""
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except FileNotFoundError:
        return True


@contextmanager
def desk(home: Path) -> Iterator[tuple[Daemon, Client, Other]]:
    """Run a peer at 133 bpm, and a daemon that joins it, in a network of their own."""
    needs_aalink()
    with network() as net:
        other = Other(net, 133.0)
        try:
            assert other.ask()["tempo"] == pytest.approx(133.0)
            with net.inside():
                running = Daemon(home, flags=["plugins.abletonlink.join=true"])
                running.start()
            try:
                with Client(home=home) as client:
                    yield running, client, other
            finally:
                if running.process is not None and running.process.poll() is None:
                    assert running.stop() == 0
        finally:
            other.close()


@pytest.mark.real_app
def test_it_joins_a_session_without_moving_it_and_goes_along(tmp_path: Path) -> None:
    with desk(tmp_path) as (_, client, other):

        def held(path: str) -> Any:
            found = client.select(path)
            return found[0].value if found else None

        def joined() -> bool:
            """Say whether each knows the other, and both hold one tempo; that of the session is never moved."""
            stand = other.ask()
            assert stand["tempo"] == pytest.approx(133.0, abs=0.01)
            near = abs((held("/abletonlink/tempo") or 0.0) - 133.0) < 0.01
            return bool(stand["peers"] == 1 and held("/abletonlink/peers") == 1 and near)

        until(joined, lambda: client.select("/abletonlink//"))
        # What is set here is there, and the other way round.
        client.set("/abletonlink/tempo", 101.0)
        until(lambda: abs(other.ask()["tempo"] - 101.0) < 0.01, other.ask)
        other.ask(tempo=88.0)
        until(lambda: abs(held("/abletonlink/tempo") - 88.0) < 0.01, lambda: held("/abletonlink/tempo"))
        client.set("/abletonlink/playing", True)
        until(lambda: other.ask()["playing"], other.ask)
        until(lambda: held("/abletonlink/beat") is not None, lambda: client.select("/abletonlink//"))
        other.ask(playing=False)
        until(lambda: held("/abletonlink/playing") is False, lambda: held("/abletonlink/playing"))


@pytest.mark.real_app
def test_it_leads_the_timeline(tmp_path: Path) -> None:
    with desk(tmp_path) as (running, client, other):

        def stand() -> Any:
            return next(app for app in client.get_transport().apps if app.mount == "/abletonlink")

        until(lambda: client.select("/abletonlink/peers"), lambda: client.select("/lightfast/apps/abletonlink//"))
        client.set("/transport/leader", "/abletonlink")
        until(lambda: client.get_transport().leading == "/abletonlink", client.get_transport)
        until(lambda: abs(client.get_transport().tempo - 133.0) < 0.01, client.get_transport)
        other.ask(playing=True)
        until(lambda: client.get_transport().playing, client.get_transport)
        until(lambda: stand().samples > 20, client.get_transport)
        other.ask(tempo=140.0)
        until(lambda: abs(client.get_transport().tempo - 140.0) < 0.01, client.get_transport)
        client.stop()
        until(lambda: not other.ask()["playing"], other.ask)
        assert list(stand().has) == ["playing", "position*", "tempo"]
        # The peer ends with the daemon, however that goes.
        peer = next(app.pid for app in client.list_apps() if app.mount == "/abletonlink")
        until(lambda: other.ask()["peers"] == 1, other.ask)
        running.kill()
        until(lambda: other.ask()["peers"] == 0, other.ask)
        until(lambda: _ended(peer), lambda: peer)
