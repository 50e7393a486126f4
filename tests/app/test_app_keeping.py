"""Private frames, purge and backup from the command line, on a real daemon."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.support.daemon import Daemon, daemon
from tests.support.files import holding
from tests.support.waiting import seen_on

from lightfast.client import Client
from lightfast.core.errors import Denied

SECRET = "vermilion-otter-parade-77"
OTHER = "cobalt-heron-lantern-12"
PRIVATE = "kumquat marmalade recipe"
TEXT = "the safe opens with 31415"


def run(home: Path, *arguments: str, given: str | None = None, code: int = 0) -> str:
    """Run the command line, and return all it said."""
    done = subprocess.run(
        [sys.executable, "-m", "lightfast.app.cli.main", "--home", str(home), *arguments],
        capture_output=True,
        text=True,
        input=given,
        stdin=None if given is not None else subprocess.DEVNULL,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


ON_A_TERMINAL = """
import os, sys
os.close(os.open(os.ttyname(0), os.O_RDWR))  # the first one that a session opens is its own
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def typed(home: Path, arguments: list[str], answers: list[str]) -> tuple[int, str]:
    """Run the command line on a terminal and type *answers*, one at each question; return its code and all it showed."""
    terminal, theirs = pty.openpty()
    try:
        line = [sys.executable, "-c", ON_A_TERMINAL, "-m", "lightfast.app.cli.main", "--home", str(home), *arguments]
        process = subprocess.Popen(line, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
        os.close(theirs)
        told = seen_on(terminal, process, answers)
    finally:
        os.close(terminal)
    return process.returncode, told


def secret_file(folder: Path, name: str, secret: str) -> str:
    path = folder / name
    path.write_text(secret + "\n")
    path.chmod(0o600)
    return str(path)


def held(home: Path, *texts: str) -> list[str]:
    """Return the files below *home* that hold one of *texts*."""
    return holding(home, [text.encode() for text in texts])


def said_by_the_daemon(found: Daemon) -> str:
    """Return everything an administrator can be told."""
    with Client(home=found.home) as client:
        names = ("GetConfig", "ListErrors", "GetInfo", "ListPlugins", "ListTokens", "ListBackups")
        return found.log() + "".join(json.dumps(client.call_json(f"AdminService.{name}", {})) for name in names)


def frames(client: Client, query: str) -> list[str]:
    return [
        hit["frame"]["text"]
        for message in client.stream_json("MemoryService.SearchFrames", {"query": query})
        for hit in message.get("hits", [])
    ]


@pytest.mark.slow
def test_the_secret_and_what_it_seals_are_seen_nowhere(tmp_path: Path) -> None:
    home, mine = tmp_path / "home", tmp_path / "mine"
    mine.mkdir()
    right, wrong = secret_file(mine, "right", SECRET), secret_file(mine, "wrong", "not-the-secret-at-all")
    other = secret_file(mine, "other", OTHER)
    with daemon(home, flags=["log.level=debug"]) as found:
        with Client(home=home) as client:
            frame = {"frames": [{"text": PRIVATE, "private": True}], "request_id": "once"}
            with pytest.raises(Denied) as refused:
                client.call_json("MemoryService.AppendFrames", frame)
            assert refused.value.reason == "ARCHIVE_LOCKED"
            assert "no secret yet" in run(home, "archive", "unlock", "--secret-file", right, code=4)
            assert "unlocked" in run(home, "archive", "unlock", "--new", "--secret-file", right)
            client.call_json("MemoryService.AppendFrames", frame)
            assert frames(client, "kumquat") == [PRIVATE]
            assert "locked" in run(home, "archive", "lock")
            assert frames(client, "kumquat") == []
            told = run(home, "archive", "unlock", "--secret-file", wrong, code=6)
            assert "not the secret" in told
            assert "not-the-secret-at-all" not in told
            (mine / "wrong").chmod(0o644)
            assert "chmod 600" in run(home, "archive", "unlock", "--secret-file", wrong, code=1)
            assert "no terminal" in run(home, "archive", "unlock", code=2)
            with Client(home=home) as short:
                answer = short.unlock_archive(SECRET, ttl=3600)
                assert answer.private_frames == 1
                assert answer.HasField("expire_time")
            told = run(home, "archive", "rotate", "--secret-file", right, "--new-secret-file", other)
            assert "opens the private frames from now on" in told
            client.lock_archive()
            run(home, "archive", "unlock", "--secret-file", right, code=6)
            told = run(home, "--json", "archive", "unlock", "--secret-file", other)
            assert json.loads(told) == {"private_frames": "1"}
            assert frames(client, "kumquat") == [PRIVATE]
        told = said_by_the_daemon(found)
        for secret in (SECRET, OTHER, "not-the-secret-at-all", PRIVATE, "kumquat"):
            assert secret not in told
        assert held(home, SECRET, OTHER, "not-the-secret-at-all", PRIVATE, "kumquat") == []
    assert held(home, SECRET, OTHER, "not-the-secret-at-all", PRIVATE, "kumquat") == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_a_secret_is_typed_without_an_echo_and_a_credential_unlocks_at_the_start(tmp_path: Path) -> None:
    home, credentials = tmp_path / "home", tmp_path / "credentials"
    with daemon(home):
        code, shown = typed(home, ["archive", "unlock", "--new"], [SECRET, "something else"])
        assert code == 2
        assert "not the same" in shown
        code, shown = typed(home, ["archive", "unlock", "--new"], [SECRET, SECRET])
        assert code == 0, shown
        assert SECRET not in shown
        code, shown = typed(home, ["archive", "rotate"], [SECRET, OTHER, OTHER])
        assert code == 0, shown
        assert SECRET not in shown
        assert OTHER not in shown
    credentials.mkdir()
    (credentials / "lightfast-archive-secret").write_text(OTHER + "\n")
    with daemon(home, environ={"CREDENTIALS_DIRECTORY": str(credentials)}), Client(home=home) as client:
        deadline = time.monotonic() + 60
        while True:
            try:
                client.call_json("MemoryService.AppendFrames", {"frames": [{"text": PRIVATE, "private": True}]})
                break
            except Denied:
                assert time.monotonic() < deadline, "the credential did not unlock"
                time.sleep(0.05)
    (credentials / "lightfast-archive-secret").write_text(SECRET)
    with daemon(home, environ={"CREDENTIALS_DIRECTORY": str(credentials)}) as found:
        line = found.wait_log("the private frames stay locked")
        assert "not the secret" in line
        assert SECRET not in found.log()


@pytest.mark.slow
def test_purge_and_backup_from_the_command_line(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with daemon(home) as found:
        with Client(home=home) as client:
            client.set("/desk/note", TEXT, label=f"label: {TEXT}")
            client.set("/desk/note", "changed")
            client.set("/desk/live", [TEXT])
            client.set("/desk/other", "stays")
            client.call_json("MemoryService.AppendFrames", {"frames": [{"text": TEXT}], "request_id": "once"})
            seen: list[str] = []
            for batch in client.watch("/desk//", start_revision=0):
                seen += [f"{event.type} {event.entry.path}" for event in batch.events]
                if batch.synced or "SET /desk/other" in " ".join(seen) or len(seen) >= 4:
                    break
            first = json.loads(run(home, "--json", "backup"))
            assert first["revision"]

            told = run(home, "purge", "--text", "--dry-run", given=TEXT + "\n")
            assert "would go" in told
            assert client.get("/desk/live").value == [TEXT]
            run(home, "purge", "--text", given=TEXT + "\n", code=2)  # nobody there to say yes
            told += run(home, "purge", "--text", "--yes", "--reason", "it was shown", given=TEXT + "\n")
            assert "gone: " in told
            assert first["path"] in told
            assert TEXT not in told
            assert held(home, TEXT) == [str(Path(first["path"]).relative_to(home))]
            assert [entry.path for entry in client.select("/desk//")] == ["/desk/note", "/desk/other"]
            (stone,) = client.select("/lightfast/purges/*")
            assert isinstance(stone.value, dict)
            assert stone.value["reason"] == "it was shown"
            history = client.history("//")
            assert TEXT not in "".join(map(str, history))
            assert any(item.label.startswith("purge ") for item in history)
            assert "holds what was purged since" in run(home, "backup", "list")
            run(home, "purge", code=2)
            for what, unknown in (("memory", "nobody"), ("frame", "0" * 16), ("asset", "0" * 64)):
                assert unknown in run(home, "purge", f"--{what}", unknown, "--yes", code=4)

            out = tmp_path / "mine.lfbackup"
            told = run(home, "backup", str(out))
            assert str(out) in told
            run(home, "backup", str(out), code=5)
            listed = json.loads(run(home, "--json", "backup", "list"))["backups"]
            assert [(item["path"], item.get("before_purge", False)) for item in listed] == [
                (str(out), False),
                (first["path"], True),
            ]
            assert "running already" in run(home, "backup", "restore", str(out), "--home", str(home), "--yes", code=1)
            before = {entry.path: entry.value for entry in client.select("/desk//")}
            store_id = client.info().store_id
        token = found.token
    two = tmp_path / "two"
    told = run(home, "backup", "restore", str(out), "--home", str(two))
    assert "store-" in told
    assert "before" not in told
    with daemon(two) as found:
        with Client(home=two) as client:
            assert {entry.path: entry.value for entry in client.select("/desk//")} == before
            assert client.info().store_id != store_id
        assert found.token != token
    run(home, "backup", "restore", str(out), "--home", str(home), code=2)  # a store is there, and nobody says yes
    assert "state-before-" in run(home, "backup", "restore", str(out), "--home", str(home), "--yes")
    bad = tmp_path / "bad.lfbackup"
    bad.write_bytes(out.read_bytes()[:-12_000])
    assert "no whole backup" in run(home, "backup", "restore", str(bad), "--home", str(tmp_path / "three"), code=1)
    assert not (tmp_path / "three/state").exists()


@pytest.mark.slow
def test_a_locked_show_refuses_a_purge(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with daemon(home), Client(home=home) as client:
        client.set("/a", TEXT)
        client.lock_show("opening night")
        assert "locked" in run(home, "purge", "/a", "--yes", code=1)
        dry: list[Any] = list(client.purge("/a", validate_only=True))
        assert dry[-1].tombstone.removed
        client.unlock_show()
        done = list(client.purge("/a"))
        assert done[-1].tombstone.purge_id
        made = [message.backup.path for message in client.backup() if message.backup.path]
        assert [item.path for item in client.backups()] == made
