"""An SDK is loaded in a thread, and nobody waits for that on the loop."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightfast_providers._common.offloop import is_loaded, loaded

GATE = "offloop_gate_of_a_test"
SLOW = """
import sys

sys.modules["offloop_gate_of_a_test"].wait(60)
whole = True
"""


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Let there be a module `offloop_slow.part` that takes until the gate opens to be imported."""
    package = tmp_path / "offloop_slow"
    package.mkdir()
    (package / "__init__.py").write_text("import offloop_slow.part\n")
    (package / "part.py").write_text(SLOW)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = threading.Event()
    monkeypatch.setitem(sys.modules, GATE, found)  # where the module finds it
    yield found
    found.set()
    for name in ("offloop_slow", "offloop_slow.part"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("names", [("offloop_slow",), ("offloop_slow.part",)])
async def test_one_that_another_is_loading_is_waited_for_off_the_loop(
    names: tuple[str, ...], gate: threading.Event
) -> None:
    first = asyncio.ensure_future(loaded(*names))
    try:
        async with asyncio.timeout(60):
            while "offloop_slow.part" not in sys.modules:
                await asyncio.sleep(0.001)
        second = asyncio.ensure_future(loaded(*names))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not second.done(), "it would be imported on the loop now, and waited for there"
        assert not is_loaded(*names)
    finally:
        gate.set()  # else the end of the test waits for the thread
    async with asyncio.timeout(60):
        await asyncio.gather(first, second)
    assert is_loaded(*names)
    assert sys.modules["offloop_slow.part"].whole is True


async def test_one_that_is_not_there_is_left_alone() -> None:
    await loaded("offloop_no_such_module")
    assert not is_loaded("offloop_no_such_module")
    assert is_loaded("asyncio", "collections.abc")
