"""Tokens: who may enter, and what they may do.

A secret is 256 random bits, shown once and kept only as its SHA-256. The book of tokens lives
in memory, so that checking one is a look-up without I/O; every change goes through the store.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal, Protocol

import structlog

from lightfast.core.clock import Clock
from lightfast.core.errors import Denied, InvalidArgument, NotFound, Unauthenticated
from lightfast.core.ids import new_id
from lightfast.security.keys import read_private, write_private

log = structlog.get_logger("lightfast.security")

SECRET_PREFIX = "lf_"  # noqa: S105  (what every secret begins with, not one)
MAX_NAME = 64
MAX_SECRET = 256


class Scope(StrEnum):
    """What a token may do; none of them includes another."""

    WATCH = "watch"
    OPERATE = "operate"
    APPROVE = "approve"
    ADMIN = "admin"


ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls. *mount* is set for a link, which may write only there."""

    name: str
    scopes: frozenset[Scope]
    kind: Literal["local", "token", "link"] = "token"
    mount: str = ""

    @property
    def origin(self) -> str:
        """The origin that is stamped on what this principal writes."""
        if self.kind == "local":
            return "local"
        if self.kind == "link":
            return "app:" + self.mount.strip("/")
        return "client:" + self.name

    def require(self, scope: Scope) -> None:
        """Raise `Denied` unless the principal has *scope*."""
        if scope not in self.scopes:
            held = ", ".join(sorted(self.scopes)) or "none"
            raise Denied(
                f"the token {self.name!r} lacks the scope {scope.value!r} (it has: {held}): "
                f"use a token issued with --scope {scope.value}",
                metadata={"scope": scope.value, "token": self.name},
            )


LOCAL = Principal("local", ALL_SCOPES, "local")
"""The user at their own Unix socket, whom the file system has let in."""


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """What is kept of a token: *hash* is the SHA-256 of the secret in hex, times are in ns since 1970."""

    token_id: str
    name: str
    hash: str
    scopes: frozenset[Scope]
    create_time: int
    expire_time: int | None = None


class TokenStore(Protocol):
    """Where token records live; implemented by a lower floor."""

    async def load(self) -> list[TokenRecord]:
        """Return all records."""

    async def save(self, record: TokenRecord) -> None:
        """Write one record; it is durable when this returns."""

    async def delete(self, token_id: str) -> None:
        """Remove one record; it is gone for good when this returns."""


def hash_secret(secret: str) -> str:
    """Return the SHA-256 of *secret* in hex, which is all that is ever kept of it."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def parse_scopes(names: Iterable[str]) -> frozenset[Scope]:
    """Return the scopes called *names*, or raise `InvalidArgument` that lists the ones there are."""
    scopes = set()
    for name in names:
        try:
            scopes.add(Scope(name.strip().lower()))
        except ValueError:
            known = ", ".join(Scope)
            raise InvalidArgument(
                f"there is no scope {name!r}: use {known}", reason="SCOPE_UNKNOWN", field="scopes"
            ) from None
    return frozenset(scopes)


class TokenBook:
    """All tokens, in memory for the check and in the store for good."""

    def __init__(self, rows: TokenStore, clock: Clock) -> None:
        self._rows = rows
        self._clock = clock
        self._by_hash: dict[str, tuple[TokenRecord, Principal]] = {}

    @classmethod
    async def open(cls, rows: TokenStore, clock: Clock) -> TokenBook:
        """Load the book."""
        book = cls(rows, clock)
        for record in await rows.load():
            book._remember(record)
        return book

    def _remember(self, record: TokenRecord) -> None:
        self._by_hash[record.hash] = (record, Principal(record.name, record.scopes))

    def authenticate(self, secret: str) -> Principal:
        """Return who holds *secret*; raise `Unauthenticated` for one that is unknown or has expired.

        The look-up is by hash, so its time says nothing about how much of a guess was right.
        """
        if not secret:
            raise Unauthenticated(
                "no token was sent: send 'authorization: Bearer TOKEN'; the first one lies in the token file "
                "named by endpoints.json, more are made with 'lightfast token issue'"
            )
        digest = hash_secret(secret) if len(secret) <= MAX_SECRET else ""
        record, principal = self._by_hash.get(digest, (None, None))
        if record is None or principal is None or not hmac.compare_digest(record.hash, digest):
            raise Unauthenticated(
                "the token is not known here: it was revoked, or belongs to another daemon; "
                "make one with 'lightfast token issue'",
                reason="TOKEN_UNKNOWN",
            )
        if record.expire_time is not None and self._clock.now_ns() >= record.expire_time:
            raise Unauthenticated(
                f"the token {record.name!r} has expired: make a new one with 'lightfast token issue'",
                reason="TOKEN_EXPIRED",
                metadata={"token": record.name},
            )
        return principal

    async def issue(
        self, name: str, scopes: Iterable[Scope], ttl_s: float | None, issuer: Principal
    ) -> tuple[TokenRecord, str]:
        """Make a token that can do no more than its issuer; returns its record and its secret, seen only here."""
        wanted = frozenset(scopes)
        self._check_issue(name, wanted, ttl_s, issuer)
        secret = SECRET_PREFIX + secrets.token_urlsafe(32)
        now = self._clock.now_ns()
        expire = None if ttl_s is None else now + round(ttl_s * 1e9)
        record = TokenRecord(new_id("token"), name, hash_secret(secret), wanted, now, expire)
        await self._rows.save(record)
        self._remember(record)
        log.info("token issued", name=name, token_id=record.token_id, scopes=sorted(wanted), issuer=issuer.origin)
        return record, secret

    def _check_issue(self, name: str, scopes: frozenset[Scope], ttl_s: float | None, issuer: Principal) -> None:
        if not name or len(name) > MAX_NAME or not name.isprintable() or set(name) & set("/#: "):
            raise InvalidArgument(
                f"the token name {name!r:.80} is not usable: "
                f"take 1 to {MAX_NAME} printable characters, none of / # : or space",
                reason="TOKEN_NAME",
                field="name",
            )
        if any(record.name == name for record in self.list()):
            raise InvalidArgument(
                f"there is a token {name!r} already: revoke it first, or take another name",
                reason="TOKEN_NAME",
                field="name",
            )
        if not scopes:
            raise InvalidArgument("a token needs at least one scope", reason="SCOPE_UNKNOWN", field="scopes")
        if ttl_s is not None and not 0 < ttl_s <= 100 * 365.25 * 86_400:
            raise InvalidArgument(f"a time to live of {ttl_s} s makes no sense", reason="TOKEN_TTL", field="ttl_s")
        wider = scopes - issuer.scopes
        if wider:
            raise Denied(
                f"{issuer.name!r} cannot issue the scope {', '.join(sorted(wider))}, which it does not have itself",
                reason="SCOPE_WIDER",
                metadata={"scopes": ",".join(sorted(wider))},
            )

    async def revoke(self, token_id: str) -> TokenRecord:
        """Remove a token; from now on it is refused. Raises `NotFound`."""
        for record in self.list():
            if record.token_id == token_id:
                # Refused first, then removed: a failing disk must not keep a revoked token alive.
                del self._by_hash[record.hash]
                await self._rows.delete(token_id)
                log.info("token revoked", name=record.name, token_id=token_id)
                return record
        raise NotFound(f"there is no token {token_id!r}: 'lightfast token ls' shows them all", reason="TOKEN_UNKNOWN")

    def scopes_of(self, name: str) -> frozenset[Scope] | None:
        """Return what the token called *name* may do now; `None`: there is none, or it has expired."""
        for record, _ in self._by_hash.values():
            if record.name == name:
                expired = record.expire_time is not None and self._clock.now_ns() >= record.expire_time
                return None if expired else record.scopes
        return None

    def list(self) -> list[TokenRecord]:
        """Return all records, the oldest first; expired ones stay until they are revoked."""
        return sorted((record for record, _ in self._by_hash.values()), key=lambda r: (r.create_time, r.token_id))


async def ensure_first_token(book: TokenBook, path: Path, name: str = "first") -> str:
    """Return the secret in the file at *path* if it still opens the door, else issue one and write it there (0600)."""
    if path.exists():
        secret = read_private(path).decode("ascii", "replace").strip()
        try:
            book.authenticate(secret)
        except Unauthenticated as error:
            log.warning("token file replaced", path=str(path), reason=error.reason)
        else:
            return secret
    for record in book.list():
        if record.name == name:
            await book.revoke(record.token_id)
    _, secret = await book.issue(name, ALL_SCOPES, None, LOCAL)
    write_private(path, secret.encode("ascii") + b"\n")
    return secret
