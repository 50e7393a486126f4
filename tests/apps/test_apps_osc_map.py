"""Maps at work: each shipped map drives a device that was written to the application's own documentation."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.ending import ended
from tests.support.osc_devices import QLab, Resolume, Surface, running
from tests.support.osc_live import until
from tests.support.ports import free_port

from lightfast.sdk import Call, Wish
from lightfast.sdk.testing import FakeBridgeHost, check_bridge
from lightfast.sdk.testing.fakes import FakeAppSession
from lightfast_bridges.osc.bridge import OscBridge
from lightfast_bridges.osc.pack import shipped


def placed(folder: Path, name: str, port: int, reply: int) -> None:
    """Put a shipped map into *folder*, with the ports of this test."""
    text = shipped()[name]
    for pattern, put in (
        (r"^remote: .*", f"remote: 127.0.0.1:{port}"),
        (r"^reply: .*", f"reply: {reply}"),
        (r"^  every: .*", "  every: 0.2"),
        (r"^  silence: .*", "  silence: 3.0"),
        (r"every: 20,", "every: 0.1,"),
    ):
        text = re.sub(pattern, put, text, flags=re.MULTILINE)
    (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


@contextlib.asynccontextmanager
async def joined(folder: Path) -> AsyncIterator[FakeBridgeHost]:
    host = FakeBridgeHost({}, str(folder))
    task = asyncio.ensure_future(OscBridge().run(host))
    try:
        yield host
    finally:
        await ended(task, "the bridge")
        host.close()


async def first(host: FakeBridgeHost) -> FakeAppSession:
    await host.until(lambda: host.sessions, "a hello")
    session = host.sessions[-1]
    await session.until(lambda: session.syncs, "the full report")
    return session


async def settled(session: FakeAppSession, number: int, path: str, value: Any) -> Any:
    session.channel.apply([Wish(number, path, value, revision=number)])
    await session.until(lambda: number in session.settled or number in session.rejected, f"an answer to {path}")
    assert number in session.settled, session.rejected
    return session.settled[number]


async def test_it_bears_the_contract(tmp_path: Path) -> None:
    await check_bridge(OscBridge(), config={"folder": str(tmp_path)})


async def test_resolume(tmp_path: Path) -> None:
    reply = free_port()
    async with running(Resolume(reply)) as device:
        placed(tmp_path, "resolume", device.port, reply)
        async with joined(tmp_path) as host:
            session = await first(host)
            assert session.mount == "/resolume"
            assert session.values["composition/tempo"] == pytest.approx(120.0, abs=1e-3)
            assert session.values["layers/3/opacity"] == 1.0
            assert "layers/4/opacity" not in session.values  # a layer that is not there says nothing
            assert session.values["layers/1/bypassed"] is False
            assert await settled(session, 1, "layers/2/opacity", 0.25) == 0.25
            assert await settled(session, 2, "layers/2/opacity", 0.25) == 0.25  # no echo: nothing changed
            assert await settled(session, 3, "composition/tempo", 140.0) == pytest.approx(140.0, abs=1e-3)
            assert await settled(session, 4, "layers/1/bypassed", True) is True
            assert device.values["/composition/layers/1/bypassed"] == 1
            device.turn("/composition/layers/1/video/opacity", 0.125)
            await session.until(lambda: session.values["layers/1/opacity"] == 0.125, "a turn in Resolume")
            session.channel.apply([Wish(5, "layers/7/opacity", 0.5, revision=5)])
            await session.until(lambda: 5 in session.rejected, "the refusal of a missing layer")
            assert "did not answer" in session.rejected[5]
            session.channel.invoke(Call(1, "connect_clip", {"layer": 2, "clip": 8}))
            await session.until(lambda: 1 in session.results, "the command")
            await until(lambda: device.connected == ["/composition/layers/2/clips/8/connect"])
            session.channel.invoke(Call(2, "launch"))
            await session.until(lambda: 2 in session.failures, "the refusal")
            # It goes, and comes back with what it holds.
            device.stop()
            await session.until(lambda: session.lost_reason, "its absence")
            await device.start()
            await host.until(lambda: len(host.sessions) == 2, "its return")
            again = await first(host)
            assert again.values["layers/2/opacity"] == 0.25


async def test_a_standstill_of_ours_is_no_silence_of_the_device(tmp_path: Path) -> None:
    reply = free_port()
    async with running(Resolume(reply)) as device:
        placed(tmp_path, "resolume", device.port, reply)
        file = tmp_path / "resolume.yaml"
        file.write_text(file.read_text("utf-8").replace("silence: 3.0", "silence: 1.0"), "utf-8")
        async with joined(tmp_path) as host:
            await host.until(lambda: host.sessions, "a hello")
            time.sleep(2.0)  # the whole process, as where a machine sleeps
            session = await first(host)
            assert session.values["layers/3/opacity"] == 1.0
            time.sleep(2.0)
            heard = len(device.heard)
            await until(lambda: session.lost_reason or len(device.heard) > heard + 3)
            assert session.lost_reason is None


async def test_qlab(tmp_path: Path) -> None:
    reply = free_port()
    async with running(QLab(reply)) as device:
        placed(tmp_path, "qlab", device.port, reply)
        async with joined(tmp_path) as host:
            session = await first(host)
            assert device.updates
            await until(lambda: device.thumps >= 2)
            assert session.values["selected/name"] == "Cue 1"
            assert session.values["cues/2/armed"] is True
            assert session.values["cues/1/level"] == 0.0
            assert "cues/3/name" not in session.values  # it answered with an error
            assert await settled(session, 1, "cues/1/name", "Thunder") == "Thunder"
            assert await settled(session, 2, "cues/2/armed", False) is False
            assert await settled(session, 3, "cues/1/level", -6.5) == -6.5
            session.channel.apply([Wish(4, "cues/9/name", "x", revision=4)])
            await session.until(lambda: 4 in session.rejected, "the refusal")
            assert "'error'" in session.rejected[4]
            session.channel.invoke(Call(1, "start_cue", {"number": "2"}))
            await session.until(lambda: session.results.get(1) == "ok", "the answer of the command")
            await session.until(lambda: session.values["cues/2/running"] is True, "the announced change")
            session.channel.invoke(Call(2, "start_cue", {"number": "99"}))
            await session.until(lambda: 2 in session.failures, "the refusal of the command")
            session.channel.invoke(Call(3, "start_cue", {"number": "1/../../panic"}))
            await session.until(lambda: 3 in session.failures, "the refusal of another address")


@pytest.mark.parametrize(
    ("name", "path", "value", "address", "arguments"),
    [
        ("touchosc", "faders/3", 0.5, "/fader3", (0.5,)),
        ("touchosc", "pads/1", (0.25, 0.75), "/xy1", (0.25, 0.75)),
        ("touchosc", "labels/2", "Intro", "/label2", ("Intro",)),
        ("chataigne", "values/7", 1.5, "/lightfast/value/7", (1.5,)),
        ("chataigne", "switches/2", True, "/lightfast/switch/2", (1,)),
    ],
)
async def test_a_surface_is_written_blindly_and_heard(
    tmp_path: Path, name: str, path: str, value: Any, address: str, arguments: tuple[Any, ...]
) -> None:
    reply = free_port()
    async with running(Surface(reply)) as device:
        placed(tmp_path, name, device.port, reply)
        async with joined(tmp_path) as host:
            session = await first(host)
            assert await settled(session, 1, path, value) == value
            await until(lambda: device.shown.get(address) == arguments)
            if not path.startswith("labels"):
                device.say(address, *[1 if isinstance(one, int) else 1.0 for one in arguments])
                full = {bool: True, float: 1.0, tuple: (1.0, 1.0)}[type(value)]
                if full != value:
                    await session.until(lambda: session.values.get(path) == full, "a touch")
            session.channel.resync()
            await session.until(lambda: session.syncs == 2, "a second report")
            assert path in session.values or path.startswith("labels")


SMALL = """kind: lamp
remote: 127.0.0.1:{port}
reply: {reply}
alive: {{assumed: true}}
parameters:
  {path}: {{send: /level, confirm: {confirm}, range: [0, 10], {more}}}
"""


def small(folder: Path, device: Surface | Resolume, path: str = "level", confirm: str = "none", more: str = "") -> None:
    text = SMALL.format(port=device.port, reply=device.reply[1], path=path, confirm=confirm, more=more)
    (folder / "lamp.yaml").write_text(text, encoding="utf-8")


async def test_a_changed_map_is_taken_at_once_and_a_broken_one_is_told(tmp_path: Path) -> None:
    async with running(Surface(free_port())) as device:
        small(tmp_path, device)
        async with joined(tmp_path) as host:
            session = await first(host)
            assert [one.pattern for one in session.hello.parameters] == ["level"]
            small(tmp_path, device, path="brightness")
            await host.until(lambda: len(host.sessions) == 2, "the new version")
            assert session.lost_reason == "its map was changed"
            second = await first(host)
            assert [one.pattern for one in second.hello.parameters] == ["brightness"]
            small(tmp_path, device, path="brightness", more="unti: x")
            await second.until(lambda: second.trouble, "word of the broken version")
            assert "lamp.yaml:6:" in second.trouble
            assert "did you mean 'unit'" in second.trouble
            assert await settled(second, 1, "brightness", 5.0) == 5.0  # the version before goes on
            small(tmp_path, device, path="brightness")
            await second.until(lambda: not second.trouble, "word that it is mended")
            (tmp_path / "lamp.yaml").unlink()
            await second.until(lambda: second.lost_reason, "the end")
            await host.until(lambda: any("no usable map" in reason for reason in host.absences), "what to do")


async def test_a_map_that_was_never_good_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("kind: bad\nremote: 127.0.0.1:1\n", encoding="utf-8")
    async with joined(tmp_path) as host:
        await host.until(lambda: any("bad.yaml:1:1: a map needs" in one for one in host.absences), "the reason")


async def test_echo_settles_and_silence_is_refused(tmp_path: Path) -> None:
    class Echo(Surface):
        def take(self, address: str, arguments: tuple[Any, ...]) -> None:
            if arguments[0] != 3.0:
                self.say(address, min(8.0, arguments[0]))

    async with running(Echo(free_port())) as device:
        small(tmp_path, device, confirm="echo")
        text = (tmp_path / "lamp.yaml").read_text().replace("kind: lamp", "kind: lamp\ntimeout: 2")
        (tmp_path / "lamp.yaml").write_text(text)
        async with joined(tmp_path) as host:
            session = await first(host)
            assert await settled(session, 1, "level", 5.0) == 5.0
            session.channel.apply([Wish(2, "level", 3.0, revision=2)])
            await session.until(lambda: 2 in session.rejected, "the refusal")
            assert "did not echo" in session.rejected[2]


async def test_the_answer_to_an_older_question_does_not_settle_a_newer_wish(tmp_path: Path) -> None:
    """A device on a slow line answers when a newer value is on its way already."""

    class Slow(Surface):
        def __init__(self) -> None:
            super().__init__(free_port())
            self.level, self.kept, self.asked = 0.0, [0.0], 0

        def take(self, address: str, arguments: tuple[Any, ...]) -> None:
            if arguments:
                self.level = arguments[0]
                return
            self.asked += 1
            self.say("/level", self.kept.pop(0))
            self.kept.append(self.level)  # what it says is what it held when it was asked the time before

    async with running(Slow()) as device:
        small(tmp_path, device, confirm="query", more="query: /level/get, feedback: /level")
        async with joined(tmp_path) as host:
            session = await first(host)
            session.channel.apply([Wish(1, "level", 5.0, revision=1)])
            asked = device.asked
            await until(lambda: device.asked > asked)
            session.channel.apply([Wish(2, "level", 7.0, revision=2)])
            await session.until(lambda: 2 in session.settled, "settled")
            assert session.settled[2] == 7.0


async def test_answers_from_elsewhere_do_not_count(tmp_path: Path) -> None:
    """What another host says is dropped; here the other host is another loopback address."""
    async with running(Surface(free_port())) as device:
        small(tmp_path, device)
        async with joined(tmp_path) as host:
            session = await first(host)
            loop = asyncio.get_running_loop()
            stranger, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.2", 0))
            from lightfast.core.osc_build import encode

            stranger.sendto(encode("/level", 9.0), ("127.0.0.1", device.reply[1]))
            device.say("/level", 4.0)
            await session.until(lambda: session.values.get("level") == 4.0, "the device's own word")
            stranger.close()
            assert [change.value for change in session.changes if change.path == "level"] == [4.0]


async def test_values_of_the_wrong_kind_are_not_learned(tmp_path: Path) -> None:
    async with running(Surface(free_port())) as device:
        small(tmp_path, device)
        async with joined(tmp_path) as host:
            session = await first(host)
            for wrong in ("text", None, b"blob", float("nan")):
                device.say("/level", wrong)
            device.say("/level")
            device.say("/other", 1.0)
            device.say("/level", 2.0)
            await session.until(lambda: session.values.get("level") == 2.0, "the right one")
            assert len([change for change in session.changes if change.path == "level"]) == 1
