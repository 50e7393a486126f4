"""What `cl` loads: a part of the context, the conversation, a task with its relations, a run, a workflow, a memory.

A summary takes at most 300 tokens, a full one 2,000. Summaries are kept for five minutes under a stamp of their source:
for the context the revision, for conversations how often lines changed, for tasks the number of the newest version of
any task, so an acknowledged write is never followed by an answer from before it. Memories and runs are asked each time,
and so is a part of the context with signals in it, which flow without revisions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from lightfast.context.memory.records import Memory, Question
from lightfast.context.views.records import Wanted
from lightfast.core.clock import Clock
from lightfast.core.errors import InvalidArgument, NotFound
from lightfast.core.tokens import Estimate, TokenCounter
from lightfast.engine.desk.caches import RELATIONS, SUMMARIES, SUMMARY_S, Kept
from lightfast.engine.desk.lines import Lines
from lightfast.engine.desk.records import Line
from lightfast.engine.desk.words import short

if TYPE_CHECKING:
    from lightfast.context.memory.port import TemporalMemory
    from lightfast.context.store import Store
    from lightfast.context.views.views import Views
    from lightfast.engine.ports import RunRoom, WorkflowRoom
    from lightfast.storage.database import Database

BUDGET = {"summary": 300, "full": 2_000}
MOST_LINES = {"summary": 12, "full": 200}
MOST_HITS = {"summary": 5, "full": 20}
_TALK = re.compile(r"conversation(?:[_-](.+))?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_DAY_NS = 24 * 3600 * 1_000_000_000


class Loads:
    """Loads and keeps what was loaded. What is `None` is done without: then it names what is missing."""

    def __init__(
        self,
        lines: Lines,
        db: Database,
        clock: Clock,
        runs: RunRoom,
        workflows: WorkflowRoom,
        *,
        memory: TemporalMemory | None = None,
        store: Store | None = None,
        views: Callable[[], Views] | None = None,
        counter: TokenCounter | None = None,
    ) -> None:
        self.summaries: Kept[str] = Kept("summaries", SUMMARIES, clock, SUMMARY_S)
        self.relations: Kept[str] = Kept("relations", RELATIONS, clock)
        self.lines_changed = 0
        """Counts the changes of lines; whoever writes one adds 1 when it is on the disk, before anybody is told."""
        self._lines, self._db, self._clock = lines, db, clock
        self._runs, self._workflows = runs, workflows
        self._memory, self._store, self._views = memory, store, views
        self._counter = counter or Estimate()

    def ready(self, client: str, context: str, depth: str) -> str | None:
        """Return what is kept and still holds, without waiting: only of the context and of conversations."""
        stamp = self._stamp(context)
        return None if stamp is None else self.summaries.get(self._key(client, context, depth), stamp)

    async def load(self, client: str, context: str, depth: str) -> str:
        """Return the summary. Raises `NotFound` (CONTEXT_UNKNOWN) where nothing is known of *context*."""
        if (kept := self.ready(client, context, depth)) is not None:
            return kept
        stamp: Hashable | None = self._stamp(context)
        if context.startswith("/"):
            text, stamp = await self._path(context, depth)
        elif talk := _TALK.fullmatch(context):
            text = await self._conversation(client, talk[1] or "", depth)
        elif context.startswith(("task-", "task_")):
            text = await self._task(context)
        elif context.startswith("run-"):
            text = await self._run(context)
        elif context in self._workflows.names():
            text = _workflow(context, self._workflows.describe(context))
        else:
            text = await self._remembered(context, depth)
        text = self._fit(text, BUDGET[depth])
        if stamp is not None:
            self.summaries.put(self._key(client, context, depth), text, stamp)
        return text

    def _key(self, client: str, context: str, depth: str) -> Hashable:
        return (client if context.startswith("conversation") else "", context, depth)

    def _stamp(self, context: str) -> Hashable | None:
        """Return what the source looks like now; `None` where that cannot be told without asking it."""
        if context.startswith("/"):
            return None if self._store is None else ("revision", self._store.revision)
        if _TALK.fullmatch(context):
            return ("line", self.lines_changed, self._clock.now_ns() // _DAY_NS)
        return None

    async def _path(self, path: str, depth: str) -> tuple[str, Hashable | None]:
        if self._views is None or self._store is None:
            raise _unknown(path, "the views of the context are not there")
        patterns = (path,) if "*" in path or path.endswith("//") else (path, f"{path.rstrip('/')}//")
        view = await self._views().build(Wanted(patterns=patterns, model="desk", budget=BUDGET[depth] - 40))
        if not view.items:
            raise _unknown(path, "there is nothing in the context: look with 'lightfast ls'")
        more = f"\n({view.omitted} more left out)" if view.omitted else ""
        flows = any(entry.signal for pattern in patterns for entry in self._store.resident(pattern))
        return f"{view.text.strip()}{more}", None if flows else ("revision", view.revision)

    async def _conversation(self, client: str, when: str, depth: str) -> str:
        since, until = _span(when, self._clock.now_ns())
        found = await self._lines.newest(client, MOST_LINES[depth], since, until)
        if not found:
            return "Nothing was said."
        return "\n".join(_said(line) for line in reversed(found))

    async def _task(self, task_id: str) -> str:
        rows = await self._db.query("SELECT coalesce(max(row), 0) FROM task_versions")
        stamp = rows[0][0]
        if (kept := self.relations.get(task_id, stamp)) is not None:
            return kept

        def read(connection: Any) -> tuple[int, list[Any], list[Any], list[Any]]:
            newest = next(iter(connection.execute("SELECT coalesce(max(row), 0) FROM task_versions")))[0]
            columns = "task_id, title, state, parent_task_id, description FROM task_versions WHERE superseded_time = 0"
            own = list(connection.execute(f"SELECT {columns} AND task_id = ?", (task_id,)))
            parts = list(
                connection.execute(
                    f"SELECT {columns} AND parent_task_id = ? AND parent_task_id <> '' ORDER BY number", (task_id,)
                )
            )
            first = list(
                connection.execute(
                    f"SELECT {columns} AND task_id IN (SELECT after_id FROM task_after WHERE task_id = ?)",  # noqa: S608
                    (task_id,),
                )
            )
            return newest, own, parts, first

        stamp, own, parts, first = await self._db.read(read)
        if not own:
            raise _unknown(task_id, "there is no such task: see 'lightfast tasks list'")
        _, title, state, parent, description = own[0]
        told = [f"{task_id} “{short(title)}”: {state.lower()}"]
        if description and description != title:
            told.append(short(description, 400))
        told += [f"part of {parent}"] if parent else []
        told += [f"after {each[0]} “{short(each[1])}”: {each[2].lower()}" for each in first]
        told += [f"has the part {each[0]} “{short(each[1])}”: {each[2].lower()}" for each in parts]
        text = "\n".join(told)
        self.relations.put(task_id, text, stamp)
        return text

    async def _run(self, run_id: str) -> str:
        run = await self._runs.get(run_id)
        told = [f"{run_id}: {run.state.lower().replace('_', ' ')}, {run.steps_done} of {run.steps_known} steps done"]
        told += [short(run.intent)] if run.intent else []
        told += [short(run.reason, 400)] if run.reason else []
        return "\n".join(told)

    async def _remembered(self, about: str, depth: str) -> str:
        if self._memory is None:
            raise _unknown(about, "the memory is not there")
        try:
            found = await self._memory.get(about)
            return found.versions[0].text
        except (NotFound, InvalidArgument):
            pass
        question = Question(query=about.replace("_", " "), page_size=MOST_HITS[depth])
        hits = (await self._memory.recall(question)).hits
        if not hits:
            raise _unknown(about, "nothing is remembered of it")
        told = []
        for hit in hits:
            thing = hit.thing
            said = thing.text if isinstance(thing, Memory) else f"{thing.subject} {thing.predicate} {thing.object}"
            told.append(f"- {short(said, 400)}")
        return "\n".join(told)

    def _fit(self, text: str, budget: int) -> str:
        """Cut *text* to *budget* tokens, at a line end where there is one."""
        if self._counter.count(text) <= budget:
            return text
        low, high = 0, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            if self._counter.count(text[:middle]) < budget - 1:
                low = middle
            else:
                high = middle - 1
        end = text.rfind("\n", 0, low)
        return f"{text[: end if end > low // 2 else low]}\n…"


def _span(when: str, now: int) -> tuple[int, int]:
    """Return the time of a conversation: of today, yesterday, a date, or all of it. Days are those of UTC."""
    midnight = now - now % _DAY_NS
    if when == "today":
        return midnight, 1 << 62
    if when == "yesterday":
        return midnight - _DAY_NS, midnight
    if _DATE.fullmatch(when):
        try:
            day = datetime.fromisoformat(when).replace(tzinfo=UTC)
        except ValueError:
            raise _unknown(f"conversation_{when}", "there is no such day: write conversation_2026-03-31") from None
        return round(day.timestamp()) * 1_000_000_000, round((day + timedelta(days=1)).timestamp()) * 1_000_000_000
    return 0, 1 << 62


def _said(line: Line) -> str:
    outcome = f": {short(line.outcome, 120)}" if line.outcome else ""
    return f"- {short(line.said, 160)} ({line.state.lower()}{outcome})"


def _workflow(name: str, described: Any) -> str:
    steps: Sequence[Any] = described.get("steps", ())
    listed = ", ".join(str(step) for step in steps)
    return f"The workflow {name}: {described.get('summary', '')}\nSteps: {listed or 'none'}"


def _unknown(context: str, why: str) -> NotFound:
    return NotFound(f"{context!r:.80} cannot be loaded: {why}", reason="CONTEXT_UNKNOWN", field="line")
