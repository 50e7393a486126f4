"""Undo and redo of groups, runs and revisions by several writers, against a plain model of what may be taken back."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.support.store import House, crashed, open_store

from lightfast.context.entry import Delete, Mutation, Report, Set, Status
from lightfast.core.errors import FailedPrecondition, NotFound

State = dict[str, Any]
PATHS = ("/a", "/b", "/c", "/d")
WRITERS = ("client:me", "client:you", "link:l", "operation:r")
WRITE = st.one_of(st.builds(Set, st.sampled_from(PATHS), st.integers(0, 2)), st.builds(Delete, st.sampled_from(PATHS)))
NUMBER = st.integers(0, 1000)


@dataclass
class Done:
    """One transaction of the model: what it touched, and (with its new value) whether that is a will of its own."""

    origin: str
    group: str
    cause: int
    touched: dict[str, bool]
    undone: frozenset[int] = frozenset()


@dataclass
class Model:
    """All transactions, and the state after each; revisions count from 1."""

    done: list[Done] = field(default_factory=list)
    states: list[State] = field(default_factory=lambda: [{}])

    @property
    def last(self) -> int:
        return len(self.done)

    def add(self, state: State, done: Done) -> None:
        self.states.append(state)
        self.done.append(done)

    def in_force(self) -> tuple[set[int], dict[int, frozenset[int]]]:
        """Return what is undone now, and the undos that hold: the later ones speak first."""
        undone: set[int] = set()
        holding: dict[int, frozenset[int]] = {}
        for revision in range(self.last, 0, -1):
            took = self.done[revision - 1].undone
            if took and revision not in undone:
                holding[revision] = took
                undone |= took
        return undone, holding

    def targets(self, group: str, run: str, revision: int) -> set[int]:
        if revision:
            return {revision} if 0 < revision <= self.last else set()
        wanted = group or run
        return {
            number
            for number, each in enumerate(self.done, 1)
            if each.group == wanted or (run and each.origin == "operation:" + run)
        }

    def caused(self, revisions: set[int]) -> set[int]:
        found = set(revisions)
        for number in range(1, self.last + 1):  # a cause is always earlier
            if self.done[number - 1].cause in found:
                found.add(number)
        return found

    def judge(self, targets: set[int], *, redo: bool) -> tuple[str, set[int], State]:
        """Return what becomes of an undo or redo: a reason, or the revisions it takes and the state after it."""
        if not targets:
            return "UNDO_TARGET_UNKNOWN", set(), {}
        undone, holding = self.in_force()
        undos = {by for by, took in holding.items() if by in targets or targets & took}
        chosen = undos if redo else targets - undone
        if not chosen:
            return ("NOT_UNDONE" if redo else "ALREADY_UNDONE"), set(), {}
        taken = self.caused(chosen) - undone
        first: dict[str, int] = {}
        for number in sorted(taken):
            for path in self.done[number - 1].touched:
                first.setdefault(path, number)
        for path, since in first.items():
            for number in range(since + 1, self.last + 1):
                each = self.done[number - 1]
                nothing = number in taken or number in undone or min(holding.get(number, {0})) > since
                if not nothing and each.touched.get(path, False):
                    return "CONFLICT", set(), {}
        after = dict(self.states[-1])
        for path, since in first.items():
            after.pop(path, None)
            if path in self.states[since - 1]:
                after[path] = self.states[since - 1][path]
        return "", taken, after


class UndoMachine(RuleBasedStateMachine):
    """Drives a real store on real files beside the model."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.root = Path(tempfile.mkdtemp(prefix="lightfast-undo-"))
        self.lives = 0
        self.model = Model()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, 120))

    @initialize()
    def start(self) -> None:
        folder = self.root / "0"
        folder.mkdir()
        self.enter(folder)

    def enter(self, folder: Path) -> None:
        self.folder = folder
        self.stack = AsyncExitStack()
        self.house: House = self.run(self.stack.enter_async_context(open_store(folder)))

    @rule(
        writes=st.lists(WRITE, min_size=1, max_size=3),
        origin=st.sampled_from(WRITERS),
        group=st.sampled_from(["", "", "g", "h"]),
        cause=NUMBER,
        caused=st.booleans(),
    )
    def write(self, writes: list[Mutation], origin: str, group: str, cause: int, caused: bool) -> None:
        model = self.model
        reason = 1 + cause % model.last if caused and model.last else 0
        state, touched = dict(model.states[-1]), dict[str, bool]()
        for each in writes:
            if isinstance(each, Set):
                state[each.path] = each.value
                touched[each.path] = True
            elif isinstance(each, Delete) and each.path in state:
                del state[each.path]
                touched[each.path] = True
        self.run(self.house.apply(*writes, origin=origin, group=group, cause=reason))
        if touched:
            model.add(state, Done(origin, group, reason, touched))

    @rule(path=st.sampled_from(PATHS), value=st.none() | st.integers(0, 2))
    def report(self, path: str, value: int | None) -> None:
        """An application confirms a value, or has turned it itself."""
        state = dict(self.model.states[-1])
        if path not in state:
            return
        held = state[path] if value is None else value
        changes = held != state[path]
        state[path] = held
        self.run(
            self.house.apply(Report(path, Status.SETTLED, reported=held, value=held), origin="app:x", trusted=True)
        )
        self.model.add(state, Done("app:x", "", 0, {path: changes}))

    @rule(
        what=st.sampled_from(["g", "h", "r", "none", "revision", "revision", "revision"]),
        number=NUMBER,
        redo=st.booleans(),
        dry=st.booleans(),
    )
    def take_back(self, what: str, number: int, redo: bool, dry: bool) -> None:
        model = self.model
        revision = 1 + number % (model.last + 1) if what == "revision" else 0
        group = what if what in {"g", "h", "none"} else ""
        run = "r" if what == "r" else ""
        expected, taken, after = model.judge(model.targets(group, run, revision), redo=redo)
        call = self.house.store.redo if redo else self.house.store.undo
        done: Any = None
        try:
            done = self.run(call(group=group, run=run, revision=revision, origin="client:undo", validate_only=dry))
        except (NotFound, FailedPrecondition) as error:
            reason = error.reason
        else:
            reason = "CONFLICT" if done.conflicts else ""
        assert reason == expected
        if expected not in {"", "CONFLICT"}:
            return
        if expected == "CONFLICT":
            assert (done.revision, done.undone) == (0, ())
            return
        before = model.states[-1]
        if after == before:
            assert done.revision == 0  # where nothing would change, nothing is done
            return
        assert set(done.undone) == taken
        if dry:
            assert done.revision == 0
            return
        assert done.revision == model.last + 1
        touched = {path: True for path in PATHS if before.get(path) != after.get(path)}
        model.add(after, Done("client:undo", "", 0, touched, frozenset(taken)))

    @rule(kill=st.booleans())
    def restart(self, kill: bool) -> None:
        folder = self.folder
        if kill:
            self.lives += 1
            folder = crashed(folder, self.root / str(self.lives))
        self.run(self.stack.aclose())
        self.enter(folder)

    @invariant()
    def the_store_holds_what_the_model_says(self) -> None:
        if hasattr(self, "house"):
            assert self.house.values() == self.model.states[-1]
            assert self.house.store.revision == self.model.last

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.run(self.stack.aclose())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.root)


TestUndoMachine = UndoMachine.TestCase
TestUndoMachine.settings = settings(
    max_examples=int(os.environ.get("LIGHTFAST_MACHINE_EXAMPLES", "40")),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
