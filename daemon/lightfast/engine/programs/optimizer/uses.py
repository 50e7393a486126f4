"""Who uses whose result, and how one result is put in the place of another."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lightfast.engine.programs.arguments import EXPRESSIONS, OWN_NAMES
from lightfast.engine.programs.expression import compile_expression
from lightfast.engine.programs.program import Instruction, Program
from lightfast.engine.programs.references import (
    KEEP,
    Reference,
    escape,
    find,
    reference_text,
    substitute,
    text_of,
)

Block = tuple[Instruction, ...]


@dataclass(frozen=True, slots=True)
class Stand:
    """What stands for a result: the result of another instruction (*root* and *path*), or, without a root, *value*."""

    root: str = ""
    path: tuple[str | int, ...] = ()
    value: Any = None
    offset: int = 0
    """How far the items of its first field are moved: those of the second call come after those of the first."""

    def in_arguments(self, reference: Reference, *, alone: bool) -> Any:
        """Return what is put for a reference in arguments."""
        if self.root:
            path = reference.path
            if self.offset and len(path) > 1 and isinstance(path[1], int):
                path = (path[0], path[1] + self.offset, *path[2:])
            return reference_text(self.root, (*self.path, *path))
        found = Reference("it", reference.path, reference.text).resolve({"it": self.value})
        return _escaped(found) if alone else escape(text_of(found))

    def in_expression(self) -> str:
        """Return what is put for the name in expressions."""
        return reference_text(self.root, self.path) if self.root else json.dumps(self.value)


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, Mapping):
        return {name: _escaped(item) for name, item in value.items()}
    return [_escaped(item) for item in value] if isinstance(value, list) else value


@dataclass(slots=True)
class Remap:
    """What is put in the place of results that go, and what `after` names in the place of their instructions."""

    stands: dict[str, Stand] = field(default_factory=dict)
    after: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def program(self, program: Program) -> Program:
        """Return *program* with everything put in its place."""
        if not self.stands and not self.after:
            return program
        returns = self._value(program.returns) if program.returns else ""
        return replace(
            program,
            instructions=self.block(program.instructions),
            returns=returns if isinstance(returns, str) else program.returns,
        )

    def block(self, block: Block) -> Block:
        """Return a block with everything put in its place."""
        return tuple(self._instruction(each) for each in block)

    def _instruction(self, each: Instruction) -> Instruction:
        own = own_names(each)
        expression = EXPRESSIONS.get(each.op, "")
        arguments = {
            name: self._expression(value, own) if name == expression else self._value(value)
            for name, value in each.arguments.items()
        }
        after: list[str] = []
        for name in each.after:
            after += self._after(name)
        return replace(
            each,
            arguments=arguments,
            after=tuple(dict.fromkeys(name for name in after if name != each.id)),
            when=self._expression(each.when, frozenset()) if each.when else "",
            blocks={name: self.block(block) for name, block in each.blocks.items()},
        )

    def _after(self, name: str) -> Iterator[str]:
        """Yield what stands for *name*: where that has gone, too, what stands for it."""
        todo, done = [name], set[str]()
        while todo:
            each = todo.pop()
            if each in done:
                continue
            done.add(each)
            if each in self.after:
                todo += reversed(self.after[each])
            else:
                yield each

    def _value(self, value: Any) -> Any:
        def put(reference: Reference) -> Any:
            stand = self.stands.get(reference.root)
            return KEEP if stand is None else stand.in_arguments(reference, alone=True)

        def put_text(reference: Reference) -> Any:
            stand = self.stands.get(reference.root)
            return KEEP if stand is None else stand.in_arguments(reference, alone=False)

        return substitute(value, put, put_text)

    def _expression(self, text: Any, own: frozenset[str]) -> Any:
        if not isinstance(text, str):
            return text
        expression = compile_expression(text)
        texts = {name: self.stands[name].in_expression() for name in expression.names - own if name in self.stands}
        return expression.replaced(texts) if texts else text


def own_names(each: Instruction) -> frozenset[str]:
    """Return the names that mean something else inside the expression of this instruction."""
    names = each.arguments.get("names")
    given = names if each.op == "value.compute" and isinstance(names, Mapping) else ()
    return frozenset((*OWN_NAMES.get(each.op, ()), *given))


def expressions(each: Instruction) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield the expressions of an instruction, with the names that are not those of the program."""
    if each.when:
        yield each.when, frozenset()
    text = each.arguments.get(EXPRESSIONS.get(each.op, ""))
    if isinstance(text, str):
        yield text, own_names(each)


def plain_arguments(each: Instruction) -> Mapping[str, Any]:
    """Return the arguments that hold references: all but an expression."""
    field_name = EXPRESSIONS.get(each.op, "")
    if field_name not in each.arguments:
        return each.arguments
    return {name: value for name, value in each.arguments.items() if name != field_name}


def names_used(each: Instruction) -> set[str]:
    """Return the names whose results one instruction uses, those in its blocks included."""
    found = {reference.root for _, reference in find(plain_arguments(each))}
    for text, own in expressions(each):
        found |= compile_expression(text).names - own
    for block in each.blocks.values():
        for inner in block:
            found |= names_used(inner)
    return found


def used(program: Program) -> set[str]:
    """Return the names whose results are used anywhere."""
    found = {reference.root for _, reference in find(program.returns)}
    for each in program.instructions:
        found |= names_used(each)
    return found


def references_to(program: Program, name: str) -> list[Reference] | None:
    """Return the references to *name* in arguments and returns; `None` where an expression uses it, too."""
    found = [reference for _, reference in find(program.returns) if reference.root == name]
    for each in program.walk():
        if any(name in compile_expression(text).names - own for text, own in expressions(each)):
            return None
        found += [reference for _, reference in find(plain_arguments(each)) if reference.root == name]
    return found


def returned(program: Program) -> frozenset[str]:
    """Return the names in what a program returns: no value can be put there, since it is a text."""
    return frozenset(reference.root for _, reference in find(program.returns))


def map_blocks(program: Program, change: Callable[[Block, bool], Block]) -> Program:
    """Return *program* with each block changed, the inner ones first; *change* is told which is the outermost."""

    def inner(block: Block) -> Block:
        return tuple(
            replace(each, blocks={name: change(inner(held), False) for name, held in each.blocks.items()})
            if each.blocks
            else each
            for each in block
        )

    return replace(program, instructions=change(inner(program.instructions), True))
