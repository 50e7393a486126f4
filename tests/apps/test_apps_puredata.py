"""The bridge to Pure Data against a stand-in for the abstractions: joining, wishes, silence, and garbage."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.ending import ended
from tests.support.osc_live import until
from tests.support.ports import free_port
from tests.support.puredata import FakePd

from lightfast.sdk import BridgeError, Call, Wish
from lightfast.sdk.osc import encode
from lightfast.sdk.testing import FakeAppSession, FakeBridgeHost, check_bridge
from lightfast_bridges.puredata.bridge import PureDataBridge
from lightfast_bridges.puredata.pack import FILES, PureDataPack
from lightfast_bridges.puredata.parameter import Shape, as_argument, read
from lightfast_bridges.puredata.settings import settings_of

QUICK = {"ping": 0.1, "silence": 5.0, "gone": 15.0, "refresh": 0.5}
IMPATIENT: dict[str, Any] = {"silence": 0.4, "gone": 1.2}


@contextlib.asynccontextmanager
async def running(host: FakeBridgeHost, *patches: FakePd) -> AsyncIterator[None]:
    """Run the bridge on *host* and the patches that send to it."""
    port = int(str(host.config["listen"]).rpartition(":")[2])
    tasks: list[asyncio.Task[None]] = [asyncio.ensure_future(PureDataBridge().run(host))]
    tasks += [asyncio.ensure_future(patch.run(("127.0.0.1", 0), port, lambda _: None)) for patch in patches]
    try:
        yield
    finally:
        for task in tasks:
            if task.done() and not task.cancelled():
                task.result()
            task.cancel()
        for task in tasks:
            await ended(task, "the bridge")
        host.close()


async def joined(host: FakeBridgeHost, number: int = 1) -> FakeAppSession:
    await host.until(lambda: len(host.sessions) >= number, f"patch {number}")
    session = host.sessions[number - 1]
    await session.until(lambda: session.syncs, "in step")
    return session


def new_host(**config: Any) -> FakeBridgeHost:
    return FakeBridgeHost({"listen": f"127.0.0.1:{free_port()}", **QUICK, **config})


async def test_contract() -> None:
    await check_bridge(
        PureDataBridge(),
        config={"listen": "127.0.0.1:0"},
        simulator=FakePd(),
        configure=lambda _, reply_port: {"listen": f"127.0.0.1:{reply_port}", **QUICK},
        reply_port=free_port(),
        wish=("osc/freq", 660.0),
    )


async def test_what_the_patch_says_is_declared() -> None:
    host = new_host(name="synth")
    async with running(host, FakePd()):
        session = await joined(host)
        assert (session.mount, session.hello.document_id, session.hello.generation) == ("/synth", "drone", -1)
        assert session.values == {"osc/freq": 440.0, "label": "hello"}
        freq, label = session.hello.parameters
        assert (freq.pattern, freq.kind, freq.minimum, freq.maximum, freq.unit) == (
            "osc/freq",
            "double",
            20.0,
            2000.0,
            "time.freq",
        )
        assert (label.pattern, label.kind, label.minimum) == ("label", "string", None)
        assert [command.name for command in session.hello.commands] == ["bang", "go"]


async def test_it_is_mounted_by_the_name_in_the_patch() -> None:
    host = new_host()
    async with running(host, FakePd("bass")):
        session = await joined(host)
        assert (session.mount, session.hello.document_id) == ("/bass", "bass")
    host = new_host()
    async with running(host, FakePd("patch")):  # what a patch says whose [lightfast] has no name
        assert (await joined(host)).mount == "/puredata"


async def test_a_lost_message_is_sent_again_and_a_stubborn_patch_has_its_way() -> None:
    host, pd = new_host(), FakePd()
    pd.deaf.add("osc/freq")
    pd.stubborn.add("label")
    async with running(host, pd):
        session = await joined(host)
        session.channel.apply([Wish(1, "osc/freq", 880.5, 1), Wish(2, "label", "bye", 2)])
        await session.until(lambda: {1, 2} <= session.settled.keys(), "both answered")
        assert session.settled == {1: 880.5, 2: "hello"}
        assert sum(address == "/lightfast/set" and args[0] == "osc/freq" for address, args in pd.heard) >= 2


async def test_wishes_that_cannot_be_are_refused_with_a_reason() -> None:
    host = new_host()
    async with running(host, FakePd()):
        session = await joined(host)
        session.channel.apply(
            [
                Wish(1, "nope", 1.0, 1),
                Wish(2, "osc/freq", "loud", 2),
                Wish(3, "osc/freq", 1e300, 3),
                Wish(4, "label", None, 4),
                Wish(5, "label", 3.0, 5),
            ]
        )
        assert len(session.rejected) == 5
        assert "no parameter nope" in session.rejected[1]
        assert "32-bit" in session.rejected[3]
        assert "delete its object" in session.rejected[4]


async def test_bangs_are_commands() -> None:
    host = new_host()
    async with running(host, FakePd()):
        session = await joined(host)
        session.channel.invoke(Call(1, "bang", {"name": "go"}))
        session.channel.invoke(Call(2, "go"))
        session.channel.invoke(Call(3, "bang", {"name": "stop"}))
        await session.until(lambda: {1, 2} <= session.results.keys(), "both bangs")
        assert "its bangs are go" in session.failures[3]


async def test_a_new_object_in_the_patch_is_declared_anew() -> None:
    host, pd = new_host(), FakePd()
    async with running(host, pd):
        await joined(host)
        pd.values["lfo"] = 100.0
        pd.say("value", "lfo", 100.0)
        session = await joined(host, 2)
        assert session.values["lfo"] == 100.0
        assert "lfo" in [parameter.pattern for parameter in session.hello.parameters]
        del pd.values["lfo"]  # Pd does not tell; it is found by the next reading
        session = await joined(host, 3)
        assert "lfo" not in session.values


async def test_silence_degrades_then_ends_and_a_hello_joins_again() -> None:
    host, pd = new_host(**IMPATIENT), FakePd()
    async with running(host, pd):
        session = await joined(host)
        pd.mute = True
        await session.until(lambda: session.trouble, "degraded")
        assert "has not answered" in session.trouble
        pd.mute = False
        await session.until(lambda: not session.trouble, "well again")
        pd.mute = True
        await session.until(lambda: session.lost_reason, "lost")
        assert "silent" in str(session.lost_reason)
        pd.mute = False
        pd.heard.append(("/quiet", ()))
        await joined(host, len(host.sessions) + 1)


async def test_a_standstill_of_ours_is_no_silence_of_the_patch() -> None:
    host, pd = new_host(**IMPATIENT), FakePd()
    async with running(host, pd):
        session = await joined(host)
        time.sleep(2.0)  # the whole process, as where a machine sleeps
        heard = len(pd.heard)
        await until(lambda: session.lost_reason or len(pd.heard) > heard + 5)
        assert (session.lost_reason, session.trouble) == (None, "")


async def test_a_patch_that_was_killed_gives_its_place_to_the_next_of_its_name() -> None:
    host, first, second = new_host(**IMPATIENT), FakePd(), FakePd()
    async with running(host, first):
        session = await joined(host)
        first.mute = True
        port = int(str(host.config["listen"]).rpartition(":")[2])
        task = asyncio.ensure_future(second.run(("127.0.0.1", 0), port, lambda _: None))
        try:
            again = await joined(host, 2)
            assert "started again" in str(session.lost_reason)
            assert again.mount == "/drone"
        finally:
            task.cancel()


async def test_two_patches_of_one_name_are_two_applications() -> None:
    host = new_host()
    async with running(host, FakePd(), FakePd()):
        await joined(host, 2)
        assert sorted(session.mount for session in host.sessions) == ["/drone", "/drone-2"]


async def test_garbage_is_harmless() -> None:
    host, pd = new_host(), FakePd()
    async with running(host, pd):
        session = await joined(host)
        before = dict(session.values)
        address = ("127.0.0.1", int(str(host.config["listen"]).rpartition(":")[2]))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for data in (b"", b"\0" * 7, b"#bundle\0\xff", encode("/lightfast/value", "osc/freq", 1.0), b"x" * 9000):
                stranger.sendto(data, address)
            for arguments in ((), ("x",), (1.0,), ("a", "b"), (99.0, "future"), (1.0, 2.0), (b"\xff", None)):
                stranger.sendto(encode("/lightfast/hello", *arguments), address)
        malformed: tuple[tuple[str, tuple[Any, ...]], ...] = (
            ("value", ()),
            ("value", ("osc/freq",)),
            ("value", ("osc/freq", "loud")),
            ("value", (1.0, 2.0)),
            ("param", ()),
            ("param", ("x", "matrix", 1.0)),
            ("param", (7.0, "float", 1.0)),
            ("listed", ()),
            ("listed", (-1.0,)),
            ("done", (None,)),
        )
        for what, said in malformed:
            pd.say(what, *said)
        session.channel.apply([Wish(1, "osc/freq", 500.0, 1)])
        await session.until(lambda: 1 in session.settled, "the next wish")
        assert session.values == {**before, "osc/freq": 500.0}
        assert any("version 99" in reason for reason in host.absences)
        assert len(host.sessions) == 1


async def test_diagnosis() -> None:
    port = free_port()
    config = {"listen": f"127.0.0.1:{port}"}
    bridge = PureDataBridge()
    assert [finding.level for finding in await bridge.diagnose(config)][-1] == "warning"
    host = FakeBridgeHost({**config, **QUICK})
    async with running(host, FakePd()):
        await joined(host)
        assert [finding.level for finding in await bridge.diagnose(config)][-1] == "ok"
    [*_, finding] = await bridge.diagnose({"listne": 1})
    assert (finding.level, "did you mean 'listen'" in finding.what) == ("error", True)


@pytest.mark.parametrize(
    "config", [{"listen": "here"}, {"ping": 0}, {"ping": True}, {"silence": 0.5}, {"port": 1}, {"gone": 9999}]
)
def test_wrong_settings_are_named(config: dict[str, Any]) -> None:
    with pytest.raises(BridgeError, match="puredata"):
        settings_of(config)


def test_numbers_and_names() -> None:
    assert read(("a", "float", 1.0, 0.0, 0.0, 0.0)) == (Shape("a", "float"), 1.0)
    assert read(("a", "float", 1.0)) == (Shape("a", "float"), 1.0)
    assert read(("/x/y z", "float", 1.0, 0.0, 2.0, "Hz"))[0].path == "x/y%20z"
    assert as_argument(Shape("a", "float"), 3) == 3.0
    for wrong in (float("nan"), float("inf"), True, "x", [1.0]):
        with pytest.raises(ValueError):
            as_argument(Shape("a", "float"), wrong)
    with pytest.raises(ValueError, match=r"longer than"):
        read(("x" * 2000, "float", 1.0))


def test_pack(tmp_path: Path) -> None:
    main, advice = PureDataPack().write(tmp_path)
    assert main == tmp_path / "lightfast" / "lightfast.pd"
    assert "[lightfast NAME]" in advice
    for name in FILES:
        assert (tmp_path / "lightfast" / name).read_text(encoding="utf-8").startswith("#N canvas")
