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
from tests.support.waiting import heard, until

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
ERRAND = """\
• plan 'set the tempo of Live to 132, add a red cube called Star<…>' (by the grammar, no model, no network) … <…> ms
    s1 = context.set /ableton/song/tempo 132.0
    before: Live 128 bpm, Blender 128 bpm, /blender/objects/Star is not there
• run exactly this plan … <…> ms
    after: Live 132 bpm, Blender 132 bpm, /blender/objects/Star is there<…>
• roll the run back … <…> ms
    rolled back: Live 128 bpm, Blender 128 bpm, /blender/objects/Star is not there
• 'delete Spare' waits: s1: delete_object of /blender (Delete an object) cannot be taken back
    whoever asked cannot approve it: local <…>
• approve exactly this program with the owner's token … <…> ms
    asked for by local, approved by client:owner; it is gone from the scene
• say 'set the tempo of Live to 120': answered after <…> ms: tr:task-<…>
    both are at 120 bpm <…> ms after it was said
• run the workflow loop-at-tempo, one of the examples … <…> ms
    one bar at <…> bpm lies at /show/loop; it ran as run-<…>
• queue a job, which a restart would go on with: palette-to-lights … <…> ms
    two lights have #0fa3b1 and #f7a072, dimmed step by step to 0.5
"""
RENDERED = "    after: <…>; rendered: image/png"
NO_RENDERER = "  left out here: rendering what a sentence asks for: the simulator has no renderer"
FINALE = """\
• scene 'demo' saved: 2 values of /ableton, /blender
• recall it, 1 s on the way … <…> ms
    the applications report 2 of 2 values, 0 differ
    at -<…>s it was 90 bpm; now it is 120
• remember: first 'the cube is lit warm', then 'the cube is lit cold'
    recalled as of then: 'the cube is lit warm'; as of now: 'the cube is lit cold'; nothing was overwritten
• append 200 frames to the archive, durable, and search them … <…> ms
    20 newest of 200 found; the private one was found while open, and is neither found nor read
• purge a secret that <…> files hold: values, history, labels, memories, frames … <…> ms
    <…>1 of frames, <…> of history, 1 of memories; no byte of it is left below <…>
• back up while it runs, restore into another home … <…> ms
• start a second daemon on it, and compare … <…> ms
    <…> values as of revision <…> and the memories are the same, under a new store id
• view: Blender's (1, 2, 3), Z up, is in TouchDesigner, Y up: tx = 1, ty = 3, tz = -2
"""
PD = "    the patch has /drone/osc/freq at 220 Hz"
NO_PD = "  left out here: a patch of Pure Data (Debian: apt install puredata-core)"
UNDO = "    revision <…> took back <…>; both are at 93 bpm"
WATCHED = "• somebody watched all this over gRPC: <…> events<…>, revisions <…> to <…>: none missing, none twice"


PLAY_S = 700.0
"""Seconds that one demo may take; it makes a film, on a machine that may have other work."""


def left_behind(folder: Path) -> list[str]:
    """Return the processes that have to do with *folder*."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        words = [*(process.info["cmdline"] or []), (process.info["environ"] or {}).get("LIGHTFAST_HOME", "")]
        if any(str(folder) in word for word in words) and process.pid != os.getpid():
            found.append(f"{process.pid} {words}")
    return found


def nothing_left(folder: Path) -> None:
    """See that nothing runs on; what a daemon has started ends after it, by itself."""
    until(lambda: not left_behind(folder), "the end of all processes")


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "lightfast", "demo", "--folder", str(folder), *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=clean_environ(), cwd=folder.parent,
    )  # fmt: skip


def played(folder: Path, *arguments: str) -> str:
    process = start(folder, *arguments)
    try:
        told, _ = process.communicate(timeout=PLAY_S)
    except subprocess.TimeoutExpired:
        process.kill()
        told, _ = process.communicate(timeout=60)
        raise AssertionError(f"the demo did not end within {PLAY_S:g} s:\n{told}") from None
    finally:
        process.kill()
    assert process.returncode == 0, told
    nothing_left(folder)
    lines = told.splitlines()
    acts = [*LINES.splitlines(), UNDO, *ENCORE.splitlines(), *ERRAND.splitlines(), *FINALE.splitlines()]
    render = NO_RENDERER if "/blender: simulator" in told else RENDERED
    for wanted in [*acts, render, PD if shutil.which("pd") else NO_PD, WATCHED]:
        assert any(matches(line, wanted) for line in lines), f"{wanted}\nis not in\n{told}"
    assert f"Everything lies in {folder}" in told
    return told


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "demo"
    for line in left_behind(tmp_path / "demo"):
        os.kill(int(line.split()[0]), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.limit(430)
def test_with_simulators_twice_in_one_folder(folder: Path) -> None:
    told = played(folder, "--simulate")
    assert "/blender: simulator" in told
    assert "/ableton: simulator" in told
    played(folder, "--simulate")


@pytest.mark.slow
@pytest.mark.real_app
@pytest.mark.limit(430)
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
    try:
        heard(process, process.stdout, "are in step", 120)
        assert left_behind(folder)
        process.send_signal(number)
        process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    nothing_left(folder)


@pytest.mark.slow
def test_staying_up_says_how_to_talk_to_it(folder: Path) -> None:
    process = start(folder, "--simulate", "--stay")
    try:
        told = heard(process, process.stdout, "Turn the knob", 240)
        assert f"  export LIGHTFAST_HOME={folder}\n" in told
        environ = clean_environ() | {"LIGHTFAST_HOME": str(folder)}
        done = subprocess.run(
            [sys.executable, "-m", "lightfast", "set", "/ableton/song/tempo", "140"],
            capture_output=True, text=True, timeout=120, env=environ, check=False,
        )  # fmt: skip
        assert matches(done.stdout, "revision <…>, waiting for the application\n"), done.stderr
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0
    nothing_left(folder)


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
    nothing_left(folder)
