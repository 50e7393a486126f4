"""What must hold of the meta-computer after any night: read from the rows that are left, and from what was seen outside."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.support.night import Load, Rig, lines

ENDED = ("SUCCEEDED", "FAILED", "CANCELLED", "ROLLED_BACK")
OVER = ("DONE", "FAILED", "ANSWERED")


class Audit:
    """The rows of a daemon that has stopped; each method returns what is wrong."""

    def __init__(self, home: Path, folder: Path) -> None:
        self.file = home / "state" / "lightfast.db"
        self._folder = folder
        self.acts, self.tries = Counter[str](), Counter[str]()

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return rows."""
        with closing(sqlite3.connect(f"file:{self.file}?mode=ro", uri=True)) as db:
            return list(db.execute(sql, values))

    def all(self, load: Load, *rigs: Rig) -> list[str]:
        """Look at everything."""
        self.acts, self.tries = Counter(lines(self._folder / "acts")), Counter(lines(self._folder / "jobs"))
        return [
            *self.events(load.seen),
            *self.desk(load),
            *self.jobs(load),
            *self.runs(rigs),
            *self.triggers(),
            *(f"a client was refused: {each}" for each in load.trouble),
            *(f"the run of {tag} is gone" for tag, run_id in load.runs.items() if not self._run(run_id)),
        ]

    def _run(self, run_id: str) -> list[tuple[Any, ...]]:
        return self.rows("SELECT 1 FROM runs WHERE run_id = ?", run_id)

    def events(self, seen: list[int]) -> list[str]:
        """Numbers without a hole, and each once for whoever watched."""
        there = [row[0] for row in self.rows("SELECT sequence FROM engine_events ORDER BY sequence")]
        wrong = [] if there == list(range(1, len(there) + 1)) else ["the events have a hole"]
        if seen != list(range(1, len(seen) + 1)):
            twice = [number for number, count in Counter(seen).items() if count > 1]
            missing = sorted(set(range(1, max(seen, default=0) + 1)) - set(seen))
            wrong.append(f"a watcher saw {twice[:5]} twice and {missing[:5]} never")
        if len(seen) < len(there) // 2:
            wrong.append(f"a watcher saw {len(seen)} of {len(there)} events")
        return wrong

    def desk(self, load: Load) -> list[str]:
        """Each acknowledged line is there once, is over, and was done by one run."""
        wrong = []
        found = self.rows("SELECT request_id, line_id, state, run_id, said, outcome, letters FROM desk_lines")
        by_request = Counter(row[0] for row in found if row[0])
        told = Counter(
            (row[0], row[1])
            for row in self.rows("SELECT entity_id, kind FROM engine_events WHERE entity_kind = 'desk'")
        )
        started = Counter(
            json.loads(row[0]).get("details", {}).get("line") for row in self.rows("SELECT body FROM runs")
        )
        wrong += [
            f"the acknowledged line {tag} ({load.said[tag]}) is there {by_request[tag]} times"
            for tag in load.said
            if by_request[tag] != 1
        ]
        ends = ("desk.complete", "desk.failed", "desk.ready", "desk.loaded", "desk.remembered")
        for tag, line_id, state, run_id, said, outcome, letters in found:
            if state not in OVER:
                wrong.append(f"the line {line_id} “{said}” is {state}")
            if tag and told[line_id, "desk.queued"] != 1:
                wrong.append(f"the line {line_id} was told of as queued {told[line_id, 'desk.queued']} times")
            if state in OVER and sum(told[line_id, kind] for kind in ends) != 1:
                wrong.append(f"the line {line_id} ended {[kind for kind in ends if told[line_id, kind]]} ({outcome})")
            if started[line_id] > 1:
                wrong.append(f"the line {line_id} started {started[line_id]} runs")
            if run_id:
                (row,) = self.rows("SELECT state FROM runs WHERE run_id = ?", run_id)
                if (row[0] == "SUCCEEDED") != (state == "DONE"):
                    wrong.append(f"the line {line_id} is {state} and its run {row[0]}: {outcome}")
            elif started[line_id]:
                wrong.append(f"the line {line_id} ({letters}) knows nothing of its run: {state} {outcome}")
        return wrong

    def jobs(self, load: Load) -> list[str]:
        """Each acknowledged job reached its end once, and none was tried twice under one number."""
        wrong = []
        states = {row[0]: row[1:] for row in self.rows("SELECT job_id, state, attempts, payload, type FROM jobs")}
        ends = Counter(
            row[0]
            for row in self.rows(
                "SELECT entity_id FROM engine_events WHERE kind IN ('job.succeeded', 'job.dead', 'job.cancelled')"
            )
        )
        for job_id, n in load.jobs.items():
            if job_id not in states:
                wrong.append(f"the job {job_id} is gone")
            elif states[job_id][0] != "SUCCEEDED" or not self.tries[f"{n} {states[job_id][1]}"]:
                wrong.append(f"the job {job_id} is {states[job_id]}")
        wrong += [
            f"the job {job_id} is {state[0]}"
            for job_id, state in states.items()
            if state[0] in ("PENDING", "RUNNING", "RETRYING")
        ]
        wrong += [f"the job {job_id} ended {ends[job_id]} times" for job_id in states if ends[job_id] != 1]
        wrong += [
            f"the attempt {each} of a job was made {count} times"
            for each, count in self.tries.items()
            if count > 1 and not each.startswith("0 ")
        ]
        return wrong

    def runs(self, rigs: tuple[Rig, ...]) -> list[str]:
        """Each run ended as its steps did; its commits are those of its steps; what was done outside was done once."""
        wrong = [f"{key} acted {count} times" for key, count in self.acts.items() if count > 1]
        did = Counter[str]()
        for rig in rigs:
            did += rig.did
        wrong += [f"{tag} was done {count} times by an application" for tag, count in did.items() if count > 1]
        commits: dict[str, dict[int, str]] = {}
        for group, revision, label in self.rows("SELECT grp, revision, label FROM transactions WHERE grp LIKE 'run%'"):
            commits.setdefault(group, {})[revision] = label
        known = set()
        for run_id, state in self.rows("SELECT run_id, state FROM runs"):
            known.add(run_id)
            if state not in ENDED:
                wrong.append(f"{run_id} is {state}")
            steps = self.rows(
                "SELECT step_id, operation, state, revision, body FROM run_steps WHERE run_id = ?", run_id
            )
            states = Counter(each[2] for each in steps)
            if state == "SUCCEEDED" and set(states) - {"DONE", "SKIPPED"}:
                wrong.append(f"{run_id} succeeded with steps {dict(states)}")
            if state == "FAILED" and not states["FAILED"] and not states["UNKNOWN"]:
                wrong.append(f"{run_id} failed with steps {dict(states)}")
            of_steps = {revision: f"{step}: {operation}" for step, operation, _, revision, _ in steps if revision}
            of_store = {revision: label for revision, label in commits.get(run_id, {}).items() if ": " in label}
            if of_steps != of_store:
                wrong.append(f"{run_id}: its steps committed {of_steps}, the store has {of_store}")
            for step_id, operation, step_state, _, body in steps:
                wrong += self._outside(run_id, step_id, operation, step_state, body, did)
            numbers = [
                row[0]
                for row in self.rows("SELECT sequence FROM run_events WHERE run_id = ? ORDER BY sequence", run_id)
            ]
            if numbers != list(range(1, len(numbers) + 1)):
                wrong.append(f"{run_id}: its events have a hole")
            ends = self.rows(
                "SELECT count(*) FROM engine_events WHERE entity_id = ? AND kind = ?", run_id, f"run.{state.lower()}"
            )
            if ends != [(1,)]:
                wrong.append(f"{run_id}: its end was told {ends[0][0]} times")
        wrong += [f"{group} has commits and no row" for group in set(commits) - known]
        return wrong

    def _outside(
        self, run_id: str, step_id: str, operation: str, state: str, body: str, did: Counter[str]
    ) -> list[str]:
        key = f"{run_id}/{step_id}"
        if operation in ("stage.act", "stage.plain"):
            happened = self.acts[key]
        elif operation == "app.command":
            tag = (json.loads(body)["arguments"] or {}).get("arguments", {}).get("tag", "")
            happened = did[tag]
        else:
            return []
        if (state == "DONE" and not happened) or (state in ("SKIPPED", "PENDING") and happened):
            return [f"{key} ({operation}) is {state}, and happened {happened} times"]
        return []

    def triggers(self) -> list[str]:
        """No trigger fired twice for one revision."""
        fired = Counter[tuple[str, int]]()
        for (body,) in self.rows("SELECT body FROM runs"):
            details = json.loads(body).get("details", {})
            if details.get("trigger"):
                fired[details["trigger"], details["cause"]] += 1
        return [
            f"{name} fired {count} times for revision {cause}" for (name, cause), count in fired.items() if count > 1
        ]
