"""Gives instructions other names, in all that refers to them: for bodies that are repeated or called."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from lightfast.engine.programs.program import Instruction
from lightfast.engine.programs.references import KEEP, Reference, reference_text, substitute

EXPRESSIONS: Mapping[str, str] = {"flow.branch": "condition", "value.compute": "expression"}
"""The operations with an argument that is an expression over the names around it."""
_LONGEST = 64
_TOKEN = re.compile(
    r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|(?P<open>\$\{\s*)(?P<inside>[A-Za-z_][A-Za-z0-9_-]*)|"
    r"(?P<bare>(?<![.\w])[A-Za-z_]\w*)(?!\s*\()",
    re.DOTALL,
)


class Names:
    """Finds identities that nobody has."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)

    def fresh(self, wanted: str) -> str:
        """Return *wanted*, or something near to it that is free, and take it."""
        name, number = wanted[:_LONGEST], 1
        while name in self._taken:
            number += 1
            end = f"_{number}"
            name = wanted[: _LONGEST - len(end)] + end
        self._taken.add(name)
        return name


def renamed_references(value: Any, roots: Mapping[str, str]) -> Any:
    """Return *value* with references to some roots made references to others."""

    def put(reference: Reference) -> Any:
        to = roots.get(reference.root)
        return KEEP if to is None else reference_text(to, reference.path)

    return substitute(value, put)


def renamed(block: Iterable[Instruction], roots: Mapping[str, str]) -> tuple[Instruction, ...]:
    """Return *block* with the identities and names of *roots* made others, inside and in what refers to them."""
    return tuple(_renamed(each, roots) for each in block)


def _renamed(instruction: Instruction, roots: Mapping[str, str]) -> Instruction:
    own = instruction.arguments.get("as") if instruction.op == "flow.map" else None
    inner = {name: to for name, to in roots.items() if name != own} if own else roots
    arguments: dict[str, Any] = renamed_references(dict(instruction.arguments), roots)
    key = EXPRESSIONS.get(instruction.op)
    if key is not None and isinstance(arguments.get(key), str):
        given = arguments.get("names")
        free = {name: to for name, to in roots.items() if not isinstance(given, Mapping) or name not in given}
        arguments[key] = renamed_expression(instruction.arguments[key], free)
    return replace(
        instruction,
        id=roots.get(instruction.id, instruction.id),
        arguments=arguments,
        after=tuple(roots.get(each, each) for each in instruction.after),
        when=renamed_expression(instruction.when, roots),
        blocks={name: renamed(block, inner) for name, block in instruction.blocks.items()},
    )


def renamed_expression(text: str, roots: Mapping[str, str]) -> str:
    """Return an expression with some names made others; texts in it and the names of functions stay.

    >>> renamed_expression('a.b > len(a) and ${a-1.x} == "a"', {"a": "z", "a-1": "y-2"})
    'z.b > len(z) and ${y-2.x} == "a"'
    """

    def put(match: re.Match[str]) -> str:
        if match["open"]:
            return match["open"] + roots.get(match["inside"], match["inside"])
        name = match["bare"]
        if name is None or name not in roots:
            return match[0]
        return roots[name] if roots[name].isidentifier() else f"${{{roots[name]}}}"

    return _TOKEN.sub(put, text) if text else text
