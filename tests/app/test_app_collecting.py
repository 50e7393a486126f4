"""`lightfast gc` against a real daemon."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from tests.support.daemon import Daemon

from lightfast.client import Client
from lightfast.core.errors import FailedPrecondition, InvalidArgument


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    home = tmp_path_factory.mktemp("gc") / "home"
    (home / "config").mkdir(parents=True)
    settings = "[history]\nkeep_days = 0\n[collector]\nenabled = false\nasset_days = 0.000001\n"
    (home / "config" / "lightfast.toml").write_text(settings, encoding="utf-8")
    found = Daemon(home).start()
    try:
        yield found
    finally:
        found.kill()
        print(found.log()[-3000:])


def run(daemon: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "lightfast", "--home", str(daemon.home), *words]
    return subprocess.run(line, capture_output=True, text=True, timeout=150, check=False)


def test_a_dry_run_says_what_and_why_and_a_run_does_it(daemon: Daemon) -> None:
    with Client(home=daemon.home) as client:
        lonely = client.write_asset(b"nobody wants me", "text/plain", "lonely")
        wanted = client.write_asset(b"keep me", "text/plain", "wanted")
        told = run(daemon, "gc", "pin", "cover", wanted.sha256)
        assert told.returncode == 0, told.stderr
        assert wanted.sha256 in run(daemon, "gc", "pins").stdout
        dry = run(daemon, "gc", "--dry-run", "--kind", "assets")
        assert dry.returncode == 0, dry.stderr
        assert lonely.sha256 in dry.stdout
        assert "nothing refers to it" in dry.stdout
        assert "kept: 1 by pin" in dry.stdout
        done = json.loads(run(daemon, "--json", "gc", "--kind", "assets").stdout)
        assert [item["id"] for item in done["items"]] == [lonely.sha256]
        assert done["done"]
        assert run(daemon, "gc", "unpin", "cover").returncode == 0
        assert run(daemon, "gc", "unpin", "cover").returncode == 4


@pytest.mark.parametrize(
    ("what", "code"), [("nothing", 4), ("memory-0000000000000000", 4), ("0123456789abcdef", 4), ("/a/[", 2)]
)
def test_a_pin_that_would_keep_nothing_is_refused(daemon: Daemon, what: str, code: int) -> None:
    told = run(daemon, "gc", "pin", "slip", what)
    assert told.returncode == code, told.stderr
    assert what in told.stderr
    assert "slip" not in run(daemon, "gc", "pins").stdout


def test_history_moves_and_is_still_read(daemon: Daemon) -> None:
    with Client(home=daemon.home) as client:
        revisions = [client.set("/gc/value", number).revision for number in range(50)]
        done = run(daemon, "gc", "--kind", "history")
        assert done.returncode == 0, done.stderr
        # Once a minute the daemon looks by itself, and may have been there first.
        assert "history: 1 to the archive" in done.stdout or done.stdout == "Nothing was due.\n"
        assert client.get("/gc/value", at_revision=revisions[3]).value == 3
        shown = run(daemon, "get", "/gc/value", "--at-revision", str(revisions[3]), "--tier").stdout
        assert "(archive)" in shown
        assert list(client.collect_garbage(kinds=["assets"]))[-1].done


def test_a_locked_show_and_mistakes(daemon: Daemon) -> None:
    with Client(home=daemon.home) as client:
        client.call_json("ShowService.LockShow", {})
        try:
            with pytest.raises(FailedPrecondition, match="a collection is refused"):
                list(client.collect_garbage())
            assert list(client.collect_garbage(validate_only=True))[-1].done
        finally:
            client.call_json("ShowService.UnlockShow", {})
        with pytest.raises(InvalidArgument, match="there is no kind 'stars'"):
            list(client.collect_garbage(kinds=["stars"]))
        assert run(daemon, "gc", "--kind", "stars").returncode == 2
