"""Recognizes the JSON bridges that share TCP 9876 and 9877, which hang where one speaks the wrong dialect.

blender-mcp and ableton-mcp take bare JSON and answer it; one NUL, or a second request before the answer, and that
connection is dead. Blender Lab waits for a NUL and answers one request per connection. djeada's server takes lines.
So the question that all but Blender Lab understand comes first, and only where it meets silence one with a NUL.
"""

from __future__ import annotations

from typing import Any

from lightfast.app.cli.ports.asking import BUDGET, Place, Recognizer, Seen, ask, parsed

_SCENE = b'{"type":"get_scene_info"}'
_SCRIPT = b'{"type":"get_script_info","params":{}}'
_UNKNOWN_COMMAND = "unknown command"

BLENDER_MCP = Seen(
    "blender-mcp answers here",
    "talk bare JSON, one request at a time: a second one before the answer, or a NUL after it, hangs the connection",
)
BLENDER_LAB = Seen(
    "Blender Lab MCP answers here", "talk NUL-terminated JSON, one request per connection; it closes after the answer"
)
DJEADA = Seen(
    "djeada/blender-mcp-server answers here", "talk one JSON object a line, each with an id, command and params"
)
ABLETON_MCP = Seen(
    "ableton-mcp answers here",
    "talk bare JSON, one request at a time; it asks for no password, so keep it from other machines",
)
NO_DIALECT = Seen(
    "it answers JSON, but none of the dialects that are known here",
    "ask its author; four programs use this port and do not mix",
    known=False,
)


def recognizer(*, ableton_first: bool = False, budget: float = BUDGET) -> Recognizer:
    """Return what tells the JSON bridges apart; *ableton_first* asks as ableton-mcp's client would first."""
    questions = (_SCRIPT, _SCENE) if ableton_first else (_SCENE, _SCRIPT)

    async def recognize(place: Place) -> Seen | None:
        for question in questions:
            answer = await ask(place, question + b"\n", _is_whole, budget)
            if not answer:
                break
            seen = _judged(question, answer)
            if seen is not None:
                return seen
        else:
            return NO_DIALECT
        # Silence: Blender Lab waits for its NUL. On a connection of its own, which is closed at once after it.
        answer = await ask(place, _SCENE + b"\0", _is_whole, budget)
        return BLENDER_LAB if answer.endswith(b"\0") else None

    return recognize


def _is_whole(data: bytes) -> bool:
    return data.endswith(b"\0") or parsed(data) is not None


def _judged(question: bytes, answer: bytes) -> Seen | None:
    """Return what gave *answer*, or nothing where another question may tell."""
    said: Any = parsed(answer)
    if answer.endswith(b"\0"):
        return BLENDER_LAB
    if not isinstance(said, dict):
        return NO_DIALECT
    if "success" in said:
        return DJEADA
    if said.get("status") == "success":
        return BLENDER_MCP if question is _SCENE else _ableton(said.get("result"))
    if said.get("status") == "error" and _UNKNOWN_COMMAND not in str(said.get("message", "")).lower():
        return BLENDER_MCP if question is _SCENE else ABLETON_MCP
    return None if said.get("status") == "error" else NO_DIALECT


def _ableton(result: Any) -> Seen:
    version = result.get("script_version", "") if isinstance(result, dict) else ""
    return Seen(f"ableton-mcp {version} answers here", ABLETON_MCP.advice) if version else ABLETON_MCP
