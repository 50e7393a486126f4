"""A whole daemon whose history moves to its archive: the same reads, the tier on request; and recordings that pack."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path

from tests.support.daemon import Daemon, daemon
from tests.support.mistakes import run

from lightfast.client import Client, mutations


def said(house: Daemon, *arguments: str | Path) -> str:
    """Run a command and return what it printed."""
    done = run("--home", house.home, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def metrics(house: Daemon) -> str:
    """Return what a scrape gets."""
    token = Path(house.endpoints["token_file"]).read_text(encoding="utf-8").strip()
    request = urllib.request.Request(
        f"http://{house.endpoints['http']}/metrics", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        found: str = response.read().decode()
    return found


def test_history_moves_and_is_read_by_the_same_calls(tmp_path: Path) -> None:
    flags = ["history.keep_days=0"]
    with daemon(tmp_path / "home", flags=flags) as house, Client(home=house.home) as client:
        revisions = [
            client.apply([mutations.set_value("/a", number), mutations.set_value("/b", f"take {number}")]).revision
            for number in range(60)
        ]
        then = str(revisions[29])
    with daemon(tmp_path / "home", flags=flags) as house:  # its first look finds all of it old
        deadline = time.monotonic() + 60
        while "(archive)" not in said(house, "get", "/a", "--at-revision", then, "--tier"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert said(house, "get", "/a", "--at-revision", then, "--tier").startswith("29")
        found = json.loads(said(house, "--json", "get", "/*", "--at-revision", then, "--tier"))
        assert [(entry["path"], entry["tier"]) for entry in found["entries"]] == [("/a", "archive"), ("/b", "archive")]
        assert "(live)" in said(house, "get", "/a", "--tier")
        with Client(home=house.home) as client:
            listed = list(client.history("/a", limit=100))
            assert [each.revision for each in listed] == sorted({each.revision for each in listed}, reverse=True)
            assert len(listed) == 60
        shown = metrics(house)
        assert 'lightfast_history_rows{tier="archive"}' in shown
        assert "lightfast_demoted_blocks" in shown


def test_a_packed_recording_replays(tmp_path: Path) -> None:
    with daemon(tmp_path / "home") as house, Client(home=house.home) as client:
        client.record("take", ["/a"])
        for number in range(300):
            client.apply([mutations.set_value("/a", number / 7)])
        before = client.stop_recording()
        told = said(house, "record", "pack", "take")
        assert told.startswith("take: ")
        (after,) = client.recordings()
        assert after.size < before.size / 3
        assert after.events == before.events == 300
        last = list(client.replay("take", speed=float("inf"), check=True))[-1]
        assert last.WhichOneof("kind") == "result", last
        assert last.result.transactions >= 300
        assert not last.result.differences
