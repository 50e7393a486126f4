"""get, set, rm, ls, watch: the context from the command line."""

from __future__ import annotations

import json
import select
import sys
import threading
import uuid
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lightfast.app.cli import literal
from lightfast.app.cli.session import CURRENT, NEGATIVE, arguments_told, say, table
from lightfast.core.errors import NotFound

if TYPE_CHECKING:
    from lightfast.client import Client

app = typer.Typer()


@app.command()
def get(
    path: Annotated[str, typer.Argument(help="A path, or a pattern: '/blender//' is all of Blender.")],
    at: Annotated[int | None, typer.Option("--at", "--at-revision", help="As of this revision.")] = None,
    at_time: Annotated[
        str | None, typer.Option("--at-time", help="As it was known at this time; see 'lightfast at'.")
    ] = None,
    tier: Annotated[bool, typer.Option("--tier", help="Also show where each value was read from.")] = False,
) -> None:
    """Show values, now or as of a revision or a time."""
    pattern = "//" in path or any(char in path for char in "*?[]{}")
    fields: dict[str, Any] = {"pattern": path} if pattern else {"paths": [path]}
    if at is not None and at_time is not None:
        raise typer.BadParameter("give --at-revision or --at-time, not both")
    if at is not None:
        fields["at_revision"] = str(at)
    if at_time is not None:  # an empty one, of a variable that is not set, must not mean now
        from lightfast.app.cli import past, times

        fields["at_time"] = times.stamp(past.moment(at_time))
    if tier:
        fields["include_tier"] = True
    with CURRENT.client() as client:
        while True:
            message = client.call_json("ContextService.Get", fields)
            CURRENT.show(message, lambda found: _entries(found, single=not pattern))
            if not message.get("next_page_token"):
                return
            fields["page_token"] = message["next_page_token"]


def _entries(message: dict[str, Any], *, single: bool) -> None:
    entries = message.get("entries", [])
    if single and len(entries) == 1:
        where = f"  ({entries[0]['tier']})" if entries[0].get("tier") else ""
        say(literal.show(entries[0].get("value")) + status_of(entries[0]) + where)
        return
    tier = any(entry.get("tier") for entry in entries)
    table(
        ("PATH", "VALUE", "REVISION", "BY", *(("TIER",) if tier else ()), ""),
        (
            (
                e["path"],
                literal.show(e.get("value")),
                e.get("revision", "-"),
                e.get("origin", ""),
                *((e.get("tier", ""),) if tier else ()),
                status_of(e).strip(),
            )
            for e in entries
        ),
        "Nothing matches.",
    )


def status_of(entry: dict[str, Any]) -> str:
    """Return what there is to say of an application's entry; empty where it is as wished."""
    status = entry.get("status", "").removeprefix("ENTRY_STATUS_")
    if status in {"", "SETTLED"} and not entry.get("status_reason"):
        return ""
    reported = f", the application has {literal.show(entry['reported'])}" if entry.get("reported") else ""
    return f"  ({status.lower()}{': ' + entry['status_reason'] if entry.get('status_reason') else ''}{reported})"


@app.command("set", context_settings=NEGATIVE)
def set_value(
    path: str,
    value: Annotated[str, typer.Argument(help="JSON, or plain text: 0.5, true, [1,2,3], red.")],
    kind: Annotated[str, typer.Option("--type", help=f"One of {', '.join(literal.KINDS)}.")] = "auto",
    label: Annotated[str, typer.Option(help="A few words for the history.")] = "",
    group: Annotated[str, typer.Option(help="Joins writes that one undo takes back.")] = "",
) -> None:
    """Set one value."""
    if kind not in literal.KINDS:
        raise typer.BadParameter(f"{kind!r} is no type: use one of {', '.join(literal.KINDS)}")
    with arguments_told():
        parsed = literal.parse(value, kind)
    fields = {
        "mutations": [{"set": {"path": path, "value": parsed}}],
        "label": label,
        "group_id": group,
        "request_id": uuid.uuid4().hex,
    }
    CURRENT.call("ContextService.Apply", fields, _applied)


def _applied(message: dict[str, Any]) -> None:
    revision = message.get("revision")
    entries = message.get("entries", [])
    waits = any(entry.get("status") == "ENTRY_STATUS_PENDING" for entry in entries)
    say(
        (f"revision {revision}" if revision else "sent (a signal: the latest value wins)")
        + (", waiting for the application" if waits else "")
    )


@app.command()
def rm(
    path: str,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Everything below it, too.")] = False,
) -> None:
    """Delete an entry."""
    fields = {
        "mutations": [{"delete": {"path": path, "recursive": recursive}}],
        "request_id": uuid.uuid4().hex,
    }
    with CURRENT.client() as client:
        # Deleting what is not there is no error for a program; a person has mistyped.
        if not (_any(client, {"paths": [path]}) or (recursive and _any(client, {"pattern": f"{path.rstrip('/')}//"}))):
            below = _any(client, {"pattern": f"{path.rstrip('/')}//"})
            raise NotFound(f"there is no entry at {path}" + (", only below it: add --recursive" if below else ""))
        CURRENT.show(client.call_json("ContextService.Apply", fields), _applied)


def _any(client: Client, fields: dict[str, Any]) -> bool:
    try:
        return bool(client.call_json("ContextService.Get", {**fields, "page_size": 1}).get("entries"))
    except NotFound:
        return False


@app.command()
def ls(path: Annotated[str, typer.Argument(help="The parent.")] = "/") -> None:
    """List the children of a path."""
    fields: dict[str, Any] = {"path": path}
    with CURRENT.client() as client:
        while True:
            message = client.call_json("ContextService.List", fields)
            CURRENT.show(message, lambda found: _children(found, path))
            if not message.get("next_page_token"):
                return
            fields["page_token"] = message["next_page_token"]


def _children(message: dict[str, Any], path: str) -> None:
    children = message.get("children", [])
    if not children:
        say(f"{path} has no children.")
    for child in children:
        say(child["path"] + ("/" if child.get("has_children") else ""))


@app.command()
def watch(
    patterns: Annotated[list[str] | None, typer.Argument(help="Patterns; without one, everything.")] = None,
    snapshot: Annotated[bool, typer.Option(help="The values as they are, first.")] = False,
    since: Annotated[int | None, typer.Option(help="Everything after this revision.")] = None,
    rate: Annotated[float, typer.Option(help="The most signal batches a second.")] = 0.0,
    count: Annotated[int, typer.Option(help="End after so many events; 0 means never.")] = 0,
) -> None:
    """Print changes as they come; a restart of the daemon is survived."""
    seen = 0
    with CURRENT.client() as client:
        fields: dict[str, Any] = {
            "patterns": patterns or ["//"],
            "include_snapshot": snapshot,
            "max_rate_hz": rate,
        }
        if since is not None:
            fields["start_revision"] = str(since)
        _end_with_the_reader(client)
        for batch in client.watch_json(fields):
            if CURRENT.as_json:
                print(json.dumps(batch, ensure_ascii=False), flush=True)
            for event in batch.get("events", []):
                if not CURRENT.as_json and not (count and seen >= count):
                    say(event_line(event))
                seen += 1
            if count and seen >= count:
                return


def _end_with_the_reader(client: Client) -> None:
    """Let `lightfast watch | head -1` end when the reader goes, not at the next event after that."""
    if sys.platform == "win32":
        return
    poller = select.poll()
    poller.register(sys.stdout.fileno(), 0)  # asks for trouble only

    def wait() -> None:
        poller.poll()
        client.close()

    threading.Thread(target=wait, name="reader", daemon=True).start()


def event_line(event: dict[str, Any]) -> str:
    """Return an event as a person reads it."""
    entry = event["entry"]
    kind = event["type"].removeprefix("EVENT_TYPE_").lower()
    revision = entry.get("revision", "~")
    if kind == "delete":
        return f"{revision:>6}  {entry['path']}  deleted  by {entry.get('origin', '')}"
    if kind == "move":
        return f"{revision:>6}  {event.get('from')} -> {entry['path']}  by {entry.get('origin', '')}"
    value = literal.show(entry.get("value"))
    return f"{revision:>6}  {entry['path']} = {value}{status_of(entry)}  by {entry.get('origin', '')}"
