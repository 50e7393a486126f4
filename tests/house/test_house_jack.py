"""The servers of JACK that tests start: the machine has room for eight, and none may keep its place after its end."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.jack import Jack, jack_server, left_behind, listed, start_jack, strike_off

pytestmark = pytest.mark.real_app

STARTS = """
import sys
from pathlib import Path
from tests.support.jack import start_jack
jack = start_jack(Path(sys.argv[1]))
jack.process.kill()
jack.process.wait(60)
print(jack.name)
"""


def died(folder: Path, number: signal.Signals) -> Jack:
    jack = start_jack(folder)
    assert listed()[jack.name] == jack.process.pid
    jack.process.send_signal(number)
    jack.process.wait(60)
    return jack


def test_one_that_ends_in_good_order_is_off_the_list(tmp_path: Path) -> None:
    with jack_server(tmp_path) as jack:
        assert jack.name in listed()
    assert jack.name not in listed()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_one_that_died_is_struck_off_at_its_end(tmp_path: Path, number: signal.Signals) -> None:
    jack = died(tmp_path, number)
    assert jack.name in listed()
    jack.stop()
    assert jack.name not in listed()
    jack.stop()


def test_one_that_hangs_is_struck_off_at_its_end(tmp_path: Path) -> None:
    jack = start_jack(tmp_path)
    jack.process.send_signal(signal.SIGSTOP)
    jack.stop()
    assert jack.process.returncode == -signal.SIGKILL
    assert jack.name not in listed()


def test_what_this_process_or_one_that_is_gone_has_left_is_found(tmp_path: Path) -> None:
    mine = died(tmp_path, signal.SIGKILL).name
    done = subprocess.run(
        [sys.executable, "-c", STARTS, str(tmp_path)], capture_output=True, text=True, timeout=150, check=True
    )
    other = done.stdout.strip()
    with jack_server(tmp_path) as jack:
        assert {mine, other} <= set(left_behind())
        assert jack.name not in left_behind()
        for name in (mine, other):
            strike_off(name)
        assert not {mine, other} & set(listed())
        assert jack.name in listed()
