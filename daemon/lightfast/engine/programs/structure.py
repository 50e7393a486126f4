"""From nodes to a program: which keys there are, and what may stand in them. What is missing but plain is filled in."""

from __future__ import annotations

import re
from typing import Any

from lightfast.core.errors import InvalidArgument
from lightfast.engine.programs.near import did_you_mean
from lightfast.engine.programs.nodes import Node, malformed
from lightfast.engine.programs.program import (
    BLOCKS,
    IDENTITY,
    MOST_DEPTH,
    MOST_INSTRUCTIONS,
    ON_FAILURE,
    Instruction,
    Program,
)

FIELDS = ("id", "op", "arguments", "after", "when", "timeout", "retries", "on_failure")
"""The fields of an instruction besides its blocks."""
PROGRAM_FIELDS = ("name", "parameters", "instructions", "returns", "untrusted")
BLOCK_NAMES = tuple(dict.fromkeys(name for names in BLOCKS.values() for name in names))
OPERATION = re.compile(r"[A-Za-z][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)+")
"""What the name of an operation looks like."""
MOST_RETRIES = 100
MOST_TIMEOUT_S = 7 * 86_400.0
LONGEST_NAME = 200


def build(root: Node) -> Program:
    """Return the program; raise `InvalidArgument` with the place of what is wrong."""
    if isinstance(root.value, list):
        root = Node({"instructions": root}, root.line, root.column)
    if not isinstance(root.value, dict):
        raise malformed("a program is a list of instructions, or a map that holds one under 'instructions'", root)
    for name, node in root.value.items():
        if name not in PROGRAM_FIELDS:
            raise malformed(f"a program has no field {name!r}{did_you_mean(name, PROGRAM_FIELDS)}", node, field=name)
    instructions = root.value.get("instructions")
    if instructions is None:
        raise malformed("the program has no 'instructions'", root, field="instructions")
    builder = _Builder()
    builder.collect(instructions, 0)
    return Program(
        instructions=builder.block(instructions, "instructions"),
        name=_name(root.value.get("name")),
        parameters=_map(root.value.get("parameters"), "parameters"),
        returns=_text(root.value.get("returns"), "returns"),
        untrusted=_bool(root.value.get("untrusted"), "untrusted"),
    )


class _Builder:
    """Builds instructions, and gives identities to those that have none: `s1`, `s2`, … in order of the text."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._count = 0
        self._given = 0

    def collect(self, block: Node, depth: int) -> None:
        """Note which identities are taken, and that bounds are kept."""
        if not isinstance(block.value, list):
            return
        if depth > MOST_DEPTH:
            raise malformed(f"blocks are nested deeper than {MOST_DEPTH}", block)
        self._count += len(block.value)
        if self._count > MOST_INSTRUCTIONS:
            raise malformed(f"the program has more than {MOST_INSTRUCTIONS} instructions: split it", block)
        for node in block.value:
            if isinstance(node.value, dict):
                identity = node.value.get("id")
                if identity is not None and isinstance(identity.value, str):
                    self._taken.add(identity.value)
                for name in BLOCK_NAMES:
                    if name in node.value:
                        self.collect(node.value[name], depth + 1)

    def block(self, block: Node, name: str) -> tuple[Instruction, ...]:
        """Return the instructions of a block."""
        if block.value is None and name != "instructions":
            return ()
        if not isinstance(block.value, list):
            raise malformed(f"{name!r} is a list of instructions", block, field=name)
        return tuple(self._instruction(node) for node in block.value)

    def _instruction(self, node: Node) -> Instruction:
        if not isinstance(node.value, dict):
            raise malformed("an instruction is a map with 'op' and 'arguments'", node)
        fields = node.value
        operation, arguments = self._operation(node)
        identity = self._identity(fields.get("id"))
        try:
            return Instruction(
                id=identity,
                op=operation,
                arguments=_map(arguments, "arguments"),
                after=_after(fields.get("after")),
                when=_when(fields.get("when")),
                timeout=_timeout(fields.get("timeout")),
                retries=_retries(fields.get("retries")),
                on_failure=_on_failure(fields.get("on_failure")),
                blocks=self._blocks(operation, fields),
                line=node.line,
            )
        except InvalidArgument as error:
            error.metadata.setdefault("instruction", identity)
            raise

    def _operation(self, node: Node) -> tuple[str, Node | None]:
        """Return the operation and its arguments, written as `op` and `arguments` or as `{operation: arguments}`."""
        fields: dict[str, Node] = node.value
        short = [name for name in fields if name not in FIELDS and name not in BLOCK_NAMES]
        if "op" not in fields and len(short) == 1 and "." in short[0] and "arguments" not in fields:
            return _operation_name(short[0], fields[short[0]]), fields[short[0]]
        for name in short:
            known = (*FIELDS, *BLOCK_NAMES)
            raise malformed(
                f"an instruction has no field {name!r}{did_you_mean(name, known)} What the operation takes is written"
                " under 'arguments'",
                fields[name],
                field=name,
            )
        if "op" not in fields:
            raise malformed("the instruction has no 'op', such as context.set", node, field="op")
        return _operation_name(fields["op"].value, fields["op"]), fields.get("arguments")

    def _identity(self, node: Node | None) -> str:
        if node is None:
            while True:
                self._given += 1
                identity = f"s{self._given}"
                if identity not in self._taken:
                    return identity
        if not isinstance(node.value, str) or not IDENTITY.fullmatch(node.value):
            raise malformed(
                f"{_shown(node.value)} is no identity: use a small letter, then small letters, digits, - and _, at most"
                " 64",
                node,
                field="id",
            )
        return node.value

    def _blocks(self, operation: str, fields: dict[str, Node]) -> dict[str, tuple[Instruction, ...]]:
        allowed = BLOCKS.get(operation, ())
        found = {}
        for name, node in fields.items():
            if name not in BLOCK_NAMES:
                continue
            if name not in allowed:
                has = f"it has {' and '.join(allowed)}" if allowed else "only flow.branch and flow.map have blocks"
                raise malformed(f"{operation} has no block {name!r}: {has}", node, field=name)
            found[name] = self.block(node, name)
        return found


def _operation_name(value: Any, node: Node) -> str:
    if not isinstance(value, str) or not OPERATION.fullmatch(value) or len(value) > LONGEST_NAME:
        raise malformed(f"{_shown(value)} is no name of an operation: write one such as context.set", node, field="op")
    return value


def _map(node: Node | None, field: str) -> dict[str, Any]:
    if node is None or node.value is None:
        return {}
    if not isinstance(node.value, dict):
        raise malformed(f"{field!r} is a map of names and values", node, field=field)
    plain: dict[str, Any] = node.plain()
    return plain


def _text(node: Node | None, field: str) -> str:
    if node is None or node.value is None:
        return ""
    if not isinstance(node.value, str):
        raise malformed(f"{field!r} is a text: put it in quotes", node, field=field)
    return node.value


def _name(node: Node | None) -> str:
    name = _text(node, "name")
    if len(name) > LONGEST_NAME:
        raise malformed(f"the name is longer than {LONGEST_NAME} characters", node, field="name")
    return name


def _bool(node: Node | None, field: str) -> bool:
    if node is None or node.value is None:
        return False
    if not isinstance(node.value, bool):
        raise malformed(f"{field!r} is true or false", node, field=field)
    return node.value


def _after(node: Node | None) -> tuple[str, ...]:
    if node is None or node.value is None:
        return ()
    names: list[tuple[Any, Node]] = []
    if isinstance(node.value, str):
        names += [(name.strip(), node) for name in node.value.split(",")]
    elif isinstance(node.value, list):
        names += [(each.value, each) for each in node.value]
    else:
        raise malformed("'after' is a list of identities", node, field="after")
    for name, each in names:
        if not isinstance(name, str) or not IDENTITY.fullmatch(name):
            raise malformed(f"'after' names instructions, and {_shown(name)} is no identity", each, field="after")
    return tuple(name for name, _ in names)


def _when(node: Node | None) -> str:
    if node is None or node.value is None:
        return ""
    if isinstance(node.value, bool):
        return "true" if node.value else "false"
    return _text(node, "when")


def _timeout(node: Node | None) -> float:
    if node is None or node.value is None:
        return 0.0
    value = node.value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= MOST_TIMEOUT_S:
        raise malformed(f"'timeout' is 0 to {MOST_TIMEOUT_S:.0f} seconds", node, field="timeout")
    return float(value)


def _retries(node: Node | None) -> int:
    if node is None or node.value is None:
        return 0
    value = node.value
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_RETRIES:
        raise malformed(f"'retries' is 0 to {MOST_RETRIES}", node, field="retries")
    return value


def _on_failure(node: Node | None) -> str:
    if node is None or node.value is None:
        return ON_FAILURE[0]
    if node.value not in ON_FAILURE:
        raise malformed(f"'on_failure' is {' or '.join(ON_FAILURE)}", node, field="on_failure")
    return str(node.value)


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, (str, int, float, bool)) or value is None else "what stands there"
    return text if len(text) <= 80 else text[:80] + "…"
