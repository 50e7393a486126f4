"""One daemon per store."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lightfast.app.lock import AlreadyRunning, Lock
from lightfast.core.clock import StillClock

HOLD = "import sys; from pathlib import Path; from lightfast.app.lock import Lock\nwith Lock(Path(sys.argv[1])):\n print('held', flush=True); sys.stdin.read()"


def test_the_note_says_who_and_since_when(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with Lock(path, clock=StillClock(1_800_000_000_000_000_000)):
        assert json.loads(path.read_text()) == {"pid": os.getpid(), "since": "2027-01-15T08:00:00+00:00"}
        assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == ""


def test_a_second_holder_is_told_about_the_first(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(AlreadyRunning) as caught, Lock(path):
            pass
        assert caught.value.reason == "ALREADY_RUNNING"
        assert re.fullmatch(
            rf"a daemon is running already on {re.escape(str(tmp_path))} \(process {holder.pid}, since \S+\): "
            "stop it first, or give this one a folder of its own with --home DIR",
            caught.value.message,
        )
        holder.stdin.close()
        assert holder.wait(60) == 0
    with Lock(path):
        pass


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.send_signal(signal.SIGKILL)
        assert holder.wait(60) == -signal.SIGKILL
    with Lock(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_note_that_is_damaged_does_not_hide_the_error(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with Lock(path):
        path.write_text("{")
        with pytest.raises(AlreadyRunning, match=re.escape(f"on {tmp_path}: stop it first")), Lock(path):
            pass
