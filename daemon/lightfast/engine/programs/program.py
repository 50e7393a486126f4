"""A program: a checked list of typed instructions.

Arguments are what JSON can hold, and assets by their address (`asset:SHA256`). A string may hold references in
`${…}`: `${step}` or `${step.field[0]}` the result of an earlier instruction, `${params.NAME}` a parameter,
`${item}` and `${index}` inside a map. A string that is one reference and nothing else takes the type of what it
refers to. `$${` stands for a plain `${`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

MOST_INSTRUCTIONS = 10_000
"""The most instructions of one program, those in blocks counted."""
MOST_DEPTH = 8
"""How deep blocks may nest."""
IDENTITY = re.compile(r"[a-z][a-z0-9_-]{0,63}")
"""What the identity of an instruction looks like."""
BLOCKS: Mapping[str, tuple[str, ...]] = {"flow.branch": ("then", "else"), "flow.map": ("do",)}
"""The operations that hold instructions, and the names of their blocks."""
ON_FAILURE = ("stop", "continue")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction.

    *after* are the instructions it waits for, besides those it refers to and those its reads and writes make it wait
    for; *when* is an expression, and unless it is true the instruction is skipped; *timeout* in seconds, 0: what the
    operation says; *retries* only where it may be done twice; *on_failure* is of `ON_FAILURE`; *blocks* hold the
    instructions of a branch or a map; *line* is where it was written, and does not count.
    """

    id: str
    op: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    when: str = ""
    timeout: float = 0.0
    retries: int = 0
    on_failure: str = "stop"
    blocks: Mapping[str, tuple[Instruction, ...]] = field(default_factory=dict)
    line: int = field(default=0, compare=False)

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it, without what is as usual."""
        found: dict[str, Any] = {"id": self.id, "op": self.op}
        if self.arguments:
            found["arguments"] = dict(self.arguments)
        if self.after:
            found["after"] = list(self.after)
        if self.when:
            found["when"] = self.when
        if self.timeout:
            found["timeout"] = self.timeout
        if self.retries:
            found["retries"] = self.retries
        if self.on_failure != "stop":
            found["on_failure"] = self.on_failure
        for name, block in self.blocks.items():
            found[name] = [each.plain() for each in block]
        return found


@dataclass(frozen=True, slots=True)
class Program:
    """A program. *parameters* are the values of `${params.…}`; *returns* a reference to what it gives back.

    *untrusted*: text from scenes, files or the web had a part in it; it gets no more than its asker has.
    """

    instructions: tuple[Instruction, ...]
    name: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    returns: str = ""
    untrusted: bool = False

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it: the canonical form, without what is as usual."""
        found: dict[str, Any] = {"instructions": [each.plain() for each in self.instructions]}
        if self.name:
            found["name"] = self.name
        if self.parameters:
            found["parameters"] = dict(self.parameters)
        if self.returns:
            found["returns"] = self.returns
        if self.untrusted:
            found["untrusted"] = True
        return found

    def digest(self) -> str:
        """Return the SHA-256 of the canonical form, in hex: an approval holds for exactly this."""
        return hashlib.sha256(msgspec.json.encode(self.plain(), order="deterministic")).hexdigest()

    def walk(self) -> Iterator[Instruction]:
        """Yield every instruction, those in blocks after the one that holds them."""
        yield from _walk(self.instructions)


def _walk(instructions: tuple[Instruction, ...]) -> Iterator[Instruction]:
    for each in instructions:
        yield each
        for block in each.blocks.values():
            yield from _walk(block)


def instruction(plain: Mapping[str, Any]) -> Instruction:
    """Return the instruction of a canonical form, as `Instruction.plain` made it."""
    known = {"id", "op", "arguments", "after", "when", "timeout", "retries", "on_failure"}
    return Instruction(
        id=plain["id"],
        op=plain["op"],
        arguments=plain.get("arguments", {}),
        after=tuple(plain.get("after", ())),
        when=plain.get("when", ""),
        timeout=float(plain.get("timeout", 0.0)),
        retries=plain.get("retries", 0),
        on_failure=plain.get("on_failure", "stop"),
        blocks={name: tuple(instruction(each) for each in plain[name]) for name in plain if name not in known},
    )


def program(plain: Mapping[str, Any]) -> Program:
    """Return the program of a canonical form, as `Program.plain` made it."""
    return Program(
        instructions=tuple(instruction(each) for each in plain["instructions"]),
        name=plain.get("name", ""),
        parameters=plain.get("parameters", {}),
        returns=plain.get("returns", ""),
        untrusted=plain.get("untrusted", False),
    )
