"""Fetch: the next instruction in program order.

A branch and a map hold the fetch up until their condition or their items are known. Then their block follows, for a
map once for each item, and after it a second slot that closes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lightfast.engine.pipeline.decision import Decision
from lightfast.engine.pipeline.slots import Scope, Slot, Stage
from lightfast.engine.programs.program import Instruction, Program
from lightfast.engine.runs.records import Step, StepState

MOST_STEPS = 100_000
"""The most steps of one run, all turns counted."""
ENDED_BEFORE = (StepState.DONE, StepState.SKIPPED, StepState.FAILED)


class _Block:
    """The rest of a block."""

    def __init__(self, instructions: Sequence[Instruction], scope: Scope, prefix: str) -> None:
        self.rest: Iterator[Instruction] = iter(instructions)
        self.scope = scope
        self.prefix = prefix
        self.last: Slot | None = None
        self.gate: Slot | None = None


class _Open:
    """A branch or a map whose blocks are being fetched."""

    def __init__(self, slot: Slot, blocks: Iterator[_Block], parallel: int) -> None:
        self.slot = slot
        self.blocks = blocks
        self.parallel = parallel
        self.current: _Block | None = None


class Fetch:
    """Yields slots by `take`; `None`: nothing now, because the program is through or a decision is missing."""

    def __init__(self, program: Program, recorded: Mapping[str, Step]) -> None:
        self.scope = Scope(None, {"params": dict(program.parameters)})
        self.taken = 0
        self.waiting: Slot | None = None
        """The branch or map that holds the fetch up."""
        self.left = dict(recorded)
        """The rows of a former daemon that were not come to yet."""
        self._stack: list[_Block | _Open] = [_Block(program.instructions, self.scope, "")]

    @property
    def through(self) -> bool:
        """Say whether the whole program has been fetched."""
        return not self._stack and self.waiting is None

    def take(self) -> Slot | None:
        """Return the next instruction in program order."""
        while self._stack and self.waiting is None:
            top = self._stack[-1]
            if isinstance(top, _Open):
                if (closing := self._turn(top)) is not None:
                    return closing
                continue
            instruction = next(top.rest, None)
            if instruction is None:
                self._stack.pop()
                continue
            return self._slot(instruction, top)
        return None

    def decide(self, slot: Slot, decision: Decision | None) -> None:
        """Go on into the block of *slot* that was decided on; `None`: into none, it was skipped or has ended before."""
        self.waiting = None
        if decision is None:
            return
        blocks = slot.instruction.blocks
        if decision.items is None:
            name = decision.block
            chosen = _Block(blocks.get(name, ()), Scope(slot.scope, {}), f"{slot.step_id}.{name}.")
            found: Iterator[_Block] = iter((chosen,))
        else:
            found = self._turns(slot, decision)
        self._stack.append(_Open(slot, found, decision.parallel))

    def _turns(self, slot: Slot, decision: Decision) -> Iterator[_Block]:
        for index, item in enumerate(decision.items or ()):
            scope = Scope(slot.scope, {"item": item, decision.name: item, "index": index})
            yield _Block(slot.instruction.blocks.get("do", ()), scope, f"{slot.step_id}[{index}].")

    def _turn(self, open_: _Open) -> Slot | None:
        """Begin the next turn; return the closing slot where there is none."""
        slot = open_.slot
        if open_.current is not None:
            slot.last.append(open_.current.last)
        block = open_.current = next(open_.blocks, None)
        if block is not None:
            if open_.parallel and len(slot.last) >= open_.parallel:
                block.gate = slot.last[len(slot.last) - open_.parallel]
            self._stack.append(block)
            return None
        self._stack.pop()
        closing = Slot(self._number(), slot.step_id, slot.instruction, slot.scope)
        closing.opening = slot
        closing.attempts, closing.start_time, closing.text = slot.attempts, slot.start_time, slot.text
        slot.scope.slots[slot.instruction.id] = closing
        around = self._stack[-1]
        if isinstance(around, _Block) and around.last is slot:
            around.last = closing
        return closing

    def _slot(self, instruction: Instruction, block: _Block) -> Slot:
        slot = Slot(self._number(), block.prefix + instruction.id, instruction, block.scope)
        block.scope.slots[instruction.id] = slot
        block.last = slot
        gate = block.gate or self._outer(block)
        if gate is not None and gate.stage is not Stage.RETIRED:
            gate.at_retire.append(slot)
            slot.dependencies += 1
        recorded = self.left.pop(slot.step_id, None)
        if recorded is not None and recorded.state is not StepState.PENDING:
            slot.recorded = recorded
        if instruction.blocks and (recorded is None or recorded.state not in ENDED_BEFORE):
            self.waiting = slot
        return slot

    def _outer(self, block: _Block) -> Slot | None:
        """Return the gate of the nearest turn around *block*: inner blocks wait with their turn."""
        for each in reversed(self._stack):
            if isinstance(each, _Block) and each is not block and each.gate is not None:
                return each.gate
        return None

    def _number(self) -> int:
        self.taken += 1
        return self.taken - 1

    def opened(self) -> list[Slot]:
        """Return the branches and maps in which the fetch stands."""
        return [each.slot for each in self._stack if isinstance(each, _Open)]
