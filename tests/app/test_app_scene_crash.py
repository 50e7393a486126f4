"""kill -9 during a recall and a save: no group or one that can be undone, and no half of a scene."""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path
from typing import Any

from tests.support.daemon import Daemon

from lightfast.client import Client
from lightfast.core.errors import LightfastError, NotFound

KILLS = int(os.environ.get("LIGHTFAST_CRASHES", "3"))
MOVING = [f"/move/{number:03}" for number in range(300)]
FLIPPING = [f"/flip/{number:05}" for number in range(12_000)]
"""More than one transaction holds."""


def put(client: Client, value: float, text: str) -> None:
    client.set_many(dict.fromkeys(MOVING, value))
    for start in range(0, len(FLIPPING), 6000):
        client.set_many(dict.fromkeys(FLIPPING[start : start + 6000], text))


def values(client: Client) -> dict[str, Any]:
    return {entry.path: entry.value for pattern in ("/move//", "/flip//") for entry in client.select(pattern)}


class Work:
    """A recall and a save, each in a thread of its own, until the daemon is gone."""

    def __init__(self, home: Path, morph: float) -> None:
        self.group = ""
        self.moving = threading.Event()
        self._home = home
        self._morph = morph
        self._threads = [threading.Thread(target=self._guarded, args=(work,)) for work in (self._recall, self._save)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _guarded(self, work: Any) -> None:
        try:
            with Client(home=self._home) as client:
                work(client)
        except LightfastError:
            return  # the daemon was killed
        finally:
            if work == self._recall:
                self.moving.set()

    def _recall(self, client: Client) -> None:
        for message in client.recall_scene("back", morph=self._morph, verify=1):
            self.group = message.group_id or self.group
            self.moving.set()

    def _save(self, client: Client) -> None:
        while True:
            client.save_scene("again", "/flip//")


def test_a_kill_leaves_no_group_or_one_that_can_be_undone(tmp_path: Path) -> None:
    chance = random.Random(7)
    daemon = Daemon(tmp_path / "home").start()
    try:
        with Client(home=daemon.home, timeout=60) as client:
            put(client, 0.0, "back")
            client.save_scene("back", "/move//", "/flip//")
            put(client, 100.0, "now")
        for number in range(KILLS):
            with Client(home=daemon.home, timeout=60) as client:
                before = values(client)
            work = Work(daemon.home, 0.5 if number % 2 == 0 else 0.0)
            assert work.moving.wait(60)
            time.sleep(chance.random() * (1.2 if number % 2 == 0 else 0.3))
            daemon.kill()
            work.end()
            daemon.start()
            with Client(home=daemon.home, timeout=60) as client:
                now = values(client)
                try:
                    client.undo(group=work.group)
                except NotFound:
                    assert now == before
                assert values(client) == before
                for scene in client.list_scenes():
                    found, entries = client.get_scene(scene.name)
                    assert found.entries == len(entries) == (12_300 if scene.name == "back" else 12_000)
        assert daemon.stop() == 0
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.kill()
