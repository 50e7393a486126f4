"""The layers of the archive in a real daemon: clusters by the client and on the command line, and switched off."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.daemon import Daemon
from tests.support.judging import notes
from tests.support.waiting import until

from lightfast.client import Client
from lightfast.core.errors import Unavailable


def lightfast(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lightfast", "--home", str(home), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_clusters_are_found_and_shown(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path).start()
    try:
        empty = lightfast(tmp_path, "archive", "clusters")
        assert (empty.returncode, "No clusters yet" in empty.stdout) == (0, True)
        order = notes(0)
        with Client(home=str(tmp_path)) as client:
            ids = client.append_frames(*[note.text for note in order])
            until(lambda: len(client.clusters().clusters) > 5, "clusters")
            first = client.clusters(page_size=2)
            assert (len(first.clusters), bool(first.next_page_token)) == (2, True)
            number = next(n for n, note in enumerate(order) if "mesh screen at the harbor" in note.text)
            until(lambda: client.clusters(ids[number]).relations, "relations")
        # They grow into one another for a while.
        until(lambda: "harbor" in lightfast(tmp_path, "archive", "clusters").stdout, "the cluster of the harbor")
        one = lightfast(tmp_path, "archive", "clusters", ids[number])
        assert "frames, " in one.stdout
        assert "mesh screen" in one.stdout.partition("\n")[2]  # the texts of the relations
        message = json.loads(lightfast(tmp_path, "--json", "archive", "clusters", ids[number]).stdout)
        assert message["clusters"][0]["size"]
        gone = lightfast(tmp_path, "archive", "clusters", "f" * 16)
        assert (gone.returncode, "there is no frame" in gone.stderr) == (4, True)
        wrong = lightfast(tmp_path, "archive", "clusters", "no id")
        assert wrong.returncode == 4
        until((tmp_path / "state/archive/significance/significance.db").exists, "significance")
    finally:
        daemon.stop()


def test_a_layer_that_is_switched_off_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "archive"
    for name in ("emergence", "significance"):
        (folder / name).mkdir(parents=True)
        (folder / name / f"{name}.db").write_bytes(b"of an earlier run")
    daemon = Daemon(tmp_path, flags=["archive.emergence=false", "archive.significance=false"]).start()
    try:
        until(lambda: not (folder / "emergence").exists() and not (folder / "significance").exists(), "they are gone")
        with Client(home=str(tmp_path)) as client:
            ids = client.append_frames("a note all the same")
            assert client.get_frames(ids).frames[0].text == "a note all the same"
            with pytest.raises(Unavailable, match="emergence = true"):
                client.clusters()
    finally:
        daemon.stop()


def test_an_embedder_that_is_missing_is_named_in_the_log(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, flags=["memory.embedder=nobodys"]).start()
    try:
        until(lambda: "an embedder is missing" in daemon.log(), "the note")
        assert "nobodys" in daemon.log()
    finally:
        daemon.stop()
