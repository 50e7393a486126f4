"""The program as it grows, clause by clause, and what was not understood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lightfast.engine.planner.grammar.vocabulary import Thing, Vocabulary
from lightfast.engine.programs.checked import Problem
from lightfast.engine.programs.program import Instruction
from lightfast.engine.programs.references import escape
from lightfast_link.path import is_under


class Made(str):
    """A reference that the grammar makes itself; all other text, of the user and of names, stands for itself."""

    __slots__ = ()


class Misunderstood(Exception):
    """A clause that is not understood; *reason* is stable, the message says what and what to do."""

    def __init__(self, message: str, reason: str = "NOT_UNDERSTOOD") -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason


@dataclass
class Draft:
    """The instructions so far. *subject* is the thing spoken of last, *made* the instruction that made one."""

    vocabulary: Vocabulary
    instructions: list[Instruction] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What was taken to be so; each lowers the confidence."""
    subject: Thing | None = None
    made: str = ""
    """The instruction that made what `it` is; empty: *subject* is."""
    asset: str = ""
    """The instruction whose asset `it` may be."""
    path: str = ""
    """The path spoken of last."""
    mount: str = ""
    then: bool = False
    _serial: bool = False

    def add(self, op: str, arguments: Mapping[str, Any], *, after: tuple[str, ...] = ()) -> str:
        """Add an instruction and return its identity."""
        identity = f"s{len(self.instructions) + 1}"
        if self.instructions and (self.then or self._serial):
            after = (*after, self.instructions[-1].id)
        mount = self._mount_of(op, arguments)
        if mount:
            before = next((each for each in reversed(self.instructions) if self._touches(each, mount, op)), None)
            if before is not None:
                after = (*after, before.id)
        self.instructions.append(Instruction(identity, op, _literal(arguments), tuple(dict.fromkeys(after))))
        self._serial = op.startswith("wait.")
        self.then = False
        return identity

    def amend(self, identity: str, arguments: Mapping[str, Any]) -> None:
        """Add *arguments* to those of the command of an earlier instruction."""
        for index, each in enumerate(self.instructions):
            if each.id == identity:
                given = {**each.arguments, "arguments": {**each.arguments.get("arguments", {}), **_literal(arguments)}}
                self.instructions[index] = Instruction(each.id, each.op, given, each.after)

    def find(self, identity: str) -> Instruction | None:
        """Return an instruction."""
        return next((each for each in self.instructions if each.id == identity), None)

    def spoken(self, thing: Thing | None = None, *, made: str = "", asset: str = "", mount: str = "") -> None:
        """Note what was spoken of, for `it`."""
        if thing is not None:
            self.subject, self.made, self.mount = thing, "", thing.mount
        if made:
            self.subject, self.made, self.mount = None, made, mount
        if asset:
            self.asset = asset
        if mount:
            self.mount = mount

    def _mount_of(self, op: str, arguments: Mapping[str, Any]) -> str:
        if op == "app.command":
            return str(arguments.get("app", ""))
        path = arguments.get("path")
        if op.startswith("context.") and isinstance(path, str):
            return next((mount for mount in self.vocabulary.mounts if is_under(path, mount)), "")
        return ""

    def _touches(self, each: Instruction, mount: str, op: str) -> bool:
        """Say whether an instruction on the application at *mount* keeps the order with *each*."""
        if self._mount_of(each.op, each.arguments) != mount:
            return False
        return op == "app.command" or each.op == "app.command"


def _literal(value: Any) -> Any:
    if isinstance(value, Made):
        return str(value)
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, Mapping):
        return {name: _literal(item) for name, item in value.items()}
    return [_literal(item) for item in value] if isinstance(value, list) else value
