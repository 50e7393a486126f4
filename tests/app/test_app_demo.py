"""The demo, as a newcomer starts it: it shows the main job and leaves nothing running."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.support.mistakes import clean_environ, matches

from lightfast.app.cli import show
from lightfast.app.cli.stage import Stage, free_udp_port

LINES = """\
    set through Lightfast: Blender has 97 bpm <…> ms later
    turned in Live itself (its tick is 100 ms): Blender has 128 bpm <…> ms later
    set in Blender: Live has 111.5 bpm <…> ms later
"""
ENCORE = """\
• TouchDesigner joins (a simulator: its real component on a stand-in for TouchDesigner) … <…> ms
• the link grows: /ableton/song/tempo <-> /blender/scene/lightfast/bpm <-> /touchdesigner/time/tempo (<…>)
    set in TouchDesigner: Live and Blender have 126.5 bpm <…> ms later
    <…> s at 126.5 bpm, led by /ableton
    Blender is at frame <…>
• the show is locked; a new link: a link edit is refused: the show is locked by <…>
    held: apps, links, <…>
    90 bpm is wished and durable, and waits; Blender stays at 126.5 bpm
    all three turn together again
    <…> of them were inputs; played again, there is no difference
• OSCQuery: http://127.0.0.1:<…>/blender/scene/lightfast holds bpm = 128.0
"""
PD = "    the patch has /drone/osc/freq at 220 Hz"
NO_PD = "  left out here: a patch of Pure Data (Debian: apt install puredata-core)"
UNDO = "    revision <…> took back <…>; both are at 93 bpm"
WATCHED = "• somebody watched all this over gRPC: <…> events<…>, revisions <…> to <…>: none missing, none twice"


def left_behind(folder: Path) -> list[str]:
    """Return the processes that have to do with *folder*."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        words = [*(process.info["cmdline"] or []), (process.info["environ"] or {}).get("LIGHTFAST_HOME", "")]
        if any(str(folder) in word for word in words) and process.pid != os.getpid():
            found.append(f"{process.pid} {words}")
    return found


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "lightfast", "demo", "--folder", str(folder), *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=clean_environ(), cwd=folder.parent,
    )  # fmt: skip


def played(folder: Path, *arguments: str) -> str:
    process = start(folder, *arguments)
    try:
        told, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0, told
    assert left_behind(folder) == []
    lines = told.splitlines()
    for wanted in [*LINES.splitlines(), UNDO, *ENCORE.splitlines(), PD if shutil.which("pd") else NO_PD, WATCHED]:
        assert any(matches(line, wanted) for line in lines), f"{wanted}\nis not in\n{told}"
    assert f"Everything lies in {folder}" in told
    return told


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "demo"
    for line in left_behind(tmp_path / "demo"):
        os.kill(int(line.split()[0]), signal.SIGKILL)


@pytest.mark.slow
def test_with_simulators_twice_in_one_folder(folder: Path) -> None:
    told = played(folder, "--simulate")
    assert "/blender: simulator" in told
    assert "/ableton: simulator" in told
    played(folder, "--simulate")


@pytest.mark.slow
@pytest.mark.real_app
def test_with_the_real_blender(folder: Path) -> None:
    if shutil.which("blender") is None:
        pytest.skip("Blender is missing: apt-get install blender")
    told = played(folder)
    assert "/blender: real" in told
    log = re.search(r"Blender's log: (\S+)", told)
    assert log
    assert Path(log[1]).stat().st_size
    assert (folder / "demo.blend").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_cleans_up_when_it_is_ended(folder: Path, number: int) -> None:
    process = start(folder, "--simulate")
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if "are in step" in line:
                break
        assert left_behind(folder)
        process.send_signal(number)
        process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert left_behind(folder) == []


@pytest.mark.slow
def test_staying_up_says_how_to_talk_to_it(folder: Path) -> None:
    process = start(folder, "--simulate", "--stay")
    assert process.stdout is not None
    try:
        told = ""
        for line in process.stdout:
            told += line
            if "Turn the knob" in line:
                break
        assert f"  export LIGHTFAST_HOME={folder}\n" in told
        environ = clean_environ() | {"LIGHTFAST_HOME": str(folder)}
        done = subprocess.run(
            [sys.executable, "-m", "lightfast", "set", "/ableton/song/tempo", "140"],
            capture_output=True, text=True, timeout=30, env=environ, check=False,
        )  # fmt: skip
        assert matches(done.stdout, "revision <…>, waiting for the application\n"), done.stderr
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0
    assert left_behind(folder) == []


@pytest.mark.slow
def test_a_port_that_is_taken_meanwhile_is_not_the_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.mkdir()
    stage = Stage(folder)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as thief:
        thief.bind(("127.0.0.1", 0))
        ports = iter([thief.getsockname()[1], free_udp_port(), free_udp_port(), free_udp_port()])
        monkeypatch.setattr(show, "free_udp_port", lambda: next(ports))
        try:
            show.Show(stage, simulate=True).open_house()
        finally:
            stage.close()
    told = capsys.readouterr().out
    assert "is taken" in told
    assert "once more with other ports" in told
    assert left_behind(folder) == []
