"""`lightfast archive` on a daemon's archive, and on a folder without one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import plain_frames
from tests.support.mistakes import Desk, run

from lightfast.api.v1 import memory_pb2 as pb
from lightfast.client import Client
from lightfast.core.errors import FailedPrecondition


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    found = Desk(tmp_path_factory.mktemp("desk"))
    try:
        with Client(home=found.home) as client:
            kinds = ("note", "idea")
            frames = [pb.NewFrame(text=f"frame {at} of a test", kind=kinds[at % 2]) for at in range(120)]
            for begin in range(0, 120, 40):
                client.call_json(
                    "MemoryService.AppendFrames",
                    {"frames": [{"text": one.text, "kind": one.kind} for one in frames[begin : begin + 40]]},
                )
        yield found
    finally:
        found.close()


def said(*arguments: str | Path, code: int = 0) -> str:
    done = run(*arguments)
    assert done.returncode == code, done.stderr
    return done.stdout


def lines(*arguments: str | Path, code: int = 0) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said("--json", *arguments, code=code).splitlines()]


def test_stats_of_a_daemon_and_of_a_copy(desk: Desk, tmp_path: Path) -> None:
    (stats,) = lines("--home", desk.home, "archive", "stats")
    assert (stats["frames"], stats["quota_bytes"]) == ("120", str(100 << 30))
    assert {one["name"]: one["frames"] for one in stats["kinds"]} == {"note": "60", "idea": "60"}
    shown = said("--home", desk.home, "archive", "stats")
    assert "120 frames in 2 chunks" in shown
    copy = tmp_path / "copy"
    said("--home", desk.home, "archive", "export", tmp_path / "all.frames")
    assert "120 frames imported" in said("archive", "import", tmp_path / "all.frames", "--folder", made(copy))
    assert "0 frames imported, 120 were there" in said("archive", "import", tmp_path / "all.frames", "--folder", copy)
    (there,) = lines("archive", "stats", "--folder", copy)
    assert (there["frames"], there["shards"][0]["frames"]) == ("120", "120")


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_a_folder_that_a_daemon_holds_is_refused(desk: Desk) -> None:
    done = run("archive", "verify", "--folder", desk.home / "state" / "archive")
    assert done.returncode == 1
    assert "is held by another process" in done.stderr
    done = run("archive", "stats", "--folder", desk.home / "nothing")
    assert done.returncode == 2


def test_a_folder_that_is_no_archive_is_not_called_whole(tmp_path: Path) -> None:
    """The home instead of its archive, say: 'no damaged places' would be a lie."""
    for command in (("stats",), ("verify",), ("repair",), ("migrate",), ("export", tmp_path / "out")):
        done = run("archive", *command, "--folder", made(tmp_path / command[0]))
        assert done.returncode == 2, (command, done.stdout)
        assert "there is no archive" in done.stderr.replace("\n", " ")
        assert not list((tmp_path / command[0]).iterdir())


def test_migrate_verify_and_repair_of_a_folder(desk: Desk, tmp_path: Path) -> None:
    folder = made(tmp_path / "archive")
    said("--home", desk.home, "archive", "export", tmp_path / "all.frames")
    said("archive", "import", tmp_path / "all.frames", "--folder", folder)
    assert "120 frames would be written anew" in said("archive", "migrate", "--dry-run", "--folder", folder)
    assert "120 frames written anew" in said("archive", "migrate", "--folder", folder)
    steps = lines("archive", "verify", "--folder", folder)
    assert steps[-1]["done"]
    assert steps[-1]["frames"] == "120"
    (path,) = [path for path in (folder / "shards").glob("*/*/*.frames") if path.with_suffix(".index").exists()]
    data = bytearray(path.read_bytes())
    victim = plain_frames.read(bytes(data))[30]
    data[victim.offset + 40] ^= 1
    path.write_bytes(bytes(data))
    done = run("archive", "verify", "--folder", folder)
    assert done.returncode == 1
    assert f"at {victim.offset} (frame {victim.frame_id}): the checksum does not fit" in done.stderr
    assert "1 damaged places" in done.stdout
    assert "119 frames would be kept, 1 lost" in said("archive", "repair", "--dry-run", "--folder", folder, code=1)
    done = run("archive", "repair", "--folder", folder)
    assert done.returncode == 1
    assert "set aside in the folder damaged" in done.stderr
    assert "119 frames kept, 1 lost" in done.stdout
    said("archive", "verify", "--folder", folder)
    assert "1 frames imported, 119 were there" in said("archive", "import", tmp_path / "all.frames", "--folder", folder)


def test_the_same_of_a_daemon(desk: Desk, tmp_path: Path) -> None:
    home = ("--home", desk.home)
    assert "frames written anew" in said(*home, "archive", "migrate")
    assert "120 frames checked, no damaged places" in said(*home, "archive", "verify")
    assert "has nothing of 1999/01" in run(*home, "archive", "verify", "1999/01").stderr
    assert run(*home, "archive", "verify", "1999/01").returncode == 4
    assert "120 frames kept, 0 lost" in said(*home, "archive", "repair")
    file = tmp_path / "ideas.frames"
    assert f"60 frames in {file}" in said(*home, "archive", "export", file, "--kind", "idea")
    assert len(plain_frames.read(file.read_bytes())) == 60
    file.write_bytes(file.read_bytes()[:-5] + b"rubbish")
    done = run(*home, "archive", "import", file)
    assert done.returncode == 1
    assert "0 frames imported, 59 were there" in done.stdout
    assert "import at" in done.stderr
    assert run(*home, "archive", "verify", "last month").returncode == 2
    assert run(*home, "archive", "export", tmp_path / "no" / "folder").returncode == 2


def test_json_files_of_the_source(desk: Desk, tmp_path: Path) -> None:
    frames = made(tmp_path / "source") / "frames"
    frames.mkdir()
    memory = {"content": "a memory of the source", "timestamp": "2024-03-01T12:30:00", "memory_type": "insight"}
    (frames / "a1b2c3d4e5f60718.json").write_text(json.dumps(memory))
    (frames / "other.json").write_text("no json")
    done = run("--home", desk.home, "archive", "import", tmp_path / "source")
    assert "1 frames imported" in done.stdout
    assert "other.json: no frame" in done.stderr
    found, *_ = lines("--home", desk.home, "archive", "search", "memory", "source")
    assert found["hits"][0]["frame"]["frame_id"] == "a1b2c3d4e5f60718"


def test_a_locked_show_keeps_the_archive_as_it_is(desk: Desk) -> None:
    with Client(home=desk.home) as client:
        client.lock_show("opening night")
        try:
            for work in (client.repair_archive, client.migrate_archive):
                with pytest.raises(FailedPrecondition, match="the show is locked"):
                    list(work())
                list(work(validate_only=True))
            with pytest.raises(FailedPrecondition, match="the show is locked"):
                client.import_archive(b"")
            assert [step.done for step in client.verify_archive()][-1]
        finally:
            client.unlock_show()
        assert client.archive_stats().frames >= 120
