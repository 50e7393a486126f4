"""Programs as YAML: read from the events of the parser, written by hand.

The values are those of YAML 1.2's core schema, which are JSON's: `yes` and `on` are texts, `1:30` is a text. Reading
the events bounds what nesting and aliases can cost, and keeps line and column of every value. Merge keys (`<<`),
several documents and tags other than those of JSON's kinds are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from lightfast.engine.programs.nodes import MOST_NESTED, MOST_NODES, Node, check_scalar, malformed
from lightfast.engine.programs.program import Instruction, Program

_INT = re.compile(r"[-+]?[0-9]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_WORDS: Mapping[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", "+.inf"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN"), float("nan")),
}
_TAG = "tag:yaml.org,2002:"
_KINDS: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (float,),
    "bool": (bool,),
    "null": (type(None),),
    "seq": (list,),
    "map": (dict,),
}
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_/.-]*")
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_LONG_KEY = 100


def read(text: str) -> Node:
    """Return the nodes of a YAML text; raise `InvalidArgument` (YAML_MALFORMED) with line and column."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    reader = _Reader()
    try:
        for event in yaml.parse(text, Loader=loader):
            reader.take(event, type(event).__name__)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Node(None, mark.line + 1, mark.column + 1) if mark else None
        raise malformed(f"this is no YAML: {error.problem or error.context}", place, reason="YAML_MALFORMED") from None
    except yaml.reader.ReaderError as error:
        position = text.find(chr(error.character)) if isinstance(error.character, int) else -1
        line = text.count("\n", 0, position) + 1 if position >= 0 else 0
        place = Node(None, line, position - text.rfind("\n", 0, position)) if line else None
        raise malformed(f"this is no YAML: {error.reason}", place, reason="YAML_MALFORMED") from None
    except UnicodeEncodeError:
        raise malformed("the text holds a lone surrogate, which is not Unicode text", reason="YAML_MALFORMED") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise malformed(f"this is no YAML: {error}", reason="YAML_MALFORMED") from None
    if reader.root is None:
        raise malformed("the program is empty", reason="YAML_MALFORMED")
    return reader.root


class _Reader:
    """Builds nodes of events."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self._open: list[tuple[Node, str | None]] = []
        """Lists and maps that are not at their end, with the key that waits for its value."""
        self._anchors: dict[str, Node] = {}
        self._sizes: dict[int, int] = {}
        """How many values the node of an anchor stands for."""
        self._counts: list[int] = []
        self._count = 0
        self._documents = 0

    def take(self, event: Any, kind: str) -> None:
        """Take the next event."""
        if kind == "ScalarEvent":
            self._place(self._anchor(event, _scalar(event)), 1, event)
        elif kind in {"SequenceStartEvent", "MappingStartEvent"}:
            self._begin(event, [] if kind == "SequenceStartEvent" else {})
        elif kind in {"SequenceEndEvent", "MappingEndEvent"}:
            node, _ = self._open.pop()
            size = self._count - self._counts.pop()
            self._sizes[id(node)] = size
            self._put(node)
        elif kind == "AliasEvent":
            self._alias(event)
        elif kind == "DocumentStartEvent":
            self._documents += 1
            if self._documents > 1:
                raise _wrong("a program is one document: remove the second '---'", _at(event))

    def _begin(self, event: Any, value: Any) -> None:
        node = _at(event, value)
        if len(self._open) >= MOST_NESTED:
            raise _wrong(f"it is nested deeper than {MOST_NESTED}", node)
        if event.tag is not None:
            _check_tag(event.tag, node)
        self._counts.append(self._count)
        self._grow(1, node)
        if event.anchor is not None:
            # Known only when it has ended: an alias inside of it would have no end.
            self._anchors[event.anchor] = node
        self._open.append((node, None))

    def _alias(self, event: Any) -> None:
        node = self._anchors.get(event.anchor)
        place = _at(event)
        if node is None:
            raise _wrong(f"the alias *{event.anchor} has no anchor before it", place)
        if any(node is each for each, _ in self._open):
            raise _wrong(f"the alias *{event.anchor} stands inside of what it stands for", place)
        self._place(node, self._sizes.get(id(node), 1), event)

    def _anchor(self, event: Any, node: Node) -> Node:
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _place(self, node: Node, size: int, event: Any) -> None:
        self._grow(size, node)
        if self._open and isinstance(self._open[-1][0].value, dict) and self._open[-1][1] is None:
            self._key(node, event)
            return
        self._put(node)

    def _grow(self, size: int, node: Node) -> None:
        self._count += size
        if self._count > MOST_NODES:
            raise _wrong(f"it has more than {MOST_NODES} values, aliases counted", node, reason="PROGRAM_TOO_LARGE")

    def _key(self, node: Node, event: Any) -> None:
        holder, _ = self._open[-1]
        place = _at(event)
        if isinstance(node.value, (list, dict)):
            raise _wrong("a key is a text", place)
        # A key that looks like a number is a text, too.
        name = str(getattr(event, "value", node.value))
        if name == "<<" and event.implicit[0]:
            raise _wrong("merge keys (<<) are not known here: write the values out", place)
        if name in holder.value:
            raise _wrong(f"the key {name[:80]!r} stands here twice", place)
        self._open[-1] = (holder, name)

    def _put(self, node: Node) -> None:
        if not self._open:
            self.root = node
            return
        holder, key = self._open[-1]
        if isinstance(holder.value, list):
            holder.value.append(node)
        elif key is None:
            raise _wrong("a key is a text", node)
        else:
            holder.value[key] = node
            self._open[-1] = (holder, None)


def _wrong(what: str, place: Node, reason: str = "YAML_MALFORMED") -> Exception:
    return malformed(what, place, reason=reason)


def _at(event: Any, value: Any = None) -> Node:
    return Node(value, event.start_mark.line + 1, event.start_mark.column + 1)


def _scalar(event: Any) -> Node:
    text: str = event.value
    if event.tag is None or event.tag == "!":
        plain = event.implicit[0] and event.tag is None
        node = _at(event, _value(text, event) if plain else text)
    else:
        node = _at(event)
        kind = _check_tag(event.tag, node)
        node.value = text if kind == "str" else _value(text, event)
        if kind == "float" and type(node.value) is int:
            node.value = float(node.value)
        if type(node.value) not in _KINDS[kind]:
            raise _wrong(f"{text[:80]!r} is not what its tag says ({kind})", node)
    check_scalar(node)
    return node


def _check_tag(tag: str, place: Node) -> str:
    kind = tag.removeprefix(_TAG)
    if kind not in _KINDS:
        raise _wrong(f"the tag {tag[:80]} is not known here: use what JSON has", place)
    return kind


def _value(text: str, event: Any) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if len(text) <= 400 and not text[0].isalpha():
        if len(text) > 40 and (_INT.fullmatch(text) or _HEX.fullmatch(text)):
            raise _wrong("the number does not fit 64 bits: write it as a double, such as 1e20", _at(event))
        if _INT.fullmatch(text):
            return int(text)
        if _HEX.fullmatch(text):
            return int(text, 16)
        if _FLOAT.fullmatch(text):
            return float(text)
    return text


# Writing


def write(program: Program) -> str:
    """Return *program* as YAML; `read` and `structure.build` give the same program back."""
    out: list[str] = []
    if program.name:
        out.append(f"name: {scalar(program.name)}")
    if program.untrusted:
        out.append("untrusted: true")
    if program.parameters:
        out.append("parameters:")
        out += [f"  {_key(name)}{flow(value)}" for name, value in program.parameters.items()]
    if program.instructions:
        out.append("instructions:")
        _block(out, program.instructions, "  ")
    else:
        out.append("instructions: []")
    if program.returns:
        out.append(f"returns: {scalar(program.returns)}")
    return "\n".join(out) + "\n"


def _block(out: list[str], block: tuple[Instruction, ...], indent: str) -> None:
    for each in block:
        out.append(f"{indent}- id: {scalar(each.id)}")
        out.append(f"{indent}  op: {scalar(each.op)}")
        if each.arguments:
            out.append(f"{indent}  arguments:")
            out += [f"{indent}    {_key(name)}{flow(value)}" for name, value in each.arguments.items()]
        if each.after:
            out.append(f"{indent}  after: {flow(list(each.after))}")
        if each.when:
            out.append(f"{indent}  when: {scalar(each.when)}")
        if each.timeout:
            out.append(f"{indent}  timeout: {scalar(each.timeout)}")
        if each.retries:
            out.append(f"{indent}  retries: {each.retries}")
        if each.on_failure != "stop":
            out.append(f"{indent}  on_failure: {scalar(each.on_failure)}")
        for name, inner in each.blocks.items():
            if inner:
                out.append(f"{indent}  {name}:")
                _block(out, inner, indent + "    ")
            else:
                out.append(f"{indent}  {name}: []")


def scalar(value: Any) -> str:
    """Return a scalar so that it is read as the same value."""
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) and len(value) <= _LONG_KEY and value not in _WORDS:
            return value
        return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match.group()):04x}", json.dumps(value, ensure_ascii=False))
    return json.dumps(value)


def flow(value: Any) -> str:
    """Return a value on one line, as JSON with plain words."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(name)}{flow(item)}" for name, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    return scalar(value)


def _key(name: str) -> str:
    return f"? {scalar(name)} : " if len(name) > _LONG_KEY else f"{scalar(name)}: "
