"""The tables of runs: each change of a run or a step is one unit of work, with its event."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lightfast.core.clock import Clock
from lightfast.core.errors import Exhausted
from lightfast.engine.programs.program import program
from lightfast.engine.runs.kept import Kept, allowed_of, allowed_plain, ending
from lightfast.engine.runs.order import in_order
from lightfast.engine.runs.records import Run, RunEvent, RunState, Step, StepState
from lightfast_link.value import from_json, to_json

if TYPE_CHECKING:
    from lightfast.engine.events.log import EventLog
    from lightfast.storage.database import Database, Unit

MOST_SHOWN = 1_000
"""Longer arguments, in characters, and results four times as long, are left out of events; the step has them."""
MOST_KEPT = 16 << 20
"""The longest row of a step with a result, in characters; a longer result fails the step."""
EVENTS_AT_ONCE = 500
_RUN = (
    "number, run_id, state, create_time, end_time, digest, intent, project, reason, program, result, body, instructions"
)
_COUNTED = (
    "SELECT json_array(count(*), coalesce(sum(state IN ('DONE', 'SKIPPED', 'UNDONE', 'STUCK')), 0),"
    " coalesce(sum(instr(step_id, '.') = 0 AND instr(step_id, '[') = 0), 0), coalesce(sum(cost_usd), 0.0))"
    " FROM run_steps WHERE run_steps.run_id = "
)
_COUNTS = f", ({_COUNTED} runs.run_id)"
_NOW = f"json_set(?6, '$.counts', json(({_COUNTED} ?1)))"
"""The body of an event of a run, with what its steps come to by then."""
_STEP = "step_id, operation, state, revision, cost_usd, body"
_BODY = ("requester", "origin", "approver", "via", "max_cost_usd", "compensate", "timeout")
_STEP_BODY = ("error", "reason", "attempts", "start_time", "end_time", "message", "note", "stuck")


class RunRows:
    """Reads and writes them."""

    def __init__(self, db: Database, events: EventLog, clock: Clock) -> None:
        self._db, self._events, self._clock = db, events, clock
        self.watching: dict[asyncio.Event, str] = {}
        """Set after each commit for the run that stands with it: somebody may wait for it."""

    # What is written

    def add(self, unit: Unit, kept: Kept) -> None:
        """Add a new run to *unit*, and that its workflow was started, where it is one."""
        run = kept.run
        unit.execute(
            "INSERT INTO runs(run_id, state, create_time, end_time, digest, instructions, intent, project, reason,"
            " program, result, body) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                run.run_id,
                str(run.state),
                run.create_time,
                run.end_time,
                run.digest,
                len(run.program.instructions),
                run.intent,
                run.project,
                run.reason,
                json.dumps(run.program.plain(), ensure_ascii=False),
                _value_text(run.result),
                _run_body(kept, self._db.store_id),
            ),
        )
        self._run_event(unit, run)
        if "workflow" in run.details:
            told = {"version": run.details.get("version", ""), "run_id": run.run_id, "via": run.via}
            self._events.add(unit, "workflow.started", "workflow", run.details["workflow"], told)

    def change(self, unit: Unit, kept: Kept, *, quiet: bool = False) -> None:
        """Write a run as it stands now into *unit*, with its event unless *quiet*."""
        run = kept.run
        unit.execute(
            "UPDATE runs SET state = ?, end_time = ?, reason = ?, result = ?, body = ? WHERE run_id = ?",
            (
                str(run.state),
                run.end_time,
                run.reason,
                _value_text(run.result),
                _run_body(kept, self._db.store_id),
                run.run_id,
            ),
        )
        if not quiet:
            self._run_event(unit, run)

    def step(self, unit: Unit, run_id: str, step: Step, *, done: bool = False, label: str = "") -> None:
        """Write a step as it stands now, with its event, into *unit*.

        One that is *done* now gets the next place, and with a *label* the revision of the transaction of the group
        *run_id* with that label, which is committed in the same unit.
        """
        place = "(SELECT coalesce(max(place), 0) + 1 FROM run_steps WHERE run_id = ?1)" if done else "0"
        keep = "excluded.place" if done else "run_steps.place"
        revision = (
            "max(?5, coalesce((SELECT revision FROM transactions WHERE grp = ?1 AND grp <> '' AND label = ?8"
            " ORDER BY revision DESC LIMIT 1), 0))"
            if label
            else "?5"
        )
        body = _step_body(step)
        if len(body) > MOST_KEPT and step.result is not None:
            raise Exhausted(
                f"the result of {step.step_id} and its arguments have {len(body)} characters, the most is {MOST_KEPT}:"
                " take less at once, or store an asset",
                reason="RESULT_TOO_LARGE",
            )
        unit.execute(
            f"INSERT INTO run_steps(run_id, step_id, operation, state, place, revision, cost_usd, body)"
            f" VALUES(?1, ?2, ?3, ?4, {place}, {revision}, ?6, ?7) ON CONFLICT(run_id, step_id) DO UPDATE SET"
            f" operation = excluded.operation, state = excluded.state, place = {keep}, revision = excluded.revision,"
            f" cost_usd = excluded.cost_usd, body = excluded.body",
            (
                run_id,
                step.step_id,
                step.operation,
                str(step.state),
                step.revision,
                step.cost_usd,
                body,
                *((label,) if label else ()),
            ),
        )
        self._step_event(unit, run_id, step)

    def note(self, unit: Unit, run_id: str, step_id: str, note: str) -> None:
        """Write the note of a step into *unit*."""
        unit.execute(
            "UPDATE run_steps SET body = json_set(body, '$.note', ?) WHERE run_id = ? AND step_id = ?",
            (note, run_id, step_id),
        )

    def progress(self, unit: Unit, run_id: str, step: Step) -> None:
        """Write the event of a step that got on into *unit*; its row stays as it is."""
        self._step_event(unit, run_id, step, kind="step.progress")

    async def commit(self, unit: Unit, run_id: str) -> None:
        """Commit *unit*, and wake who watches the run."""
        await self._db.commit(unit)
        self.poke(run_id)

    def poke(self, run_id: str) -> None:
        """Wake who watches a run, after a commit that was made elsewhere. Never waits."""
        self._events.poke()
        for wake, watched in self.watching.items():
            if watched == run_id:
                wake.set()

    async def let_go(self, kept: int) -> int:
        """Delete the oldest runs that have ended beyond the newest *kept*; return how many."""
        rows = await self._db.query(
            "SELECT run_id FROM runs WHERE end_time > 0 AND state IN ('SUCCEEDED', 'FAILED', 'CANCELLED',"
            " 'ROLLED_BACK') AND body ->> '$.ending' IS NULL ORDER BY number DESC LIMIT -1 OFFSET ?",
            (kept,),
        )
        for start in range(0, len(rows), 500):
            some = json.dumps([run_id for (run_id,) in rows[start : start + 500]])
            unit = self._db.unit()
            for table in ("run_events", "run_steps", "runs"):
                unit.execute(f"DELETE FROM {table} WHERE run_id IN (SELECT value FROM json_each(?))", (some,))  # noqa: S608
            await self._db.commit(unit)
        return len(rows)

    def _run_event(self, unit: Unit, run: Run) -> None:
        self._event(unit, run.run_id, "", "", str(run.state), _event_body(run), _NOW)
        payload = {"run_id": run.run_id, "state": str(run.state), "requester": run.requester, "via": run.via}
        payload |= {name: run.details[name] for name in ("workflow", "trigger", "job", "task") if name in run.details}
        self._events.add(unit, f"run.{run.state.lower()}", "run", run.run_id, payload)

    def _step_event(self, unit: Unit, run_id: str, step: Step, kind: str = "") -> None:
        shown = replace(step, arguments=step.arguments if len(step.arguments) <= MOST_SHOWN else "", note="", undo=None)
        body = _step_body(shown, with_fraction=True)
        if len(body) > 4 * MOST_SHOWN:
            body = _step_body(replace(shown, result=None), with_fraction=True)
        self._event(unit, run_id, step.step_id, step.operation, str(step.state), body)
        payload: dict[str, Any] = {"run_id": run_id, "step_id": step.step_id, "operation": step.operation}
        if step.reason:
            payload["reason"] = step.reason
        if step.fraction >= 0:
            payload["fraction"] = step.fraction
        self._events.add(unit, kind or f"step.{step.state.lower()}", "step", run_id, payload)

    def _event(
        self, unit: Unit, run_id: str, step_id: str, operation: str, state: str, body: str, sql: str = "?6"
    ) -> None:
        unit.execute(
            "INSERT INTO run_events(run_id, sequence, time, step_id, operation, state, body) VALUES(?1,"  # noqa: S608
            f" (SELECT coalesce(max(sequence), 0) + 1 FROM run_events WHERE run_id = ?1), ?2, ?3, ?4, ?5, {sql})",
            (run_id, self._clock.now_ns(), step_id, operation, state, body),
        )

    # What is read

    async def get(self, run_id: str) -> Kept | None:
        """Return a run with its steps in program order."""

        def read(connection: Any) -> tuple[list[Any], list[Any]]:
            runs = list(connection.execute(f"SELECT {_RUN}{_COUNTS} FROM runs WHERE run_id = ?", (run_id,)))  # noqa: S608
            steps = list(connection.execute(f"SELECT {_STEP} FROM run_steps WHERE run_id = ? ORDER BY row", (run_id,)))  # noqa: S608
            return runs, steps

        runs, steps = await self._db.read(read)
        if not runs:
            return None
        kept = _kept(runs[0])
        found = in_order(kept.run.program, [_step(row) for row in steps], ended=kept.ended)
        return kept.changed(steps=found)

    async def page(self, states: Sequence[str], before: int, size: int) -> list[Kept]:
        """Return at most *size* runs without steps, the newest first, of those with a number under *before*."""
        where, values = "number < ?", [before]
        if states:
            where += " AND state IN (SELECT value FROM json_each(?))"
            values.append(json.dumps([str(state) for state in states]))  # type: ignore[arg-type]
        rows = await self._db.query(
            f"SELECT {_RUN}{_COUNTS} FROM runs WHERE {where} ORDER BY number DESC LIMIT {int(size)}",  # noqa: S608
            values,
        )
        return [_kept(row) for row in rows]

    async def open_runs(self) -> list[Kept]:
        """Return the runs that have not ended, or are being taken back, without steps, the oldest first."""
        rows = await self._db.query(
            f"SELECT {_RUN}{_COUNTS} FROM runs WHERE state IN ('RUNNING', 'PAUSED', 'AWAITING_APPROVAL', 'NEEDS_YOU')"  # noqa: S608
            " OR body ->> '$.ending' IS NOT NULL ORDER BY number"
        )
        return [_kept(row) for row in rows]

    async def done_last(self, run_id: str) -> list[str]:
        """Return the steps of a run that were committed, the last first."""
        rows = await self._db.query(
            "SELECT step_id FROM run_steps WHERE run_id = ? AND state <> 'PENDING' ORDER BY place DESC, row DESC",
            (run_id,),
        )
        return [step_id for (step_id,) in rows]

    async def revision(self, run_id: str, step_id: str) -> int:
        """Return the revision of a step's commit."""
        rows = await self._db.query(
            "SELECT revision FROM run_steps WHERE run_id = ? AND step_id = ?", (run_id, step_id)
        )
        return int(rows[0][0]) if rows else 0

    async def events_after(self, run: Run, after: int) -> tuple[list[RunEvent], RunState | None]:
        """Return the next events of a run, and how it stands, read at once; `None`: it is gone."""

        def read(connection: Any) -> tuple[list[Any], list[Any]]:
            rows = list(
                connection.execute(
                    "SELECT sequence, time, step_id, operation, state, body FROM run_events WHERE run_id = ? AND"
                    " sequence > ? ORDER BY sequence LIMIT ?",
                    (run.run_id, after, EVENTS_AT_ONCE),
                )
            )
            return rows, list(connection.execute("SELECT state FROM runs WHERE run_id = ?", (run.run_id,)))

        rows, states = await self._db.read(read)
        return [_event(run, row) for row in rows], RunState(states[0][0]) if states else None


def _value_text(value: Any) -> str:
    return "" if value is None else json.dumps(to_json(value), ensure_ascii=False)


def _text_value(text: str) -> Any:
    return from_json(json.loads(text)) if text else None


def _run_body(kept: Kept, store_id: str) -> str:
    run = kept.run
    body: dict[str, Any] = {name: getattr(run, name) for name in _BODY}
    body |= {
        "next_steps": list(run.next_steps),
        "approval_reasons": list(run.approval_reasons),
        "details": dict(run.details),
        "deadline": kept.deadline,
        "left_s": kept.left_s,
        "budget_usd": kept.budget_usd,
        "store_id": store_id,
        "allowed": allowed_plain(kept.allowed),
        "ai": kept.ai,
        "ending": None if kept.ending is None else kept.ending.plain(),
    }
    return json.dumps(body, ensure_ascii=False)


def _kept(row: tuple[Any, ...]) -> Kept:
    number, run_id, state, created, end_time, digest, intent, project, reason, text, result, body, known, counts = row
    more = json.loads(body)
    run = Run(
        run_id,
        RunState(state),
        program(json.loads(text)),
        more.pop("requester", ""),
        more.pop("origin", ""),
        created,
        intent=intent,
        digest=digest,
        reason=reason,
        end_time=end_time,
        project=project,
        result=_text_value(result),
        next_steps=tuple(more.pop("next_steps", ())),
        approval_reasons=tuple(more.pop("approval_reasons", ())),
        details=more.pop("details", {}),
        **_counts(json.loads(counts), known),
        **{name: more[name] for name in _BODY[2:] if name in more},
    )
    how = more.get("ending")
    return Kept(
        run,
        number,
        more.get("deadline", 0),
        more.get("left_s", 0.0),
        None if how is None else ending(how),
        more.get("budget_usd", 0.0),
        more.get("store_id", ""),
        allowed_of(more.get("allowed", {})),
        more.get("ai", False),
    )


def _counts(counted: Sequence[Any], top: int) -> dict[str, Any]:
    """Return the counts of a record: *counted* are rows, those that are done, those not in blocks, and the cost."""
    rows, done, begun, cost = counted
    return {"steps_done": done, "steps_known": rows + max(0, top - begun), "cost_usd": cost}


def _step_body(step: Step, *, with_fraction: bool = False) -> str:
    body: dict[str, Any] = {name: value for name in _STEP_BODY if (value := getattr(step, name))}
    if step.arguments:
        body["arguments"] = json.loads(step.arguments)  # not a text in a text: a purge looks for what is in it
    if step.result is not None:
        body["result"] = to_json(step.result)
    if step.undo is not None:
        body["undo"] = step.undo
    if with_fraction:
        body |= {"fraction": step.fraction, "revision": step.revision, "cost_usd": step.cost_usd}
    return json.dumps(body, ensure_ascii=False)


def _step(row: tuple[Any, ...]) -> Step:
    step_id, operation, state, revision, cost, body = row
    more = json.loads(body)
    result = more.pop("result", None)
    if "arguments" in more:
        more["arguments"] = json.dumps(more["arguments"], ensure_ascii=False)
    return Step(
        step_id,
        operation,
        StepState(state),
        **{"revision": revision, "cost_usd": cost, **more, "result": None if result is None else from_json(result)},
    )


def _event_body(run: Run) -> str:
    body = {
        "reason": run.reason,
        "approver": run.approver,
        "end_time": run.end_time,
        "result": None if run.result is None else to_json(run.result),
    }
    return json.dumps(body, ensure_ascii=False)


def _event(run: Run, row: tuple[Any, ...]) -> RunEvent:
    sequence, time, step_id, operation, state, body = row
    kind: Run | Step
    if step_id:
        kind = _step((step_id, operation, state, 0, 0.0, body))
    else:
        more: Mapping[str, Any] = json.loads(body)
        result = more.get("result")
        kind = replace(
            run,
            state=RunState(state),
            reason=more.get("reason", ""),
            approver=more.get("approver", ""),
            end_time=more.get("end_time", 0),
            result=None if result is None else from_json(result),
            steps=(),
            **_counts(more.get("counts", (0, 0, 0, 0.0)), len(run.program.instructions)),
        )
    return RunEvent(run.run_id, sequence, time, kind)
