"""What holds for everything a question may find: its two times, its kind, its tags."""

from __future__ import annotations

from typing import Any, NamedTuple

from lightfast.context.memory.records import Kind
from lightfast.context.memory.rows import HOLDS


class Asked(NamedTuple):
    """*valid* and *known* in ns since 1970. With a kind or tags relations are left out: they have neither."""

    valid: int
    known: int
    kind: Kind = Kind.NONE
    tags: tuple[str, ...] = ()

    @property
    def relations(self) -> bool:
        """Whether relations may be found."""
        return self.kind is Kind.NONE and not self.tags

    @property
    def bindings(self) -> dict[str, Any]:
        """Return what the condition stands for."""
        found: dict[str, Any] = {"valid": self.valid, "known": self.known, "kind": int(self.kind)}
        return found | {f"tag{number}": tag for number, tag in enumerate(self.tags)}

    def condition(self, wording: str) -> str:
        """Return the condition for a row *v* whose wording is called *wording* in the query."""
        parts = [HOLDS]
        if self.kind is not Kind.NONE:
            parts.append("v.kind = :kind")
        parts += [
            f"EXISTS (SELECT 1 FROM memory_tags t WHERE t.tag = :tag{number} AND t.wording = {wording})"  # noqa: S608
            for number in range(len(self.tags))
        ]
        return " AND ".join(parts)
