"""Recordings on a real daemon: the command line, Ctrl-C, a kill, a private daemon for a check."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.daemon import Daemon, daemon
from tests.support.mistakes import clean_environ, run

from lightfast.client import Client
from lightfast.context.entry import Event
from lightfast.engine.journal.reader import Commit, Reader, Samples


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Daemon]:
    with daemon(tmp_path / "home") as found:
        yield found


def said(house: Daemon, *arguments: str | Path, code: int = 0, seconds: float = 120) -> str:
    """Run a command and return what it printed."""
    done = run("--home", house.home, *arguments, seconds=seconds)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def recording(house: Daemon, *arguments: str) -> subprocess.Popen[str]:
    """Start `lightfast record`, and wait until it records."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lightfast", "--home", str(house.home), "record", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=clean_environ(),
    )  # fmt: skip
    with Client(home=house.home) as client:
        deadline = time.monotonic() + 60
        while "recording" not in client.call_json("ShowService.GetShow", {}):
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
    return process


def test_record_list_show_export_delete(house: Daemon, tmp_path: Path) -> None:
    assert "No recordings yet" in said(house, "record", "list")
    process = recording(house, "take", "--patterns", "/a")
    try:
        said(house, "set", "/a", "1")
        said(house, "set", "/a", "2")
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=150)
    finally:
        process.kill()
    assert process.returncode == 0, told
    assert "it was stopped" in told
    assert "2 transactions" in told
    assert "take" in said(house, "record", "list")
    shown = json.loads(said(house, "--json", "record", "show", "take"))
    assert (shown["transactions"], shown["patterns"]) == ("2", ["/a"])
    said(house, "record", "export", "take", "--output", tmp_path / "take.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "take.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["record"] for line in lines if line["record"] != "state"] == ["head", "commit", "commit", "end"]
    assert said(house, "record", "export", "take") == (tmp_path / "take.jsonl").read_text(encoding="utf-8")
    said(house, "record", "take", code=5)
    said(house, "record", "../take", code=2)
    said(house, "record", "delete", "take")
    said(house, "record", "show", "take", code=4)


def test_a_stop_from_elsewhere_and_a_time(house: Daemon) -> None:
    process = recording(house, "take", "--patterns", "/a")
    try:
        assert "it was stopped" in said(house, "record", "--stop")
        told, _ = process.communicate(timeout=150)
        assert process.returncode == 0, told
    finally:
        process.kill()
    assert "its time was up" in said(house, "record", "short", "--for", "0.3")
    assert "end it with: lightfast record --stop" in said(house, "record", "long", "--detach")
    said(house, "record", "--stop")
    said(house, "record", "--stop", code=4)


def test_a_recording_is_readable_after_a_kill(house: Daemon) -> None:
    with Client(home=house.home) as client:
        client.call_json("ContextService.Declare", {"declarations": [
            {"pattern": "/s/*", "entry_class": "ENTRY_CLASS_SIGNAL", "type": "double"}]})  # fmt: skip
        client.call_json("ShowService.StartRecording", {"name": "take"})
        path = house.home / "state" / "recordings" / "take.lfrec"
        number = 0
        size = 0
        while size < 60_000 and number < 20_000:
            number += 1
            client.publish([{f"/s/{i}": float(number) for i in range(20)}])
            client.set("/a", number)
            size = path.stat().st_size
    house.kill()
    with Reader(path) as reader:
        found = list(reader.items())
        assert not reader.whole
    values = [c.value for item in found if isinstance(item, Commit) for c in item.changes if c.path == "/a"]
    assert values == list(range(1, len(values) + 1))
    assert len(values) > 10
    samples = [one.value for item in found if isinstance(item, Samples) for one in item.samples if one.path == "/s/3"]
    assert samples == [float(n) for n in range(1, len(samples) + 1)]
    house.start()
    told = json.loads(said(house, "--json", "record", "show", "take"))
    assert told["incomplete"] is True
    assert "its end is missing" in told["reason"]
    assert "note: the recording is incomplete" in run("--home", house.home, "replay", "take", "--speed", "max").stderr


def test_replay_dry_check_and_its_exit_code(house: Daemon) -> None:
    with Client(home=house.home) as client:
        client.set("/a", 0.0)
        link = client.link("/a", "/b", expression="x * 2")
        client.call_json("ShowService.StartRecording", {"name": "take"})
        client.set("/a", 1.0)
        client.set("/a", 4.0)
        deadline = time.monotonic() + 60
        while client.get("/b").value != 8.0:
            assert time.monotonic() < deadline
        client.call_json("ShowService.StopRecording", {})
        client.set("/a", 5.0)
        told = said(house, "replay", "take", "--dry")
        assert [line.split()[1:] for line in told.splitlines()[:2]] == [
            ["set", "/a", "=", "1"], ["set", "/a", "=", "4"]
        ]  # fmt: skip
        assert "no differences" in said(house, "replay", "take", "--check", "--speed", "max")
        assert client.get("/b").value == 8.0
        assert "no differences" in said(house, "replay", "take", "--check", "--fresh", "--speed", "2")
        client.call_json("LinkService.DeleteLink", {"link_id": link.link_id})
        client.link("/a", "/b", expression="x * 3")
        told = said(house, "replay", "take", "--check", "--speed", "1", code=1)
        assert "state    /b: recorded 8, now 12" in told
        lines = said(house, "--json", "replay", "take", "--speed", "max").splitlines()
        assert json.loads(lines[-1])["result"]["transactions"]
    said(house, "replay", "take", "--speed", "0", code=2)
    said(house, "replay", "take", "--fresh", code=2)
    said(house, "replay", "nothing", code=4)


def test_a_show_file_is_a_regression_test_with_a_simulator(tmp_path: Path) -> None:
    """Recorded with one simulator, checked on a private daemon with another one."""
    from lightfast.app.cli.stage import Stage, free_udp_port, wait_for

    stage = Stage(tmp_path)
    try:
        reply = free_udp_port()
        stage.start("live", "-m", "lightfast", "sim", "ableton", "--listen", "127.0.0.1:0", "--reply-port", str(reply))
        line = wait_for(
            lambda: next((one for one in stage.log("live").read_text().splitlines() if "listening on" in one), None),
            "the simulator", 60,
        )  # fmt: skip
        port = line.rpartition(":")[2]
        stage.daemon(f"plugins.ableton.remote=127.0.0.1:{port}", f"plugins.ableton.reply_port={reply}")
        with Client(home=tmp_path) as client:
            wait_for(
                lambda: any(app.mount == "/ableton" and app.state == 4 for app in client.list_apps()) or None,
                "live",
                60,
            )
            client.set("/knob", 100.0)
            client.link("/knob", "/ableton/song/tempo")
            client.call_json("ShowService.StartRecording", {"name": "take", "patterns": ["/knob", "/ableton//"]})
            client.set("/knob", 90.0)
            client.set("/ableton/tracks/0/volume", 0.25)

            def settled() -> bool | None:
                tempo, volume = client.get("/ableton/song/tempo"), client.get("/ableton/tracks/0/volume")
                return (tempo.value, volume.status, tempo.status) == (90.0, "SETTLED", "SETTLED") or None

            wait_for(settled, "the answers", 60)
            client.call_json("ShowService.StopRecording", {})
        done = run(
            "--home", tmp_path, "replay", "take", "--check", "--fresh", "--sim", "ableton", "--speed", "max", seconds=240
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert "no differences" in done.stdout
    finally:
        stage.close()


def test_events_have_no_hidden_fields() -> None:
    """The form of a recording follows the event: a new field must be decided upon, not forgotten."""
    assert Event.__struct_fields__ == ("type", "entry", "previous", "source")
