"""Batching: neighbouring writes become one transaction, neighbouring embeddings one call.

Writes are merged only where one transaction is what many would have been: nothing about them depends on the run, the
check of each finds nothing to say, so that none is refused and leaves those before it standing, and no two touch paths
that lie in one another, so that whoever follows a path sees the same values. An application gets the same wishes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lightfast.engine.programs.checked import Saving
from lightfast.engine.programs.optimizer.hazards import Hazards, literal, plain
from lightfast.engine.programs.optimizer.uses import Block, Remap, Stand, map_blocks, references_to, used
from lightfast.engine.programs.program import IDENTITY, Instruction, Program
from lightfast.host.guard import guarded
from lightfast_link.path import is_under

APPLY = "context.apply"
"""The operation of many changes: `{changes: [{kind, path, value}, …]}`; its result is a list of theirs."""
KINDS = {"context.set": "set", "context.merge": "merge", "context.delete": "delete"}
MOST_CHANGES = 500
MOST_TEXTS = 512


def batch(program: Program, hazards: Hazards) -> tuple[Program, list[Saving]]:
    """Return *program* with neighbours merged."""
    savings: list[Saving] = []
    for step in (_Writes, _Embeddings):
        if hazards.operations.find(step.operation) is not None:
            program, saved = step(program, hazards).run()
            savings += saved
    return program, savings


class _Merging:
    """Merges runs of neighbours of one kind."""

    operation = ""

    def __init__(self, program: Program, hazards: Hazards) -> None:
        self.program, self.hazards = program, hazards
        self.remap = Remap()
        self.needed = used(program)
        self.taken = {each.id for each in program.walk()}
        self.savings: list[Saving] = []

    def run(self) -> tuple[Program, list[Saving]]:
        """Return the program with its neighbours merged."""
        made = map_blocks(self.program, self._block)
        return (self.remap.program(made), self.savings) if self.savings else (self.program, [])

    def _block(self, block: Block, top: bool) -> Block:
        made: list[Instruction] = []
        group: list[Instruction] = []
        for index, each in enumerate(block):
            last = index == len(block) - 1 and not top
            if last or not self.fits(each):
                made += self._closed(group)
                made.append(each)
                group = []
                continue
            if group and not self.joins(group, each):
                made += self._closed(group)
                group = []
            group.append(each)
        return tuple(made + self._closed(group))

    def _closed(self, group: list[Instruction]) -> list[Instruction]:
        if len(group) < 2:
            return group
        identity = f"{group[0].id[:50]}-to-{group[-1].id[:8]}".rstrip("-")
        while identity in self.taken or not IDENTITY.fullmatch(identity):
            identity = f"b{len(self.taken)}-{identity[:40]}"
        self.taken.add(identity)
        members = {each.id for each in group}
        after = tuple(dict.fromkeys(name for each in group for name in each.after if name not in members))
        made = replace(self.merged(group, identity), id=identity, after=after)
        for each in group:
            self.remap.after[each.id] = (identity,)
        names = tuple(each.id for each in group)
        self.savings.append(Saving("batch", names, self.told(group), len(group) - 1))
        return [made]

    def fits(self, each: Instruction) -> bool:
        """Say whether one can be merged at all."""
        raise NotImplementedError

    def joins(self, group: list[Instruction], each: Instruction) -> bool:
        """Say whether one can be merged with those before it."""
        raise NotImplementedError

    def merged(self, group: list[Instruction], identity: str) -> Instruction:
        """Return the merged one, and remap the results."""
        raise NotImplementedError

    def told(self, group: list[Instruction]) -> str:
        """Say what is saved."""
        raise NotImplementedError


class _Writes(_Merging):
    operation = APPLY

    def fits(self, each: Instruction) -> bool:
        kind = KINDS.get(each.op)
        if kind is None or not plain(each) or not literal(each) or set(each.arguments) - {"path", "value"}:
            return False
        if kind == "delete" and each.id in self.needed:
            return False
        operation = self.hazards.operations.find(each.op)
        if operation is None or self.hazards.asks(each):
            return False
        found = guarded(operation.check, each.arguments, self.hazards.world)
        return found.error is None and not found.value and isinstance(each.arguments.get("path"), str)

    def joins(self, group: list[Instruction], each: Instruction) -> bool:
        path = each.arguments["path"]
        paths = [one.arguments["path"] for one in group]
        return len(group) < MOST_CHANGES and not any(is_under(path, one) or is_under(one, path) for one in paths)

    def merged(self, group: list[Instruction], identity: str) -> Instruction:
        changes: list[dict[str, Any]] = []
        for index, each in enumerate(group):
            changes.append({"kind": KINDS[each.op], **each.arguments})
            self.remap.stands[each.id] = Stand(identity, (index,))
        return Instruction(identity, APPLY, {"changes": changes}, line=group[0].line)

    def told(self, group: list[Instruction]) -> str:
        return f"{len(group)} writes in one transaction"


class _Embeddings(_Merging):
    operation = "embed.texts"

    def fits(self, each: Instruction) -> bool:
        texts = each.arguments.get("texts")
        if each.op != self.operation or not plain(each) or not isinstance(texts, list) or not texts:
            return False
        if self.hazards.asks(each) or not literal(each):
            return False
        if each.id not in self.needed:
            return True
        found = references_to(self.program, each.id)
        return found is not None and all(_vector(reference.path, len(texts)) for reference in found)

    def joins(self, group: list[Instruction], each: Instruction) -> bool:
        rest = {name: value for name, value in each.arguments.items() if name != "texts"}
        first = {name: value for name, value in group[0].arguments.items() if name != "texts"}
        count = sum(len(one.arguments["texts"]) for one in group) + len(each.arguments["texts"])
        return rest == first and count <= MOST_TEXTS

    def merged(self, group: list[Instruction], identity: str) -> Instruction:
        texts: list[str] = []
        for each in group:
            self.remap.stands[each.id] = Stand(identity, offset=len(texts))
            texts += each.arguments["texts"]
        return replace(group[0], arguments={**group[0].arguments, "texts": texts})

    def told(self, group: list[Instruction]) -> str:
        return f"{len(group)} embeddings in one call"


def _vector(path: tuple[str | int, ...], count: int) -> bool:
    """Say whether a reference to embeddings takes the model, or one of *count* vectors from the front."""
    if path == ("model",):
        return True
    return len(path) >= 2 and path[0] == "vectors" and isinstance(path[1], int) and 0 <= path[1] < count
