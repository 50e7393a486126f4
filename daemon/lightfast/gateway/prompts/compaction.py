r"""Compaction: leaves out of a text what does not change its meaning. Pure, and idempotent.

What is done, outside of fenced code:

1. `\r\n` becomes `\n`; blanks at the end of a line go; several empty lines become one, those at both ends go.
2. Several spaces or tabs inside a line become one space. The indentation of a line stays, and a line that holds a
   backquote, or is indented by four spaces or a tab as code is, stays as it is inside.
3. A line that repeats the one before it goes, and the line says how often it was there, where that is shorter.
4. A line of context, `/path = value`, that was there before, word for word, goes.
5. A paragraph of at least `LONG` characters that was there before, word for word, becomes a reference to it.

Inside of fenced code nothing is done, but that JSON which is valid (a fence marked `json`) loses the blanks between its
tokens; strings and numbers stay letter for letter. A fence inside of a quotation (`> ```) is left alone entirely.

Every step makes the text shorter or leaves it alone, and they are repeated until nothing changes: what comes out is not
changed by doing it again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from lightfast.core.tokens import TokenCounter

LONG = 200
"""A paragraph is long from so many characters on."""
_SHORTER = 24
"""Repeated lines are drawn together where that saves at least so many characters."""
_FENCE = re.compile(r"^(?P<lead>(?:[ ]{0,3}>[ ]?)*[ ]{0,3})(?P<fence>`{3,}|~{3,})(?P<info>[^\n]*)$")
_RUNS = re.compile(r"(?<=\S)[ \t]{2,}(?=\S)")
_CONTEXT = re.compile(r"^/\S+ = .*$")
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|\s+')


@dataclass(frozen=True, slots=True)
class Compacted:
    """A text as it was left, and how many *tokens_saved* that is."""

    text: str
    tokens_saved: int


def compact_counted(text: str, counter: TokenCounter) -> Compacted:
    """Compact a text and count what that saved; a text that would take more tokens stays as it is."""
    short = compact(text)
    saved = counter.count(text) - counter.count(short)
    return Compacted(short, saved) if saved > 0 else Compacted(text, 0)


def compact(text: str) -> str:
    """Return *text* without what does not change its meaning; see the module."""
    while True:
        shorter = _once(text)
        if len(shorter) >= len(text):
            return text
        text = shorter


def _once(text: str) -> str:
    text = text.replace("\r\n", "\n")
    seen_lines: set[str] = set()
    seen_blocks: set[str] = set()
    parts = []
    for is_code, part in _segments(text):
        if is_code:
            parts.append(_code(part))
        else:
            parts.append(_blocks(_prose(part, seen_lines), seen_blocks))
    whole = "\n".join(parts)
    return whole.strip("\n") if not whole.strip() else _trimmed(whole)


def _trimmed(text: str) -> str:
    """Return *text* without empty lines at its ends; the indentation of its first line stays."""
    lines = text.split("\n")
    while lines and not lines[0].strip():
        lines.pop(0)
    while lines and not lines[-1].strip():
        lines.pop()
    return "\n".join(lines)


def _segments(text: str) -> Iterator[tuple[bool, str]]:
    """Yield the parts of a text, those of fenced code with their fences; joined by line ends they are the text."""
    prose: list[str] = []
    code: list[str] = []
    fence = ""
    for line in text.split("\n"):
        found = _FENCE.match(line)
        if fence:
            code.append(line)
            if found and found["fence"].startswith(fence) and not found["info"].strip():
                yield True, "\n".join(code)
                code, fence = [], ""
        elif found and not (found["fence"][0] == "`" and "`" in found["info"]):
            if prose:
                yield False, "\n".join(prose)
                prose = []
            code, fence = [line], found["fence"]
        else:
            prose.append(line)
    if code:  # a fence that is not closed goes on to the end
        yield True, "\n".join(code)
    if prose:
        yield False, "\n".join(prose)


def _prose(text: str, seen: set[str]) -> str:
    lines: list[str] = []
    count = 1

    def close() -> None:
        nonlocal count
        if count > 1:
            line = lines[-1]
            marked = f"{line} ({count} times)"
            if len(line) * count + count - 1 - len(marked) >= _SHORTER:
                lines[-1] = marked
            else:
                lines.extend([line] * (count - 1))
            count = 1

    for raw in text.split("\n"):
        line = raw.rstrip(" \t")
        if not (raw.startswith(("    ", "\t")) or "`" in raw):
            line = _RUNS.sub(" ", line)
        if _CONTEXT.match(line):
            if line in seen:
                continue
            seen.add(line)
        if lines and line == lines[-1]:
            if line:
                count += 1
            continue  # of empty lines one stays
        close()
        lines.append(line)
    close()
    return "\n".join(lines)


def _blocks(text: str, seen: set[str]) -> str:
    blocks = text.split("\n\n")
    for place, block in enumerate(blocks):
        key = block.strip("\n")
        if len(key) < LONG:
            continue
        if key in seen:
            beginning = " ".join(key.split())[:60]
            blocks[place] = block.replace(key, f"(as above: {beginning} …)")
        seen.add(key)
    return "\n\n".join(blocks)


def _code(text: str) -> str:
    first, *rest = text.split("\n")
    found = _FENCE.match(first)
    if found is None or ">" in found["lead"] or found["info"].strip().lower() != "json" or len(rest) < 2:
        return text
    last = _FENCE.match(rest[-1])
    if last is None or not last["fence"].startswith(found["fence"]):
        return text
    body = "\n".join(rest[:-1])
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return text
    short = _JSON_STRING.sub(lambda match: match[0] if match[0].startswith('"') else "", body)
    return "\n".join([first, found["lead"] + short, rest[-1]]) if short else text
