"""From a record of the layout to the fields of the API; what has no field of its own goes into `metadata`."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from lightfast.app.imports.layout import Record
from lightfast_link.value import Value

Fields = dict[str, Any]
"""Fields of a message as Python has them: times in ns since 1970, metadata as values."""

_STATES = {
    "pending": "PENDING", "todo": "PENDING", "open": "PENDING", "ready": "READY", "in_progress": "IN_PROGRESS",
    "in-progress": "IN_PROGRESS", "active": "IN_PROGRESS", "processing": "IN_PROGRESS", "running": "IN_PROGRESS",
    "blocked": "BLOCKED", "waiting": "BLOCKED", "done": "DONE", "completed": "DONE", "complete": "DONE",
    "success": "DONE", "failed": "FAILED", "error": "FAILED", "cancelled": "CANCELLED", "canceled": "CANCELLED",
}  # fmt: skip
_LEVELS = {"low": 0.2, "simple": 0.2, "medium": 0.5, "moderate": 0.5, "high": 0.8, "complex": 0.8}
_IDENTITY = re.compile(r"[a-z0-9][a-z0-9_.-]{0,79}")
_TIMES = ("created_at", "createdAt", "created", "updated_at", "updatedAt", "valid_from", "valid_to")


class Unfit(ValueError):
    """A record cannot become what it is of; the message says which field is wrong."""


def identity(text: Any) -> str:
    """Return an identity for one of the source: itself where it fits, else one made of it, always the same."""
    plain = str(text)
    if _IDENTITY.fullmatch(plain):
        return plain
    short = re.sub(r"[^a-z0-9_.-]+", "-", plain.lower()).strip("-._")[:60] or "record"
    return f"{short}-{hashlib.sha256(plain.encode()).hexdigest()[:8]}"


class Reader:
    """Takes fields out of one record; what nobody took is left in `rest`."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.rest = dict(record.fields)

    def text(self, *names: str, wanted: bool = False) -> str:
        """Return a text under the first of *names* that is there; other values as JSON."""
        for name in names:
            if (value := self.rest.pop(name, None)) is not None:
                return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if wanted:
            raise Unfit(f"{names[0]} is missing")
        return ""

    def level(self, name: str) -> float | None:
        """Return a number from 0 to 1, or what a word stands for; `None`: not there."""
        value = self.rest.pop(name, None)
        if value is None:
            return None
        if isinstance(value, str) and value.strip().lower() in _LEVELS:
            return _LEVELS[value.strip().lower()]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            words = ", ".join(_LEVELS)
            raise Unfit(f"{name} is {value!r:.40}: it must be a number from 0 to 1, or one of {words}")
        return float(value)

    def names(self, *names: str) -> list[str]:
        """Return identities under the first of *names* that is there: a list, or one alone."""
        for name in names:
            value = self.rest.pop(name, None)
            if value is None:
                continue
            items = value if isinstance(value, list) else [value]
            return [identity(each.get("id", "") if isinstance(each, Mapping) else each) for each in items]
        return []

    def time(self, *names: str) -> int:
        """Return a time under the first of *names*: ISO 8601, or seconds or milliseconds since 1970; 0: not there."""
        for name in names:
            if (value := self.rest.get(name)) is not None:
                return _time(name, value)
        return 0

    def metadata(self) -> dict[str, Value]:
        """Return all that is left, with where it came from."""
        given = self.rest.pop("metadata", None)
        found: dict[str, Value] = {}
        if isinstance(given, Mapping):
            found |= _map(given)
        elif given is not None:
            found["metadata"] = _value(given)
        found |= {name: value for name, value in _map(self.rest).items() if name not in found}
        found["imported_from"] = self.record.file.name
        return found


def _place(reader: Reader, key: str) -> Fields:
    source = reader.text("id", key, wanted=not reader.record.fields.get("name"))
    name = reader.text("name", "title") or source
    return {key: identity(source or name), "name": name, "description": reader.text("description")}


def workspace(record: Record) -> Fields:
    """Return the fields of a workspace."""
    reader = Reader(record)
    return _place(reader, "workspace_id") | {"metadata": reader.metadata()}


def project(record: Record) -> Fields:
    """Return the fields of a project."""
    reader = Reader(record)
    found = _place(reader, "project_id")
    found["workspace_id"] = identity(reader.text("workspace_id", "workspace", wanted=True))
    return found | {"metadata": reader.metadata()}


def task(record: Record) -> Fields:
    """Return the fields of a task."""
    reader = Reader(record)
    if isinstance(intent := reader.rest.get("intent"), Mapping):
        reader.rest.pop("intent")
        reader.rest |= {
            f"intent_{name}": value for name, value in intent.items() if f"intent_{name}" not in reader.rest
        }
    title = reader.text("title", "name", wanted=True)
    found: Fields = {
        "task_id": identity(reader.text("id", "task_id") or title),
        "title": title,
        "description": reader.text("description"),
        "intent_type": reader.text("intent_type"),
        "intent_source": reader.text("intent_source") or "import",
        "business_goal": reader.text("business_goal"),
        "context_adaptations": reader.text("context_adaptations"),
        "parent_context": reader.text("parent_context"),
        "result": reader.text("result"),
        "state": _state(reader.text("status", "state") or "pending"),
        "after": reader.names("dependencies", "depends_on", "after"),
        "valid_from": reader.time("valid_from", "created_at", "createdAt", "created"),
    }
    for name, others in (
        ("workspace_id", ("workspace",)),
        ("project_id", ("project",)),
        ("parent_task_id", ("parent_id", "parent")),
    ):
        if value := reader.text(name, *others):
            found[name] = identity(value)
    for name in ("confidence", "complexity"):
        if (level := reader.level(name)) is not None:
            found[name] = level
    routing = reader.text("routing_decision").replace("-", "_").lower()
    if routing in ("one_shot", "split"):
        found["routing_decision"] = routing
    elif routing:
        reader.rest["routing_decision"] = routing
    return {name: value for name, value in found.items() if value not in ("", [], 0)} | {"metadata": reader.metadata()}


def context(record: Record) -> Fields:
    """Return the arguments of `remember` for a context: a fact under its key."""
    reader = Reader(record)
    key = reader.text("key", "id", "context_id", "name") or record.file.stem
    text = reader.text("value", "content", "summary", "text")
    if not text:
        names = [name for name in reader.rest if name not in (*_TIMES, "metadata", "category", "memory_type")]
        if not names:
            raise Unfit("it says nothing: value, content, summary or text is missing")
        text = json.dumps({name: reader.rest.pop(name) for name in names}, ensure_ascii=False)
    tags = [tag for tag in (reader.text("category"), reader.text("memory_type", "type")) if tag]
    found: Fields = {"key": key, "text": text, "tags": tags, "source": "import"}
    if (strength := reader.level("significance")) is not None:
        found["strength"] = strength
    if (confidence := reader.level("confidence")) is not None:
        found["confidence"] = confidence
    if begin := reader.time("valid_from", "created_at", "createdAt", "created"):
        found["valid_from_ns"] = begin
    return found | {"metadata": reader.metadata()}


MAPPINGS: Mapping[str, Callable[[Record], Fields]] = {
    "workspace": workspace,
    "project": project,
    "task": task,
    "context": context,
}


def _state(word: str) -> str:
    if (found := _STATES.get(word.strip().lower())) is None:
        raise Unfit(f"status is {word!r:.40}: use one of {', '.join(sorted(_STATES))}")
    return found


def _time(name: str, value: Any) -> int:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e14:
        return round(value * (1e6 if value > 1e11 else 1e9))
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise Unfit(f"{name} is {value!r:.40}: write a time such as 2026-05-01T12:00:00Z") from None
    found = round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1e9)
    if not 0 <= found < 1 << 63:
        raise Unfit(f"{name} is {value!r:.40}: a time is from 1970 to 2262")
    return found


def _map(pairs: Mapping[str, Any]) -> dict[str, Value]:
    return {str(name): _value(value) for name, value in pairs.items() if value is not None}


def _value(value: Any, depth: int = 0) -> Value:
    if depth > 30:
        raise Unfit("metadata nests too deeply")
    if isinstance(value, bool | str | float):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, Mapping):
        return {str(name): _value(each, depth + 1) for name, each in value.items() if each is not None}
    return [_value(each, depth + 1) for each in value if each is not None]
