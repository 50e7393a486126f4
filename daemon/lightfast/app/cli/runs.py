"""run, runs, approve: programs at work."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from lightfast.app.cli import approving, literal
from lightfast.app.cli.following import follow, state_of, step_line
from lightfast.app.cli.session import CURRENT, EXIT_FAILED, say, table
from lightfast.app.cli.states import wanted, word
from lightfast.app.cli.times import local

app = typer.Typer()
runs = typer.Typer(invoke_without_command=True, help="Runs of programs: those under way, and those that are over.")

_TIMEOUT = 60.0
_MOST = 1000
_STATES = (
    "AWAITING_APPROVAL",
    "RUNNING",
    "PAUSED",
    "SUCCEEDED",
    "FAILED",
    "CANCELLED",
    "NEEDS_YOU",
    "ROLLED_BACK",
)
RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run, as 'lightfast runs' shows it.")]


@app.command("run")
def run_file(
    file: Annotated[str, typer.Argument(help="A file with a program, YAML or one instruction a line; - for stdin.")],
    dry: Annotated[bool, typer.Option("--dry-run", help="Only show what it would do.")] = False,
    compensate: Annotated[bool, typer.Option("--compensate", help="Where it fails, take back what was done.")] = False,
    project: Annotated[str, typer.Option(help="The project its cost is booked to.")] = "",
    max_cost: Annotated[float, typer.Option(help="What it may cost at most, in USD.", min=0.0)] = 0.0,
    timeout: Annotated[float, typer.Option(help="How long the whole run may take, in seconds.", min=0.0)] = 0.0,
    digest: Annotated[str, typer.Option(help="Only if the program has this digest.")] = "",
    no_optimize: Annotated[bool, typer.Option("--no-optimize", help="Run it as it is written.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for an approval that somebody else gives.")] = False,
) -> None:
    """Run a program, and follow it; leaving does not end it."""
    fields: dict[str, Any] = {
        "program": {"text": _text(file)},
        "dry_run": dry,
        "compensate": compensate,
        "project": project,
        "max_cost_usd": max_cost,
        "digest": digest,
        "no_optimize": no_optimize,
        "request_id": uuid.uuid4().hex,
    }
    if timeout:
        fields["timeout"] = f"{timeout:.3f}s"
    with CURRENT.client(_TIMEOUT) as client:
        code = follow(client.stream_json("EngineService.Run", fields), wait=wait)
    raise typer.Exit(code)


def _text(file: str) -> str:
    if file == "-":
        return sys.stdin.buffer.read().decode()
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from None


@runs.callback()
def list_runs(
    context: typer.Context,
    state: Annotated[list[str] | None, typer.Option(help="Only those in this state; may be repeated.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=_MOST)] = 30,
) -> None:
    """List runs, the newest first."""
    if context.invoked_subcommand is not None:
        return
    states = wanted(state, _STATES, "RUN")
    CURRENT.call(
        "EngineService.ListRuns",
        {"page_size": limit, "states": states},
        lambda found: table(
            ("RUN", "STATE", "STEPS", "BEGAN", "BY", ""),
            (_row(each) for each in found.get("runs", [])),
            "No runs yet: lightfast run FILE, or lightfast do '…'",
        ),
    )


def _row(run: dict[str, Any]) -> tuple[Any, ...]:
    steps = f"{run.get('steps_done', 0)}/{run.get('steps_known', 0)}"
    about = run.get("intent") or run.get("reason", "")
    began = local(run.get("create_time", ""))
    return run["run_id"], word(run.get("state"), "RUN"), steps, began, run.get("requester", ""), about[:80]


@runs.command("show")
def show(run_id: RunId) -> None:
    """Show one run: its program, its steps, and why it stands as it does."""
    CURRENT.call("EngineService.GetRun", {"run_id": run_id}, lambda found: _whole(found["run"]))


def _whole(run: dict[str, Any]) -> None:
    say(f"{run['run_id']} {word(run.get('state'), 'RUN')}{': ' + run['reason'] if run.get('reason') else ''}")
    refused = run.get("reason", "").startswith("refused by")
    approver = f", approved by {run['approver']}" if run.get("approver") and not refused else ""
    say(f"asked for by {run.get('requester', '?')}{approver}; digest {run.get('digest', '')}")
    if run.get("intent"):
        say(f"intent: {run['intent']}")
    for reason in run.get("approval_reasons", []):
        say(f"to approve: {reason}")
    for line in run.get("yaml", "").splitlines():
        say(f"  {line}")
    for step in run.get("steps", []):
        say(f"  {step_line(step)}")
    if run.get("cost_usd"):
        say(f"cost {run['cost_usd']:.4g} USD")
    if "result" in run:
        say(literal.show(run["result"]))


@runs.command("watch")
def watch(run_id: RunId, after: Annotated[int, typer.Option(help="Only events after this one.", min=0)] = 0) -> None:
    """Follow a run until it is over."""
    with CURRENT.client(_TIMEOUT) as client:
        fields = {"run_id": run_id, "after_sequence": after}
        raise typer.Exit(follow(client.stream_json("EngineService.WatchRun", fields), wait=True))


@runs.command("pause")
def pause(run_id: RunId) -> None:
    """Start no further step."""
    CURRENT.call("EngineService.PauseRun", {"run_id": run_id}, approving.told)


@runs.command("resume")
def resume(run_id: RunId) -> None:
    """Go on."""
    CURRENT.call("EngineService.ResumeRun", {"run_id": run_id}, approving.told)


@runs.command("cancel")
def cancel(run_id: RunId, reason: Annotated[str, typer.Option(help="Why.")] = "") -> None:
    """End a run; what is under way is cancelled."""
    CURRENT.call("EngineService.CancelRun", {"run_id": run_id, "reason": reason}, approving.told, _TIMEOUT)


@runs.command("resolve")
def resolve(
    run_id: RunId,
    step_id: Annotated[str, typer.Argument(metavar="STEP", help="The step of which it cannot be known.")],
    happened: Annotated[bool, typer.Option("--happened", help="It happened: go on after it.")] = False,
    repeat: Annotated[bool, typer.Option("--repeat", help="It did not happen: do it.")] = False,
    skip: Annotated[bool, typer.Option("--skip", help="Leave it out and go on.")] = False,
    give_up: Annotated[bool, typer.Option("--give-up", help="End the run.")] = False,
) -> None:
    """Say what became of a step of which the daemon cannot know it."""
    said = {"HAPPENED": happened, "REPEAT": repeat, "SKIP": skip, "GIVE_UP": give_up}
    chosen = [name for name, wanted in said.items() if wanted]
    if len(chosen) != 1:
        raise typer.BadParameter("say one of --happened, --repeat, --skip and --give-up")
    fields = {"run_id": run_id, "step_id": step_id, "resolution": f"RESOLUTION_{chosen[0]}"}
    CURRENT.call("EngineService.ResolveStep", fields, approving.told)


@runs.command("rollback")
def rollback(
    run_id: RunId, dry: Annotated[bool, typer.Option("--dry-run", help="Only show what would be taken back.")] = False
) -> None:
    """Take a run back, newest step first; what cannot be is named."""
    fields = {"run_id": run_id, "dry_run": dry, "request_id": "" if dry else uuid.uuid4().hex}
    stuck = False
    with CURRENT.client(_TIMEOUT) as client:
        steps: Iterator[dict[str, Any]] = client.stream_json("EngineService.RollbackRun", fields)
        for message in steps:
            step = message.get("step")
            stuck |= step is not None and state_of(step) == "STUCK"
            CURRENT.show(message, lambda found: _taken(found, dry=dry))
    raise typer.Exit(EXIT_FAILED if stuck else 0)


def _taken(message: dict[str, Any], *, dry: bool) -> None:
    if "step" in message:
        say(f"  {'would be ' if dry else ''}{step_line(message['step'])}")
    elif not dry:
        approving.told(message)


@app.command("approve")
def approve(
    run_id: RunId,
    digest: Annotated[str, typer.Option(help="The digest of the program that you have seen.")] = "",
    refuse: Annotated[bool, typer.Option("--refuse", help="Refuse it instead.")] = False,
    comment: Annotated[str, typer.Option(help="A few words why.")] = "",
) -> None:
    """Approve exactly one program with the owner's token: shows it and asks, or takes the digest you have seen."""
    if not digest:
        with approving.approver(CURRENT) as client:
            run = client.call_json("EngineService.GetRun", {"run_id": run_id})["run"]
        digest = run.get("digest", "")
        if not refuse and state_of(run) in ("AWAITING_APPROVAL", "RUNNING"):
            if not CURRENT.as_json:
                _whole(run)
            raise typer.Exit(0 if approving.offer(run) else EXIT_FAILED)
    message = approving.send(run_id, digest, refuse=refuse, comment=comment)
    CURRENT.show(message, approving.told)
