"""A child that falls silent ends the test that reads from it, and says so."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.support.children import watched


def test_a_silent_child_is_ended_and_named() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        with pytest.raises(AssertionError, match="the writer did not say"), watched(process, "the writer", 0.3):
            assert process.stdout.readline()
        with pytest.raises(ZeroDivisionError), watched(process, "the writer"):
            raise ZeroDivisionError
    finally:
        process.kill()
        process.communicate(timeout=60)
