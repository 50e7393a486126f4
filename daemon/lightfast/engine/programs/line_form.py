"""Programs in the line form, one instruction a line, read into the same nodes as YAML.

    # a comment
    @name cubes                       the program: @name, @param NAME=VALUE, @returns VALUE, @untrusted
    @param count=3
    s1 = context.set /live/tempo 128
    app.command /blender add_cube arguments={"color": "#ff0000"} after=s1 timeout=5 retries=2
    b = flow.branch (params.count > 2)
      then:
        context.set /a "two words" when=(exists("/b"))
      else:
        context.delete /a
    m = flow.map [1, 2] as=turn
      context.set /turns/${turn} ${turn}
    @returns ${m}

A value is JSON, text in single quotes ('' is a quote), an expression in parentheses, or a word: a number, true, false
or null as in JSON, else text. The first values of an operation need no name where `POSITIONAL` says so. Arguments
named like a field of the instruction are written with a dot (`.timeout=5`), odd names in quotes (`"odd name"=1`).
What is indented belongs to the line above.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lightfast.core.errors import InvalidArgument
from lightfast.engine.programs.line_tokens import Cursor
from lightfast.engine.programs.near import did_you_mean, nearest
from lightfast.engine.programs.nodes import MOST_NESTED, Node, malformed
from lightfast.engine.programs.program import BLOCKS, IDENTITY, Instruction, Program
from lightfast.engine.programs.structure import BLOCK_NAMES, OPERATION

POSITIONAL: Mapping[str, tuple[str, ...]] = {
    "context.get": ("path",),
    "context.set": ("path", "value"),
    "context.delete": ("path",),
    "context.merge": ("path", "value"),
    "context.move": ("source", "path"),
    "scene.save": ("name",),
    "scene.recall": ("name",),
    "app.command": ("app", "command"),
    "generate.text": ("prompt",),
    "generate.image": ("prompt",),
    "generate.video": ("prompt",),
    "generate.audio": ("prompt",),
    "embed.texts": ("texts",),
    "memory.remember": ("text",),
    "memory.recall": ("query",),
    "wait.pattern": ("pattern",),
    "wait.seconds": ("seconds",),
    "flow.branch": ("condition",),
    "flow.map": ("items",),
    "workflow.call": ("workflow",),
    "transport.tempo": ("bpm",),
    "value.compute": ("expression",),
}
"""The arguments that may stand without their names, in this order."""
MODIFIERS = ("after", "when", "timeout", "retries", "on_failure")
"""The fields of an instruction that are written like arguments."""
DIRECTIVES = ("@name", "@param", "@returns", "@untrusted")
_BEGIN = re.compile(r"(?:(?P<id>[^\s=\"']+)[ \t]*=[ \t]*)?(?P<op>[^\s=\"']+)")
_HEADER = re.compile(r"(?P<name>[a-z]+):[ \t]*(?:#.*)?")


@dataclass(slots=True)
class _Line:
    """One line that says something, with those that are indented below it."""

    number: int
    indent: int
    text: str
    below: list[_Line] = field(default_factory=list)

    def place(self, value: Any = None, column: int = 0) -> Node:
        return Node(value, self.number, self.indent + 1 + column)


def wrong(what: str, place: Node, *, field: str = "") -> InvalidArgument:
    """Return the error for a malformed line."""
    return malformed(what, place, reason="LINE_MALFORMED", field=field)


def read(text: str) -> Node:
    """Return the nodes of a text in the line form; raise `InvalidArgument` (LINE_MALFORMED) with line and column."""
    fields: dict[str, Node] = {}
    parameters: dict[str, Node] = {}
    instructions: list[_Line] = []
    for line in _tree(text):
        if line.text.startswith("@"):
            _directive(line, fields, parameters)
        else:
            instructions.append(line)
    first = instructions[0].place() if instructions else Node(None, 1, 1)
    if parameters:
        fields["parameters"] = Node(parameters, first.line, first.column)
    fields["instructions"] = Node(_block(instructions), first.line, first.column)
    return Node(fields, 1, 1)


def _tree(text: str) -> list[_Line]:
    """Return the lines by their indentation."""
    root: list[_Line] = []
    above: list[_Line] = []
    for number, raw in enumerate(text.split("\n"), 1):
        inner = raw.rstrip(" \t\r")
        bare = inner.lstrip(" ")
        if bare.lstrip("\t")[:1] in {"", "#"}:
            continue
        line = _Line(number, len(inner) - len(bare), bare)
        if bare.startswith("\t"):
            raise wrong("it is indented by a tab: use spaces", line.place())
        while above and above[-1].indent >= line.indent:
            above.pop()
        siblings = above[-1].below if above else root
        if siblings and siblings[0].indent != line.indent:
            raise wrong(
                f"it is indented by {line.indent}, the lines before it by {siblings[0].indent}: use the same",
                line.place(),
            )
        if len(above) >= MOST_NESTED:
            raise wrong(f"it is nested deeper than {MOST_NESTED}", line.place())
        siblings.append(line)
        above.append(line)
    return root


def _directive(line: _Line, fields: dict[str, Node], parameters: dict[str, Node]) -> None:
    name = line.text.split(None, 1)[0]
    if name not in DIRECTIVES:
        raise wrong(f"there is no {name[:80]!r}{did_you_mean(name, DIRECTIVES)}", line.place())
    if line.below:
        raise wrong(f"nothing belongs below {name}", line.below[0].place())
    cursor = Cursor(line.text, line.number, line.indent)
    cursor.position = len(name)
    if name == "@param":
        for key, value in cursor.named():
            if key.value in parameters:
                raise wrong(f"the parameter {key.value!r} stands here twice", key)
            parameters[key.value] = value
        return
    target = name[1:]
    if target in fields:
        raise wrong(f"{name} stands here twice", line.place())
    if name == "@untrusted":
        cursor.end()
        fields[target] = line.place(True)
        return
    if not cursor.more():
        raise wrong(f"{name} wants a value", cursor.place())
    fields[target] = cursor.value(text=True)
    cursor.end()


def _block(lines: list[_Line]) -> list[Node]:
    found: list[Node] = []
    for line in lines:
        header = _HEADER.fullmatch(line.text)
        if header is None:
            found.append(_instruction(line))
            continue
        # `then:` may stand at the indentation of its instruction.
        if not found:
            raise wrong(f"{header['name']}: belongs below a flow.branch or flow.map", line.place())
        _attach(found[-1], line, header["name"])
    return found


def _attach(node: Node, line: _Line, name: str) -> None:
    fields: dict[str, Node] = node.value
    if name not in BLOCK_NAMES:
        raise wrong(f"there is no block {name!r}{did_you_mean(name, BLOCK_NAMES)}", line.place())
    if name in fields:
        raise wrong(f"{name}: stands here twice", line.place())
    fields[name] = line.place(_block(line.below))


def _instruction(line: _Line) -> Node:
    begin = _BEGIN.match(line.text)
    if begin is None:
        raise wrong("an instruction begins with an operation, such as context.set", line.place())
    if not OPERATION.fullmatch(begin["op"]):
        raise wrong(
            f"{begin['op'][:80]!r} is no name of an operation: write '[id =] operation argument key=value …'",
            line.place(None, begin.start("op")),
        )
    fields: dict[str, Node] = {}
    if begin["id"] is not None:
        fields["id"] = line.place(begin["id"], begin.start("id"))
        if not IDENTITY.fullmatch(begin["id"]):
            raise wrong(
                f"{begin['id'][:80]!r} is no identity: use a small letter, then letters, digits, - and _", fields["id"]
            )
    fields["op"] = line.place(begin["op"], begin.start("op"))
    cursor = Cursor(line.text, line.number, line.indent)
    cursor.position = begin.end()
    arguments = _arguments(cursor, begin["op"], fields)
    if arguments:
        fields["arguments"] = line.place(arguments, begin.end())
    node = line.place(fields)
    _below(line, node, begin["op"])
    return node


def _arguments(cursor: Cursor, operation: str, fields: dict[str, Node]) -> dict[str, Node]:
    arguments: dict[str, Node] = {}
    places = list(POSITIONAL.get(operation, ()))
    while cursor.more():
        key = cursor.key()
        if key is None:
            place = cursor.place()
            value = cursor.value()
            if not places:
                known = POSITIONAL.get(operation, ())
                takes = f"only {' and '.join(known)} may" if known else "nothing may"
                near = "" if known else nearest(operation, POSITIONAL)
                hint = f" (did you mean {near!r}?)" if near else ""
                raise wrong(f"{takes} stand without a name in {operation}: write name=value{hint}", place)
            name = places.pop(0)
        else:
            place, name = key, str(key.value)
            quoted = cursor.quoted
            modifier = name in MODIFIERS and not quoted
            value = cursor.words() if name == "after" and modifier else cursor.value()
            if modifier:
                _once(fields, name, value, place)
                continue
            name = name if quoted else name.removeprefix(".")
            if name in places:
                places.remove(name)
        _once(arguments, name, value, place)
    return arguments


def _once(found: dict[str, Node], name: str, value: Node, place: Node) -> None:
    if name in found:
        raise wrong(f"{name[:80]!r} stands here twice", place, field=name)
    found[name] = value


def _below(line: _Line, node: Node, operation: str) -> None:
    if not line.below:
        return
    if any(_HEADER.fullmatch(each.text) for each in line.below):
        for each in line.below:
            header = _HEADER.fullmatch(each.text)
            if header is None:
                raise wrong("it stands between the blocks: indent it below one of them", each.place())
            _attach(node, each, header["name"])
        return
    names = BLOCKS.get(operation, ())
    if len(names) != 1:
        wanted = f"write {' or '.join(f'{name}:' for name in names)} above it" if names else "nothing belongs below it"
        raise wrong(f"it is indented below {operation}: {wanted}", line.below[0].place())
    node.value[names[0]] = Node(_block(line.below), line.below[0].number, line.below[0].indent + 1)


# Writing


def write(program: Program) -> str:
    """Return *program* in the line form; `read` and `structure.build` give the same program back."""
    out: list[str] = []
    if program.name:
        out.append(f"@name {word(program.name)}")
    if program.untrusted:
        out.append("@untrusted")
    out += [f"@param {_key(name)}={word(value)}" for name, value in program.parameters.items()]
    _write_block(out, program.instructions, "")
    if program.returns:
        out.append(f"@returns {word(program.returns)}")
    return "\n".join(out) + "\n"


def _write_block(out: list[str], block: tuple[Instruction, ...], indent: str) -> None:
    for each in block:
        out.append(indent + _written(each))
        for name, inner in each.blocks.items():
            out.append(f"{indent}  {name}:")
            _write_block(out, inner, indent + "    ")


def _written(each: Instruction) -> str:
    parts = [f"{each.id} = {each.op}"]
    rest = dict(each.arguments)
    for name in POSITIONAL.get(each.op, ()):
        if name not in rest:
            break
        value = rest.pop(name)
        parts.append(expression(value) if name in {"condition", "expression"} else word(value))
    parts += [
        f"{_key(name)}={expression(value) if name == 'condition' else word(value)}" for name, value in rest.items()
    ]
    if each.after:
        parts.append(f"after={','.join(each.after)}")
    if each.when:
        parts.append(f"when={expression(each.when)}")
    if each.timeout:
        parts.append(f"timeout={json.dumps(each.timeout).removesuffix('.0')}")
    if each.retries:
        parts.append(f"retries={each.retries}")
    if each.on_failure != "stop":
        parts.append(f"on_failure={each.on_failure}")
    return " ".join(parts)


_WORD = re.compile(r"(?:[A-Za-z_/]|\$\{[A-Za-z0-9_.\[\]-]+\})(?:[A-Za-z0-9_/.:-]|\$\{[A-Za-z0-9_.\[\]-]+\})*")
_CONSTANTS = frozenset(("true", "false", "null"))
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def word(value: Any) -> str:
    """Return a value so that it is read as the same one."""
    if isinstance(value, str) and _WORD.fullmatch(value) and value not in _CONSTANTS:
        return value
    return json.dumps(value, ensure_ascii=False)


def expression(value: Any) -> str:
    """Return an expression in parentheses, where they are read as the same text."""
    if isinstance(value, str) and value and "\n" not in value and "\r" not in value:
        made = f"({value})"
        cursor = Cursor(made, 1, 0)
        try:
            if cursor.value().value == value and cursor.position == len(made):
                return made
        except InvalidArgument:
            pass
    return word(value)


def _key(name: str) -> str:
    if name in MODIFIERS:
        return f".{name}"
    return name if _PLAIN_KEY.fullmatch(name) else json.dumps(name, ensure_ascii=False)
