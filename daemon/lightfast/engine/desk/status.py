"""How things stand, from events alone: the board that the front model is shown, and events as coded lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lightfast.core.clock import Clock
from lightfast.engine.desk.caches import STATUS_S, Kept
from lightfast.engine.desk.coded import Fault, StatusUpdate, TaskComplete, format_line
from lightfast.engine.desk.records import Reply
from lightfast.engine.desk.words import short
from lightfast.engine.events.records import Event

MOST_ENTITIES = 200
_TEXT = 200
_BAD = frozenset({"dead", "failed"})


class Board:
    """The newest status of the things that events told of last; the one that is quiet longest goes."""

    def __init__(self, clock: Clock) -> None:
        self.snapshots: Kept[tuple[str, ...]] = Kept("status", 1, clock, STATUS_S)
        self.changes = 0
        """How many events changed it."""
        self._standing: dict[str, Event] = {}

    def take(self, event: Event) -> None:
        """Take in an event."""
        self._standing.pop(event.entity_id, None)
        self._standing[event.entity_id] = event  # its line is worked out for those who ask
        if len(self._standing) > MOST_ENTITIES:
            del self._standing[next(iter(self._standing))]
        self.changes += 1

    def clear(self) -> None:
        """Forget how things stand."""
        self._standing.clear()
        self.snapshots.clear()
        self.changes += 1

    def lines(self) -> tuple[str, ...]:
        """Return the coded lines of what there is, newest first; kept for 30 s where no event changes it."""
        kept = self.snapshots.get("all", self.changes)
        if kept is None:
            kept = tuple(self._newest())
            self.snapshots.put("all", kept, self.changes)
        return kept

    def _newest(self) -> Iterator[str]:
        for event in reversed(self._standing.values()):
            yield short(coded(event).line, _TEXT)


def coded(event: Event) -> Reply:
    """Return an event as the coded line of the desk, whatever room it is from.

    What the desk tells of carries its line. Of others, what succeeded is `tc` for a run or a task and `su` else, what
    failed is `er`, and everything else `su` with how far it is.
    """
    payload = event.payload
    if event.entity_kind == "desk" and isinstance(line := payload.get("line"), str):
        steps = payload.get("next_steps")
        return Reply(
            line=line,
            text=str(payload.get("text", "")),
            job=str(payload.get("job", "")),
            next_steps=tuple(map(str, steps)) if isinstance(steps, list) else (),
            sequence=event.sequence,
        )
    status = event.kind.rpartition(".")[2]
    what = _what(event, payload)
    why = next((str(payload[name]) for name in ("error", "reason", "message") if payload.get(name)), "")
    if status in _BAD and event.entity_kind in {"run", "job", "task", "workflow"}:
        message = f"{event.entity_kind} {event.entity_id} failed{': ' if why else ''}{short(why, 400)}"
        recovery = f"Look at it: cl:{event.entity_id}" if event.entity_kind != "job" else "lightfast jobs retry"
        line = format_line(Fault(f"{event.entity_kind.upper()}_FAILED", message, recovery))
        return Reply(line=line, text=message, job=event.entity_id, sequence=event.sequence)
    if (event.entity_kind, status) in {("run", "succeeded"), ("task", "done")}:
        line = format_line(TaskComplete(event.entity_id, "success", {"next": []}))
    else:
        line = format_line(StatusUpdate(what, status or "changed", _fraction(payload, status)))
    text = f"{event.entity_kind} {what}: {status.replace('_', ' ')}{' – ' if why else ''}{short(why)}"
    return Reply(line=line, text=text, job=event.entity_id, sequence=event.sequence)


def _what(event: Event, payload: Mapping[str, Any]) -> str:
    step = payload.get("step_id")
    return f"{event.entity_id}/{step}" if event.entity_kind == "step" and step else event.entity_id


def _fraction(payload: Mapping[str, Any], status: str) -> float:
    for name in ("fraction", "progress"):
        value = payload.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return min(1.0, max(0.0, float(value)))
    return 1.0 if status in {"succeeded", "done", "ended"} else 0.0
