"""Events take part in a purge."""

from __future__ import annotations

from lightfast.context.upkeep.purge_rows import RowRoom
from lightfast.storage.database import Database


class EventPurge(RowRoom):
    """The table `engine_events`: an event that holds the text keeps its number, its time and its kind alone."""

    def __init__(self, db: Database) -> None:
        change = "UPDATE engine_events SET payload = '{}', entity_id = ''"
        super().__init__(db, "events", "engine_events", "sequence", ("payload", "entity_id"), change)
