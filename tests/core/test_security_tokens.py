"""Tokens and secret files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from lightfast.core.clock import StillClock
from lightfast.core.errors import Denied, FailedPrecondition, InvalidArgument, NotFound, Unauthenticated
from lightfast.security.keys import ensure_secret, read_private, write_private
from lightfast.security.tokens import (
    LOCAL,
    Principal,
    Scope,
    TokenBook,
    TokenRecord,
    ensure_first_token,
    hash_secret,
    parse_scopes,
)


class Rows:
    """Token rows in memory."""

    def __init__(self) -> None:
        self.rows: dict[str, TokenRecord] = {}
        self.broken = False

    async def load(self) -> list[TokenRecord]:
        return list(self.rows.values())

    async def save(self, record: TokenRecord) -> None:
        if self.broken:
            raise OSError("disk")
        self.rows[record.token_id] = record

    async def delete(self, token_id: str) -> None:
        if self.broken:
            raise OSError("disk")
        del self.rows[token_id]


async def test_a_token_opens_what_it_was_issued_for() -> None:
    book = await TokenBook.open(Rows(), StillClock())
    record, secret = await book.issue("dashboard", {Scope.WATCH, Scope.OPERATE}, None, LOCAL)
    principal = book.authenticate(secret)
    assert (principal.name, principal.origin, principal.kind) == ("dashboard", "client:dashboard", "token")
    principal.require(Scope.WATCH)
    with pytest.raises(Denied) as caught:
        principal.require(Scope.ADMIN)
    assert caught.value.message == (
        "the token 'dashboard' lacks the scope 'admin' (it has: operate, watch): use a token issued with --scope admin"
    )
    assert book.list() == [record]


async def test_only_the_hash_is_kept() -> None:
    rows = Rows()
    book = await TokenBook.open(rows, StillClock())
    record, secret = await book.issue("a", {Scope.WATCH}, None, LOCAL)
    assert secret.startswith("lf_")
    assert len(secret) >= 3 + 43, "256 bits in base 64"
    assert record.hash == hashlib.sha256(secret.encode()).hexdigest() == hash_secret(secret)
    assert secret not in repr(rows.rows)
    again = await TokenBook.open(rows, StillClock())
    assert again.authenticate(secret).name == "a"


@pytest.mark.parametrize("secret", ["", "lf_wrong", "lf_" + "x" * 43, "x" * 10_000, "ä\ud800", "\0"])
async def test_what_is_not_known_is_refused(secret: str) -> None:
    book = await TokenBook.open(Rows(), StillClock())
    await book.issue("a", {Scope.WATCH}, None, LOCAL)
    with pytest.raises(Unauthenticated) as caught:
        book.authenticate(secret)
    assert caught.value.reason == ("TOKEN_UNKNOWN" if secret else "TOKEN_REQUIRED")
    assert "lightfast token issue" in caught.value.message


async def test_a_token_expires() -> None:
    clock = StillClock()
    book = await TokenBook.open(Rows(), clock)
    _, secret = await book.issue("brief", {Scope.WATCH}, 60.0, LOCAL)
    clock.advance(59.9)
    book.authenticate(secret)
    clock.advance(0.1)
    with pytest.raises(Unauthenticated) as caught:
        book.authenticate(secret)
    assert (caught.value.reason, caught.value.metadata) == ("TOKEN_EXPIRED", {"token": "brief"})


async def test_scopes_are_never_wider_than_the_issuers() -> None:
    book = await TokenBook.open(Rows(), StillClock())
    _, secret = await book.issue("operator", {Scope.WATCH, Scope.OPERATE}, None, LOCAL)
    operator = book.authenticate(secret)
    await book.issue("watcher", {Scope.WATCH}, None, operator)
    with pytest.raises(Denied) as caught:
        await book.issue("climber", {Scope.WATCH, Scope.ADMIN}, None, operator)
    assert caught.value.reason == "SCOPE_WIDER"
    assert caught.value.message == "'operator' cannot issue the scope admin, which it does not have itself"


@pytest.mark.parametrize("name", ["", "a/b", "a b", "a#b", "x" * 65, "a\nb", "a:b"])
async def test_a_name_that_would_confuse_is_refused(name: str) -> None:
    book = await TokenBook.open(Rows(), StillClock())
    with pytest.raises(InvalidArgument) as caught:
        await book.issue(name, {Scope.WATCH}, None, LOCAL)
    assert caught.value.field == "name"


async def test_nonsense_is_refused() -> None:
    book = await TokenBook.open(Rows(), StillClock())
    await book.issue("a", {Scope.WATCH}, None, LOCAL)
    with pytest.raises(InvalidArgument, match="there is a token 'a' already"):
        await book.issue("a", {Scope.WATCH}, None, LOCAL)
    with pytest.raises(InvalidArgument, match="at least one scope"):
        await book.issue("b", set(), None, LOCAL)
    for ttl in (0.0, -1.0, float("nan"), float("inf"), 1e12):
        with pytest.raises(InvalidArgument, match="makes no sense"):
            await book.issue("b", {Scope.WATCH}, ttl, LOCAL)
    with pytest.raises(InvalidArgument, match="there is no scope 'root': use watch, operate, approve, admin"):
        parse_scopes(["watch", "root"])
    assert parse_scopes([" Watch", "ADMIN"]) == {Scope.WATCH, Scope.ADMIN}


async def test_a_revoked_token_is_refused_at_once_even_when_the_disk_fails() -> None:
    rows = Rows()
    book = await TokenBook.open(rows, StillClock())
    record, secret = await book.issue("a", {Scope.WATCH}, None, LOCAL)
    rows.broken = True
    with pytest.raises(OSError, match="disk"):
        await book.revoke(record.token_id)
    with pytest.raises(Unauthenticated):
        book.authenticate(secret)
    with pytest.raises(NotFound, match="there is no token 'token-x'"):
        await book.revoke("token-x")


async def test_a_token_that_was_not_kept_is_not_known() -> None:
    rows = Rows()
    rows.broken = True
    book = await TokenBook.open(rows, StillClock())
    with pytest.raises(OSError, match="disk"):
        await book.issue("a", {Scope.WATCH}, None, LOCAL)
    assert book.list() == []


def test_origins_are_those_of_the_contract() -> None:
    assert LOCAL.origin == "local"
    assert Principal("x", frozenset(), "link", "/blender").origin == "app:blender"


async def test_the_first_token_is_made_once_and_mended(tmp_path: Path) -> None:
    rows, path = Rows(), tmp_path / "state" / "token"
    book = await TokenBook.open(rows, StillClock())
    secret = await ensure_first_token(book, path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == secret + "\n"
    assert book.authenticate(secret).scopes == frozenset(Scope)
    assert await ensure_first_token(await TokenBook.open(rows, StillClock()), path) == secret
    other = await TokenBook.open(Rows(), StillClock())  # another store, whose tokens are others
    new = await ensure_first_token(other, path)
    assert new != secret
    assert path.read_text() == new + "\n"
    path.unlink()  # lost: the old one must not stay good
    third = await ensure_first_token(other, path)
    with pytest.raises(Unauthenticated):
        other.authenticate(new)
    assert other.authenticate(third).name == "first"


def test_a_key_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "state" / "link.key"
    key = ensure_secret(path)
    assert len(key) == 32
    assert ensure_secret(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert bytes.fromhex(path.read_text()) == key


@pytest.mark.parametrize("mode", [0o604, 0o620, 0o640, 0o666, 0o644])
def test_a_secret_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "link.key"
    ensure_secret(path)
    path.chmod(mode)
    with pytest.raises(FailedPrecondition) as caught:
        ensure_secret(path)
    assert caught.value.reason == "KEY_FILE"
    assert f"chmod 600 {path}" in caught.value.message


@pytest.mark.parametrize("content", [b"", b"zz", b"ab" * 31, b"\xff" * 64, b"ab" * 3000])
def test_a_broken_key_file_is_refused_not_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "link.key"
    write_private(path, content)
    with pytest.raises(FailedPrecondition) as caught:
        ensure_secret(path)
    assert caught.value.reason == "KEY_FILE"
    assert path.read_bytes() == content


def test_a_private_file_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_private(path, b"one")
    write_private(path, b"two")
    assert read_private(path) == b"two"
    assert [item.name for item in tmp_path.iterdir()] == ["secret"]
