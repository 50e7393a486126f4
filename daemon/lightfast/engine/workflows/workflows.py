"""The room of workflows: reads their files, follows changes, and starts them as runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from lightfast.core.errors import InvalidArgument, LightfastError, NotFound, Unavailable
from lightfast.core.tasks import TaskGroup
from lightfast.engine.programs.near import did_you_mean
from lightfast.engine.programs.program import Program
from lightfast.engine.runs.approval import AUTHORS
from lightfast.engine.runs.records import Run, RunAsk
from lightfast.engine.workflows.asking import asked
from lightfast.engine.workflows.authors import BY_ITSELF, LOCAL, Authors, found_authors
from lightfast.engine.workflows.files import SUFFIXES, has_files, holding
from lightfast.engine.workflows.shelf import example, example_names
from lightfast.host.dropins import DEBOUNCE, DropinWatch
from lightfast_link.value import Value

if TYPE_CHECKING:
    from lightfast.engine.events.log import EventLog
    from lightfast.engine.ports import Asker, OperationBook, PlannerRoom, RunRoom
    from lightfast.engine.programs.checked import Plan
    from lightfast.engine.workflows.folder import Held
    from lightfast.engine.workflows.records import FileProblem, Listed, TriggerSpec, Workflow
    from lightfast.storage.database import Database

log = structlog.get_logger("lightfast.engine")

CALL = "workflow.call"
_START_S = 10.0
"""How long a workflow that is not known is waited for while the daemon starts, in seconds."""
MOST_FILES = 500
"""The most files that are read, in the order of their names."""


class Workflows:
    """Open one with `await Workflows.open(db, folder, events)`, then `join` the rooms, then `begin`.

    A run keeps the version it was started with, since its program is in the run; the next one takes what is there then.
    """

    def __init__(
        self, db: Database, folder: Path, events: EventLog, authors: Authors, *, examples: bool, debounce: float
    ) -> None:
        """Use `open`."""
        self._authors = authors
        self._saving = asyncio.Lock()
        self.folder = folder
        self._db = db
        self._events = events
        self._examples = examples
        self._debounce = debounce
        self._tasks = TaskGroup("workflows")
        self._held: dict[Path, Held] = {}
        self._used: dict[str, Workflow] = {}
        self._listed: list[Listed] = []
        self._kept: dict[str, str] = {}
        self._told: dict[str, str] = {}
        """The versions by name that the disk and the events tell of: not those that are used where `_is_behind`."""
        self._is_behind = False
        self._was_read = asyncio.Event()
        self._watch: DropinWatch | None = None
        self.asked = self.parsed = 0
        """How often a workflow was asked for to be run, and how often a file was read for it."""
        self._followers: list[Callable[[], None]] = []
        self._reading = asyncio.Lock()
        self._book: OperationBook | None = None
        self._planner: PlannerRoom | None = None
        self._runs: RunRoom | None = None

    @classmethod
    async def open(
        cls,
        db: Database,
        folder: Path,
        events: EventLog,
        *,
        examples: bool = True,
        debounce: float = DEBOUNCE,
    ) -> Workflows:
        """Make the room; the last good text of each file is at hand, the files are read by `begin`."""
        self = cls(db, folder, events, await Authors.open(db), examples=examples, debounce=debounce)
        rows = await db.query("SELECT file, text, name, version FROM workflow_files")
        self._kept = {file: text for file, text, _, _ in rows}
        self._told = {name: version for _, _, name, version in rows}
        return self

    def join(self, book: OperationBook, planner: PlannerRoom, runs: RunRoom) -> None:
        """Say who knows the operations, who checks programs, and who runs them."""
        self._book, self._planner, self._runs = book, planner, runs

    async def begin(self) -> None:
        """Read the folder, and follow it from then on."""
        try:
            await self.read()
        finally:
            self._was_read.set()
        self._tasks.start(self._follow(), "watch")

    async def close(self) -> None:
        """End."""
        watch, self._watch = self._watch, None
        if watch is not None:
            await asyncio.to_thread(watch.close)
        await self._tasks.close()

    def follow(self, changed: Callable[[], None]) -> None:
        """Call *changed* after the workflows changed; it must not wait."""
        self._followers.append(changed)

    # What there is.

    def names(self) -> Sequence[str]:
        """Return the names of those that can be run; before the folder was read, those that were there at the end."""
        before = () if self._was_read.is_set() else self._told
        return sorted({*self._used, *before, *(example_names() if self._examples else ())})

    def find(self, name: str) -> Workflow:
        """Return one as it is now; raises `NotFound` (WORKFLOW_UNKNOWN)."""
        found = self._used.get(name)
        if found is None and self._examples:
            found = example(name)
        if found is None:
            broken = next((each for each in self._listed if each.name == name and each.problems), None)
            hint = f": {broken.file}:{broken.problems[0]}" if broken else did_you_mean(name, self.names(), most=20)
            raise NotFound(f"there is no workflow {name!r:.80}{hint}", reason="WORKFLOW_UNKNOWN", field="name")
        return found

    def describe(self, name: str) -> Mapping[str, Any]:
        """Return `summary`, `parameters_schema`, `version`, `steps`; raises `NotFound` (WORKFLOW_UNKNOWN)."""
        from lightfast.engine.workflows.parameters import schema_of
        from lightfast.engine.workflows.semantics import walk

        found = self.find(name)
        return {
            "summary": found.summary,
            "parameters_schema": schema_of(found.parameters),
            "version": found.version,
            "steps": [each.id for each in walk(found.steps)],
        }

    def program(self, name: str, parameters: Mapping[str, Value]) -> Program:
        """Return the program of a workflow with its parameters; raises `NotFound`, `InvalidArgument`."""
        return self._compiled(self.find(name), parameters)

    def expand(self, program: Program) -> Program:
        """Return *program* with each `workflow.call` replaced by what it calls; raises as `program` does."""
        if all(each.op != CALL for each in program.walk()):
            return program
        from lightfast.engine.workflows.calling import expand

        return expand(program, lambda name, given, open_: self._compiled(self.find(name), given, open_=open_))

    def _compiled(self, found: Workflow, given: Mapping[str, Value], *, open_: bool = False) -> Program:
        from lightfast.engine.workflows.compiling import compile_workflow
        from lightfast.engine.workflows.parameters import check_parameters

        self.asked += 1
        return compile_workflow(found, check_parameters(found.parameters, given, found.name, open_=open_))

    def figures(self) -> Mapping[str, Any]:
        """Return the figures of the workflows that are kept, read, until their files change."""
        from lightfast.core.kept import figures

        return figures(len(self._held), MOST_FILES, 0.0, self.asked, self.parsed)

    async def ready(self) -> None:
        """Read the examples, in a thread, so that `listed` waits for none of them."""
        if self._examples:
            await asyncio.to_thread(lambda: [example(name) for name in example_names()])

    def listed(self) -> list[Listed]:
        """Return all files and examples, with what is wrong in them, in the order of their names."""
        from lightfast.engine.workflows.records import Listed

        found = [
            Listed(each.name, each.file, each.workflow, (*each.problems, *self._problems(each.workflow)))
            for each in self._listed
        ]
        if self._examples:
            for name in example_names():
                if name not in self._used:
                    shipped = example(name)
                    found.append(Listed(name, f"{name}.yaml", shipped, self._problems(shipped), example=True))
        return sorted(found, key=lambda each: (each.name, each.file))

    def triggers(self) -> list[TriggerSpec]:
        """Return the triggers of the workflows in the folder; examples do not start by themselves."""
        return [trigger for name in sorted(self._used) for trigger in self._used[name].triggers]

    def authors(self, name: str) -> tuple[str, ...]:
        """Return who saved a workflow, and those that it calls, as they are now; none for an example."""
        return found_authors(name, self._used.get, self._authors.of)

    def _problems(self, workflow: Workflow | None) -> tuple[FileProblem, ...]:
        if workflow is None or self._book is None:
            return ()
        from lightfast.engine.workflows.semantics import problems_of

        return problems_of(workflow, self._book)

    # What is done.

    async def start(
        self,
        name: str,
        parameters: Mapping[str, Value],
        asker: Asker,
        *,
        project: str = "",
        request_id: str = "",
        details: Mapping[str, Any] | None = None,
        run_id: str = "",
    ) -> Run:
        """Start one as a run, in the version that is there now, and under *run_id*, where that was told before."""
        if name not in self._used and name not in example_names():
            await self._first_read()
        mark = asked(name, parameters, project)
        if request_id and (before := await self._joined()[1].started(asker, request_id, mark)) is not None:
            return before  # by now it might become another program, from another version or by what that run changed
        found = self.find(name)
        plan = await self._plan(found, parameters, asker, project)
        told: dict[str, Any] = {"workflow": name, "version": found.version}
        if asker.via in BY_ITSELF:
            told[AUTHORS] = list(self.authors(name))
        if asker.origin.startswith("run:"):
            told["parent"] = asker.origin.removeprefix("run:")
        ask = RunAsk(
            project=project,
            timeout=found.timeout,
            compensate=found.on_failure == "compensate",
            request_id=request_id,
            asked=mark,
            run_id=run_id,
            intent=f"workflow {name}",
            details={**(details or {}), **told},
        )
        return await self._joined()[1].start(plan, asker, ask)

    async def rehearse(self, name: str, parameters: Mapping[str, Value], asker: Asker, *, project: str = "") -> Plan:
        """Check one with its parameters and run nothing; raises `InvalidArgument` (PROGRAM_INVALID) for mistakes."""
        plan = await self._plan(self.find(name), parameters, asker, project)
        mistakes = plan.checked.mistakes
        if mistakes:
            first = mistakes[0]
            raise InvalidArgument(
                f"the workflow {name} has {len(mistakes)} mistake(s): line {first.line}, {first.instruction}:"
                f" {first.message}",
                reason="PROGRAM_INVALID",
                metadata={"mistake": first.reason, "instruction": first.instruction},
            )
        return plan

    async def save(
        self, text: str, name: str = "", *, author: str = LOCAL, validate_only: bool = False, replace: bool = False
    ) -> Listed:
        """Check a file's text and put it into the folder under its name; with problems it is not saved.

        *name* is what it is called where the text does not say; *author* saves it. Raises `AlreadyExists`
        (WORKFLOW_THERE) and `Unavailable` as `folder.put` does.
        """
        from lightfast.engine.workflows.folder import put
        from lightfast.engine.workflows.form import read_workflow
        from lightfast.engine.workflows.records import Listed

        found, problems = read_workflow(text, f"{name or 'workflow'}.yaml", name=name)
        if found is None:
            return Listed(name, "", None, problems)
        problems = self._problems(found)
        if problems or validate_only:
            return Listed(found.name, "", found, problems)
        async with self._saving:  # who saved it is on record before anything can start it
            await self._authors.add(found, author, self._used.values() if self._was_read.is_set() else None)
            await asyncio.to_thread(put, self.folder, found.name, text, replace=replace)
            await self.read()
        path = self.folder / f"{found.name}.yaml"
        return next((each for each in self.listed() if each.file == str(path)), Listed(found.name, str(path), found))

    async def _first_read(self) -> None:
        """Wait until the folder was read, as long as a daemon that starts may take for it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_START_S):
                await self._was_read.wait()

    def _joined(self) -> tuple[PlannerRoom, RunRoom]:
        if self._planner is None or self._runs is None:
            raise Unavailable("the daemon starts: nothing can be run yet; try again in a moment", retry_after=1.0)
        return self._planner, self._runs

    async def _plan(self, found: Workflow, parameters: Mapping[str, Value], asker: Asker, project: str) -> Plan:
        planner, _ = self._joined()
        return await planner.prepare(self.expand(self._compiled(found, parameters)), asker, project=project)

    async def read(self) -> None:
        """Read the folder again, now."""
        async with self._reading:
            there = await asyncio.to_thread(has_files, self.folder)
            if not there and not self._held and not self._kept:
                return
            from lightfast.engine.workflows.folder import by_name, scan

            held = await asyncio.to_thread(scan, self.folder, self._held, self._kept)
            changed = held != self._held
            told = [each for file, each in held.items() if each.problems and self._held.get(file) != each]
            self.parsed += sum(self._held.get(file) is not each for file, each in held.items())
            self._held = held
            self._used, self._listed = by_name(held)
            if changed or self._is_behind:
                await self._keep(told)
            if not changed:
                return
        for follower in self._followers:
            follower()

    async def forget(self) -> None:
        """Let go of last good texts that are no longer on the disk; a file that is wrong is not used then."""
        async with self._reading:
            kept = dict(await self._db.query("SELECT file, text FROM workflow_files"))
            gone = set(self._kept) - set(kept)
            self._kept = kept
            self._held = {
                path: replace(each, good=None) if path.name in gone and each.problems else each
                for path, each in self._held.items()
            }
            from lightfast.engine.workflows.folder import by_name

            self._used, self._listed = by_name(self._held)
        for follower in self._followers:
            follower()

    def holding(self, wanted: Callable[[bytes], bool]) -> list[Path]:
        """Return the files whose bytes are *wanted*. Blocks."""
        return holding(self.folder, wanted)

    async def _keep(self, told: Sequence[Held]) -> None:
        """Write the last good texts, and tell of what changed; where the disk takes nothing, a later read does it."""
        unit = self._db.unit()
        texts = {each.file.name: each.good for each in self._held.values() if each.good is not None}
        for file in set(self._kept) - {each.name for each in self._held}:
            unit.execute("DELETE FROM workflow_files WHERE file = ?", (file,))
        for file, good in texts.items():
            if self._kept.get(file) != good.text:
                unit.execute(
                    "INSERT OR REPLACE INTO workflow_files(file, name, version, text) VALUES(?, ?, ?, ?)",
                    (file, good.name, good.version, good.text),
                )
        for name in sorted({*self._told, *self._used}):
            was, now = self._told.get(name), self._used.get(name)
            if now is None:
                self._events.add(unit, "workflow.removed", "workflow", name, {})
            elif was != now.version:
                self._events.add(unit, "workflow.changed", "workflow", name, {"version": now.version})
        for each in told:
            payload = {"file": each.file.name, "problems": [str(problem) for problem in each.problems[:5]]}
            name = each.good.name if each.good is not None else each.file.stem
            self._events.add(unit, "workflow.broken", "workflow", name, payload)
            log.warning("a workflow has mistakes; the last good version stays in use", **payload)
        try:
            await self._db.commit(unit)
        except LightfastError as error:
            self._is_behind = True
            log.warning("the workflows are used, and could not be kept", reason=error.reason, why=error.message)
            return
        self._events.poke()
        self._is_behind = False
        self._told = {name: each.version for name, each in self._used.items()}
        self._kept = {file: good.text for file, good in texts.items()}

    async def _follow(self) -> None:
        watch = DropinWatch(
            self.folder, self._changed, debounce=self._debounce, suffixes=SUFFIXES, what="folder with workflows"
        )
        self._watch = watch
        await asyncio.to_thread(watch.start)
        await self.read()  # what changed before the watch stood

    def _changed(self, path: Path) -> None:
        self._tasks.start(self._read_again(), f"read {path.name}")

    async def _read_again(self) -> None:
        try:
            await self.read()
        except LightfastError as error:
            log.warning("the workflows could not be read again", reason=error.reason, why=error.message)

    async def _tell(self, kind: str, name: str, payload: Mapping[str, Any]) -> None:
        unit = self._db.unit()
        self._events.add(unit, kind, "workflow", name, payload)
        await self._db.commit(unit)
        self._events.poke()
