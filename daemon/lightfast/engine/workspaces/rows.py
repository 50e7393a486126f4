"""Tasks as rows of `task_versions`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from lightfast.engine.workspaces.records import Task, TaskState
from lightfast_link.value import Value, from_json, to_json

if TYPE_CHECKING:
    from lightfast.storage.database import Unit

_IN_BODY = (
    *("intent_source", "context_adaptations", "parent_context", "confidence", "complexity", "routing_decision"),
    *("result", "run_id"),
)
COLUMNS = (
    "row, task_id, version, number, state, workspace_id, project_id, parent_task_id, title, description, intent_type,"
    " business_goal, body, create_time, record_time, superseded_time, valid_from, valid_to"
)

_GAP = re.compile(r'[\s"\x00-\x1f]+')


def packed(metadata: Any) -> str:
    """Return metadata as JSON."""
    return msgspec.json.encode(to_json(dict(metadata))).decode()


def unpacked(text: str) -> dict[str, Value]:
    """Return metadata of their JSON."""
    found = from_json(json.loads(text))
    return found if isinstance(found, dict) else {}


def read(row: Sequence[Any]) -> Task:
    """Return the task of a row of `COLUMNS`."""
    body = json.loads(row[12])
    return Task(
        task_id=row[1],
        version=row[2],
        state=TaskState(row[4]),
        workspace_id=row[5],
        project_id=row[6],
        parent_task_id=row[7],
        title=row[8],
        description=row[9],
        intent_type=row[10],
        business_goal=row[11],
        create_time=row[13],
        update_time=row[14],
        valid_from=row[16],
        valid_to=row[17],
        metadata=unpacked(body.pop("metadata")),
        after=tuple(body.pop("after")),
        **body,
    )


def write(unit: Unit, task: Task, number: int) -> None:
    """Add *task* as the present version; the former one is superseded, and true only until this one is.

    *number* is the order of creation; 0: that of the former versions.
    """
    body = {name: getattr(task, name) for name in _IN_BODY}
    body |= {"metadata": packed(task.metadata), "after": list(task.after)}
    unit.execute(
        "UPDATE task_versions SET superseded_time = ?1,"
        " valid_to = CASE WHEN valid_to = 0 OR valid_to > ?2 THEN max(?2, valid_from) ELSE valid_to END"
        " WHERE task_id = ?3 AND superseded_time = 0",
        (task.update_time, task.valid_from, task.task_id),
    )
    unit.execute(
        "INSERT INTO task_versions(task_id, version, number, state, workspace_id, project_id, parent_task_id, title,"
        " description, intent_type, business_goal, body, create_time, record_time, superseded_time, valid_from,"
        " valid_to) VALUES(?1, ?2, CASE ?3 WHEN 0 THEN (SELECT number FROM task_versions WHERE task_id = ?1 LIMIT 1)"
        " ELSE ?3 END, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, 0, ?15, 0)",
        (
            task.task_id,
            task.version,
            number,
            task.state.value,
            task.workspace_id,
            task.project_id,
            task.parent_task_id,
            task.title,
            task.description,
            task.intent_type,
            task.business_goal,
            json.dumps(body),
            task.create_time,
            task.update_time,
            task.valid_from,
        ),
    )
    unit.execute("DELETE FROM task_after WHERE task_id = ?", (task.task_id,))
    unit.insert(
        "INSERT INTO task_after VALUES(?, ?, ?)",
        [(task.task_id, other, place) for place, other in enumerate(task.after)],
    )


def words(query: str) -> str:
    """Return what FTS5 is asked for *query*: all its words, the last one perhaps unfinished; empty: no word."""
    # Each word is a phrase: FTS5 takes it apart at what is no letter or digit, as it did with the text.
    found = [word for word in _GAP.split(query) if any(char.isalnum() for char in word)]
    quoted = [f'"{word}"' for word in found]
    return " ".join(quoted[:20]) + ("*" if quoted and len(quoted) <= 20 else "")
