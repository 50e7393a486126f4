"""What the built-in operations share: their rooms, schemas, references that are not resolved yet, deadlines."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from lightfast.context.records import RequestKey
from lightfast.core.errors import DeadlineExceeded, FailedPrecondition
from lightfast.sdk import Mistake, Operation, OperationCall

if TYPE_CHECKING:
    from lightfast.engine.operations.rooms import OperationRooms

T = TypeVar("T")

_REFERENCE = re.compile(r"(?<!\$)\$\{")
UNKNOWN = "OUTCOME_UNKNOWN"
"""The reason of an error that says: it may have happened, or not."""
TEXT: Mapping[str, Any] = {"type": "string"}
PATH: Mapping[str, Any] = {"type": "string", "pattern": r"^(/|\$\{)", "maxLength": 2000}
SECONDS: Mapping[str, Any] = {"type": "number", "minimum": 0, "maximum": 86400}


class Built(Operation):
    """A built-in operation over the *rooms* of the daemon."""

    def __init__(self, rooms: OperationRooms) -> None:
        self.rooms = rooms


def schema(required: tuple[str, ...] = (), **properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of an object that has these properties and no others."""
    found: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        found["required"] = list(required)
    return found


def said(base: Mapping[str, Any], description: str, **more: Any) -> dict[str, Any]:
    """Return *base* with a description, and what else holds."""
    return {**base, "description": description, **more}


def is_open(value: Any) -> bool:
    """Say whether there is a reference in *value* that is not resolved yet, however deep."""
    if isinstance(value, str):
        return _REFERENCE.search(value) is not None
    if isinstance(value, Mapping):
        return any(is_open(each) for each in value.values())
    if isinstance(value, list | tuple):
        return any(is_open(each) for each in value)
    return False


def request_of(call: OperationCall, method: str) -> RequestKey:
    """Return what makes a room do the thing once, however often the call comes."""
    body = msgspec.json.encode(call.arguments, order="deterministic", enc_hook=repr)
    return RequestKey(f"run:{call.run_id}", method, call.key, hashlib.sha256(body).hexdigest())


@asynccontextmanager
async def within(seconds: float, what: str) -> AsyncIterator[None]:
    """Bound what is done in it; raises `DeadlineExceeded` that says *what* took too long."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as late:
        raise DeadlineExceeded(f"{what} was not over after {seconds:g} s: give it a longer timeout") from late


def needed(room: T | None, name: str) -> T:
    """Return *room*; raise `FailedPrecondition` where this daemon has none."""
    if room is None:
        raise FailedPrecondition(f"this daemon runs without {name}", reason="NOT_HERE")
    return room


def missing(room: object | None, name: str) -> list[Mistake]:
    """Return the mistake that there is no such room here, or none."""
    return [] if room is not None else [Mistake("NOT_HERE", f"this daemon runs without {name}")]
