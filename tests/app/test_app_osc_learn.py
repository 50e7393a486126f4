"""`lightfast osc`: maps are listed, taken, checked and learned, all without a daemon."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.support.osc_devices import Surface, running
from tests.support.osc_live import until
from tests.support.ports import free_port

from lightfast.core.osc_build import encode
from lightfast.sdk import Wish
from lightfast.sdk.oscmap import read, read_file
from lightfast.sdk.oscmap.learning import Learner, groups
from lightfast.sdk.testing import FakeBridgeHost
from lightfast_bridges.osc.bridge import OscBridge


def run(home: Path, *words: str, within: float = 60) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "lightfast", "--home", str(home), "osc", *words]
    return subprocess.run(line, capture_output=True, text=True, timeout=within, check=False)


def test_maps_are_listed_taken_and_checked(tmp_path: Path) -> None:
    home = tmp_path / "home"
    listed = run(home, "maps")
    assert listed.returncode == 0, listed.stderr
    for name in ("resolume", "qlab", "chataigne", "touchosc"):
        assert name in listed.stdout
    taken = run(home, "use", "resolume")
    assert taken.returncode == 0, taken.stderr
    path = home / "config" / "osc" / "resolume.yaml"
    assert read_file(path).kind == "resolume"
    again = run(home, "use", "resolume")
    assert again.returncode == 1
    assert "is there already" in again.stderr
    assert run(home, "use", "nonesuch").returncode == 4
    good = run(home, "check", str(path))
    assert (good.returncode, "38 parameters" in good.stdout) == (0, True)
    path.write_text(path.read_text().replace("rate:", "rtae:"))
    bad = run(home, "check", str(path))
    assert bad.returncode == 1
    assert f"{path}:10:1: a map has no field 'rtae': did you mean 'rate'?" in bad.stderr
    assert "broken" in run(home, "maps").stdout


def test_what_is_learned_is_a_map_that_works(tmp_path: Path) -> None:
    port = free_port()
    output = tmp_path / "mixer.yaml"
    stop = threading.Event()
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.bind(("127.0.0.1", 0))
    device = sender.getsockname()[1]

    def send() -> None:
        step = 0
        while not stop.wait(0.01):
            step += 1
            for fader in (1, 2, 3, 5):
                sender.sendto(encode(f"/fader{fader}", (step % 10) / 10), ("127.0.0.1", port))
            sender.sendto(encode("/pad", 0.5, 1.5), ("127.0.0.1", port))
            sender.sendto(encode("/on", step % 2 == 0), ("127.0.0.1", port))
            sender.sendto(encode("/page", "main"), ("127.0.0.1", port))
            sender.sendto(encode("/ping"), ("127.0.0.1", port))
            sender.sendto(b"garbage", ("127.0.0.1", port))

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        done = run(tmp_path / "home", "learn", "--port", str(port), "--for", "1.5", "--output", str(output))
    finally:
        stop.set()
        thread.join(10)
        sender.close()
    assert done.returncode == 0, done.stderr
    text = output.read_text(encoding="utf-8")
    found = read(text)
    assert (found.kind, found.remote, found.reply) == ("mixer", ("127.0.0.1", device), port)
    kinds = {parameter.path: parameter.parameter.kind for parameter in found.parameters}
    assert kinds == {
        "fader1": "double", "fader2": "double", "fader3": "double", "fader5": "double",
        "pad": "vector", "on": "bool", "page": "string",
    }  # fmt: skip
    assert '"fader{n:1..3,5}":' in text
    assert "messages/s" in text
    assert "seen 'main'" in text
    assert "/ping ×" in text
    taken = run(tmp_path / "home", "learn", "--port", str(port), "--output", str(output))
    assert (taken.returncode, "is there already" in taken.stderr) == (1, True)


async def test_a_learned_map_drives_the_device(tmp_path: Path) -> None:
    reply = free_port()
    learner = Learner()
    async with running(Surface(reply)) as device:
        learner.hear(
            ("127.0.0.1", device.port), [("/fader1", "f", (0.0,)), ("/fader2", "f", (1.0,)), ("/n", "i", (3,))]
        )
        (tmp_path / "desk.yaml").write_text(learner.write("desk", reply, 1.0), encoding="utf-8")
        host = FakeBridgeHost({}, str(tmp_path))
        task = asyncio.ensure_future(OscBridge().run(host))
        try:
            await host.until(lambda: host.sessions and host.sessions[0].syncs, "the device", 60.0)
            session = host.sessions[0]
            device.say("/fader2", 0.5)
            await session.until(lambda: session.values.get("fader2") == 0.5, "a move", 60.0)
            session.channel.apply([Wish(1, "fader1", 0.25, revision=1)])
            await session.until(lambda: 1 in session.settled, "a wish", 60.0)
            await until(lambda: device.shown.get("/fader1") == (0.25,))
        finally:
            task.cancel()
            await asyncio.wait({task})
            host.close()


def test_siblings_are_grouped_where_they_are_alike() -> None:
    learner = Learner()
    said = [
        ("/mixer/1/level", "f", (0.5,)), ("/mixer/2/level", "f", (0.1,)), ("/mixer/10/level", "f", (0.9,)),
        ("/mixer/1/name", "s", ("a",)), ("/mixer/2/name", "s", ("b",)),
        ("/x1", "f", (1.0,)), ("/x2", "s", ("other",)),
        ("/layer/1/clip/1", "i", (1,)), ("/layer/1/clip/2", "i", (1,)), ("/layer/2/clip/1", "i", (1,)),
        ("#reply", "sf", ("gain", 0.5)), ("/007", "f", (1.0,)), ("/{odd}", "f", (1.0,)), ("/wild*", "f", (1.0,)),
        ("/midi", "m", ((1, 2, 3, 4),)),
    ]  # fmt: skip
    learner.hear(("127.0.0.1", 1), said)
    paths = {path: address for path, address, _ in groups(learner.seen)}
    assert paths["mixer/{n:1..2,10}/level"] == "/mixer/{n}/level"
    assert paths["mixer/{n:1..2}/name"] == "/mixer/{n}/name"
    assert paths["x1"] == "/x1"
    assert paths["%23reply"] == "#reply"
    text = learner.write("odd", 9000, 1.0)
    found = read(text)
    held = {parameter.path for parameter in found.parameters}
    assert {"mixer/1/level", "mixer/10/level", "layer/1/clip/1", "layer/2/clip/1", "%23reply", "007"} <= held
    for left_out in ("/{odd}", "/wild*", "/midi"):
        assert f"#   {left_out} ," in text


def test_what_is_learned_is_bounded() -> None:
    learner = Learner()
    for number in range(5000):
        learner.hear(("127.0.0.1", number + 1), [(f"/a{'b' * (number % 7)}/{number}x", "f", (1.0,))])
    assert len(learner.seen) == 2000
    assert learner.left_out == 3000
    text = learner.write("many", 9000, 1.0)
    assert len(read(text).parameters) == 2000


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("learn",), 2, "--port"),
        (("learn", "--port", "0"), 2, "--port"),
        (("learn", "--port", "9", "--kind", "A B"), 2, "use small letters"),
        (("check", "nothing.yaml"), 1, "nothing.yaml"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path: Path, words: tuple[str, ...], code: int, told: str) -> None:
    done = run(tmp_path / "home", *words)
    assert done.returncode == code, done.stderr
    assert told in done.stderr


def test_silence_and_a_taken_port_are_told(tmp_path: Path) -> None:
    port = free_port()
    silent = run(tmp_path / "home", "learn", "--port", str(port), "--for", "0.3")
    assert silent.returncode == 4
    assert "nothing came to UDP port" in silent.stderr
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("127.0.0.1", port))
        taken = run(tmp_path / "home", "learn", "--port", str(port), "--for", "0.3")
    assert taken.returncode == 1
    assert "it is held by" in taken.stderr
