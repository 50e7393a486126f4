"""From a text to a program, by the rules of the package; the same text over the same things gives the same program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lightfast.engine.planner.grammar import commanding, making, setting, staging, switching
from lightfast.engine.planner.grammar.drafting import Draft, Misunderstood
from lightfast.engine.planner.grammar.finding import unknown
from lightfast.engine.planner.grammar.vocabulary import Vocabulary, split
from lightfast.engine.planner.grammar.words import FILLING, VERBS, Clause, clauses_of
from lightfast.engine.programs.checked import Problem
from lightfast.engine.programs.program import Program

Rule = Callable[[Clause, Draft], bool]
RULES: tuple[Rule, ...] = (
    staging.standing_wish,
    making.remember,
    making.recall,
    staging.scene,
    staging.wait,
    staging.workflow,
    making.say,
    making.put_at,
    setting.change_by,
    setting.place,
    staging.transport,
    switching.colour,
    commanding.make_thing,
    making.media,
    setting.set_value,
    switching.switch,
    commanding.on_thing,
    commanding.command,
    staging.question,
)
"""The rules in the order they are tried; the first that takes a clause has it."""
NOTE_FACTOR = 0.9


@dataclass(frozen=True, slots=True)
class Understood:
    """What a text means: *clauses* is how many it has, of which *understood* became instructions."""

    program: Program
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    clauses: int
    understood: int

    @property
    def confidence(self) -> float:
        """Return `understood / clauses × 0.9 ^ notes`: each thing that was taken to be so takes a tenth away."""
        return round(self.understood / self.clauses * NOTE_FACTOR ** len(self.notes), 4) if self.clauses else 0.0


def understand(text: str, vocabulary: Vocabulary, *, untrusted: bool = False) -> Understood:
    """Return what *text* means; raises `InvalidArgument` (INTENT_TOO_LONG).

    A clause that is not understood is a mistake of the program, so that the others do not run alone.
    """
    clauses = clauses_of(text)
    draft = Draft(vocabulary)
    understood = 0
    for number, clause in enumerate(clauses, 1):
        draft.then = clause.then
        try:
            _take(clause, draft)
            understood += 1
        except Misunderstood as error:
            said = clause.rest(0)
            draft.problems.append(Problem(error.reason, f"{said!r}: {error.message}", field="intent", line=number))
    if not clauses:
        draft.problems.append(Problem("INTENT_EMPTY", "say what is wanted: set the tempo to 128", field="intent"))
    program = Program(tuple(draft.instructions), untrusted=untrusted)
    return Understood(program, tuple(draft.problems), tuple(draft.notes), len(clauses), understood)


def _take(clause: Clause, draft: Draft) -> None:
    for rule in RULES:
        if rule(clause, draft):
            return
    raise _lost(clause, draft.vocabulary)


def _lost(clause: Clause, vocabulary: Vocabulary) -> Misunderstood:
    """Say word by word what is not known."""
    first = clause.words[0]
    verbs = _verbs(vocabulary)
    if first.kind == "word" and first.low not in verbs:
        near = vocabulary.near(first.low, sorted(verbs))
        hint = (
            f": did you mean {' or '.join(near)}?"
            if near
            else ": begin with what is to be done, such as set, add or play"
        )
        return Misunderstood(f"{first.text!r} is no verb that is known{hint}", "VERB_UNKNOWN")
    rest = [word for word in clause.words[1:] if word.kind != "mark" and word.low not in FILLING]
    return (
        unknown(rest, vocabulary) if rest else Misunderstood(f"{first.text!r} needs to be told what", "OBJECT_MISSING")
    )


def _verbs(vocabulary: Vocabulary) -> frozenset[str]:
    own: Sequence[str] = [
        split(name.rsplit(".", 1)[-1])[0] for mount in vocabulary.mounts for name in vocabulary.world.commands(mount)
    ]
    return VERBS | frozenset(own)
