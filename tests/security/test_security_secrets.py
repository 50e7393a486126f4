"""Where keys are looked for, what is refused, and that none is shown."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from pathlib import Path
from typing import Any

import keyring
import pytest
import structlog
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked, PasswordDeleteError

from lightfast.core.config_secrets import check_references, parse_reference, resolve_secret
from lightfast.core.errors import FailedPrecondition, InvalidArgument, Unavailable
from lightfast.security.secrets.finder import KeyFinder
from lightfast.security.secrets.keeping import keep_in_file, remove_file
from lightfast.security.secrets.keyring_door import KeyringDoor
from lightfast.security.secrets.places import LONGEST, read_file

KEY = "sk-planted-0123456789"


class Held(KeyringBackend):
    """A keyring in memory; it can be locked, or wait for ever."""

    priority = 1.0

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held: dict[tuple[str, str], str] = {}
        self.locked = False
        self.gate = threading.Event()
        self.gate.set()

    def get_password(self, service: str, username: str) -> str | None:
        self.gate.wait(30.0)
        if self.locked:
            raise KeyringLocked(f"locked: {KEY}")
        return self.held.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.held[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        if (service, username) not in self.held:
            raise PasswordDeleteError(username)
        del self.held[service, username]


@pytest.fixture
def ring() -> Any:
    before, backend = keyring.get_keyring(), Held()
    keyring.set_keyring(backend)
    yield backend
    backend.gate.set()
    keyring.set_keyring(before)


@pytest.mark.parametrize(
    "text",
    [KEY, "", "env:", "ENV:X", "https://x", "env: X", "credential:../x", "credential:a/b"],
    ids=["plain", "empty", "no-name", "case", "url", "space", "way-up", "path"],
)
def test_what_is_no_reference_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r"reference|credential") as no:
        check_references([text])
    assert KEY not in str(no.value)


def test_references() -> None:
    assert parse_reference("file:~/.keys/a:b") == ("file", "~/.keys/a:b")
    assert check_references("env:A") == ("env:A",)
    with pytest.raises(ValueError, match="only once"):
        check_references(["env:A", "env:A"])
    with pytest.raises(ValueError, match="a list"):
        check_references(7)
    with pytest.raises(ValueError, match="keys"):
        resolve_secret("keyring:x", {})


def test_a_credential_for_a_setting(tmp_path: Path) -> None:
    (tmp_path / "thing").write_text(KEY)
    assert resolve_secret("credential:thing", {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == KEY
    with pytest.raises(ValueError, match="handed over none"):
        resolve_secret("credential:thing", {})


def finder(tmp_path: Path, **environ: str) -> KeyFinder:
    return KeyFinder(tmp_path / "keys", environ, KeyringDoor(patience=60.0))


async def test_the_order_of_the_places(tmp_path: Path, ring: Held) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "svc").write_text("from-systemd-0123")
    ring.held["lightfast", "svc"] = "from-keyring-0123"
    keep_in_file(tmp_path / "keys", "svc", "from-file-0123456")
    looks = finder(tmp_path, CREDENTIALS_DIRECTORY=str(tmp_path / "given"), SVC_KEY="from-environment-0123")
    found: list[tuple[str, str]] = []
    for step in range(5):
        keys = (await looks.find("svc", key_names=("OTHER", "SVC_KEY"))).keys
        found += [(key.source.partition(":")[0], key.secret.reveal()) for key in keys]
        match step:
            case 0:
                (tmp_path / "given" / "svc").unlink()
            case 1:
                ring.held.clear()
            case 2:
                remove_file(tmp_path / "keys", "svc")
            case _:
                looks = finder(tmp_path)
    assert found == [
        ("credential", "from-systemd-0123"),
        ("keyring", "from-keyring-0123"),
        ("file", "from-file-0123456"),
        ("env", "from-environment-0123"),
    ]
    await looks.close()


async def test_references_are_all_taken_and_what_is_missing_is_told(tmp_path: Path, ring: Held) -> None:
    path = keep_in_file(tmp_path, "one", KEY)
    looks = finder(tmp_path, A="sk-a-0123456789")
    references = (f"file:{path}", "env:A", "env:B", "keyring:none", "credential:none", f"file:{tmp_path}/no")
    found = await looks.find("svc", references)
    assert [key.source for key in found.keys] == [f"file:{path}", "env:A"]
    assert len(found.problems) == 4
    assert "there is no key at env:B" in found.problems[0]
    assert "LoadCredential=none:FILE" in found.problems[2]
    assert not found.changed()
    path.write_text("another-0123456789")
    assert found.changed()
    await looks.close()


@pytest.mark.skipif(os.name == "nt", reason="rights of files are another thing there")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o700, 0o604], ids=oct)
def test_a_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = keep_in_file(tmp_path, "svc", KEY)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(mode)
    with pytest.raises(FailedPrecondition, match=f"run 'chmod 600 {path}'") as no:
        read_file(path)
    assert no.value.reason == "KEY_FILE"
    path.chmod(0o400)
    assert read_file(path) == KEY


@pytest.mark.skipif(os.name == "nt", reason="there are no such files there")
def test_what_is_no_regular_file_is_refused_and_waits_for_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(FailedPrecondition, match="no regular file"):
            read_file(path)
    assert read_file(tmp_path / "absent") is None


@pytest.mark.parametrize(
    "content",
    [b"", b"  \n", b"two\nlines-0123456789", b"with space-0123456789", "schlüssel-0123456789".encode(), b"\xff" * 20,
     b"bell\x07-0123456789", b"x" * (LONGEST + 5)],
    ids=["empty", "blank", "lines", "space", "umlaut", "bytes", "control", "long"],
)  # fmt: skip
def test_what_can_be_no_key_is_refused_and_not_repeated(tmp_path: Path, content: bytes) -> None:
    path = keep_in_file(tmp_path, "svc", KEY)
    path.write_bytes(content)
    with pytest.raises(FailedPrecondition) as no:
        read_file(path)
    assert "0123456789" not in no.value.message
    if content.strip() and len(content) < 100 and content[0] < 128:
        with pytest.raises(FailedPrecondition):
            keep_in_file(tmp_path, "other", content.decode())
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 65, "a b"], ids=range(6))
def test_a_provider_cannot_be_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgument, match="no name of a provider"):
        keep_in_file(tmp_path / "keys", name, KEY)


async def test_the_keyring(ring: Held) -> None:
    door = KeyringDoor(patience=60.0)
    await door.set("svc", KEY)
    assert ring.held == {("lightfast", "svc"): KEY}
    assert await door.get("svc") == KEY
    assert [await door.remove("svc"), await door.remove("svc"), await door.get("svc")] == [True, False, None]
    ring.locked = True
    with pytest.raises(FailedPrecondition, match="is locked: unlock it") as no:
        await door.get("svc")
    assert KEY not in no.value.message
    await door.close()


async def test_a_keyring_that_never_answers_holds_nobody_up_twice(ring: Held) -> None:
    door = KeyringDoor(patience=0.05)
    ring.held["lightfast", "svc"] = KEY
    ring.gate.clear()
    before = threading.active_count()
    for _ in range(3):
        with pytest.raises(Unavailable, match="has not answered within") as no:
            await door.get("svc")
        assert no.value.reason == "KEYRING_SILENT"
    assert threading.active_count() <= before + 1
    ring.gate.set()
    for _ in range(500):
        try:
            assert await door.get("svc") == KEY
            break
        except Unavailable:
            await asyncio.sleep(0.01)
    else:
        raise AssertionError("it stays silent after it was unlocked")
    await door.close()


async def test_no_keyring_is_told_only_where_it_was_asked_for(tmp_path: Path) -> None:
    from keyring.backends.fail import Keyring

    before = keyring.get_keyring()
    keyring.set_keyring(Keyring())  # type: ignore[no-untyped-call]
    try:
        looks = finder(tmp_path)
        assert (await looks.find("svc")).problems == []
        (problem,) = (await looks.find("svc", ("keyring:svc",))).problems
        assert "no keyring on this machine" in problem
        assert "lightfast key set" in problem
        await looks.close()
    finally:
        keyring.set_keyring(before)


async def test_the_environment_is_warned_of_once(tmp_path: Path, ring: Held) -> None:
    looks = finder(tmp_path, A=KEY)
    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            await looks.find("svc", ("env:A",))
        found = await looks.find("svc", ("env:A",))
    assert [entry["log_level"] for entry in logs] == ["warning"]
    assert KEY not in repr((logs, found, found.keys[0].secret, str(found.keys[0].secret)))
    await looks.close()
