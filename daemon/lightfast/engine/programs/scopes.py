"""Which names an instruction can use: those before it in its own block, and those before the blocks around it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lightfast.engine.programs.near import did_you_mean
from lightfast.engine.programs.program import Instruction, Program
from lightfast.engine.programs.references import Reference

MOST_LOOKS = 50
"""How often the nearest name is looked for in one program."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an instruction stands: what holds its block, the name of the block, its place in the order of a walk."""

    instruction: Instruction
    holder: str
    block: str
    order: int


@dataclass(slots=True)
class Scope:
    """The names that can be used at one place, as a walk goes through a program in order."""

    program: Program
    places: Mapping[str, Place]
    visible: dict[str, Instruction] = field(default_factory=dict)
    turns: list[str] = field(default_factory=list)
    """The names of the items of the maps around, the outermost first."""
    looked: int = 0
    """How often the nearest name was looked for."""

    @classmethod
    def of(cls, program: Program) -> Scope:
        """Return the scope at the begin of *program*."""
        places: dict[str, Place] = {}
        for each, holder, block in _walk(program.instructions, "", ""):
            places.setdefault(each.id, Place(each, holder, block, len(places)))
        return cls(program, places)

    @property
    def in_map(self) -> bool:
        """Say whether this is inside a map."""
        return bool(self.turns)

    def names(self) -> list[str]:
        """Return all names that can be used here."""
        inside = ["item", "index", *self.turns] if self.turns else []
        return [*self.visible, *(["params"] if self.program.parameters else []), *inside]

    def wrong(self, reference: Reference, extra: Sequence[str] = ()) -> tuple[str, str] | None:
        """Return the reason and the message of what is wrong with a reference that stands here."""
        root = reference.root
        if root in extra or root in self.visible:
            return None
        if root == "params":
            name = reference.parameter
            if name and name not in self.program.parameters:
                told = f"the program has no parameter {name!r}{did_you_mean(name, self.program.parameters)}"
                return "PARAMETER_UNKNOWN", told
            return None
        if self.turns and (root in {"item", "index"} or root in self.turns):
            return None
        if root in {"item", "index"}:
            return "REFERENCE_UNKNOWN", f"{reference.text}: {root} is known inside a flow.map only"
        return self.wrong_name(root, reference.text)

    def wrong_name(self, name: str, text: str) -> tuple[str, str] | None:
        """Return what is wrong with the identity of an instruction that is named here."""
        if name in self.visible:
            return None
        place = self.places.get(name)
        if place is None:
            self.looked += 1  # a look at thousands of names takes milliseconds: not for thousands of mistakes
            near = did_you_mean(name, self.names()) if self.looked <= MOST_LOOKS else ""
            return "REFERENCE_UNKNOWN", f"{text}: there is no instruction {name!r}{near}"
        if place.holder and place.holder in self.visible:
            told = f"{text}: {name} is inside {place.block!r} of {place.holder}, which may not run: refer to"
            return "REFERENCE_HIDDEN", f"{told} ${{{place.holder}}}, whose result is that of its last instruction"
        return "REFERENCE_FORWARD", f"{text}: {name} does not come before it: move {name} up, or this one down"


def _walk(block: Sequence[Instruction], holder: str, name: str) -> Iterator[tuple[Instruction, str, str]]:
    for each in block:
        yield each, holder, name
        for inner, instructions in each.blocks.items():
            yield from _walk(instructions, each.id, inner)


def cycle(edges: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the identities of one cycle in order, its first one again at the end; empty where there is none.

    *edges* leads from each instruction to those it waits for.
    """
    done: set[str] = set()
    for start in edges:
        if start in done:
            continue
        path: list[str] = []
        on_path: set[str] = set()
        stack: list[tuple[str, Iterator[str]]] = [(start, iter(edges.get(start, ())))]
        path.append(start)
        on_path.add(start)
        while stack:
            node, following = stack[-1]
            step = next((each for each in following if each in edges and each not in done), None)
            if step is None:
                stack.pop()
                path.pop()
                on_path.discard(node)
                done.add(node)
            elif step in on_path:
                return [*path[path.index(step) :], step]
            else:
                path.append(step)
                on_path.add(step)
                stack.append((step, iter(edges.get(step, ()))))
    return []
