"""Dedupe: what was computed or read before is used again, as long as nothing between may have changed it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import msgspec

from lightfast.engine.programs.checked import Saving
from lightfast.engine.programs.optimizer.hazards import Hazards, exact, meet, overlap, plain
from lightfast.engine.programs.optimizer.uses import Block, Remap, Stand, names_used
from lightfast.engine.programs.program import Instruction, Program


@dataclass(frozen=True, slots=True)
class _Held:
    """What brought something: the instruction, what it read, and the names it used."""

    name: str
    reads: tuple[str, ...]
    names: frozenset[str]


class _Seen:
    """What is at hand at one place, by kind and arguments."""

    def __init__(self, held: Mapping[bytes, _Held]) -> None:
        self.held: dict[bytes, _Held] = {}
        self._readers: dict[str, set[bytes]] = {}
        """By the pattern that was read."""
        for key, each in held.items():
            self.hold(key, each)

    def hold(self, key: bytes, each: _Held) -> None:
        """Keep one at hand."""
        if key not in self.held:
            self.held[key] = each
            for pattern in each.reads:
                self._readers.setdefault(pattern, set()).add(key)

    def turn(self, names: set[str]) -> None:
        """Forget what depends on *names*, which mean something else inside a map."""
        for key in [key for key, each in self.held.items() if each.names & names]:
            del self.held[key]

    def forget(self, writes: tuple[str, ...]) -> None:
        """Forget what may have changed."""
        for write in writes:
            for pattern in self._touched(write):
                for key in self._readers.pop(pattern):
                    self.held.pop(key, None)

    def _touched(self, write: str) -> list[str]:
        if exact(write):
            wide = [pattern for pattern in self._readers if not exact(pattern) and overlap(pattern, write)]
            return [*wide, write] if write in self._readers else wide
        return [pattern for pattern in self._readers if overlap(pattern, write)]


def dedupe(program: Program, hazards: Hazards) -> tuple[Program, list[Saving]]:
    """Return *program* with each thing computed or read once."""
    remap = Remap()
    pairs: list[tuple[str, str]] = []

    def run(block: Block, seen: _Seen, *, top: bool) -> Block:
        kept: list[Instruction] = []
        for index, each in enumerate(block):
            # An earlier one may have gone: what refers to it is the same as what refers to the one that stayed.
            current = remap.block((each,))[0] if not each.blocks else each
            last = index == len(block) - 1 and not (top and program.returns)
            key = _key(current) if plain(each) and not each.after and hazards.removable(current) else None
            if key is not None and key in seen.held and not last:
                first = seen.held[key].name
                remap.stands[each.id] = Stand(first)
                remap.after[each.id] = (first,)
                pairs.append((each.id, first))
                continue
            kept.append(_inside(each, seen))
            touch = hazards.touch(current)
            seen.forget(touch.writes)
            if key is not None and not meet(touch.reads, touch.writes):
                seen.hold(key, _Held(each.id, touch.reads, frozenset(names_used(current))))
        return tuple(kept)

    def _inside(each: Instruction, seen: _Seen) -> Instruction:
        if not each.blocks:
            return each
        if each.op == "flow.map":
            # A later turn comes after all that an earlier one wrote.
            inner = _Seen(seen.held)
            inner.forget(hazards.touch(each).writes)
            inner.turn({"item", "index", str(each.arguments.get("as") or "item")})
            seen = inner
        return replace(
            each, blocks={name: run(block, _Seen(seen.held), top=False) for name, block in each.blocks.items()}
        )

    made = replace(program, instructions=run(program.instructions, _Seen({}), top=True))
    if not pairs:
        return program, []
    summary = ", ".join(f"{gone} is {first}" for gone, first in pairs[:4]) + (" …" if len(pairs) > 4 else "")
    names = tuple(dict.fromkeys(name for pair in pairs for name in pair))
    return remap.program(made), [Saving("dedupe", names, f"the same is read or computed once: {summary}", len(pairs))]


def _key(each: Instruction) -> bytes:
    return msgspec.json.encode([each.op, each.arguments], order="deterministic")
