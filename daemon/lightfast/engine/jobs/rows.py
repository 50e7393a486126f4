"""Jobs as rows of the table `jobs`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from lightfast.engine.jobs.records import Job, JobState
from lightfast.engine.ports import Asker
from lightfast_link.value import Value, from_json, to_json

COLUMNS = (
    "number, job_id, type, state, priority, payload, requester, asker, after, schedule, timeout, max_attempts,"
    " create_time, run_time, start_time, end_time, attempts, fraction, message, result, error, note, run_id"
)
INSERT = f"INSERT INTO jobs({COLUMNS}, request_id, request_hash) VALUES({', '.join('?' * 25)})"
CHANGE = (
    "UPDATE jobs SET state = ?, run_time = ?, start_time = ?, end_time = ?, attempts = ?, fraction = ?, message = ?,"
    " result = ?, error = ? WHERE number = ?"
)
SHOWN_ERROR = 300
"""So much of an error goes into an event."""

_encode = msgspec.json.Encoder().encode


def packed(value: Value | None) -> str:
    """Return the JSON of a value; empty for none."""
    return "" if value is None else _encode(to_json(value)).decode()


def unpacked(text: str) -> Value | None:
    """Return the value of its JSON."""
    return from_json(json.loads(text)) if text else None


def packed_asker(asker: Asker) -> str:
    """Return who asks, as JSON."""
    return json.dumps(
        [asker.identity, asker.origin, sorted(asker.scopes), asker.via, asker.untrusted], separators=(",", ":")
    )


def unpacked_asker(text: str) -> Asker:
    """Return who asked."""
    identity, origin, scopes, via, untrusted = json.loads(text)
    return Asker(identity, origin, frozenset(scopes), via, untrusted)


def row(number: int, job: Job, asker: str, request_id: str = "", request_hash: str = "") -> tuple[Any, ...]:
    """Return the parameters of `INSERT`."""
    return (
        number,
        job.job_id,
        job.type,
        job.state.value,
        job.priority,
        packed(dict(job.payload)),
        job.requester,
        asker,
        json.dumps(job.after),
        job.schedule,
        job.timeout,
        job.max_attempts,
        job.create_time,
        job.run_time,
        job.start_time,
        job.end_time,
        job.attempts,
        job.fraction,
        job.message,
        packed(job.result),
        job.error,
        job.note,
        job.run_id,
        request_id,
        request_hash,
    )


def change(number: int, job: Job) -> tuple[Any, ...]:
    """Return the parameters of `CHANGE`."""
    return (
        job.state.value,
        job.run_time,
        job.start_time,
        job.end_time,
        job.attempts,
        job.fraction,
        job.message,
        packed(job.result),
        job.error,
        number,
    )


def read(found: Sequence[Any], log: Iterable[tuple[int, str]] = ()) -> tuple[int, Job, str]:
    """Return the number, the job and the asker of a row of `COLUMNS`."""
    payload = unpacked(found[5])
    job = Job(
        job_id=found[1],
        type=found[2],
        state=JobState(found[3]),
        priority=found[4],
        payload=payload if isinstance(payload, dict) else {},
        requester=found[6],
        after=tuple(json.loads(found[8])),
        schedule=found[9],
        timeout=found[10],
        max_attempts=found[11],
        create_time=found[12],
        run_time=found[13],
        start_time=found[14],
        end_time=found[15],
        attempts=found[16],
        fraction=found[17],
        message=found[18],
        result=unpacked(found[19]),
        error=found[20],
        note=found[21],
        run_id=found[22],
        log=tuple(log),
    )
    return found[0], job, found[7]


def told(job: Job) -> dict[str, Any]:
    """Return what an event says of a job: nothing of its payload or its result."""
    found: dict[str, Any] = {
        "type": job.type,
        "state": job.state.value,
        "priority": job.priority,
        "attempts": job.attempts,
        "requester": job.requester,
    }
    if job.state is JobState.RUNNING and job.fraction >= 0:
        found["fraction"] = job.fraction
    if job.message:
        found["message"] = job.message
    if job.error and job.state is not JobState.SUCCEEDED:
        found["error"] = job.error[:SHOWN_ERROR]
    if job.run_id:
        found["run_id"] = job.run_id
    if job.schedule:
        found["schedule"] = job.schedule
    return found


EVENT = {
    JobState.PENDING: "job.queued",
    JobState.RUNNING: "job.started",
    JobState.SUCCEEDED: "job.succeeded",
    JobState.RETRYING: "job.retrying",
    JobState.DEAD: "job.dead",
    JobState.CANCELLED: "job.cancelled",
}
