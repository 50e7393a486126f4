"""Approving at a terminal: with the owner's token, so that somebody else approves than the socket that asked.

The user's own socket asks as `local`; the owner's token, which lies in a file that only they can read, approves as
`client:owner`. Where standard input is no terminal nobody approves: the command to do so is printed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightfast.app.cli.session import CURRENT, Session, fail, say
from lightfast.app.cli.states import word
from lightfast.core.errors import Denied

if TYPE_CHECKING:
    from lightfast.client import Client


def approver(session: Session, timeout: float = 10.0) -> Client:
    """Open a client that speaks for the owner: with the token that was given, else with the owner's own.

    Raises `Denied` (NO_OWNER_TOKEN) where there is no such token here, `DaemonGone` where no daemon runs.
    """
    from lightfast.client import Client
    from lightfast_link import endpoints

    if session.token or session.address:
        return session.client(timeout)
    try:
        found = endpoints.find(session.home)
        token = Path(str(found.get("token_file") or "")).read_text(encoding="utf-8").strip()
        address = str(found.get("grpc") or "")
    except (OSError, ValueError, LookupError) as error:
        raise _no_token(str(error)) from None
    if not address or not token:
        raise _no_token("the daemon has no TCP door, or no token file")
    return Client(address, token=token, home=session.home, timeout=timeout)


def _no_token(why: str) -> Denied:
    return Denied(
        f"the owner's token is not at hand ({why}): approve with --token-file FILE --address HOST:PORT, or with"
        " LIGHTFAST_TOKEN, of a token that has the scope approve",
        reason="NO_OWNER_TOKEN",
    )


def command(run: dict[str, Any]) -> str:
    """Return what approves *run* on the command line."""
    return f"lightfast approve {run['run_id']} --digest {run['digest']}"


def at_terminal() -> bool:
    """Say whether somebody sits here who can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def offer(run: dict[str, Any]) -> bool:
    """Ask whether *run* (proto JSON, waiting for its approval) may go on, and send the answer; say whether it may.

    Where nobody can be asked the command that approves is printed on standard error instead; one that waits no more
    (what is shown of it is of the past) is asked for nothing.
    """
    if not _waits(run["run_id"]):
        return True
    for reason in run.get("approval_reasons", []):
        fail(f"  {reason}")
    if not at_terminal() or CURRENT.as_json:
        fail(f"it waits for an approval: {command(run)}")
        return False
    fail(f"{run['run_id']} needs your approval. Approve exactly this program ({run['digest'][:12]}…)? [y/N] ")
    answer = sys.stdin.readline().strip().lower()
    if answer not in ("y", "yes"):
        fail(f"it still waits: {command(run)}, or with --refuse")
        return False
    send(run["run_id"], run["digest"])
    return True


def _waits(run_id: str) -> bool:
    """Say whether a run, or a step of it, waits for an approval now."""
    with CURRENT.client() as client:
        run = client.call_json("EngineService.GetRun", {"run_id": run_id})["run"]
    return run["state"] == "RUN_STATE_AWAITING_APPROVAL" or any(
        step.get("operation") == "ask.approval" and step.get("state") == "STEP_STATE_STARTED"
        for step in run.get("steps", [])
    )


def send(run_id: str, digest: str, *, refuse: bool = False, comment: str = "") -> dict[str, Any]:
    """Approve or refuse with the owner's token; return the run as proto JSON."""
    fields = {"run_id": run_id, "digest": digest, "refuse": refuse, "comment": comment}
    with approver(CURRENT) as client:
        message: dict[str, Any] = client.call_json("EngineService.Approve", fields)
    return message


def told(message: dict[str, Any]) -> None:
    """Say what became of an approval."""
    run = message["run"]
    say(f"{run['run_id']} is {word(run['state'], 'RUN')}{': ' + run['reason'] if run.get('reason') else ''}")
