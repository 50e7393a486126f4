"""Who saved which workflow: what its triggers start is asked for by them, too, so that they cannot approve it.

Kept as one setting: the present tables have no place for it. A name stands for the file and its text, neither of which
is in it, so that a purge of either need not look here. What nobody saved was written into the folder by the user.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightfast.engine.workflows.records import Workflow
    from lightfast.storage.database import Database

LOCAL = "local"
"""The user who can write into the folder."""
BY_ITSELF = ("trigger", "schedule")
"""The doors through which a workflow is started without anybody asking for it then."""
_CALL = "workflow.call"
_KEY = "workflow_authors"


class Authors:
    """Open one with `await Authors.open(db)`."""

    def __init__(self, db: Database, known: dict[str, list[str]]) -> None:
        """Use `open`."""
        self._db = db
        self._known = known

    @classmethod
    async def open(cls, db: Database) -> Authors:
        """Take up who is known."""
        rows = await db.query("SELECT value FROM settings WHERE key = ?", (_KEY,))
        return cls(db, json.loads(rows[0][0]) if rows else {})

    def of(self, workflow: Workflow) -> list[str]:
        """Return the identities of those who saved *workflow* as it is, the last one last."""
        return self._known.get(_mark(workflow), [LOCAL])

    async def add(self, workflow: Workflow, author: str, used: Iterable[Workflow] | None) -> None:
        """Take note of who saves *workflow*; of others only those that are *used* stay, or all while none were read.

        Durable when this returns.
        """
        marks = set(self._known) if used is None else {_mark(each) for each in used}
        known = {mark: who for mark, who in self._known.items() if mark in marks}
        mark = _mark(workflow)
        known[mark] = [*(who for who in self._known.get(mark, ()) if who != author), author]
        unit = self._db.unit()
        unit.execute("INSERT OR REPLACE INTO settings VALUES(?, ?)", (_KEY, json.dumps(known)))
        await self._db.commit(unit)
        self._known = known


def found_authors(
    name: str, find: Callable[[str], Workflow | None], of: Callable[[Workflow], Sequence[str]]
) -> tuple[str, ...]:
    """Return who saved the workflow *name* and those that it calls; who saved that one itself last is the last one.

    *find* returns a workflow of the folder.
    """
    from lightfast.engine.workflows.semantics import walk  # loaded with the first workflow

    found: dict[str, None] = {}
    names = [name]
    for each in names:  # it grows as it is walked through
        workflow = find(each)
        if workflow is not None:
            found |= dict.fromkeys(of(workflow))
            called = (step.arguments.get("workflow") for step in walk(workflow.steps) if step.op == _CALL)
            names += [other for other in called if isinstance(other, str) and other not in names]
    own = find(name)
    last = "" if own is None else of(own)[-1]
    return (*(who for who in found if who != last), last) if last else ()


def _mark(workflow: Workflow) -> str:
    """Return what stands for the name and the text of a workflow."""
    return hashlib.sha256(f"{workflow.name}\0{workflow.text}".encode()).hexdigest()[:24]
