"""Between the messages of JobService and the records of jobs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from lightfast.api.v1 import jobs_pb2 as pb
from lightfast.api.values import to_message
from lightfast.core.errors import InvalidArgument
from lightfast.core.redaction import hide, hide_in
from lightfast.engine.jobs.records import Job, JobState, NewJob
from lightfast.engine.jobs.schedules import Schedule
from lightfast.wire.grpc import convert

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lightfast.sdk import JobType

_STATES_OUT = {state: pb.JobState.Value(f"JOB_STATE_{state.value}") for state in JobState}
_STATES: dict[int, JobState] = {number: state for state, number in _STATES_OUT.items()}


def get_states(numbers: Iterable[int]) -> tuple[JobState, ...]:
    """Return the states of a request; refuse what is none."""
    found = []
    for number in numbers:
        if number not in _STATES:
            raise InvalidArgument(f"{number} is no state of a job", field="states")
        found.append(_STATES[number])
    return tuple(found)


def get_new(request: pb.SubmitJobRequest) -> NewJob:
    """Return the job that is asked for."""
    return NewJob(
        request.type,
        convert.get_values(request.payload, "payload"),
        request.priority,
        convert.get_time(request.run_time, "run_time") if request.HasField("run_time") else 0,
        request.max_attempts,
        tuple(request.after),
        convert.get_duration(request.timeout, "timeout") if request.HasField("timeout") else 0.0,
    )


def put_job(job: Job) -> pb.Job:
    """Return the message of a job; its log is there where the record has it."""
    message = pb.Job(
        job_id=job.job_id,
        type=job.type,
        state=_STATES_OUT[job.state],
        priority=job.priority,
        fraction=job.fraction,
        message=hide(job.message),
        error=hide(job.error),
        attempts=job.attempts,
        max_attempts=job.max_attempts,
        after=job.after,
        requester=job.requester,
        schedule=job.schedule,
        run_id=job.run_id,
    )
    for name, value in job.payload.items():
        to_message(hide_in(value), message.payload[name])
    if job.result is not None:
        to_message(hide_in(job.result), message.result)
    convert.put_time(message.create_time, job.create_time)
    for field in ("run_time", "start_time", "end_time"):
        if getattr(job, field):
            convert.put_time(getattr(message, field), getattr(job, field))
    convert.put_duration(message.timeout, job.timeout)
    for time, text in job.log:
        convert.put_time(message.log.add(text=hide(text)).time, time)
    return message


def put_type(job_type: JobType, plugin: str) -> pb.JobType:
    """Return the message of a type."""
    message = pb.JobType(
        name=job_type.name,
        summary=job_type.summary,
        payload_schema=json.dumps(dict(job_type.payload)),
        plugin=plugin,
        max_attempts=job_type.max_attempts,
    )
    convert.put_duration(message.timeout, job_type.timeout)
    return message


def get_schedule(message: pb.Schedule) -> Schedule:
    """Return the schedule that is asked for."""
    return Schedule(
        message.name,
        message.when,
        message.type,
        convert.get_values(message.payload, "schedule.payload"),
        message.time_zone,
        message.priority,
        message.missed,
        message.disabled,
    )


def put_schedule(schedule: Schedule) -> pb.Schedule:
    """Return the message of a schedule."""
    message = pb.Schedule(
        name=schedule.name,
        when=schedule.when,
        time_zone=schedule.time_zone,
        type=schedule.type,
        priority=schedule.priority,
        missed=schedule.missed,
        disabled=schedule.disabled,
    )
    for name, value in schedule.payload.items():
        to_message(value, message.payload[name])
    convert.put_time(message.next_time, schedule.next_time)
    convert.put_time(message.last_time, schedule.last_time)
    return message
