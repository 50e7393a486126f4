"""Tokens at rest: the rows behind `lightfast.security.tokens.TokenStore`."""

from __future__ import annotations

from lightfast.security.tokens import Scope, TokenRecord
from lightfast.storage.database import Database


class TokenRows:
    """Loads, saves and deletes token records; each change is durable when its call returns."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def load(self) -> list[TokenRecord]:
        """Return all records."""
        rows = await self._db.query(
            "SELECT token_id, name, hash, scopes, create_time, expire_time FROM tokens ORDER BY create_time, token_id"
        )
        return [
            TokenRecord(token_id, name, digest, frozenset(map(Scope, scopes.split())), created, expires)
            for token_id, name, digest, scopes, created, expires in rows
        ]

    async def save(self, record: TokenRecord) -> None:
        """Write one record, over an older one of the same id."""
        unit = self._db.unit()
        scopes = " ".join(sorted(record.scopes))
        unit.execute(
            "INSERT OR REPLACE INTO tokens VALUES(?, ?, ?, ?, ?, ?)",
            (record.token_id, record.name, record.hash, scopes, record.create_time, record.expire_time),
        )
        await self._db.commit(unit)

    async def delete(self, token_id: str) -> None:
        """Remove one record."""
        unit = self._db.unit()
        unit.execute("DELETE FROM tokens WHERE token_id = ?", (token_id,))
        await self._db.commit(unit)
