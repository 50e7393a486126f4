"""jobs: durable work, and schedules."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import typer

from lightfast.app.cli import literal
from lightfast.app.cli.session import CURRENT, EXIT_FAILED, arguments_told, asks_for_percent, fail, say, table
from lightfast.app.cli.states import wanted, word
from lightfast.app.cli.times import local

jobs = typer.Typer(no_args_is_help=True, help="Durable jobs: lightfast jobs submit TYPE name=value.")
schedule = typer.Typer(no_args_is_help=True, help="Schedules, which queue a job again and again.")
jobs.add_typer(schedule, name="schedule")
JobId = Annotated[str, typer.Argument(help="The identity of a job.")]
Payload = Annotated[list[str] | None, typer.Argument(help="name=value; values as JSON or as text.")]
_STATES = ("PENDING", "RUNNING", "SUCCEEDED", "RETRYING", "DEAD", "CANCELLED")
_TIMEOUT = 40.0
"""The plugins may have to be loaded first."""


@jobs.command("list")
def list_jobs(
    state: Annotated[list[str] | None, typer.Option(help="Such as dead; may be repeated.")] = None,
    of_type: Annotated[str, typer.Option("--type", help="Only of this type.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The most.")] = 50,
) -> None:
    """List jobs, the newest first."""
    fields = {"states": wanted(state, _STATES, "JOB"), "type": of_type, "page_size": limit}

    def render(found: dict[str, Any]) -> None:
        _listed(found.get("jobs", []))
        if found.get("stopped"):
            fail(f"no job is taken now: {found['stopped']}")

    CURRENT.call("JobService.ListJobs", fields, render)


@jobs.command()
def show(job_id: JobId) -> None:
    """Show a job with its log."""
    CURRENT.call("JobService.GetJob", {"job_id": job_id}, lambda found: _shown(found["job"]))


@jobs.command()
def submit(
    job_type: Annotated[str, typer.Argument(metavar="TYPE", help="A type: lightfast jobs types.")],
    payload: Payload = None,
    priority: Annotated[int, typer.Option(help="Higher ones go first.")] = 0,
    after: Annotated[list[str] | None, typer.Option(help="A job that must succeed first; may be repeated.")] = None,
    attempts: Annotated[int, typer.Option(min=0, help="How often it may be tried; what its type says by default.")] = 0,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it until it has ended.")] = False,
) -> None:
    """Queue a job."""
    with arguments_told():
        given = literal.parse_named(payload or [])
    fields: dict[str, Any] = {
        "type": job_type,
        "payload": given,
        "priority": priority,
        "after": after or [],
        "max_attempts": attempts,
        "request_id": uuid.uuid4().hex,
    }
    with CURRENT.client(_TIMEOUT) as client:
        message = client.call_json("JobService.SubmitJob", fields)
        job_id = message["job"]["job_id"]
        if not wait:
            CURRENT.show(message, lambda found: say(f"{found['job']['job_id']} is {_state(found['job'])}"))
            return
        _follow(client, [job_id])


@jobs.command()
def cancel(job_id: JobId) -> None:
    """Cancel a job; what waits for it can never run then."""
    CURRENT.call("JobService.CancelJob", {"job_id": job_id}, lambda found: say(f"{job_id} is {_state(found['job'])}"))


@jobs.command()
def retry(job_id: JobId) -> None:
    """Queue a dead or cancelled job again."""
    CURRENT.call("JobService.RetryJob", {"job_id": job_id}, lambda found: say(f"{job_id} is {_state(found['job'])}"))


@jobs.command()
def resume() -> None:
    """Let go on what waits in a store that was restored from a backup: jobs, schedules, triggers, lines of the desk."""

    def render(found: dict[str, Any]) -> None:
        if not found.get("resumed"):
            say("nothing waits for that: this store was not restored, or goes on already")
            return
        say(f"they go on: {found.get('waiting', 0)} jobs wait for their turn, {found.get('schedules', 0)} schedules")

    CURRENT.call("JobService.ResumeJobs", {}, render)


@jobs.command()
def watch(
    job_ids: Annotated[
        list[str] | None, typer.Argument(help="Only these, until they have ended; all by default.")
    ] = None,
) -> None:
    """Follow jobs as they change."""
    with CURRENT.client(_TIMEOUT) as client:
        _follow(client, job_ids or [])


@jobs.command("types")
def list_types() -> None:
    """List the types of jobs there are."""

    def render(found: dict[str, Any]) -> None:
        table(
            ("TYPE", "ATTEMPTS", "PLUGIN", ""),
            (
                (each["name"], each.get("max_attempts", ""), each.get("plugin", ""), each.get("summary", ""))
                for each in found.get("types", [])
            ),
            "Nobody does any jobs here.",
        )

    CURRENT.call("JobService.ListJobTypes", {}, render, timeout=_TIMEOUT)


@jobs.command("schedules")
def list_schedules() -> None:
    """List the schedules."""

    def render(found: dict[str, Any]) -> None:
        table(
            ("SCHEDULE", "WHEN", "ZONE", "TYPE", "NEXT", "LAST", ""),
            (
                (
                    each["name"],
                    each["when"],
                    each.get("time_zone", "") or "here",
                    each["type"],
                    local(each.get("next_time", "")),
                    local(each.get("last_time", "")),
                    "off" if each.get("disabled") else "",
                )
                for each in found.get("schedules", [])
            ),
            "No schedules yet: lightfast jobs schedule set NAME '0 9 * * 1-5' TYPE",
        )

    CURRENT.call("JobService.ListSchedules", {}, render)


@schedule.command("set")
def set_schedule(
    name: Annotated[str, typer.Argument(help="A name; one that exists is replaced.")],
    when: Annotated[str, typer.Argument(help="'0 9 * * 1-5' (minute, hour, day, month, weekday) or 'every 90s'.")],
    job_type: Annotated[str, typer.Argument(metavar="TYPE", help="The type of the job.")],
    payload: Payload = None,
    zone: Annotated[str, typer.Option(help="A time zone such as Europe/Berlin; that of the daemon by default.")] = "",
    missed: Annotated[str, typer.Option(help="What is done about missed times: skip or once.")] = "skip",
    priority: Annotated[int, typer.Option(help="Of its jobs.")] = 0,
    off: Annotated[bool, typer.Option("--off", help="Keep it, but switched off.")] = False,
) -> None:
    """Create or replace a schedule."""
    with arguments_told():
        given = literal.parse_named(payload or [])
    fields = {
        "name": name,
        "when": when,
        "type": job_type,
        "payload": given,
        "time_zone": zone,
        "missed": missed,
        "priority": priority,
        "disabled": off,
    }
    CURRENT.call(
        "JobService.SetSchedule",
        {"schedule": fields},
        lambda found: say(f"{name} is due {local(found['schedule'].get('next_time', ''))}"),
        timeout=_TIMEOUT,
    )


@schedule.command("delete")
def delete_schedule(name: Annotated[str, typer.Argument(help="The name.")]) -> None:
    """Delete a schedule; the jobs it has queued stay."""
    CURRENT.call("JobService.DeleteSchedule", {"name": name}, lambda _: say("gone"))


def _follow(client: Any, job_ids: list[str]) -> None:
    fields = {"job_ids": job_ids, "until_done": bool(job_ids)}
    bad = False
    for message in client.stream_json("JobService.WatchJobs", fields):
        job = message["job"]
        CURRENT.show(message, lambda found: say(_line(found["job"])))
        bad = bad or _state(job) in ("dead", "cancelled")
    if bad:
        raise typer.Exit(EXIT_FAILED)


def _line(job: dict[str, Any]) -> str:
    fraction = job.get("fraction", 0.0)
    done = f" {asks_for_percent(fraction)}" if _state(job) == "running" else ""
    said = job.get("error") if _state(job) in ("dead", "retrying") else job.get("message")
    return f"{job['job_id']}  {_state(job)}  {job['type']}{done}{f'  {said}' if said else ''}"


def _listed(found: list[dict[str, Any]]) -> None:
    table(
        ("JOB", "STATE", "TYPE", "PRIORITY", "TRIES", "QUEUED", ""),
        (
            (
                each["job_id"],
                _state(each),
                each["type"],
                each.get("priority", 0),
                f"{each.get('attempts', 0)}/{each.get('max_attempts', 0)}",
                local(each.get("create_time", "")),
                (each.get("error") or each.get("message") or "")[:80],
            )
            for each in found
        ),
        "No jobs yet: lightfast jobs submit TYPE name=value",
    )


def _shown(job: dict[str, Any]) -> None:
    say(_line(job))
    say(f"queued {local(job.get('create_time', ''))} by {job.get('requester', '?')}, priority {job.get('priority', 0)}")
    say(f"tried {job.get('attempts', 0)} of {job.get('max_attempts', 0)} times, each at most {job.get('timeout', '?')}")
    for name, value in sorted(job.get("payload", {}).items()):
        say(f"  {name} = {literal.show(value)}")
    if job.get("after"):
        say(f"after {', '.join(job['after'])}")
    if job.get("run_id"):
        say(f"run {job['run_id']}: lightfast runs show {job['run_id']}")
    if job.get("result"):
        say(f"result {literal.show(job['result'])}")
    for line in job.get("log", []):
        say(f"{local(line.get('time', ''))}  {line.get('text', '')}")
    if _state(job) == "dead":
        fail(f"dead: {job.get('error', '')}; try it again with: lightfast jobs retry {job['job_id']}")


def _state(job: dict[str, Any]) -> str:
    return word(job.get("state"), "JOB")
