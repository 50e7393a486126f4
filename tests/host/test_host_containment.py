"""Whatever a plugin does while it is loaded stays in its record, and the others load."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.support.plugins import NotingSink, installed, provider_source, record_of, until

from lightfast.core.errors import AlreadyExists
from lightfast.host import plugins, threads
from lightfast.host.plugins import PluginHost
from lightfast.host.records import PluginState

HOOK = "from lightfast.sdk import MissingDependency, hookimpl\n\n@hookimpl\ndef lightfast_providers(config):\n    "

BAD = {
    "raises at import": ("1 / 0\n", PluginState.FAILED, "ZeroDivisionError: division by zero"),
    "does not parse": ("def (\n", PluginState.FAILED, "SyntaxError"),
    "exits at import": ("import sys\nsys.exit(3)\n", PluginState.FAILED, "it called sys.exit(3)"),
    "raises in a hook": (HOOK + "raise RuntimeError('no luck')\n", PluginState.FAILED, "RuntimeError: no luck"),
    "exits in a hook": (HOOK + "raise SystemExit\n", PluginState.FAILED, "it called sys.exit(None)"),
    "raises BaseException": (HOOK + "raise BaseException('odd')\n", PluginState.FAILED, "BaseException: odd"),
    "returns a number": (
        HOOK + "return 7\n",
        PluginState.FAILED,
        "lightfast_providers returned 7 (int): return a list of Provider",
    ),
    "returns None": (HOOK + "return None\n", PluginState.FAILED, "lightfast_providers returned None (NoneType)"),
    "returns strings": (
        HOOK + "return ['x']\n",
        PluginState.FAILED,
        "a list with 'x' (str) in it: each must be a Provider",
    ),
    "is async": (
        HOOK.replace("def light", "async def light") + "return []\n",
        PluginState.FAILED,
        "lightfast_providers is async: write it with def",
    ),
    "has no hook": ("x = 1\n", PluginState.FAILED, "it implements no hook"),
    "misspells a hook": (
        HOOK.replace("_providers", "_provider") + "return []\n",
        PluginState.FAILED,
        "lightfast_provider, which is no hook: did you mean lightfast_providers?",
    ),
    "asks for an argument": (HOOK.replace("(config)", "(config, store)") + "return []\n", PluginState.FAILED, "store"),
    "misses a module": (
        "import surely_not_there.at_all\n",
        PluginState.UNAVAILABLE,
        "the module surely_not_there is not installed: run pip install surely_not_there",
    ),
    "misses a module that its package is not named like": (
        "raise ModuleNotFoundError('No module named PIL.Image', name='PIL.Image')\n",
        PluginState.UNAVAILABLE,
        "is not installed: run pip install pillow",
    ),
    "says what it misses": (
        HOOK + "raise MissingDependency('espeak-ng', 'apt install espeak-ng')\n",
        PluginState.UNAVAILABLE,
        "espeak-ng is not installed: run apt install espeak-ng",
    ),
    "wants a newer house": (
        "import lightfast.sdk.tomorrow\n",
        PluginState.FAILED,
        "it imports lightfast.sdk.tomorrow, which this installation does not have",
    ),
    "names a model badly": (
        provider_source().replace('Model("text"', 'Model("My Text"'),
        PluginState.FAILED,
        "the name of a model of provider echo is 'My Text'",
    ),
    "makes an odd kind": (
        provider_source().replace('outputs=("text",)', 'outputs=("smell",)'),
        PluginState.FAILED,
        "the model echo/text has the outputs ('smell',)",
    ),
    "forgets the comma": (
        provider_source().replace('outputs=("text",)', 'outputs=("text")'),
        PluginState.FAILED,
        "the model echo/text has the outputs 'text'",
    ),
    "leaves out generate": (
        provider_source().replace("async def generate", "async def produce"),
        PluginState.FAILED,
        "TypeError: Can't instantiate abstract class Echo",
    ),
}


@pytest.mark.parametrize("how", BAD)
async def test_a_bad_plugin_is_contained_and_the_good_one_loads(tmp_path: Path, how: str) -> None:
    source, state, reason = BAD[how]
    sink = NotingSink()
    with installed(tmp_path, lfx_aaa_bad=source, lfx_good=provider_source("good")) as found:
        host = PluginHost({}, sink=sink, found=found)
        await host.start()
        await host.settled()
        bad, good = record_of(host, "aaa_bad"), record_of(host, "good")
        assert (bad.state, bad.brings) == (state, ())
        assert reason in bad.reason
        assert (good.state, good.brings) == (PluginState.READY, ("provider:good",))
        assert list(sink.providers) == ["good"]
        await host.close()
    assert sink.providers == {}


async def test_a_stale_entry_point_says_so(tmp_path: Path) -> None:
    with installed(tmp_path, lfx_gone="") as found:
        (tmp_path / "lfx_gone.py").unlink()
        host = PluginHost({}, found=found)
        await host.start()
        await host.settled()
        record = record_of(host, "gone")
        assert record.state is PluginState.FAILED
        assert "the entry point gone names lfx_gone, which is not there" in record.reason
        await host.close()


async def test_a_plugin_that_never_finishes_loading_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short_for_one(*what: Any, name: str, timeout: float, **how: Any) -> Any:
        # The other one has all the time there is: a machine that stands still is not its fault.
        return threads.in_thread(*what, name=name, timeout=timeout / 300 if name == "aaa" else timeout, **how)

    monkeypatch.setattr(plugins, "in_thread", short_for_one)
    source = "import threading\nthreading.Event().wait(60)\n"
    with installed(tmp_path, lfx_aaa=source, lfx_good=provider_source("good")) as found:
        host = PluginHost({}, found=found, load_timeout=60.0)
        await host.start()
        await host.settled()
        assert record_of(host, "aaa").reason == "it did not finish loading within 0.2 s"
        assert record_of(host, "good").state is PluginState.READY
        await host.close()


async def test_one_that_loaded_while_the_loop_stood_still_is_not_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, told, stood = asyncio.get_running_loop(), threading.Event(), [0.0]
    tell = loop.call_soon_threadsafe

    def telling(*what: Any, **how: Any) -> Any:
        handle = tell(*what, **how)
        told.set()
        return handle

    monkeypatch.setattr(loop, "call_soon_threadsafe", telling)
    monkeypatch.setattr(loop, "time", lambda: time.monotonic() + stood[0])
    loading = asyncio.ensure_future(threads.in_thread(lambda: "loaded", name="x", timeout=60.0))
    await asyncio.sleep(0)
    assert told.wait(60)  # this blocks the loop, and the outcome is on its way
    stood[0] = 100.0
    assert (await loading).value == "loaded"


LATE = """
import time
from dataclasses import dataclass
from pathlib import Path
while not Path({gate!r}).exists():
    time.sleep(0.01)


@dataclass
class Thing:  # which looks for its module
    name: str


"""


@pytest.mark.parametrize("how", ["installed", "drop-in"])
async def test_one_that_loads_after_all_is_taken(tmp_path: Path, how: str) -> None:
    """A machine that was busy, or stood still, costs no plugin for good."""
    gate, folder, sink = tmp_path / "gate", tmp_path / "plugins", NotingSink()
    folder.mkdir()
    source = LATE.format(gate=str(gate)) + provider_source("late")
    sources = {"lfx_late": source} if how == "installed" else {}
    if how == "drop-in":
        (folder / "late.py").write_text(source)
    with installed(tmp_path, **sources) as found:
        host = PluginHost({}, folder, sink=sink, found=found, load_timeout=0.2)
        await host.start()
        await host.settled()
        assert record_of(host, "late").reason == "it did not finish loading within 0.2 s"
        assert sink.providers == {}
        gate.touch()
        await until(lambda: record_of(host, "late").state is PluginState.READY, "the late plugin")
        assert (record_of(host, "late").reason, list(sink.providers)) == ("", ["late"])
        await host.close()
    assert sink.providers == {}


async def test_one_that_fails_late_says_why_and_an_older_one_does_not_replace_a_newer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gates = [tmp_path / f"gate{number}" for number in range(2)]
    waits = [LATE.format(gate=str(gate)) for gate in gates]
    heard: list[object] = []
    came_late = PluginHost._came_late

    def noting(host: PluginHost, candidate: Any, outcome: Any, generation: int) -> None:
        heard.append(generation)
        came_late(host, candidate, outcome, generation)

    monkeypatch.setattr(PluginHost, "_came_late", noting)
    folder, sink = tmp_path / "plugins", NotingSink()
    folder.mkdir()
    (folder / "late.py").write_text(waits[0] + provider_source("older"))
    host = PluginHost({}, folder, sink=sink, found=(), load_timeout=0.2, debounce=3600.0)
    await host.start()
    await host.settled()
    (folder / "late.py").write_text(waits[1] + "1 / 0\n")
    record = await host.reload("late")
    assert record.reason == "it did not finish loading within 0.2 s"
    gates[0].touch()
    await until(lambda: heard == [1], "the older one")
    gates[1].touch()
    await until(lambda: "ZeroDivisionError" in record_of(host, "late").reason, "the word about the newer one")
    assert sink.log == []
    assert not [name for name in sys.modules if name.startswith("lightfast_dropins.late")]
    await host.close()


async def test_start_does_not_wait_for_a_slow_plugin(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    slow = f"import time\nfrom pathlib import Path\nwhile not Path({str(gate)!r}).exists():\n    time.sleep(0.01)\n"
    with installed(tmp_path, lfx_slow=slow + provider_source("slow")) as found:
        host = PluginHost({}, found=found)
        await host.start(budget=0.01)
        assert host.records() == []
        gate.touch()
        await until(host.records, "the slow plugin")
        assert record_of(host, "slow").state is PluginState.READY
        await host.close()


async def test_settings_switch_a_plugin_off_and_reach_it(tmp_path: Path) -> None:
    seen = provider_source("seen").replace(
        "return [Echo()]", "Echo.description = ' '.join(config) + config['key']\n    return [Echo()]"
    )
    with installed(tmp_path, lfx_off=provider_source("off"), lfx_seen=seen) as found:
        host = PluginHost({"off": {"enabled": False}, "seen": {"key": "42", "enabled": True}}, found=found)
        await host.start()
        await host.settled()
        off = record_of(host, "off")
        assert (off.state, off.reason) == (PluginState.DISABLED, "[plugins.off] enabled = false in the configuration")
        assert [provider.description for provider in host.providers()] == ["key42"]
        await host.reconfigure({"seen": {"key": "43"}})
        assert record_of(host, "off").state is PluginState.READY
        assert sorted(provider.description for provider in host.providers()) == ["answers with the prompt", "key43"]
        await host.close()


async def test_two_plugins_cannot_bring_the_same_name(tmp_path: Path) -> None:
    with installed(tmp_path, lfx_one=provider_source("same"), lfx_two=provider_source("same")) as found:
        host = PluginHost({}, found=found)
        await host.start()
        await host.settled()
        two = record_of(host, "two")
        assert record_of(host, "one").state is PluginState.READY
        assert two.state is PluginState.FAILED
        assert "it brings provider:same, which the plugin one already does" in two.reason
        await host.close()


async def test_a_refusal_of_the_sink_is_in_the_record(tmp_path: Path) -> None:
    sink = NotingSink()
    sink.refuse = AlreadyExists("that name is taken")
    with installed(tmp_path, lfx_one=provider_source()) as found:
        host = PluginHost({}, sink=sink, found=found)
        await host.start()
        await host.settled()
        assert record_of(host, "one").state is PluginState.FAILED
        assert record_of(host, "one").reason == "that name is taken"
        await host.close()


def test_the_command_line_loads_without_a_loop(tmp_path: Path) -> None:
    with installed(tmp_path, lfx_one=provider_source()) as found:
        folder = tmp_path / "dropins"
        folder.mkdir()
        (folder / "mine.py").write_text(provider_source("mine"))
        host = PluginHost({}, folder, found=found)
        host.load_all()
        assert [record.name for record in host.records()] == ["mine", "one"]
        assert sorted(provider.name for provider in host.providers()) == ["echo", "mine"]


async def test_a_broken_reload_of_an_installed_plugin_keeps_the_old_one(tmp_path: Path) -> None:
    sink = NotingSink()
    with installed(tmp_path, lfx_one=provider_source(says="first")) as found:
        host = PluginHost({}, sink=sink, found=found)
        await host.start()
        await host.settled()
        first = sink.providers["echo"]
        (tmp_path / "lfx_one.py").write_text("1 / 0  # broken\n")
        record = await host.reload("one")
        assert record.state is PluginState.READY
        assert "the new version is broken, the one before goes on: ZeroDivisionError" in record.reason
        assert sink.providers["echo"] is first
        (tmp_path / "lfx_one.py").write_text(provider_source(says="the second"))
        record = await host.reload("one")
        assert (record.state, record.reason) == (PluginState.READY, "")
        assert sink.providers["echo"] is not first
        await host.close()
