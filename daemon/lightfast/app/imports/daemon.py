"""The daemon as the place where an import goes, over its API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lightfast.app.imports.layout import Record
from lightfast.app.imports.mapping import Fields
from lightfast.app.mcp.plain import from_proto
from lightfast.core.errors import NotFound
from lightfast.wire.http.plain import time_json, value_json

if TYPE_CHECKING:
    from lightfast.client import Client

_PLACES = {"workspace": "Workspace", "project": "Project", "task": "Task"}
_TIMES = ("valid_from", "valid_to")
_SAFE = re.compile(r"[^a-z0-9_-]+")


class DaemonTarget:
    """Implements `importing.Target` over a client."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def find(self, kind: str, fields: Fields) -> Mapping[str, Any] | None:
        """Return what is there."""
        try:
            if kind == "context":
                answer = self._client.call_json("MemoryService.GetMemory", {"memory": fields["key"]})
                return _memory(answer["versions"][0])
            name = f"{kind}_id"
            answer = self._client.call_json(f"WorkspaceService.Get{_PLACES[kind]}", {name: fields[name]})
        except NotFound:
            return None
        return _plain(answer[kind])

    def create(self, kind: str, fields: Fields) -> None:
        """Create it."""
        if kind == "context":
            self._client.remember(**(fields | {"fact": True}))
            return
        self._client.call_json(f"WorkspaceService.Create{_PLACES[kind]}", {kind: _message(fields)})

    def update(self, kind: str, fields: Fields) -> None:
        """Change it: a context gets its next version, a task, too."""
        if kind == "context":
            self.create(kind, fields)
            return
        names = [name for name in fields if name not in (f"{kind}_id", "valid_from")]
        request = {kind: _message(fields), "update_fields": names}
        self._client.call_json(f"WorkspaceService.Update{_PLACES[kind]}", request)

    def workflow(self, record: Record, *, check_only: bool, replace: bool = False) -> list[str]:
        """Save a workflow under the name of its file, unless something is wrong in it."""
        name = _SAFE.sub("-", record.file.stem.lower()).strip("-_") or "workflow"
        request = {"name": name, "yaml": record.text, "validate_only": check_only, "replace": replace}
        answer = self._client.call_json("JobService.SaveWorkflow", request)
        problems = answer.get("workflow", {}).get("problems", ())
        return [f"line {each.get('line', 1)}: {each.get('message', '')}" for each in problems]


def _message(fields: Fields) -> dict[str, Any]:
    """Return *fields* as proto JSON."""
    found = dict(fields)
    found["metadata"] = {name: value_json(value) for name, value in fields.get("metadata", {}).items()}
    if "state" in found:
        found["state"] = f"TASK_STATE_{found['state']}"
    for name in _TIMES:
        if name in found:
            found[name] = time_json(found[name])
    return found


def _plain(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message in proto JSON as `mapping` has its fields."""
    found = dict(message)
    found["metadata"] = {name: from_proto(value) for name, value in message.get("metadata", {}).items()}
    if "state" in found:
        found["state"] = found["state"].removeprefix("TASK_STATE_")
    for name in _TIMES:
        if name in found:
            found[name] = _nanoseconds(found[name])
    return found


def _memory(message: Mapping[str, Any]) -> dict[str, Any]:
    found = _plain(message)
    if "valid_from" in found:
        found["valid_from_ns"] = found["valid_from"]
    return {"strength": 0.0, "tags": []} | found


def _nanoseconds(text: str) -> int:
    whole, _, fraction = text.rstrip("Z").partition(".")
    seconds = round(datetime.fromisoformat(whole + "+00:00").timestamp())
    return seconds * 1_000_000_000 + int((fraction or "0").ljust(9, "0"))
