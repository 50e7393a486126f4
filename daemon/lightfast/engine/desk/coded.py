"""What is said in the coded language, as records; see `lightfast.engine.desk.grammar` for its letters.

`parse_command` and `parse_event` raise nothing but `CodedFault`; for every record `parse_…(format_line(record))` gives
the record back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, assert_never

import msgspec

from lightfast.engine.desk.grammar import (
    MOST_CHARACTERS,
    VERSIONS,
    CodedFault,
    fields,
    head,
    write_map,
    write_text,
)

COMMANDS = ("tc", "ts", "wf", "cl", "ms")
EVENTS = ("tr", "tc", "su", "cl", "er")
COMPLEXITIES: Mapping[str, float] = {"low": 0.2, "medium": 0.5, "high": 0.8}
"""The words for a complexity, and the number each stands for."""
DEPTHS = ("summary", "full")
ROUTINGS = ("one_shot", "split")
AUTO = "auto"
MOST_TITLE = 1_000
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_DECIMAL = re.compile(r"\d{1,18}(\.\d{1,18})?|\.\d{1,18}")


class TaskCreate(msgspec.Struct, frozen=True):
    """Create a task; *complexity* is of `COMPLEXITIES`, a number from 0 to 1 as a text, or empty."""

    title: str
    intent_type: str = ""
    complexity: str = ""


class TaskSplit(msgspec.Struct, frozen=True):
    """Split a task; *task* `auto`: one that is made of *reason*. *confidence* that it can be done in one, 0 to 1."""

    task: str
    confidence: float | None = None
    reason: str = ""


class WorkflowStart(msgspec.Struct, frozen=True):
    """Start a workflow."""

    workflow: str
    parameters: Mapping[str, Any] = msgspec.field(default_factory=dict)


class ContextLoad(msgspec.Struct, frozen=True):
    """Load a context; *depth* is of `DEPTHS`."""

    context: str
    depth: str = "summary"


class MemoryStore(msgspec.Struct, frozen=True):
    """Remember a value under a key."""

    key: str
    value: str | Mapping[str, Any]
    type: str = "semantic"


class TaskReady(msgspec.Struct, frozen=True):
    """A task was taken, and will be done in one go or split."""

    task: str
    confidence: float
    routing: str


class TaskComplete(msgspec.Struct, frozen=True):
    """A task is complete; `next` in *next_steps* are lines that may come next."""

    task: str
    result: str
    next_steps: Mapping[str, Any] = msgspec.field(default_factory=dict)


class StatusUpdate(msgspec.Struct, frozen=True):
    """How something stands; *progress* from 0 to 1."""

    entity: str
    status: str
    progress: float = 0.0


class ContextLoaded(msgspec.Struct, frozen=True):
    """What was loaded."""

    context: str
    summary: str


class Fault(msgspec.Struct, frozen=True):
    """What was wrong, and what to do."""

    code: str
    message: str
    recovery: str = ""


Command = TaskCreate | TaskSplit | WorkflowStart | ContextLoad | MemoryStore
CodedEvent = TaskReady | TaskComplete | StatusUpdate | ContextLoaded | Fault

LETTERS: Mapping[type, str] = {
    TaskCreate: "tc",
    TaskSplit: "ts",
    WorkflowStart: "wf",
    ContextLoad: "cl",
    MemoryStore: "ms",
    TaskReady: "tr",
    TaskComplete: "tc",
    StatusUpdate: "su",
    ContextLoaded: "cl",
    Fault: "er",
}


def is_coded(line: str) -> bool:
    """Say whether *line* is meant as a coded one: it has a version, known letters, or two letters and no space."""
    found = head(line)
    if found is None:
        return False
    version, letters, at = found
    return bool(version) or letters.lower() in COMMANDS or not line[at : at + 1].isspace()


def parse_command(line: str) -> Command:
    """Return the command; raise `CodedFault`, whose reason is the code of the event that answers it."""
    letters, found = _taken(line, COMMANDS, {"tc": "ttt", "ts": "ttt", "wf": "tm", "cl": "tt", "ms": "tet"})
    if letters == "tc":
        complexity = _text(found, 2)
        if complexity and complexity not in COMPLEXITIES:
            _number(complexity, "the complexity", "Write low, medium, high, or a number from 0 to 1.")
        return TaskCreate(_named(found, 0, "title", MOST_TITLE), _word(_text(found, 1), "intent type"), complexity)
    if letters == "ts":
        confidence = _text(found, 1)
        split = TaskSplit(
            _named(found, 0, "task"),
            _number(confidence, "the confidence", "Write a number from 0 to 1.") if confidence else None,
            _text(found, 2),
        )
        if split.task == AUTO and not split.reason:
            raise CodedFault("FIELD_MISSING", "what is to be split is missing", "Write ts:auto|0.3|WHAT IS TO BE DONE.")
        return split
    if letters == "wf":
        return WorkflowStart(_named(found, 0, "workflow"), _mapping(found, 1, "parameters"))
    if letters == "cl":
        depth = _text(found, 1) or "summary"
        if depth not in DEPTHS:
            raise CodedFault("WORD_INVALID", f"{depth!r:.40} is no depth", f"Write {' or '.join(DEPTHS)}.")
        return ContextLoad(_named(found, 0, "context"), depth)
    value = found[1] if len(found) > 1 else ""
    if value == "":
        raise CodedFault("FIELD_MISSING", "the value is missing", "Write ms:KEY|WHAT TO REMEMBER.")
    return MemoryStore(_named(found, 0, "key"), value, _word(_text(found, 2), "type") or "semantic")


def parse_event(line: str) -> CodedEvent:
    """Return the event; raise `CodedFault`."""
    letters, found = _taken(line, EVENTS, {"tr": "ttt", "tc": "ttm", "su": "ttt", "cl": "tt", "er": "ttt"})
    if letters == "tr":
        routing = _text(found, 2)
        if routing not in ROUTINGS:
            raise CodedFault("WORD_INVALID", f"{routing!r:.40} is no routing", f"Write {' or '.join(ROUTINGS)}.")
        confidence = _number(_text(found, 1), "the confidence", "Write a number from 0 to 1.")
        return TaskReady(_named(found, 0, "task"), confidence, routing)
    if letters == "tc":
        return TaskComplete(_named(found, 0, "task"), _named(found, 1, "result"), _mapping(found, 2, "next steps"))
    if letters == "su":
        progress = _number(_text(found, 2) or "0", "the progress", "Write a number from 0 to 1.")
        return StatusUpdate(_named(found, 0, "entity"), _named(found, 1, "status"), progress)
    if letters == "cl":
        return ContextLoaded(_named(found, 0, "context"), _text(found, 1))
    code = _named(found, 0, "code")
    return Fault(code, _text(found, 1), _text(found, 2))


def format_line(said: Command | CodedEvent) -> str:
    """Return the line; what is as usual at its end is left out of commands."""
    parts: list[str]
    match said:
        case TaskCreate():
            parts = [write_text(said.title), write_text(said.intent_type), write_text(said.complexity)]
        case TaskSplit():
            confidence = "" if said.confidence is None else _decimal(said.confidence)
            parts = [write_text(said.task), confidence, write_text(said.reason)]
        case WorkflowStart():
            parts = [write_text(said.workflow), write_map(said.parameters) if said.parameters else ""]
        case ContextLoad():
            parts = [write_text(said.context), "" if said.depth == "summary" else said.depth]
        case MemoryStore():
            value = write_text(said.value, either=True) if isinstance(said.value, str) else write_map(said.value)
            parts = [write_text(said.key), value, said.type]
        case TaskReady():
            return _joined("tr", write_text(said.task), _decimal(said.confidence), said.routing)
        case TaskComplete():
            return _joined("tc", write_text(said.task), write_text(said.result), write_map(said.next_steps))
        case StatusUpdate():
            return _joined("su", write_text(said.entity), write_text(said.status), _decimal(said.progress))
        case ContextLoaded():
            return _joined("cl", write_text(said.context), write_text(said.summary))
        case Fault():
            return _joined("er", write_text(said.code), write_text(said.message), write_text(said.recovery))
        case _:
            assert_never(said)
    while len(parts) > 1 and not parts[-1]:
        parts.pop()
    return _joined(LETTERS[type(said)], *parts)


def fault(error: CodedFault) -> Fault:
    """Return the event that answers a line that is not in order."""
    return Fault(error.reason, error.message, error.recovery)


def complexity_of(text: str) -> float | None:
    """Return the number of a complexity as a command holds it; `None` for an empty one."""
    if not text:
        return None
    return COMPLEXITIES[text] if text in COMPLEXITIES else float(text)


def _taken(line: str, letters: tuple[str, ...], kinds: Mapping[str, str]) -> tuple[str, list[Any]]:
    if len(line) > MOST_CHARACTERS:
        raise CodedFault(
            "LINE_TOO_LONG",
            f"the line has {len(line)} characters, the most is {MOST_CHARACTERS}",
            "Store what is long as an asset or a value, and say its path.",
        )
    if not line.isascii():
        try:
            line.encode()
        except UnicodeEncodeError:
            raise CodedFault("TEXT_INVALID", "the line is no Unicode text", "Send it in UTF-8.") from None
    if not line.strip():
        raise CodedFault("EMPTY_LINE", "the line is empty", "Say what is to be done, or see lightfast say --grammar.")
    found = head(line)
    if found is None:
        raise CodedFault("NOT_CODED", "the line is not coded", f"Begin with one of {', '.join(letters)} and a colon.")
    version, name, at = found
    if version and version not in VERSIONS:
        raise CodedFault(
            "VERSION_UNKNOWN",
            f"the version {version!r:.40} of the language is not known",
            f"Write {' or '.join(sorted(VERSIONS))}, or leave it out.",
        )
    if name not in letters:
        meant = f" Did you mean {name.lower()}?" if name.lower() in letters else ""
        raise CodedFault("COMMAND_UNKNOWN", f"{name!r} is not known here", f"Use one of {', '.join(letters)}.{meant}")
    return name, fields(line, at, kinds[name])


def _text(found: list[Any], at: int) -> str:
    return found[at] if at < len(found) else ""


def _named(found: list[Any], at: int, name: str, most: int = 200) -> str:
    text = _text(found, at)
    if not text.strip():
        raise CodedFault("FIELD_MISSING", f"the {name} is missing", f"Write it as field {at + 1}.")
    if len(text) > most:
        raise CodedFault("FIELD_TOO_LONG", f"the {name} has {len(text)} characters", f"Use at most {most}.")
    return text


def _mapping(found: list[Any], at: int, name: str) -> dict[str, Any]:
    value: Any = found[at] if at < len(found) else ""
    if value == "":
        return {}
    if not isinstance(value, dict):
        raise CodedFault("MAP_INVALID", f"the {name} are no map", "Write them as {name:'text',count:3}.")
    return value


def _word(text: str, name: str) -> str:
    if text and not _WORD.fullmatch(text):
        raise CodedFault(
            "WORD_INVALID", f"{text!r:.40} is no {name}", "Write one word of letters, digits, _, - and dots."
        )
    return text


def _number(text: str, name: str, recovery: str) -> float:
    if not _DECIMAL.fullmatch(text):
        raise CodedFault("NUMBER_INVALID", f"{name} {text!r:.40} is no number", recovery)
    number = float(text)
    if number > 1.0:
        raise CodedFault("NUMBER_INVALID", f"{name} {text:.40} is more than 1", recovery)
    return number


def _decimal(number: float) -> str:
    """Return *number*, which is from 0 to 1, to six places, without a point where it needs none."""
    text = f"{number:.6f}".rstrip("0").rstrip(".")
    return text or "0"


def _joined(letters: str, *parts: str) -> str:
    return f"{letters}:{'|'.join(parts)}"
