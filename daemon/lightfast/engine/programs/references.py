"""References in arguments: `${step.field[0]}`, `${params.NAME}`, `${item}`, `${index}`.

    reference = "${" root { "." field | "[" integer "]" | '["' JSON text '"]' } "}"

A string that is one reference and nothing else takes the value and its type; inside other text the value is written
as text. `$${` stands for a plain `${`. The keys of maps hold no references.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightfast.core.errors import InvalidArgument
from lightfast.engine.programs.near import did_you_mean
from lightfast_link.value import Asset, to_json

LONGEST = 1 << 20
"""The longest text that resolving may make, in characters."""
MOST_KEPT = 1_000
"""Texts up to so many characters are read once; longer ones would fill the memory."""
RESERVED = frozenset(("params", "item", "index"))
"""The roots that are no instruction."""
_NAME = r"[A-Za-z_][A-Za-z0-9_-]*"
_INSIDE = re.compile(
    rf'\s*(?P<root>{_NAME})(?P<rest>(?:\.{_NAME}|\[-?[0-9]{{1,9}}\]|\["(?:[^"\\]|\\.)*"\])*)\s*', re.DOTALL
)
_PART = re.compile(rf'\.(?P<field>{_NAME})|\[(?P<index>-?[0-9]{{1,9}})\]|\[(?P<key>"(?:[^"\\]|\\.)*")\]', re.DOTALL)
_ASSET_FIELDS = ("uri", "media_type", "sha256", "size")


@dataclass(frozen=True, slots=True)
class Reference:
    """One reference: its *root* (an instruction, `params`, `item`, `index`), and the fields and indexes after it."""

    root: str
    path: tuple[str | int, ...]
    text: str

    @property
    def parameter(self) -> str:
        """Return the parameter it refers to; empty where it refers to none, or to all."""
        return self.path[0] if self.root == "params" and self.path and isinstance(self.path[0], str) else ""

    def resolve(self, names: Mapping[str, Any]) -> Any:
        """Return what it refers to in *names*; raise `InvalidArgument` that says what is missing."""
        if self.root not in names:
            raise InvalidArgument(
                f"{self.text}: nothing is named {self.root!r} here{did_you_mean(self.root, names)}",
                reason="REFERENCE_UNKNOWN",
                metadata={"reference": self.text},
            )
        value, shown = names[self.root], self.root
        for part in self.path:
            value = step_into(value, part, shown, self.text)
            shown += f"[{part}]" if isinstance(part, int) else f".{part}"
        return value


def step_into(value: Any, part: str | int, shown: str, text: str) -> Any:
    """Return a field or an item of *value*, which is called *shown* in *text*; raise `InvalidArgument`."""
    if isinstance(part, int):
        if isinstance(value, (list, tuple)):
            if -len(value) <= part < len(value):
                return value[part]
            raise _missing(text, f"{shown} has {len(value)} items, and {part} is not among them")
        raise _missing(text, f"{shown} is {kind(value)}, which has no items")
    if isinstance(value, Mapping):
        if part in value:
            return value[part]
        raise _missing(text, f"{shown} has no {part!r}{did_you_mean(part, value)}")
    if isinstance(value, Asset):
        if part in _ASSET_FIELDS:
            return getattr(value, part)
        raise _missing(text, f"{shown} is an asset and has no {part!r}{did_you_mean(part, _ASSET_FIELDS)}")
    if value is None:
        raise _missing(text, f"{shown} is nothing, so it has no {part!r}: it was skipped, or brought no result")
    raise _missing(text, f"{shown} is {kind(value)}, which has no fields")


def _missing(text: str, what: str) -> InvalidArgument:
    return InvalidArgument(f"{text}: {what}", reason="REFERENCE_MISSING", metadata={"reference": text})


def kind(value: Any) -> str:
    """Return what *value* is, with its article, for messages."""
    if value is None:
        return "nothing"
    names = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a text",
        list: "a list",
        tuple: "a vector",
        dict: "a map",
        bytes: "bytes",
        Asset: "an asset",
    }
    return names.get(type(value), "a " + type(value).__name__)


def split(text: str) -> tuple[str | Reference, ...]:
    """Return the plain texts and references of *text*, in order; raise `InvalidArgument` (REFERENCE_INVALID)."""
    return _kept(text) if len(text) <= MOST_KEPT else _split(text)


@functools.lru_cache(maxsize=8192)
def _kept(text: str) -> tuple[str | Reference, ...]:
    return _split(text)


def _split(text: str) -> tuple[str | Reference, ...]:
    if "${" not in text:
        return (text,) if text else ()
    found: list[str | Reference] = []
    plain: list[str] = []
    position = 0
    while True:
        start = text.find("${", position)
        if start < 0:
            plain.append(text[position:])
            break
        if start > position and text[start - 1] == "$":
            plain.append(text[position : start - 1] + "${")
            position = start + 2
            continue
        plain.append(text[position:start])
        reference, position = _read(text, start)
        if any(plain):
            found.append("".join(plain))
        plain = []
        found.append(reference)
    if any(plain):
        found.append("".join(plain))
    return tuple(found)


def _read(text: str, start: int) -> tuple[Reference, int]:
    """Return the reference that begins at *start*, and where it ends."""
    match = _INSIDE.match(text, start + 2)
    if match is None or match.end() >= len(text) or text[match.end()] != "}":
        end = match.end() if match else start + 2
        what = (
            "it is not closed by }" if text.find("}", start) < 0 else f"{_shown(text[end : end + 1])} is not expected"
        )
        raise InvalidArgument(
            f"{_shown(text)}: the reference at position {start + 1} is malformed: {what} at position {end + 1};"
            ' write ${step.field}, ${step.list[0]} or ${step["any key"]}, and $${ for a plain ${',
            reason="REFERENCE_INVALID",
            metadata={"position": str(end + 1)},
        )
    return Reference(match["root"], _path(match["rest"], text, start), text[start : match.end() + 1]), match.end() + 1


def _path(rest: str, text: str, start: int) -> tuple[str | int, ...]:
    path: list[str | int] = []
    for part in _PART.finditer(rest):
        if part["field"] is not None:
            path.append(part["field"])
        elif part["index"] is not None:
            path.append(int(part["index"]))
        else:
            try:
                path.append(json.loads(part["key"], strict=False))
            except ValueError:
                raise InvalidArgument(
                    f"{_shown(text)}: the key {_shown(part['key'])} of the reference at position {start + 1} is no JSON"
                    " text",
                    reason="REFERENCE_INVALID",
                    metadata={"position": str(start + 1)},
                ) from None
    return tuple(path)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:80] + "…")


def find(value: Any, field: str = "") -> Iterator[tuple[str, Reference]]:
    """Yield the references of *value* with the field each is in, such as `arguments.items[0]`."""
    if isinstance(value, str):
        if "${" in value:
            for part in split(value):
                if isinstance(part, Reference):
                    yield field, part
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from find(item, f"{field}.{name}" if field else str(name))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from find(item, f"{field}[{index}]")


def has_reference(value: Any) -> bool:
    """Say whether there is a reference in *value*, malformed ones too; quick."""
    if isinstance(value, str):
        return "${" in value and ("$${" not in value or value.replace("$${", "").find("${") >= 0)
    if isinstance(value, Mapping):
        return any(has_reference(item) for item in value.values())
    return isinstance(value, (list, tuple)) and any(has_reference(item) for item in value)


def is_template(value: Any) -> bool:
    """Say whether `resolve` may change anything: there is a reference in *value*, or a `$${`."""
    if isinstance(value, str):
        return "${" in value
    if isinstance(value, Mapping):
        return any(is_template(item) for item in value.values())
    return isinstance(value, (list, tuple)) and any(is_template(item) for item in value)


def references(value: Any) -> frozenset[str]:
    """Return the roots that *value* refers to: instructions, and `params`, `item`, `index`."""
    return frozenset(reference.root for _, reference in find(value))


def lone(value: Any) -> Reference | None:
    """Return the reference where *value* is one and nothing else."""
    if isinstance(value, str) and value.startswith("${"):
        parts = split(value)
        if len(parts) == 1 and isinstance(parts[0], Reference):
            return parts[0]
    return None


def resolve(value: Any, names: Mapping[str, Any]) -> Any:
    """Return *value* with all references resolved in *names*; raise `InvalidArgument` that says what is missing.

    *names* holds the results of instructions by identity, `params` (a map), and inside a map `item` and `index`.
    """
    if isinstance(value, str):
        return _resolved(value, names) if "${" in value else value
    if isinstance(value, Mapping):
        return {name: resolve(item, names) for name, item in value.items()}
    if isinstance(value, list):
        return [resolve(item, names) for item in value]
    return value


def _resolved(text: str, names: Mapping[str, Any]) -> Any:
    parts = split(text)
    if len(parts) == 1 and isinstance(parts[0], Reference):
        return parts[0].resolve(names)
    made = "".join(part if isinstance(part, str) else text_of(part.resolve(names)) for part in parts)
    if len(made) > LONGEST:
        raise InvalidArgument(
            f"{_shown(text)} becomes a text of {len(made)} characters, the most is {LONGEST}: store an asset instead",
            reason="REFERENCE_TOO_LONG",
        )
    return made


def text_of(value: Any) -> str:
    """Return *value* as it stands inside a text: maps and lists as JSON, an asset by its address, nothing as ``."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if math.isfinite(value) and value == int(value) and abs(value) < 1e15 else repr(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Asset):
        return value.uri
    return json.dumps(_plain(value), ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Asset):
        return value.uri
    return to_json(value)


def escape(text: str) -> str:
    """Return *text* so that it stands for itself: no reference is read in it.

    >>> escape("${a}")
    '$${a}'
    """
    return text.replace("${", "$${")


def escaped(value: Any) -> Any:
    """Return *value* so that all texts in it stand for themselves."""
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, Mapping):
        return {name: escaped(item) for name, item in value.items()}
    return [escaped(item) for item in value] if isinstance(value, (list, tuple)) else value


KEEP = object()
"""What is returned for a reference that stays as it is."""
Put = Callable[[Reference], Any]


def substitute(value: Any, put: Put, put_text: Put | None = None) -> Any:
    """Return *value* where each reference is what *put* returns for it, unless that is `KEEP`.

    Inside other text it is what *put_text* returns: text that is put as it is, so it must be escaped.
    """
    if isinstance(value, str):
        if "${" not in value:
            return value
        parts = split(value)
        if len(parts) == 1 and isinstance(parts[0], Reference):
            found = put(parts[0])
            return value if found is KEEP else found
        made: list[str] = []
        for part in parts:
            if isinstance(part, str):
                made.append(escape(part))
            else:
                found = (put_text or put)(part)
                made.append(part.text if found is KEEP else str(found))
        return "".join(made)
    if isinstance(value, Mapping):
        return {name: substitute(item, put, put_text) for name, item in value.items()}
    if isinstance(value, list):
        return [substitute(item, put, put_text) for item in value]
    return value


def written(path: Sequence[str | int]) -> str:
    """Return fields and indexes as they are written in a reference; in an expression, too."""
    made = []
    for part in path:
        if isinstance(part, int):
            made.append(f"[{part}]")
        elif re.fullmatch(_NAME, part):
            made.append(f".{part}")
        else:
            made.append(f"[{json.dumps(part)}]")
    return "".join(made)


def returns_template(returns: str) -> str:
    """Return what `Program.returns` resolves as: a text without `${` is a reference itself."""
    return f"${{{returns}}}" if returns and "${" not in returns else returns


def reference_text(root: str, path: Sequence[str | int] = ()) -> str:
    """Return the text of a reference.

    >>> reference_text("s1", ["models", 0])
    '${s1.models[0]}'
    """
    return f"${{{root}{written(path)}}}"
