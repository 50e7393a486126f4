"""What the doctor says of the archive, the backups and the embedder."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.support.daemon import daemon
from tests.support.mistakes import doctor

from lightfast.app.cli import room_checks
from lightfast.app.cli.checks import BAD, OK, WARN, Finding
from lightfast.client import Client
from lightfast.client.frames import frame

NOW = datetime(2027, 1, 31, tzinfo=UTC)


def backup(days: float, **fields: Any) -> dict[str, Any]:
    return {"path": "/b", "time": (NOW - timedelta(days=days)).isoformat(), **fields}


def levels(findings: Any) -> list[str]:
    return [finding.level for finding in findings]


def test_the_archive() -> None:
    assert levels(room_checks.check_archive({})) == [OK]
    found = list(room_checks.check_archive({"damage": ["shards/a at 0: torn", "another"], "frames": "3"}))
    assert levels(found) == [BAD]
    assert found[0].what == "the archive is damaged in 2 places, first: shards/a at 0: torn"
    (whole, lost) = room_checks.check_archive({"lost": ["shards/b at 7: torn", "shards/a at 0: torn"]})
    assert (whole.level, lost.level) == (OK, OK)  # nobody can do anything about it any more
    assert lost.what == "the archive has lost something in 2 places, as a repair told, last: shards/a at 0: torn"
    assert levels(room_checks.check_archive({"lost": ["old"], "damage": ["new"]})) == [BAD, OK]
    (_, unknown) = room_checks.check_archive({"incoming": ["incoming/00000007.frames"]})
    assert (unknown.level, unknown.advice) == (WARN, "run: lightfast archive migrate, which takes them in")
    assert levels(room_checks.check_archive({"bytes": "90", "quota_bytes": "100"})) == [OK]
    assert levels(room_checks.check_archive({"bytes": "91", "quota_bytes": "100"})) == [OK, WARN]
    assert levels(room_checks.check_archive({"bytes": "100", "quota_bytes": "100"})) == [OK, BAD]
    (_, locked) = room_checks.check_archive({"private_frames": "2"})
    assert (locked.level, locked.what) == (OK, "2 private frames are locked: nobody can read or find them")
    assert levels(room_checks.check_archive({"private_frames": "2", "unlocked": True})) == [OK]


def test_backups() -> None:
    assert levels(room_checks.check_backups([], NOW)) == [OK]
    assert levels(room_checks.check_backups([backup(29), backup(400)], NOW)) == [OK]
    (old,) = room_checks.check_backups([backup(31.5), backup(400)], NOW)
    assert old == Finding(WARN, "the newest backup is 31 days old", "run: lightfast backup")
    (_, purged) = room_checks.check_backups([backup(1, before_purge=True)], NOW)
    assert (purged.level, purged.what) == (WARN, "the backup /b holds what was purged after it was made")


def test_the_embedder() -> None:
    plugins: list[dict[str, Any]] = [{"name": "wordllama", "brings": ["embedder:wordllama"]}, {"name": "other"}]
    assert levels(room_checks.check_embedder("trigram", [])) == []
    assert levels(room_checks.check_embedder("wordllama", plugins)) == [OK]
    assert levels(room_checks.check_embedder("minilm", plugins)) == [WARN]


def test_a_real_daemon_is_asked(tmp_path: Path) -> None:
    with daemon(tmp_path / "home", flags=["memory.embedder=nobody"]) as house:
        with Client(home=str(house.home)) as client:
            client.unlock_archive("a secret for a test", create=True)
            client.append_frames(frame("hidden", private=True))
            client.lock_archive()
            client.set("/a", "planted-needle")
            list(client.backup())
            list(client.purge(text="planted-needle", reason="a test"))
        done = doctor(house.home, "--json", "doctor")
        findings = {finding["what"]: finding["level"] for finding in json.loads(done.stdout)["findings"]}
    assert findings["1 private frames are locked: nobody can read or find them"] == OK
    assert [level for what, level in findings.items() if "holds what was purged" in what] == [WARN]
    assert [level for what, level in findings.items() if what.startswith("the embedder 'nobody'")] == [WARN]
    assert [level for what, level in findings.items() if what.startswith("the archive holds")] == [OK]
