"""What an instruction reads and writes, blocks included, and whether two may touch the same path.

Everything is judged on the safe side: a reference in a path makes it everything below what stands before it, an
operation that cannot say makes it everything.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lightfast.engine.ports import OperationBook
from lightfast.engine.programs.expression import compile_expression
from lightfast.engine.programs.optimizer.uses import expressions
from lightfast.engine.programs.program import BLOCKS, Instruction
from lightfast.engine.programs.references import has_reference
from lightfast.host.guard import guarded
from lightfast.sdk import ASKING, EVERYTHING, Effect, Operation, World
from lightfast_link.path import compile_pattern, is_under

READ = frozenset((Effect.READ,))


@dataclass(frozen=True, slots=True)
class Touch:
    """What an instruction may read and write; *acts*: it does something outside of the transactions of the run."""

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    acts: bool
    known: bool
    """Whether all its operations are there."""


class Hazards:
    """Answers what instructions touch."""

    def __init__(self, operations: OperationBook, world: World) -> None:
        self.operations, self.world = operations, world
        self._touches: dict[int, tuple[Instruction, Touch]] = {}

    def touch(self, each: Instruction) -> Touch:
        """Return what *each* touches, its blocks included."""
        held = self._touches.get(id(each))
        if held is not None and held[0] is each:
            return held[1]
        found = self._touch(each)
        self._touches[id(each)] = each, found
        return found

    def _touch(self, each: Instruction) -> Touch:
        reads: list[str] = []
        writes: list[str] = []
        acts, known = False, True
        for text, _ in expressions(each):
            reads += compile_expression(text).reads
        if each.op not in BLOCKS:
            operation = self.operations.find(each.op)
            if operation is None:
                return Touch(EVERYTHING, EVERYTHING, acts=True, known=False)
            reads += declared(operation.reads, each.arguments)
            writes += declared(operation.writes, each.arguments)
            acts = operation.acts
        for block in each.blocks.values():
            for inner in block:
                touch = self.touch(inner)
                reads += touch.reads
                writes += touch.writes
                acts, known = acts or touch.acts, known and touch.known
        return Touch(tuple(dict.fromkeys(reads)), tuple(dict.fromkeys(writes)), acts, known)

    def removable(self, each: Instruction) -> bool:
        """Say whether nothing is lost without it when nobody uses its result: it computes, or reads what it says."""
        operation = self.operations.find(each.op)
        if operation is None or each.blocks:
            return False
        if operation.pure:
            return True
        if operation.acts or self.effects(operation, each) != READ:
            return False
        touch = self.touch(each)
        return bool(touch.reads) and "//" not in touch.reads and not touch.writes

    def effects(self, operation: Operation, each: Instruction) -> frozenset[Effect]:
        """Return what an instruction does; all that it might where it cannot say."""
        found = guarded(operation.effects, each.arguments, self.world).value
        return operation.possible_effects if found is None else frozenset(found)

    def asks(self, each: Instruction) -> bool:
        """Say whether it, or anything in its blocks, must be approved."""
        operation = self.operations.find(each.op)
        if each.op not in BLOCKS and (operation is None or self.effects(operation, each) & ASKING):
            return True
        return any(self.asks(inner) for block in each.blocks.values() for inner in block)


def declared(declare: Callable[[Mapping[str, Any]], Iterable[str]], arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the patterns that an operation declares, widened where references are not resolved yet."""
    found = guarded(declare, arguments).value
    if found is None or isinstance(found, str):
        return EVERYTHING
    patterns = []
    for text in map(str, found):
        if not text.startswith("/"):
            return EVERYTHING
        start = text.find("${")
        patterns.append(text if start < 0 else text[: text.rfind("/", 0, start)] + "//")
    return tuple(patterns)


@functools.lru_cache(maxsize=8192)
def exact(pattern: str) -> bool:
    """Say whether a pattern stands for one path only."""
    try:
        return compile_pattern(pattern).exact
    except ValueError:
        return False


def overlap(left: str, right: str) -> bool:
    """Say whether two patterns may match the same path; yes where that is not easy to tell."""
    if "//" in {left, right} or left == right:
        return True
    try:
        one, two = compile_pattern(left), compile_pattern(right)
    except ValueError:
        return True
    if one.exact:
        return two.matches(left)
    if two.exact:
        return one.matches(right)
    return is_under(one.prefix, two.prefix) or is_under(two.prefix, one.prefix)


def meet(some: Iterable[str], others: Iterable[str]) -> bool:
    """Say whether any of *some* may touch what any of *others* does."""
    held = tuple(others)
    return any(overlap(one, other) for one in some for other in held)


def depend(earlier: Touch, later: Touch) -> bool:
    """Say whether the order of two instructions matters: read after write, write after read, write after write."""
    return meet(earlier.writes, later.reads) or meet(earlier.reads, later.writes) or meet(earlier.writes, later.writes)


def literal(each: Instruction) -> bool:
    """Say whether nothing about its arguments depends on the run."""
    return not has_reference(each.arguments)


def plain(each: Instruction) -> bool:
    """Say whether an instruction is done as usual: no condition, time, repetition or failure of its own."""
    return not each.when and not each.timeout and not each.retries and each.on_failure == "stop"
