"""What the desk takes, keeps and gives. Times are ns since 1970."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from lightfast.engine.ports import Asker


class LineState(StrEnum):
    """How a line stands: OPEN until the back has it, TAKEN while it does, RUNNING while what it started goes on.

    WAITING are parts of a task whose turn has not come, and tasks whose parts are at work; ANSWERED asked for no work.
    """

    OPEN = "OPEN"
    TAKEN = "TAKEN"
    RUNNING = "RUNNING"
    WAITING = "WAITING"
    DONE = "DONE"
    FAILED = "FAILED"
    ANSWERED = "ANSWERED"


OVER = frozenset((LineState.DONE, LineState.FAILED, LineState.ANSWERED))


@dataclass(frozen=True, slots=True)
class Ack:
    """What is said at once: *line* is a coded event, *text* the same for a person, *job* what it speaks of.

    *command* is what plain words were understood as, *confidence* how surely. *line_id* is empty where nothing was
    queued: then *line* is an answer or an error.
    """

    line: str
    text: str
    command: str = ""
    confidence: float = 1.0
    job: str = ""
    line_id: str = ""
    next_steps: tuple[str, ...] = ()
    again: bool = field(default=False, compare=False)
    """The same was said before, under the same request id: nothing new was taken."""

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "line": self.line,
            "text": self.text,
            "command": self.command,
            "confidence": self.confidence,
            "job": self.job,
            "line_id": self.line_id,
            "next_steps": list(self.next_steps),
        }


def ack(plain: Mapping[str, Any]) -> Ack:
    """Return the acknowledgement that `Ack.plain` made."""
    return Ack(**{**plain, "next_steps": tuple(plain["next_steps"])})


@dataclass(frozen=True, slots=True)
class Line:
    """One line that was acknowledged, and what became of it; *number* is its place in the order of all.

    *parent* is the line whose task this one is a part of, at *place* from 1; *outcome* what came out, for a person.
    """

    line_id: str
    client: str
    said: str
    command: str
    letters: str
    asker: Asker
    create_time: int
    number: int = 0
    request_id: str = ""
    signature: str = ""
    project: str = ""
    conversation: str = ""
    state: LineState = LineState.OPEN
    task_id: str = ""
    job_id: str = ""
    run_id: str = ""
    parent: str = ""
    place: int = 0
    confidence: float = 1.0
    complexity: float = 0.0
    routing: str = ""
    outcome: str = ""
    ack: Ack | None = None

    @property
    def subject(self) -> str:
        """Return what its events speak of: the task, else the run, else the line itself."""
        return self.task_id or self.run_id or self.line_id


@dataclass(frozen=True, slots=True)
class Reply:
    """One message of a conversation: an acknowledgement, an event (with its *sequence*), or words of the front model.

    Words come in *delta*, and then *line* is empty.
    """

    line: str = ""
    text: str = ""
    request_id: str = ""
    job: str = ""
    command: str = ""
    delta: str = ""
    confidence: float = 0.0
    next_steps: tuple[str, ...] = ()
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What may come next: a *line* to say, how likely it is, and why."""

    line: str
    score: float
    reason: str


@dataclass(frozen=True, slots=True)
class Told:
    """What a piece of work has to tell: a coded *line* for an event of *kind*, and the same for a person."""

    kind: str
    line: str
    text: str
    job: str
    next_steps: tuple[str, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)

    def payload(self, line_id: str) -> dict[str, Any]:
        """Return the payload of the event."""
        return {
            "line": self.line,
            "text": self.text,
            "job": self.job,
            "line_id": line_id,
            "next_steps": list(self.next_steps),
            **self.more,
        }
