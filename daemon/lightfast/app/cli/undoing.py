"""undo, redo: taking back groups, runs and revisions, across applications, and whether those have done it."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lightfast.app.cli import literal
from lightfast.app.cli.session import CURRENT, EXIT_CONFLICT, EXIT_FAILED, fail, say

if TYPE_CHECKING:
    from lightfast.client import Client

app = typer.Typer()
VERIFY_S = 10.0
_POLL_S = 0.1
_PAGE = 10_000
_SHOWN = 20
_PENDING = "ENTRY_STATUS_PENDING"

Revision = Annotated[int | None, typer.Argument(help="One revision; see 'lightfast history'.")]
Group = Annotated[str, typer.Option(help="A whole group: a gesture, a recall, a replay.")]
Whole = Annotated[str, typer.Option("--run", help="A whole run.")]
Dry = Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")]
Wait = Annotated[float, typer.Option("--verify", help="Seconds applications have to report it; 0: do not wait.")]


@app.command()
def undo(
    revision: Revision = None, group: Group = "", run: Whole = "", dry: Dry = False, verify: Wait = VERIFY_S
) -> None:
    """Take a change back, and what it caused in other applications."""
    _take("Undo", _target(revision, group, run), dry=dry, verify=verify)


@app.command()
def redo(
    revision: Revision = None, group: Group = "", run: Whole = "", dry: Dry = False, verify: Wait = VERIFY_S
) -> None:
    """Bring back what an undo took."""
    _take("Redo", _target(revision, group, run), dry=dry, verify=verify)


def _target(revision: int | None, group: str, run: str) -> dict[str, Any]:
    given = [name for name, value in (("REVISION", revision), ("--group", group), ("--run", run)) if value]
    if len(given) != 1:
        raise typer.BadParameter("give a revision, --group or --run (see 'lightfast history')")
    return {"revision": str(revision)} if revision else {"group_id": group} if group else {"run": run}


def _take(method: str, target: dict[str, Any], *, dry: bool, verify: float) -> None:
    fields = {**target, "validate_only": dry} | ({} if dry else {"request_id": uuid.uuid4().hex})
    with CURRENT.client(60.0) as client:
        message = client.call_json(f"ContextService.{method}", fields)
        CURRENT.show(message, lambda found: _say(method, found, dry=dry))
        if message.get("conflicts"):
            raise typer.Exit(EXIT_CONFLICT)
        if not dry and verify > 0 and int(message.get("revision", 0)):
            _verify(client, int(message["revision"]), verify)


def _say(method: str, message: dict[str, Any], *, dry: bool) -> None:
    taken = message.get("undone_revisions", message.get("redone_revisions", []))
    word = "take back" if method == "Undo" else "bring back"
    conflicts = message.get("conflicts", [])
    for entry in conflicts[:_SHOWN]:
        value = literal.show(entry.get("value"))
        fail(
            f"conflict: {entry['path']} = {value} was written since by {entry.get('origin')}, revision "
            f"{entry.get('revision')}"
        )
    if len(conflicts) > _SHOWN:
        fail(f"… and {len(conflicts) - _SHOWN} more")
    if conflicts:
        fail(f"it would be refused: {word} those first, or set the values you want")
    elif dry:
        say(f"would {word} {', '.join(taken) or 'nothing'}")
    else:
        done = "took back" if method == "Undo" else "brought back"
        say(f"{done} {', '.join(taken) or 'nothing'}; this is revision {message.get('revision', '-')}")


def _verify(client: Client, revision: int, within: float) -> None:
    """Wait until the applications have answered what *revision* wishes; name what they have not, or refused."""
    paths = _wished(client, revision)
    if not paths:
        return
    deadline = time.monotonic() + within
    while True:
        entries = [
            entry for start in range(0, len(paths), _PAGE) for entry in _now(client, paths[start : start + _PAGE])
        ]
        pending = [entry for entry in entries if entry.get("status") == _PENDING]
        if not pending or time.monotonic() >= deadline:
            break
        time.sleep(_POLL_S)
    wrong = [entry for entry in entries if entry.get("status") not in {None, "ENTRY_STATUS_SETTLED"} or _differs(entry)]
    settled = len(entries) - len(wrong)
    CURRENT.show({"entries": wrong}, lambda found: _report(found["entries"], settled, len(paths)))
    if wrong:
        raise typer.Exit(EXIT_FAILED)


def _wished(client: Client, revision: int) -> list[str]:
    """Return the paths of applications that *revision* has wished something of."""
    fields: dict[str, Any] = {
        "pattern": "//",
        "after_revision": str(revision - 1),
        "until_revision": str(revision),
        "page_size": 1,
    }
    transactions = client.call_json("ContextService.History", fields).get("transactions", [])
    return sorted(
        {
            event["entry"]["path"]
            for transaction in transactions
            for event in transaction.get("events", [])
            if event["entry"].get("status") and event["type"] != "EVENT_TYPE_DELETE"
        }
    )


def _now(client: Client, paths: list[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    # A pattern that matches nothing: beside one, a path may be gone by now.
    fields: dict[str, Any] = {"paths": paths, "pattern": "/lightfast/-", "page_size": _PAGE}
    while True:
        page = client.call_json("ContextService.Get", fields)
        found += page.get("entries", [])
        if not page.get("next_page_token"):
            return found
        fields["page_token"] = page["next_page_token"]


def _differs(entry: dict[str, Any]) -> bool:
    """Say whether the application made something else of a wish; it then says what."""
    return bool(entry.get("status_reason"))


def _report(wrong: list[dict[str, Any]], settled: int, asked: int) -> None:
    say(f"{settled} of {asked} values are reported by their applications")
    for entry in wrong[:_SHOWN]:
        status = entry.get("status", "").removeprefix("ENTRY_STATUS_").lower()
        why = entry.get("status_reason") or (
            "no answer yet: it waits for the application" if status == "pending" else ""
        )
        held = f"; it has {literal.show(entry['reported'])}" if entry.get("reported") else ""
        fail(f"{entry['path']}: {status}{', ' + why if why else ''}{held}")
    if len(wrong) > _SHOWN:
        fail(f"… and {len(wrong) - _SHOWN} more")
