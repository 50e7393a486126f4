"""A plugin that blocks the event loop is named with its stack, and kept off at the next start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support.plugins import provider_source, record_of

from lightfast.host.plugins import PluginHost
from lightfast.host.records import PluginState

BLOCKING = (
    provider_source().replace(
        'yield Progress(0.5, "half")',
        """yield Progress(0.5, "half")
        deep_sleep()
""",
    )
    + """
import os, time

def deep_sleep():
    end = time.monotonic() + 60  # until it was noticed, however slow the machine is
    while not os.path.exists(os.environ["NOTICED"]) and time.monotonic() < end:
        time.sleep(0.1)
"""
)

DAEMON = """
import asyncio, sys
from pathlib import Path
from lightfast.host.plugins import PluginHost
from lightfast.sdk import GenerationRequest

async def main(folder, state):
    host = PluginHost({}, Path(folder), Path(state), found=(), stall_limit=0.4)
    await host.start()
    await host.settled()
    (provider,) = host.providers()
    steps = [step async for step in provider.generate(GenerationRequest("text", "text", "x", {}, 1), None)]
    while not host.records()[0].reason:  # the thread that noticed it may still be at it
        await asyncio.sleep(0.01)
    print(len(steps), host.records()[0].reason)
    await host.close()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_the_blocker_is_named_and_disabled(tmp_path: Path) -> None:
    folder, state = tmp_path / "plugins", tmp_path / "plugins.json"
    folder.mkdir()
    path = folder / "blocker.py"
    path.write_text(BLOCKING)
    ran = subprocess.run(
        [sys.executable, "-c", DAEMON, str(folder), str(state)],
        capture_output=True,
        text=True,
        timeout=150,
        env=os.environ | {"NOTICED": str(state)},
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert (
        "\n2 it blocked the event loop for more than 0.4 s and is disabled at the next start; once it is" in ran.stdout
    )
    assert "'lightfast plugins reload blocker' lets it load again" in ran.stdout
    kept = json.loads(state.read_text())["disabled"]["blocker"]
    assert kept["reason"] == "it blocked the event loop for more than 0.4 s"
    assert "in deep_sleep" in kept["stack"]
    assert str(path) in kept["stack"]

    host = PluginHost({}, folder, state, found=(), debounce=0.05)
    await host.start()
    await host.settled()
    record = record_of(host, "blocker")
    assert record.state is PluginState.DISABLED
    assert "lightfast plugins reload blocker" in record.reason
    assert "in deep_sleep" in record.reason

    record = await host.reload("blocker")
    assert record.state is PluginState.READY
    assert "blocker" not in json.loads(state.read_text())["disabled"]
    await host.close()


async def test_a_changed_file_gets_another_chance(tmp_path: Path) -> None:
    folder, state = tmp_path / "plugins", tmp_path / "plugins.json"
    folder.mkdir()
    (folder / "mine.py").write_text(provider_source())
    state.write_text(json.dumps({"disabled": {"mine": {"reason": "it blocked", "digest": "of another content"}}}))
    host = PluginHost({}, folder, state, found=())
    host.load_all()
    assert record_of(host, "mine").state is PluginState.READY
    assert json.loads(state.read_text())["disabled"] == {}


async def test_a_state_file_that_cannot_be_read_is_taken_as_empty(tmp_path: Path) -> None:
    folder, state = tmp_path / "plugins", tmp_path / "plugins.json"
    folder.mkdir()
    (folder / "mine.py").write_text(provider_source())
    for content in ("{", "[]", '{"disabled": {"mine": {"odd": 1}}}'):
        state.write_text(content)
        host = PluginHost({}, folder, state, found=())
        host.load_all()
        assert record_of(host, "mine").state is PluginState.READY
