"""The table `failures` takes part in a purge: the error of a service may repeat what it was asked."""

from __future__ import annotations

from lightfast.context.upkeep.purge_rows import RowRoom
from lightfast.storage.database import Database


class FailureRoom(RowRoom):
    """Failures that name what is purged go."""

    def __init__(self, db: Database) -> None:
        super().__init__(db, "failures", "failures", "id", ("body",), "DELETE FROM failures")
