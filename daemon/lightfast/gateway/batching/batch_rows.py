"""The tables of batches: what was asked, and what was answered, item by item."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lightfast.context.upkeep.purge_rows import RowRoom
from lightfast.context.upkeep.purge_target import Target
from lightfast.gateway.operations import Operation, Operations
from lightfast.sdk import BatchAnswer, Message, Usage
from lightfast_link.value import Value, from_json, to_json

PURGED = "it was purged"


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One request of a batch; *settings* are complete, *seed* is always given, *schema* is a JSON text."""

    prompt: str
    settings: dict[str, Value]
    seed: int
    system: str = ""
    messages: tuple[Message, ...] = ()
    schema: str = ""
    max_output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class BatchState:
    """What is known of a batch beside its operation.

    *service*: it is the service's own batch, not one that is worked through here. *sent*: it was handed to the service,
    or may have been. *held*: money was held for it. *consent*: its price need not be bounded. *owing*: it was given up,
    and what its service still finished of it is to be booked.
    """

    service: bool
    consent: bool
    sent: bool = False
    held: bool = False
    owing: bool = False


class BatchRows:
    """Reads and writes them. Whatever is written is on the disk when the call returns."""

    def __init__(self, db: Any, operations: Operations) -> None:
        self._db, self._operations = db, operations

    async def add(self, operation: Operation, state: BatchState, items: Sequence[BatchItem]) -> None:
        """Write a new batch, with its operation."""
        unit = self._db.unit()
        self._operations.write(unit, operation)
        _write_state(unit, operation.operation_id, state)
        unit.insert(
            "INSERT INTO batch_items(operation_id, place, request) VALUES(?, ?, ?)",
            [(operation.operation_id, place, _encode(item)) for place, item in enumerate(items)],
        )
        await self._db.commit(unit)
        self._operations.remember(operation)

    async def save(self, operation: Operation, state: BatchState | None = None) -> None:
        """Write the operation, and the state where it is given."""
        unit = self._db.unit()
        self._operations.write(unit, operation)
        if state is not None:
            _write_state(unit, operation.operation_id, state)
        await self._db.commit(unit)
        self._operations.remember(operation)

    async def state(self, operation_id: str) -> BatchState | None:
        """Return the state of a batch."""
        rows = await self._db.query("SELECT body FROM batches WHERE operation_id = ?", (operation_id,))
        return BatchState(**json.loads(rows[0][0])) if rows else None

    async def owing(self) -> list[str]:
        """Return those that were given up and of which something is still to be booked."""
        rows = await self._db.query("SELECT operation_id FROM batches WHERE body ->> 'owing' = 1")
        return [operation_id for (operation_id,) in rows]

    async def items(self, operation_id: str, *, open_only: bool = False) -> list[tuple[int, BatchItem]]:
        """Return the items with their places; *open_only*: those without an answer."""
        where = " AND answer IS NULL" if open_only else ""
        rows = await self._db.query(
            f"SELECT place, request FROM batch_items WHERE operation_id = ?{where} ORDER BY place",  # noqa: S608
            (operation_id,),
        )
        return [(place, _decode(request)) for place, request in rows]

    async def answer(self, operation_id: str, answers: Sequence[BatchAnswer]) -> None:
        """Write answers; one that is there stays the same by being written again, and what was purged stays purged."""
        unit = self._db.unit()
        unit.insert(
            "UPDATE batch_items SET answer = ? WHERE operation_id = ? AND place = ? AND request <> ?",
            [(_encode_answer(answer), operation_id, answer.index, _BLANK) for answer in answers],
        )
        await self._db.commit(unit)

    async def answers(self, operation_id: str) -> list[BatchAnswer]:
        """Return the answers so far, by place."""
        rows = await self._db.query(
            "SELECT place, answer FROM batch_items WHERE operation_id = ? AND answer IS NOT NULL ORDER BY place",
            (operation_id,),
        )
        return [_decode_answer(place, answer) for place, answer in rows]

    async def clean(self) -> None:
        """Let go of what belongs to operations that are gone."""
        unit = self._db.unit()
        for table in ("batches", "batch_items"):
            unit.execute(f"DELETE FROM {table} WHERE operation_id NOT IN (SELECT operation_id FROM operations)")  # noqa: S608
        await self._db.commit(unit)


class BatchRoom(RowRoom):
    """The table `batch_items` takes part in a purge: requests and answers that hold the text are blanked.

    What was not answered yet never will be.
    """

    def __init__(self, db: Any) -> None:
        blank = "UPDATE batch_items SET request = ?, answer = ?"
        super().__init__(
            db,
            "batches",
            "batch_items",
            "row",
            ("request", "answer"),
            blank,
            (_BLANK, _encode_answer(BatchAnswer(0, error=PURGED))),
        )

    async def remaining(self, target: Target) -> list[str]:
        """Name the batches under way that lost requests: what they have read already, they still ask."""
        if target.needles is None:
            return []
        rows = await self._db.query(
            "SELECT DISTINCT operation_id FROM batch_items JOIN operations USING(operation_id)"
            " WHERE state = 'RUNNING' AND request = ?",
            (_BLANK,),
        )
        return [
            f"the batch {operation_id} is under way and may still ask what was purged: cancel it, or purge again when"
            " it is over"
            for (operation_id,) in rows
        ]


def _write_state(unit: Any, operation_id: str, state: BatchState) -> None:
    unit.execute("INSERT OR REPLACE INTO batches VALUES(?, ?)", (operation_id, json.dumps(asdict(state))))


def _encode(item: BatchItem) -> str:
    body = {
        "prompt": item.prompt,
        "settings": {name: to_json(value) for name, value in item.settings.items()},
        "seed": item.seed,
        "system": item.system,
        "messages": [[message.role, message.text] for message in item.messages],
        "schema": item.schema,
        "max_output_tokens": item.max_output_tokens,
    }
    return json.dumps({name: value for name, value in body.items() if value or name == "prompt"}, ensure_ascii=False)


def _decode(request: str) -> BatchItem:
    body = json.loads(request)
    return BatchItem(
        body["prompt"],
        {name: from_json(value, name) for name, value in body.get("settings", {}).items()},
        body.get("seed", 0),
        body.get("system", ""),
        tuple(Message(role, text) for role, text in body.get("messages", ())),
        body.get("schema", ""),
        body.get("max_output_tokens", 0),
    )


_BLANK = _encode(BatchItem("", {}, 0))
"""The request of an item that was purged."""


def _encode_answer(answer: BatchAnswer) -> str:
    usage = {name: value for name, value in asdict(answer.usage).items() if value}
    return json.dumps({"text": answer.text, "error": answer.error, "usage": usage}, ensure_ascii=False)


def _decode_answer(place: int, answer: str) -> BatchAnswer:
    body = json.loads(answer)
    return BatchAnswer(place, body["text"], body["error"], Usage(**body["usage"]))
