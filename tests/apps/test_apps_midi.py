"""The MIDI bridge with a device behind mido's interface: values both ways, hands, loss, coming and going."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.ending import ended
from tests.support.midi import FakeBackend, Host, Noted, until

from lightfast.app.stages import APPS_S
from lightfast.sdk import BridgeError, Call, MissingDependency, Parameter
from lightfast_bridges.midi import INSTALL, lightfast_bridges
from lightfast_bridges.midi import inbox as inbox_module
from lightfast_bridges.midi import ports as ports_module
from lightfast_bridges.midi import sender as sender_module
from lightfast_bridges.midi.bridge import MidiBridge, choose
from lightfast_bridges.midi.hands import Hands
from lightfast_bridges.midi.inbox import Inbox
from lightfast_bridges.midi.remote import CLOSE_S, END_S, RemotePorts
from lightfast_bridges.midi.settings import Settings, match, settings_of
from lightfast_bridges.midi.surface import heard, message_of, parameters, raw
from lightfast_bridges.midi.timecode import RATES, quarter_frame


class Rig:
    """A running bridge with one device."""

    def __init__(self, backend: FakeBackend, host: Host) -> None:
        self.backend, self.host = backend, host

    @property
    def session(self) -> Noted:
        return self.host.sessions[-1]

    async def value(self, path: str, value: Any) -> None:
        await until(lambda: self.session.values.get(path) == value, f"{path} {value}: {self.session.values}")

    async def told(self, path: str, value: Any) -> None:
        """Wait until *value* was reported: where it does not last, another one may be there already."""
        wanted = (path, value)
        await until(lambda: wanted in [(one.path, one.value) for one in self.session.changes], f"{wanted} was told")

    async def sent(self, *messages: bytes) -> None:
        await until(lambda: self.backend.bytes[-len(messages) :] == list(messages), f"{messages}: {self.backend.bytes}")


@asynccontextmanager
async def rig(**config: Any) -> AsyncIterator[Rig]:
    backend = FakeBackend()
    host: Any = Host(**{"name": "apc", "input": "apc*", "output": "apc*", "hold": 0.0, **config})
    running = asyncio.ensure_future(MidiBridge({}, backend.ports).run(host))
    try:
        await until(lambda: host.sessions and host.sessions[-1].synced_times, f"joined: {host.away}")
        yield Rig(backend, host)
    finally:
        await ended(running, "the bridge")
    assert not backend.inputs
    assert not backend.outputs


async def test_what_a_device_says_is_at_its_path() -> None:
    async with rig() as r:
        assert r.session.hello.name == "apc"
        r.backend.say([0x90, 60, 100], [0xB2, 7, 64], [0xE0, 0, 64], [0xCF, 5], [0xD0, 33], [0xA0, 60, 9])
        await r.value("ch/1/note/60", 100)
        await r.value("ch/3/cc/7", 64)
        await r.value("ch/1/pitch", 8192)
        await r.value("ch/16/program", 5)
        await r.value("ch/1/pressure", 33)
        await r.value("ch/1/poly/60", 9)
        r.backend.say([0x90, 60, 0])
        await r.value("ch/1/note/60", 0)
        assert all(change.event_time > 0 for change in r.session.changes if change.path.startswith("ch/"))


async def test_what_is_wished_goes_to_the_device() -> None:
    async with rig() as r:
        note = r.host.wish("ch/1/note/60", 100)
        await until(lambda: r.session.settled.get(note) == 100, "settled")
        off = r.host.wish("ch/1/note/60", 0)
        program = r.host.wish("ch/10/program", 7)
        await until(lambda: {off, program} <= set(r.session.settled), "settled")
        assert r.backend.bytes == [b"\x90\x3c\x64", b"\x80\x3c\x40", b"\xc9\x07"]
        r.host.wish("ch/2/cc/7", 127, signal=True)
        r.host.wish("ch/2/pitch", 16383, signal=True)
        await r.sent(b"\xb1\x07\x7f", b"\xe1\x7f\x7f")
        bad = r.host.wish("ch/17/note/60", 1), r.host.wish("ch/1/note/60", 128), r.host.wish("ch/1/note/60", None)
        assert all(r.session.rejected[wish] for wish in bad)
        assert "ch/1 to ch/16" in r.session.rejected[bad[0]]
        assert "0 to 127" in r.session.rejected[bad[1]]


async def test_a_fader_is_not_moved_under_a_hand() -> None:
    async with rig(hold=5.0) as r:  # the wishes come long before that is over, on a busy machine, too
        said = time.monotonic()
        r.backend.say([0xB0, 1, 50])
        await r.value("ch/1/cc/1", 50)
        r.host.wish("ch/1/cc/1", 50, signal=True)  # what an application makes of it comes back
        r.host.wish("ch/1/cc/1", 51, signal=True)
        r.host.wish("ch/1/cc/2", 9, signal=True)  # no hand is on this one
        await until(lambda: b"\xb0\x02\x09" in r.backend.bytes, "the one without a hand")
        await r.sent(b"\xb0\x01\x33")  # the hand is off
        assert r.backend.bytes == [b"\xb0\x02\x09", b"\xb0\x01\x33"]
        assert r.backend.sent[-1][0] - said >= 5.0


@given(
    st.lists(st.tuples(st.sampled_from(["move", "wish", "look"]), st.integers(0, 9), st.floats(0, 0.3)), max_size=40)
)
def test_hands_in_the_end_the_device_has_what_was_wished_last(steps: list[tuple[str, int, float]]) -> None:
    hands, now, device, last_wish = Hands(0.25), 1.0, -1, None
    moved_at = -1.0
    for what, value, pause in steps:
        now += pause
        if what == "move":
            hands.moved("cc", value, now)
            device, last_wish, moved_at = value, None, now
        elif what == "wish":
            last_wish = value
            if hands.wish("cc", value, now):
                assert now - moved_at >= 0.25
                device = value
        else:
            for _, due in hands.due(now):
                assert now - moved_at >= 0.25
                device = int(due)  # type: ignore[arg-type]
    for _, due in hands.due(now + 1):
        device = int(due)  # type: ignore[arg-type]
    assert last_wish is None or device == last_wish
    assert hands.next_due() is None


async def test_pairs_are_one_value() -> None:
    async with rig(pairs=[1]) as r:
        r.backend.say([0xB0, 1, 100], [0xB0, 33, 5])
        await r.value("ch/1/cc14/1", 100 * 128 + 5)
        r.backend.say([0xB0, 33, 6])
        await r.value("ch/1/cc14/1", 100 * 128 + 6)
        r.backend.say([0xB0, 1, 3])  # alone: the lower half is 0
        await r.value("ch/1/cc14/1", 3 * 128)
        assert not r.session.of("ch/1/cc/1")
        r.host.wish("ch/1/cc14/1", 16383, signal=True)
        await r.sent(b"\xb0\x01\x7f", b"\xb0\x21\x7f")


async def test_controllers_conflate_and_notes_do_not() -> None:
    loop, woken = asyncio.get_running_loop(), []
    inbox = Inbox(loop, lambda: woken.append(1))
    for number in range(1000):
        inbox.put(bytes((0xB0, 7, number % 128)), 1.0)
        if number % 100 == 0:
            inbox.put(bytes((0x90, 60, 100)), 1.0)
            inbox.put(bytes((0x90, 60, 0)), 1.0)
    messages = [item.message for item in inbox.take()]
    assert messages.count(bytes((0xB0, 7, 999 % 128))) == 1
    assert len(messages) == 1 + 20
    await until(lambda: woken, "woken")
    assert len(woken) == 1
    assert not inbox.dropped


async def test_a_loss_is_counted_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_module, "MAX_WAITING", 10)
    async with rig() as r:
        for port in r.backend.inputs:  # from this thread: the loop cannot drain meanwhile
            for number in range(25):
                port.callback(_message([0x90, number, 1]))
        await r.value("status/dropped", 15)
        assert "15 of them notes" in r.session.reasons[-1]
        assert len([path for path in r.session.values if "/note/" in path]) == 10


def _message(data: list[int]) -> Any:
    from mido import Message

    return Message.from_bytes(data)


async def test_a_device_that_goes_is_joined_again() -> None:
    async with rig() as r:
        r.backend.say([0x90, 60, 100], [0xB0, 7, 64])
        await r.value("ch/1/cc/7", 64)
        first = r.session
        r.backend.there.clear()
        await until(lambda: first.gone, "gone")
        assert "is gone" in first.gone
        assert first.values["ch/1/note/60"] == 0  # nothing sounds that is away
        await until(lambda: any("plug the device in" in reason for reason in r.host.away), "said")
        r.backend.there.append("APC mini:1")  # on another port number
        await until(lambda: len(r.host.sessions) == 2 and r.session.synced_times, "joined again")
        assert r.session.hello.document_id == first.hello.document_id
        assert r.session.values["ch/1/cc/7"] == 64
        assert r.session.values["ch/1/note/60"] == 0
        assert r.session.values["status/input"] == "APC mini:1"


async def test_a_port_that_fails_ends_the_session_with_the_reason() -> None:
    async with rig() as r:
        r.backend.broken = True
        first, wish = r.session, r.host.wish("ch/1/note/1", 1)
        await until(lambda: first.gone, "gone")
        assert "no such device" in first.gone
        assert "no such device" in first.rejected.get(wish, "no such device")
        r.backend.broken = False
        await until(lambda: len(r.host.sessions) > 1, "joined again")


async def test_what_cannot_be_opened_is_said() -> None:
    backend = FakeBackend()
    host: Any = Host(input="APC*")
    backend.open_input = _refuse  # type: ignore[method-assign]
    running = asyncio.ensure_future(MidiBridge({}, backend.ports).run(host))
    await until(lambda: any("in use by another" in reason for reason in host.away), "said")
    await ended(running, "the bridge")


def _refuse(*_: Any, **__: Any) -> Any:
    raise OSError("in use by another program")


async def test_nothing_configured_says_how_and_lists_the_ports() -> None:
    host: Any = Host()
    running = asyncio.ensure_future(MidiBridge({}, FakeBackend().ports).run(host))
    await until(lambda: host.away, "said")
    await ended(running, "the bridge")
    assert "instances = [" in host.away[0]
    assert "APC mini:0" in host.away[0]
    assert len(host.away) == 1
    assert not host.sessions


async def test_without_a_driver_it_says_so() -> None:
    def none(api: str) -> Any:
        raise BridgeError("this machine has no ALSA sequencer")

    host: Any = Host()
    running = asyncio.ensure_future(MidiBridge({}, none).run(host))
    await until(lambda: host.away, "said")
    await ended(running, "the bridge")
    assert "no ALSA sequencer" in host.away[0]
    assert (await MidiBridge({}, none).diagnose({}))[0].level == "error"


def test_a_machine_without_a_sequencer_starts_no_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ports_module, "SEQUENCER", tmp_path / "seq")
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(BridgeError, match="modprobe snd-seq"):
        RemotePorts("")
    assert ports_module.driver_of("jack") == "jack"


def test_a_driver_that_hangs_on_close_is_ended_before_the_daemon_has_to_be(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All the bridges together have five seconds to stop; a daemon whose bridges overrun them ends with 1."""
    driver = tmp_path / "driver"
    driver.write_text(
        f"""#!{sys.executable}
import json, sys, time
print(json.dumps({{"ready": 0}}), flush=True)
for line in sys.stdin:
    order = json.loads(line)
    if order["do"] == "close":
        time.sleep(60)
    print(json.dumps({{"id": order["id"], "result": order["name"]}}), flush=True)
""",
        encoding="utf-8",
    )
    driver.chmod(0o700)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", str(driver))
        ports = RemotePorts("jack")
    try:
        output, heard = ports.open_output("a", virtual=False), ports.open_input("b", lambda *_: None, virtual=False)
        with pytest.raises(OSError, match=f"hangs: it did not answer within {CLOSE_S:g} s, and was ended"):
            output.close()
        heard.close()  # it is gone with the process
    finally:
        ports.close()
    assert CLOSE_S + END_S + sender_module.END_S < APPS_S


def test_a_driver_that_dies_in_the_middle_of_a_line_is_gone_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    driver = tmp_path / "driver"
    driver.write_text(
        f"""#!{sys.executable}
import sys
print('{{"ready": 0}}', flush=True)
sys.stdin.readline()
sys.stdout.write('{{"id": 1, "res')
""",
        encoding="utf-8",
    )
    driver.chmod(0o700)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", str(driver))
        ports = RemotePorts("jack")
    try:
        with pytest.raises(OSError, match="the process that holds the MIDI ports ended"):
            ports.names()
    finally:
        ports.close()


async def test_commands() -> None:
    async with rig() as r:
        note = r.host.wish("ch/1/note/60", 100)
        await until(lambda: note in r.session.settled, "settled")
        r.host.channels[-1].invoke(Call(1, "send", {"bytes": "90 3D 64 F0 7D 01 F7"}))
        await until(lambda: r.session.results.get(1) == 2, "sent")
        assert r.backend.bytes[-2:] == [b"\x90\x3d\x64", b"\xf0\x7d\x01\xf7"]
        r.host.channels[-1].invoke(Call(2, "all_notes_off", {"channel": 1}))
        await r.value("ch/1/note/60", 0)
        await r.sent(b"\xb0\x7b\x00")
        r.host.channels[-1].invoke(Call(3, "panic"))
        await until(lambda: 3 in r.session.results, "panic")
        assert {message[1] for message in r.backend.bytes[-64:]} == {64, 120, 121, 123}
        wrong: list[tuple[str, dict[str, Any]]] = [
            ("send", {"bytes": "90 3C"}),
            ("send", {"bytes": "zz"}),
            ("send", {}),
            ("panic", {"channel": 17}),
            ("fly", {}),
        ]
        for number, (command, arguments) in enumerate(wrong, 10):
            r.host.channels[-1].invoke(Call(number, command, arguments))
            assert r.session.failed[number]


@given(st.binary(min_size=1, max_size=30))
def test_raw_takes_whole_messages_alone(data: bytes) -> None:
    try:
        messages = raw(data.hex())
    except ValueError:
        return
    assert b"".join(messages) == data
    for message in messages:
        assert bytes(_message(list(message)).bytes()) == message  # mido, too, takes it for one


@given(st.sampled_from(["cc", "note", "poly"]), st.integers(1, 16), st.integers(0, 127), st.integers(0, 127))
def test_paths_and_messages_are_each_others_inverse(name: str, channel: int, number: int, value: int) -> None:
    path = f"ch/{channel}/{name}/{number}"
    (message,) = message_of(path, value, ())
    assert heard(message) == (path, value)
    pitch = value * 128 + number
    assert heard(message_of(f"ch/{channel}/pitch", pitch, ())[0]) == (f"ch/{channel}/pitch", pitch)


async def test_the_transport_of_a_device_is_followed() -> None:
    async with rig() as r:
        # At once, each with its time: where half a second passes between two ticks, the clock counts as lost.
        began = time.monotonic()
        ticks = [(bytes((0xF8,)), began + number * 0.005) for number in range(30)]
        r.backend.hear((b"\xf2\x10\x00", began), (b"\xfb", began), *ticks, (b"\xfc", began + 0.15))
        await r.told("clock/playing", True)
        await r.told("transport/playing", True)
        await r.value("transport/playing", False)
        assert r.session.values["clock/tempo"] == pytest.approx(500.0, abs=0.1)
        assert r.session.values["clock/position"] == 4 + 29 / 24
        began = time.monotonic()
        pieces = [quarter_frame(RATES["29.97df"], 17_982 + 2 * (count // 8), count % 8) for count in range(32)]
        r.backend.hear(*((piece, began + count * 0.005) for count, piece in enumerate(pieces)))
        await r.told("timecode/playing", True)
        await r.value("timecode/rate", "29.97df")
        assert r.session.values["transport/position"] == pytest.approx(600.1, abs=0.3)
        await r.value("timecode/playing", False)  # silence
        await r.value("transport/playing", False)


async def test_the_transport_that_leads_is_sent() -> None:
    async with rig(timecode="30") as r:
        tempo = r.host.wish("transport/tempo", 240.0)
        r.host.wish("transport/position", 10.0, signal=True)
        play = r.host.wish("transport/playing", True)
        assert {tempo, play} <= set(r.session.settled)
        await until(lambda: r.session.values.get("clock/position", 0) > 41, "it moves")  # type: ignore[operator]
        for kind in (0xF8, 0xF1):
            await until(lambda kind=kind: sum(m[0] == kind for _, m in list(r.backend.sent)) >= 20, "they go out")  # type: ignore[misc]
        sent = [message for _, message in list(r.backend.sent)]
        assert bytes((0xF0, 0x7F, 0x7F, 1, 1, 0x60, 0, 10, 0, 0xF7)) in sent
        assert bytes((0xF2, 160 & 127, 160 >> 7)) in sent  # beat 40
        skipped = r.host.channels[-1]._sender.skipped  # type: ignore[attr-defined]  # a machine that sleeps goes on anew
        assert 1 <= sum(message[0] == 0xFB for message in sent) <= 1 + skipped
        assert r.session.values["clock/playing"] is True
        r.backend.say([0xF8])  # two clocks at once
        await until(lambda: any("while it is led" in reason for reason in r.session.reasons), "said")
        r.host.wish("transport/playing", False)
        await until(lambda: any(message[0] == 0xFC for _, message in list(r.backend.sent)), "stopped")
        assert r.session.values["transport/playing"] is False
        bad = r.host.wish("transport/tempo", 5.0)
        assert "20 to 999" in r.session.rejected[bad]


async def test_without_an_output_wishes_are_refused() -> None:
    async with rig(output="") as r:
        wish = r.host.wish("ch/1/note/60", 1)
        assert "plugins.midi.output" in r.session.rejected[wish]
        r.host.channels[-1].invoke(Call(1, "panic"))
        assert "plugins.midi.output" in r.session.failed[1]


async def test_leaving_leaves_nothing_sounding() -> None:
    async with rig() as r:
        for path in ("ch/1/note/60", "transport/playing"):
            wish = r.host.wish(path, 90 if "note" in path else True)
            await until(lambda wish=wish: wish in r.session.settled, "settled")  # type: ignore[misc]
    sent = [message for _, message in r.backend.sent]
    assert b"\x80\x3c\x40" in sent
    assert r.session.gone
    assert r.session.values["transport/playing"] is False


async def test_diagnose_says_what_matches() -> None:
    bridge = MidiBridge({}, FakeBackend().ports)
    levels = [(one.level, one.subject) for one in await bridge.diagnose({"input": "apc*", "output": "nano*"})]
    assert levels == [("ok", "MIDI"), ("ok", "MIDI input"), ("error", "MIDI output")]
    assert [one.level for one in await bridge.diagnose({})] == ["ok", "note"]
    assert (await bridge.diagnose({"inputt": "x"}))[0].level == "error"


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"inputt": "x"}, "did you mean 'input'"),
        ({"pairs": [40]}, "0 to 31"),
        ({"hold": -1}, "0 to 10"),
        ({"timecode": "29"}, "29.97df"),
        ({"api": "oss"}, "jack"),
        ({"virtual": "yes"}, "true or false"),
        ({"input": 3}, "write a text"),
    ],
)
def test_a_wrong_setting_is_named(config: dict[str, Any], says: str) -> None:
    with pytest.raises(BridgeError, match=says):
        settings_of(config)


def test_ports_are_found_by_pattern() -> None:
    names = ["Midi Through:0", "APC40:APC40 MIDI 1 24:0"]
    assert match("apc*", names) == names[1]
    assert match("Midi Through:0", names) == names[0]
    assert match("x*", names) is None
    assert choose(Settings(input="apc*"), (names, [])) == (names[1], "")
    assert "Midi Through" in str(choose(Settings(input="x*"), (names, [])))


def test_without_the_driver_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency) as missing:
        lightfast_bridges({})
    assert missing.value.install == INSTALL


def test_the_paths_are_declared() -> None:
    declared: dict[str, Parameter] = {one.pattern: one for one in parameters()}
    assert declared["ch/*/cc/*"].signal
    assert declared["ch/*/cc/*"].unit == "midi.7bit"
    assert declared["ch/*/pitch"].unit == "midi.14bit"
    assert not declared["ch/*/note/*"].signal
    timeline = MidiBridge.timeline
    assert timeline is not None
    assert {timeline.playing, timeline.position, timeline.tempo} <= set(declared)
