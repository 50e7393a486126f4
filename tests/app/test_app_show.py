"""Show mode and panic on a real daemon: the command line, restarts, reloads that wait, and a flood."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.daemon import Daemon, daemon
from tests.support.mistakes import run
from tests.support.waiting import until

from lightfast.client import Client
from lightfast.core.errors import FailedPrecondition

PLUGIN = """
from lightfast.sdk import *
from lightfast.sdk import hookimpl

class Mine(Provider):
    name = "{name}"
    def models(self): return [Model("a", outputs=("text",))]
    async def generate(self, request, bench): yield TextDelta("x")

@hookimpl
def lightfast_providers(config): return [Mine()]
"""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Daemon]:
    with daemon(tmp_path / "home") as found:
        yield found


def said(house: Daemon, *arguments: str, code: int = 0) -> str:
    """Run a command and return what it printed, on both outputs."""
    done = run("--home", house.home, *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_lock_on_the_command_line_survives_a_kill(house: Daemon) -> None:
    assert "unlocked, and nothing is stopped" in said(house, "show")
    told = said(house, "show", "lock", "--reason", "opening night")
    assert told.startswith("LOCKED by local#")
    assert "(opening night). Unlock with: lightfast show unlock" in told
    house.kill()
    house.start()
    assert "opening night" in said(house, "show")
    assert "opening night" in said(house, "status")
    refused = said(house, "link", "/a", "/b", code=1)
    assert "a link edit is refused: the show is locked by local#" in refused
    assert json.loads(said(house, "--json", "show"))["show"]["locked"] is True
    assert "unlocked" in said(house, "show", "unlock")
    said(house, "set", "/a", "1")
    said(house, "link", "/a", "/b")


def test_reloads_wait_for_the_unlock_and_then_happen(tmp_path: Path) -> None:
    home = tmp_path / "home"
    plugins = home / "config" / "plugins"
    plugins.mkdir(parents=True)
    with daemon(home) as house, Client(home=house.home) as client:
        config = home / "config" / "lightfast.toml"
        client.job_types()  # it answers when the plugins are loaded
        client.lock_show("opening night")
        house.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]
        house.wait_log("the settings are not read again yet")
        config.write_text('[log]\nlevel = "debug"\n', encoding="utf-8")
        (plugins / "mine.py").write_text(PLUGIN.format(name="mine"), encoding="utf-8")
        house.wait_log("a changed plugin waits")
        names = [one["name"] for one in client.call_json("AdminService.ListPlugins", {})["plugins"]]
        assert "mine" not in names
        show = client.call_json("ShowService.GetShow", {})["show"]
        assert show["deferred"] == ["the settings (SIGHUP)", "the plugin mine.py"]
        with pytest.raises(FailedPrecondition, match="a reload of a plugin is refused"):
            client.call_json("AdminService.ReloadPlugin", {"name": "studio"})
        assert "settings reloaded" not in house.log()
        assert not client.unlock_show().locked
        house.wait_log("settings reloaded")

        def ready() -> bool:
            listed = client.call_json("AdminService.ListPlugins", {})["plugins"]
            return any(one["name"] == "mine" and one["state"] == "PLUGIN_STATE_READY" for one in listed)

        until(ready, "the load of the plugin")
        assert not client.call_json("ShowService.GetShow", {})["show"].get("deferred")


def test_a_stopped_show_stays_stopped_after_a_kill(house: Daemon) -> None:
    said(house, "set", "/a", "1.0")
    said(house, "link", "/a", "/b")
    with Client(home=house.home) as client:
        until(lambda: client.get("/b").value == 1.0, "the first carry")
    told = said(house, "panic", "smoke")
    assert "!!! PANIC: everything was stopped by local#" in told
    assert "(smoke)" in told
    if "it is being recorded: the disk is slow" not in told:
        assert "recorded as revision" in told
    until(lambda: "panic: smoke" in said(house, "history", "/lightfast/show"), "its record")
    house.kill()
    house.start()
    for command in ("show", "status"):
        assert "!!! PANIC" in said(house, command)
    said(house, "set", "/a", "2.0")
    assert said(house, "get", "/b") == "1\n", "no link carries"
    assert "nothing is stopped" in said(house, "panic", "--release")
    said(house, "set", "/a", "3.0")
    with Client(home=house.home) as client:
        until(lambda: client.get("/b").value == 3.0, "the carry")
    assert "panic: smoke" in said(house, "history", "/lightfast/show")


def test_a_panic_is_answered_in_a_flood_and_no_link_writes_after_it(house: Daemon) -> None:
    with Client(home=house.home) as hand, Client(home=house.home) as client, Client(home=house.home) as eye:
        client.set("/a", 0.0)
        client.link("/a", "/b", two_way=True)
        flooding = threading.Event()
        events: list[tuple[str, str]] = []
        seen = threading.Event()

        def watch() -> None:
            for batch in eye.watch("//", start_revision=eye.info().revision):
                events.extend((event.entry.path, event.entry.origin) for event in batch.events)
                seen.set()

        def flood(path: str, sign: float) -> None:
            with Client(home=house.home) as mine:
                number = 0.0
                while not flooding.is_set():
                    number += 1.0
                    mine.set(path, sign * number)

        threads = [threading.Thread(target=watch, daemon=True)]
        threads += [threading.Thread(target=flood, args=one) for one in (("/a", 1.0), ("/b", -1.0)) * 2]
        for thread in threads:
            thread.start()
        try:
            until(lambda: sum(origin.startswith("link:") for _, origin in events) > 50, "the carrying")
            answer = hand.panic("smoke")
            assert answer.show.panic
            count = len(events)
            until(lambda: len(events) > count + 200, "the flood going on")
        finally:
            flooding.set()
            for thread in threads[1:]:
                thread.join(60)
        done = list(events)
        at = next(index for index, (path, _) in enumerate(done) if path == "/lightfast/show")
        carried = [index for index, (_, origin) in enumerate(done) if origin.startswith("link:")]
        assert carried
        assert max(carried) < at, "no link writes after the panic"
        assert not hand.release_panic().panic
