"""The units: systemd accepts them without a word, and finds little to attack."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lightfast.app import ending
from lightfast.app.settings import Settings
from lightfast.core.config import render_default

UNITS = Path(__file__).parents[2] / "systemd"
analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing: apt-get install systemd"
)


def prepared(name: str, folder: Path) -> Path:
    """Copy a unit with an ExecStart that exists."""
    program = Path(sys.executable).parent / "lightfastd"
    if not program.exists():
        program = Path(sys.executable)
    text = (UNITS / name).read_text(encoding="utf-8")
    unit = folder / name
    unit.write_text(re.sub(r"(?m)^ExecStart=.*$", f"ExecStart={program}", text), encoding="utf-8")
    return unit


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"XDG_RUNTIME_DIR": str(folder), "SYSTEMD_LOG_LEVEL": "warning"}
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=150, env=environ, check=False
    )


@analyze
@pytest.mark.parametrize(("name", "scope"), [("lightfast.service", "--system"), ("lightfast-user.service", "--user")])
def test_the_units_verify_in_silence(tmp_path: Path, name: str, scope: str) -> None:
    found = run(scope, "verify", str(prepared(name, tmp_path)), folder=tmp_path)
    assert (found.returncode, found.stderr) == (0, "")


@analyze
def test_verify_would_complain(tmp_path: Path) -> None:
    unit = tmp_path / "bad.service"
    unit.write_text("[Service]\nExecStart=/nonexistent\nTypo=1\n", encoding="utf-8")
    assert run("--system", "verify", str(unit), folder=tmp_path).stderr


@analyze
def test_the_system_unit_is_hardened(tmp_path: Path) -> None:
    unit = prepared("lightfast.service", tmp_path)
    found = run("security", "--offline=true", "--threshold=15", "--no-pager", str(unit), folder=tmp_path)
    assert found.returncode == 0, found.stdout + found.stderr
    score = re.search(r"Overall exposure level for lightfast\.service: ([0-9.]+)", found.stdout)
    assert score is not None
    assert float(score[1]) <= 1.5


def test_systemd_waits_longer_than_the_stop_may_take() -> None:
    budget = ending.STOP_S + ending.TELLING_S
    for name in ("lightfast.service", "lightfast-user.service"):
        (found,) = re.findall(r"(?m)^TimeoutStopSec=(\d+)$", (UNITS / name).read_text(encoding="utf-8"))
        assert int(found) > budget


def test_the_settings_file_is_the_one_that_the_settings_give() -> None:
    assert (UNITS / "lightfast.toml").read_text(encoding="utf-8") == render_default(Settings), (
        "write it anew: lightfastd --print-config > systemd/lightfast.toml"
    )


def test_the_daemons_processes_are_its_own_to_end_and_what_heavy_work_ends_is_not_the_daemon() -> None:
    for name in ("lightfast.service", "lightfast-user.service"):
        lines = (UNITS / name).read_text(encoding="utf-8").splitlines()
        assert "KillMode=mixed" in lines  # else a stop ends each generation as if its process had crashed
        assert "OOMPolicy=continue" in lines
