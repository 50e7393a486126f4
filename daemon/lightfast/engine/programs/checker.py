"""What is wrong with a program, and what it would do; nothing is run and nothing is written.

Who may do what: anything that is not read needs the scope `operate`. A program that is untrusted, or asked for by
somebody whose words nobody vouches for, may read and do what can be taken back; destructive, spending and network
instructions are mistakes there, not a matter of approval: a person who approves sees the lines, but not who chose them.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Generator
from dataclasses import replace
from typing import Any

from lightfast.core.errors import InvalidArgument
from lightfast.engine.ports import Asker, OperationBook
from lightfast.engine.programs.arguments import ArgumentCheck, may_match
from lightfast.engine.programs.budget import BudgetPort, budget_problems
from lightfast.engine.programs.checked import Checked, Problem
from lightfast.engine.programs.expression import compile_expression
from lightfast.engine.programs.near import did_you_mean
from lightfast.engine.programs.planned import Planned
from lightfast.engine.programs.program import BLOCKS, IDENTITY, MOST_DEPTH, MOST_INSTRUCTIONS, Instruction, Program
from lightfast.engine.programs.references import find, has_reference, references, returns_template
from lightfast.engine.programs.scopes import Scope, cycle
from lightfast.engine.programs.words import approval_reason
from lightfast.host.guard import guarded
from lightfast.sdk import ASKING, Effect, Operation, World

OPERATE = "operate"
"""The scope that anything but reading needs."""
MOST_PROBLEMS = 200
"""How many problems are told; what is wrong with the rest is found when these are repaired."""
MOST_CALLS = 8
"""How deep workflows may call each other."""
_STRETCH = 25
"""After how many instructions the loop is given a turn."""
_FOREVER = float("inf")
"""The cost of what nothing bounds, while sums are made."""


class ProgramChecker:
    """Implements `lightfast.engine.ports.Checker`."""

    def __init__(self, operations: OperationBook, world: World, budget: BudgetPort | None = None) -> None:
        self._operations, self._world, self._budget = operations, world, budget
        self._arguments = ArgumentCheck(operations, world)

    async def check(self, program: Program, asker: Asker, *, project: str = "", budget_usd: float = 0.0) -> Checked:
        """Check types, paths, commands, references, cycles, scopes and the budget; find effects, cost and changes."""
        ready = getattr(self._world, "ready", None)
        if ready is not None:
            waiting = ready()
            if inspect.isawaitable(waiting):
                await waiting
        models_ready = getattr(self._world, "models_ready", None)
        if models_ready is not None and any(_asks_models(each.op) for each in program.walk()):
            await models_ready()
        walk = Walk(program, asker, self._operations, self._world, self._arguments)
        for count, _ in enumerate(walk.go()):
            if count % _STRETCH == _STRETCH - 1:
                await asyncio.sleep(0)
        cost = None if walk.cost == _FOREVER else walk.cost
        problems = [
            *walk.problems,
            *await budget_problems(self._budget, cost, project=project, origin=asker.origin, budget_usd=budget_usd),
        ]
        return Checked(
            program=program,
            problems=tuple(problems),
            effects=walk.effects,
            approval_reasons=walk.reasons,
            max_cost_usd=cost,
            changes=tuple(walk.planned.changes),
        )


class Walk:
    """One walk through a program in its order."""

    def __init__(
        self,
        program: Program,
        asker: Asker,
        operations: OperationBook,
        world: World,
        arguments: ArgumentCheck,
        calls: tuple[str, ...] = (),
    ) -> None:
        self.problems: list[Problem] = []
        self._mistakes = 0
        self.effects: dict[str, frozenset[Effect]] = {}
        self.reasons: dict[str, str] = {}
        self.cost = 0.0
        self.planned = Planned(world)
        self._program, self._asker, self._operations, self._world = program, asker, operations, world
        self._arguments = arguments
        self._calls = calls
        self._scope = Scope.of(program)
        self._never: set[str] = set()
        self._seen: set[str] = set()
        self._written: set[str] = set()
        self._wide: set[str] = set()
        self._depth = 0
        self._conditions: list[str] = []
        self._untrusted = program.untrusted or asker.untrusted

    def go(self) -> Generator[None, None, None]:
        """Check instruction by instruction; each turn is one."""
        count = sum(1 for _ in self._program.walk())
        if count > MOST_INSTRUCTIONS:
            told = f"the program has {count} instructions, the most is {MOST_INSTRUCTIONS}: split it"
            self.problems.append(Problem("PROGRAM_TOO_LARGE", told))
            return
        if not count:
            self.problems.append(Problem("PROGRAM_EMPTY", "the program has no instruction"))
        self.cost = yield from self._block(self._program.instructions)
        self._find_cycle()
        self._returns()

    def _tell(
        self, each: Instruction | None, reason: str, message: str, field: str = "", *, warning: bool = False
    ) -> None:
        told = len(self.problems) if warning else self._mistakes  # warnings must not keep a mistake from being told
        if told < MOST_PROBLEMS:
            self._mistakes += not warning
            identity, line = (each.id, each.line) if each is not None else ("", 0)
            self.problems.append(Problem(reason, message, identity, field, line, warning))

    def _block(self, block: tuple[Instruction, ...]) -> Generator[None, None, float]:
        cost = 0.0
        for each in block:
            cost += yield from self._instruction(each)
            self._scope.visible[each.id] = each
            yield None
        for each in block:
            self._scope.visible.pop(each.id, None)
        return cost

    def _instruction(self, each: Instruction) -> Generator[None, None, float]:
        self._identity(each)
        never = self._when(each)
        operation = self._operations.find(each.op)
        if operation is None:
            told = f"there is no operation {each.op!r}{did_you_mean(each.op, self._operations.names())}"
            self._tell(each, "OPERATION_UNKNOWN", told, "op")
        self._after(each)
        cost = 0.0
        if operation is not None:
            known = self._references(each)
            sound = self._arguments.check(each, operation, self._scope, self._tell, self._comes_to_be) and known
            cost = self._acts(each, operation, never=never, sound=sound)
        elif each.op not in BLOCKS:
            self._references(each)
        inner = yield from self._blocks(each, never=never)
        return 0.0 if never else (cost + inner) * (1 + each.retries)

    def _identity(self, each: Instruction) -> None:
        if not IDENTITY.fullmatch(each.id):
            told = f"{each.id[:80]!r} is no identity: use a small letter, then small letters, digits, - and _"
            self._tell(each, "ID_INVALID", told, "id")
        if each.id in {"params", "item", "index", "true", "false", "null"}:
            self._tell(each, "ID_RESERVED", f"{each.id!r} has a meaning of its own: choose another identity", "id")
        if each.id in self._seen:
            told = f"the identity {each.id!r} stands there twice: each is unique in the program, inside blocks, too"
            self._tell(each, "DUPLICATE_ID", told, "id")
        self._seen.add(each.id)

    def _when(self, each: Instruction) -> bool:
        """Check the condition; say whether the instruction never runs."""
        if not each.when:
            return False
        try:
            condition = compile_expression(each.when)
            constant = condition.constant and not condition.holds()
        except InvalidArgument as error:
            self._tell(each, error.reason, error.message, "when")
            return False
        for reference in condition.references:
            wrong = self._scope.wrong(reference)
            if wrong is not None:
                self._tell(each, *wrong, "when")
        if constant:
            self._tell(each, "UNREACHABLE", f"it never runs: {each.when!r} is never true", "when", warning=True)
            self._never.update(_identities(each))
        return constant

    def _after(self, each: Instruction) -> None:
        for name in each.after:
            wrong = self._scope.wrong_name(name, f"after={name}")
            if wrong is not None and name != each.id:
                self._tell(each, *wrong, "after")

    def _references(self, each: Instruction) -> bool:
        """Check what the arguments refer to; say whether they can be read."""
        skipped = self._arguments.expression_field(each.op)
        extra = self._arguments.own_names(each)
        try:
            for name, value in each.arguments.items():
                if name == skipped:
                    continue
                for field, reference in find(value, f"arguments.{name}"):
                    wrong = self._scope.wrong(reference, extra)
                    if wrong is not None:
                        self._tell(each, *wrong, field)
                    elif reference.root in self._never:
                        told = f"{reference.text} is always null: {reference.root} never runs"
                        self._tell(each, "REFERENCE_NEVER", told, field, warning=True)
        except InvalidArgument as error:
            self._tell(each, error.reason, error.message, "arguments")
            return False
        return True

    def _acts(self, each: Instruction, operation: Operation, *, never: bool, sound: bool) -> float:
        """Find effects and cost, and what they need; return the cost."""
        if each.op in BLOCKS:
            self.effects[each.id] = frozenset((Effect.READ,))
            return 0.0
        if each.op == "workflow.call" and sound:
            return self._call(each)
        arguments, world = each.arguments, self._world
        effects = self._asked(each, operation.effects, operation.possible_effects) if sound else None
        effects = frozenset(effects) if effects is not None else operation.possible_effects
        cost = self._asked(each, operation.cost, None) if sound else 0.0
        self.effects[each.id] = effects
        self._allowed(each, effects)
        reason = approval_reason(each, operation, effects, cost if sound else None, world)
        if reason:
            self.reasons[each.id] = reason
        if each.retries and sound and not has_reference(arguments):
            again = guarded(operation.repeatable, arguments, world)
            if not again.value:
                told = f"{each.op} may not be done twice: it will not be tried again"
                self._tell(each, "NOT_REPEATABLE", told, "retries", warning=True)
        if not never and sound:
            writes = tuple(map(str, guarded(operation.writes, arguments).value or ()))
            self.planned.add(each, effects, "; ".join(self._where(each)), writes)
            self._written.update(writes)
            self._wide.update(pattern for pattern in writes if "//" in pattern or "${" in pattern)
        return _FOREVER if cost is None else max(0.0, float(cost))

    def _comes_to_be(self, path: Any) -> bool:
        """Say whether there may be something at *path* because of what comes before it in the program."""
        if path in self._written:
            return True
        return isinstance(path, str) and any(may_match(pattern, path) for pattern in self._wide)

    def _asked(self, each: Instruction, question: Any, otherwise: Any) -> Any:
        found = guarded(question, each.arguments, self._world)
        if found.error is not None:
            self._tell(each, "OPERATION_BROKEN", f"{each.op} cannot say what it does: {found.error}")
            return otherwise
        return found.value

    def _where(self, each: Instruction) -> list[str]:
        return [*self._conditions, *([f"where {each.when}"] if each.when else [])]

    def _allowed(self, each: Instruction, effects: frozenset[Effect]) -> None:
        doing = ", ".join(sorted(effects - {Effect.READ}))
        if doing and OPERATE not in self._asker.scopes:
            told = f"{each.op} ({doing}) needs the scope {OPERATE!r}, and the token has"
            held = ", ".join(sorted(self._asker.scopes)) or "none"
            self._tell(each, "SCOPE_MISSING", f"{told} {held}: use a token issued with --scope {OPERATE}", "op")
        beyond = effects & ASKING
        if beyond and self._untrusted:
            told = (
                f"{each.op} is {', '.join(sorted(beyond))}, and text that nobody vouches for had a part in it:"
                " ask for it yourself, without that text"
            )
            self._tell(each, "UNTRUSTED_EFFECT", told, "op")

    def _blocks(self, each: Instruction, *, never: bool) -> Generator[None, None, float]:
        """Check the blocks of an instruction; return the upper bound of what they cost."""
        allowed = BLOCKS.get(each.op, ())
        for name in each.blocks:
            if name not in allowed:
                self._tell(each, "BLOCK_UNKNOWN", f"{each.op} has no block {name!r}{did_you_mean(name, allowed)}", name)
        if allowed and not any(each.blocks.values()):
            told = f"{each.op} has no instructions: write them under {' or '.join(map(repr, allowed))}"
            self._tell(each, "BLOCK_EMPTY", told, warning=True)
        if not each.blocks:
            return 0.0
        if self._depth >= MOST_DEPTH:
            self._tell(each, "BLOCKS_TOO_DEEP", f"blocks are nested deeper than {MOST_DEPTH}")
            return 0.0
        turns, constant = self._arguments.turns(each), self._arguments.constant_condition(each)
        if each.op == "flow.map":
            name = str(each.arguments.get("as") or "item")
            if name in self._scope.places or name in {"params", "index"}:
                self._tell(each, "NAME_TAKEN", f"the items cannot be called {name!r}, which is taken", "arguments.as")
            self._scope.turns.append(name)
        self._depth += 1
        costs = []
        for name, block in each.blocks.items():
            dead = (constant is not None and name == ("else" if constant else "then")) or turns == 0
            if dead and block and not never:
                told = f"the instructions under {name!r} never run"
                self._tell(each, "UNREACHABLE", told, name, warning=True)
            if each.op == "flow.map":
                self._conditions.append("for each item")
            else:
                condition = each.arguments.get("condition")
                self._conditions.append(f"where {'' if name == 'then' else 'not '}({condition})")
            cost = yield from self._block(block)
            costs.append(0.0 if dead or never else cost)
            self._conditions.pop()
        self._depth -= 1
        if each.op != "flow.map":
            return max(costs, default=0.0)
        self._scope.turns.pop()
        return 0.0 if not any(costs) else sum(costs) * (_FOREVER if turns is None else turns)

    def _call(self, each: Instruction) -> float:
        """Check a workflow as a part; what is wrong with it is told of the instruction that calls it."""
        name = each.arguments.get("workflow")
        found = self._world.workflows().get(name) if isinstance(name, str) else None
        self.effects[each.id] = frozenset(Effect)
        if not isinstance(name, str) or found is None:
            told = f"there is no workflow {name!r}{did_you_mean(str(name), self._world.workflows())}"
            self._tell(each, "WORKFLOW_UNKNOWN", told, "arguments.workflow")
            return 0.0
        if name in self._calls:
            told = f"workflows call each other without end: {' → '.join((*self._calls, name))}"
            self._tell(each, "WORKFLOW_CYCLE", told, "arguments.workflow")
            return 0.0
        if len(self._calls) >= MOST_CALLS:
            self._tell(each, "WORKFLOW_CYCLE", f"workflows call each other deeper than {MOST_CALLS}")
            return 0.0
        inner = found.program
        if callable(inner):
            made = guarded(inner, each.arguments.get("parameters", {}))
            if made.value is None:
                self._tell(each, getattr(made.error, "reason", "WORKFLOW_INVALID"), f"workflow {name}: {made.error}")
                return 0.0
            inner = made.value
        walk = Walk(inner, self._asker, self._operations, self._world, self._arguments, (*self._calls, name))
        walk._untrusted = self._untrusted or inner.untrusted  # the same class
        for _ in walk.go():
            pass
        for problem in walk.problems:
            if not problem.warning:
                self._tell(each, problem.reason, f"workflow {name}, {problem.instruction}: {problem.message}")
        self.effects[each.id] = frozenset((Effect.READ,)).union(*walk.effects.values())
        if walk.reasons:
            self.reasons[each.id] = f"{each.id}: workflow {name}: " + "; ".join(walk.reasons.values())
        for change in walk.planned.changes:
            self.planned.changes.append(replace(change, instruction=each.id))
        return walk.cost

    def _find_cycle(self) -> None:
        edges: dict[str, list[str]] = {}
        for each in self._program.walk():
            found = [*each.after]
            try:
                found += references(each.arguments)
                found += compile_expression(each.when).names if each.when else ()
            except InvalidArgument:
                pass  # told where it stands
            edges.setdefault(each.id, []).extend(found)
        ring = cycle(edges)
        if ring:
            place = self._scope.places.get(ring[0])
            told = f"these wait for each other: {' → '.join(ring)}: take one of them out of 'after'"
            self._tell(place.instruction if place else None, "CYCLE", told, "after")

    def _returns(self) -> None:
        self._scope.visible = {each.id: each for each in self._program.instructions}
        try:
            for _, reference in find(returns_template(self._program.returns)):
                wrong = self._scope.wrong(reference)
                if wrong is not None:
                    self._tell(None, *wrong, "returns")
        except InvalidArgument as error:
            self._tell(None, error.reason, error.message, "returns")


def _asks_models(op: str) -> bool:
    """Say whether what an instruction of this kind does depends on the models that are there."""
    return op.startswith(("generate.", "embed.")) or op == "workflow.call"


def _identities(each: Instruction) -> list[str]:
    found = [each.id]
    for block in each.blocks.values():
        for inner in block:
            found += _identities(inner)
    return found
