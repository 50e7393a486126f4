"""What a request needs of a model, and whether a model has it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from lightfast.core.errors import InvalidArgument
from lightfast.gateway.calls import ModelRecord
from lightfast.gateway.leash import not_approved
from lightfast.gateway.ports import Load

APART = {"music": 1, "speech": 2}
"""Tags of models that make another thing than `audio` by itself means, a sound: they are chosen by name, or where
nothing else is there, in this order."""
INPUT = "input:"
"""Before the name of a medium, in what is needed: `input:image` is a model that takes images."""
_MEDIA = frozenset(("text", "image", "audio", "video"))


@dataclass(frozen=True, slots=True)
class Needs:
    """What is wanted: *output* (empty: anything), capabilities and inputs, and a window for the *load*.

    *sources* are the media of what is given to start from (`image`); `None`: that is not asked.
    """

    output: str
    capabilities: frozenset[str]
    load: Load
    sources: tuple[str, ...] | None = None
    forbids: Callable[[ModelRecord], str] | None = None
    """Says why a model may not be used though it can do it; empty: it may."""

    def lacks(self, record: ModelRecord) -> str:
        """Return what *record* cannot do of it, or why it may not, for a person; empty: it can do all."""
        return self._lacks_ability(record) or self._lacks_sources(record) or self._forbidden(record)

    def _forbidden(self, record: ModelRecord) -> str:
        return "" if self.forbids is None else self.forbids(record)

    def kept_out(self, records: Iterable[ModelRecord]) -> list[tuple[str, str]]:
        """Return those of *records* that could do it and may not, with why."""
        if self.forbids is None:
            return []
        free = replace(self, forbids=None)
        return [(each.name, self._forbidden(each)) for each in records if not free.lacks(each)]

    def _lacks_ability(self, record: ModelRecord) -> str:
        model = record.model
        if self.output and self.output not in model.outputs:
            return f"makes {', '.join(model.outputs)}, not {self.output}"
        for need in sorted(self.capabilities):
            if need.startswith(INPUT):
                if need.removeprefix(INPUT) not in model.inputs:
                    return f"takes {', '.join(model.inputs)}, not {need.removeprefix(INPUT)}"
            elif need not in model.capabilities:
                return f"cannot do {need!r}"
        return ""

    def _lacks_sources(self, record: ModelRecord) -> str:
        if self.sources is None:
            return ""
        model = record.model
        wrong = sorted(set(self.sources) & _MEDIA - set(model.inputs))
        if wrong:
            return f"takes {', '.join(model.inputs)}, not {wrong[0]}"
        if len(self.sources) < model.needs_sources:
            return f"works on {model.needs_sources} sources, {len(self.sources)} are given"
        return ""

    def too_small(self, record: ModelRecord) -> bool:
        """Say whether the window of *record* is known to be too small: it is then tried only where no other is."""
        return 0 < record.model.context_tokens < self.load.input_tokens

    def check(self, record: ModelRecord) -> None:
        """Raise `InvalidArgument` unless *record*, which was asked for by name, can do it.

        Its sources are its own matter: it says closer what is wrong with them. Raise `FailedPrecondition`
        (EFFECT_NOT_APPROVED) where it may not.
        """
        lacking = self._lacks_ability(record)
        if lacking:
            wrong_output = bool(self.output) and self.output not in record.model.outputs
            raise InvalidArgument(
                f"{record.name} {lacking}",
                reason="INVALID_ARGUMENT" if wrong_output else "NOT_CAPABLE",
                field="output" if wrong_output else "model",
            )
        if forbidden := self._forbidden(record):
            raise not_approved([(record.name, forbidden)])


def apart(record: ModelRecord, output: str) -> int:
    """Return 0 where *record* makes what *output* means by itself, whichever keys there are; else how far it is off."""
    if output != "audio":
        return 0
    return max((APART.get(tag, 0) for tag in record.model.tags), default=0)


def nearest(records: Sequence[ModelRecord], output: str) -> list[ModelRecord]:
    """Return those of *records* that are as near as any to what *output* means by itself."""
    least = min((apart(record, output) for record in records), default=0)
    return [record for record in records if apart(record, output) == least]


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a model can be used now; *reason* says why not, *wait* in how many seconds it may be (0: not known)."""

    available: bool
    reason: str = ""
    wait: float = 0.0
