"""Follows a run at the terminal: its plan, its steps, its end; and asks for an approval where it needs one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lightfast.app.cli import approving, literal
from lightfast.app.cli.session import CURRENT, EXIT_FAILED, asks_for_percent, fail, say, table

_ENDED = ("SUCCEEDED", "FAILED", "CANCELLED", "ROLLED_BACK")
_LONG = 100


def state_of(message: dict[str, Any]) -> str:
    """Return the state of a run or a step as a word."""
    return str(message.get("state", "")).removeprefix("RUN_STATE_").removeprefix("STEP_STATE_")


def show_plan(plan: dict[str, Any]) -> None:
    """Show a plan as a person reads it: the program, what is wrong, what it changes, what it costs and needs."""
    wrong = any(not problem.get("warning") for problem in plan.get("problems", []))
    if plan.get("message") and not wrong:  # what is wrong says the same below, with its place
        say(plan["message"])
    lines = plan.get("lines", "").split("\n")
    for line in filter(str.strip, lines):
        say(f"  {line}")
    for problem in plan.get("problems", []):
        where = f"line {problem['line']}: " if problem.get("line") else ""
        of = f"{problem['instruction']}: " if problem.get("instruction") else ""
        fail(f"{'note' if problem.get('warning') else 'wrong'}: {where}{of}{problem['message']} ({problem['reason']})")
    table(
        ("STEP", "PATH", "NOW", "THEN"),
        (
            (
                change.get("instruction", ""),
                change.get("path", ""),
                literal.show(change["before"]) if "before" in change else "",
                literal.show(change["after"]) if "after" in change else change.get("note", "?"),
            )
            for change in plan.get("changes", [])
        ),
        "There is nothing to do." if wrong else "It changes nothing that is known before.",
    )
    for saving in plan.get("savings", []):
        say(f"saved: {saving.get('summary', saving.get('rewrite', ''))}")
    cost = float(plan.get("max_cost_usd", 0.0))
    if cost:
        say("nothing bounds what it costs" if cost < 0 else f"at most {cost:.4g} USD")
    if plan.get("needs_approval"):
        say(f"it needs an approval: {'; '.join(plan.get('approval_reasons', []))}")


def follow(messages: Iterable[dict[str, Any]], *, wait: bool = False) -> int:
    """Show the messages of `Run` or `WatchRun` (proto JSON) as they come; return the exit code.

    A run that waits for an approval that nobody here can give is left, unless *wait*.
    """
    run: dict[str, Any] = {}
    try:
        for message in messages:
            code = _one(message, run, wait=wait)
            if code is not None:
                return code
    except KeyboardInterrupt:
        if run:
            fail(f"\n{run['run_id']} goes on: lightfast runs watch {run['run_id']}, or cancel in place of watch")
        raise
    return 0


def _one(message: dict[str, Any], run: dict[str, Any], *, wait: bool) -> int | None:
    """Show one message, keep in *run* how the run stands, and return the exit code once there is no more to follow."""
    if CURRENT.as_json:
        CURRENT.show(message, lambda _: None)
    if "plan" in message:
        if not CURRENT.as_json:
            show_plan(message["plan"])
        return None
    event = message["event"]
    if "step" in event:
        _step(event["step"])
        if _asks(event["step"]) and not _answered(run, event["step"]) and not wait:
            return EXIT_FAILED
        return None
    run.clear()
    run.update(event["run"])
    if not CURRENT.as_json:
        _run(run)
    state = state_of(run)
    if state == "AWAITING_APPROVAL" and not approving.offer(run) and not wait:
        return EXIT_FAILED
    if state == "NEEDS_YOU" and not wait:
        return EXIT_FAILED
    if state in _ENDED:
        return 0 if state in ("SUCCEEDED", "ROLLED_BACK") else EXIT_FAILED
    return None


def _asks(step: dict[str, Any]) -> bool:
    """Say whether a step waits for a person just now."""
    return step["operation"] == "ask.approval" and state_of(step) == "STARTED" and bool(step.get("message"))


def _answered(run: dict[str, Any], step: dict[str, Any]) -> bool:
    return approving.offer(run | {"approval_reasons": [step["message"]]})


def _run(run: dict[str, Any]) -> None:
    state = state_of(run)
    word = state.lower().replace("_", " ")
    why = f": {run['reason']}" if run.get("reason") and state != "AWAITING_APPROVAL" else ""
    (fail if state in ("FAILED", "CANCELLED", "NEEDS_YOU") else say)(f"{run['run_id']} {word}{why}")
    if state == "SUCCEEDED":
        if "result" in run:
            say(literal.show(run["result"]))
        for each in run.get("next_steps", []):
            say(f"next: {each}")


def _step(step: dict[str, Any]) -> None:
    if CURRENT.as_json:
        return
    say(f"  {step_line(step)}")


def step_line(step: dict[str, Any]) -> str:
    """Return what is said of one step in one line."""
    state = state_of(step)
    more = step.get("error", "") or step.get("message", "")
    if state == "DONE" and "result" in step:
        more = literal.show(step["result"])[:_LONG]
    far = (
        f" {asks_for_percent(step['fraction']).strip()}" if step.get("fraction", -1) >= 0 and state == "STARTED" else ""
    )
    return f"{step['step_id']} {step['operation']} {state.lower()}{far}{'  ' + more if more else ''}"
