"""Two daemons: one serves its tree by OSCQuery, the other bridges it. A change crosses both ways where it may."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.daemon import Daemon
from tests.support.netns import network

from lightfast.client import Client
from lightfast.core.errors import LightfastError

PATIENCE = 60.0


@contextmanager
def a_daemon(home: Path, settings: str) -> Iterator[Daemon]:
    """Run a daemon with *settings*."""
    (home / "config").mkdir(parents=True)
    (home / "config" / "lightfast.toml").write_text(settings, encoding="utf-8")
    with Daemon(home) as running:
        yield running


def until(found: Callable[[], Any], wanted: Any, shown: Callable[[], Any] = lambda: "") -> None:
    """Wait until *found* returns *wanted*."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            held = found()
        except LightfastError as error:
            held = error
        if held == wanted:
            return
        assert time.monotonic() < deadline, (held, wanted, shown())
        time.sleep(0.02)


def serving(grants: str, write: str, mdns: str = "false") -> str:
    return f'[oscquery]\nlisten = "127.0.0.1:0"\ngrants = {grants}\nwrite = {write}\nname = "stage"\nmdns = {mdns}\n'


@pytest.mark.limit(180)
def test_a_change_crosses_both_ways_where_it_may(tmp_path: Path) -> None:
    with ExitStack() as stack:
        one = stack.enter_context(a_daemon(tmp_path / "one", serving('["/show//"]', '["/show/rw/*"]')))
        here = stack.enter_context(Client(home=str(one.home)))
        here.set("/show/rw/level", 0.5)
        here.set("/show/ro/name", "first")
        here.set("/secret", "hidden")
        address = one.endpoints["oscquery"]
        bridged = f'[plugins.oscquery]\nservers = ["http://{address}"]\n'
        two = stack.enter_context(a_daemon(tmp_path / "two", bridged))
        there = stack.enter_context(Client(home=str(two.home)))
        until(lambda: there.get("/stage/show/rw/level").value, 0.5, two.log)
        until(lambda: there.get("/stage/show/ro/name").value, "first")
        with pytest.raises(LightfastError):
            there.get("/stage/secret")
        # From here to there.
        here.set("/show/rw/level", 0.25)
        until(lambda: there.get("/stage/show/rw/level").value, 0.25)
        # From there to here.
        there.set("/stage/show/rw/level", 0.75)
        until(lambda: here.get("/show/rw/level").value, 0.75)
        until(lambda: there.get("/stage/show/rw/level").status, "SETTLED")
        assert here.get("/show/rw/level").origin == "osc:127.0.0.1"
        # What is not granted is not written, and that is said before it is tried.
        with pytest.raises(LightfastError, match="read"):
            there.set("/stage/show/ro/name", "second")
        # What is new is found.
        here.set("/show/rw/new", 7)
        until(lambda: there.get("/stage/show/rw/new").value, 7, two.log)
        there.set("/stage/show/rw/new", 8)
        until(lambda: here.get("/show/rw/new").value, 8)
        here.delete("/show/rw/new")

        def gone() -> bool:
            try:
                there.get("/stage/show/rw/new")
            except LightfastError:
                return True
            return False

        until(gone, True, two.log)


def test_a_daemon_does_not_mirror_itself(tmp_path: Path) -> None:
    home = tmp_path / "home"
    settings = serving('["//"]', "[]")
    with a_daemon(home, settings) as running:
        bridged = f'[plugins.oscquery]\nservers = ["http://{running.endpoints["oscquery"]}"]\n'
        (home / "config" / "lightfast.toml").write_text(settings + bridged, encoding="utf-8")
        os.kill(running.pid, signal.SIGHUP)
        assert "mirror itself" in running.wait_log("mirror itself")


def test_off_loopback_it_needs_a_list_of_who_is_answered(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "home", flags=['oscquery.listen="0.0.0.0:0"'])
    done = daemon.run_to_end()
    assert done.returncode != 0
    assert "oscquery.allow" in done.stderr + done.stdout


def test_it_is_off_by_default(tmp_path: Path) -> None:
    with Daemon(tmp_path / "home") as running:
        assert running.endpoints["oscquery"] == ""


def test_a_server_that_advertises_itself_is_found(tmp_path: Path) -> None:
    """Multicast stays in a network of its own."""
    with network() as net, net.inside():
        one = stack_daemon(tmp_path / "one", serving('["/show//"]', "[]", "true"))
        with one, Client(home=str(one.home)) as here:
            here.set("/show/level", 0.5)
            settings = "[plugins.oscquery]\ndiscover = true\n"
            with a_daemon(tmp_path / "two", settings) as two, Client(home=str(two.home)) as there:
                until(lambda: there.get("/stage/show/level").value, 0.5, lambda: one.log() + two.log())
            with urllib.request.urlopen(f"http://{one.endpoints['oscquery']}/?HOST_INFO", timeout=60) as answer:
                assert json.load(answer)["NAME"] == "stage"


def stack_daemon(home: Path, settings: str) -> Daemon:
    (home / "config").mkdir(parents=True)
    (home / "config" / "lightfast.toml").write_text(settings, encoding="utf-8")
    return Daemon(home)
