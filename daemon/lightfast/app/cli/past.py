"""at, history: what everything held at a time, and what has changed since when."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lightfast.app.cli import literal, times
from lightfast.app.cli.context import event_line, status_of
from lightfast.app.cli.session import CURRENT, EXIT_FAILED, NEGATIVE, arguments_told, fail, say, table
from lightfast.core.clock import SYSTEM

if TYPE_CHECKING:
    from lightfast.client import Client

app = typer.Typer()
OWN = "/lightfast"
_PAGE = 10_000
_AXES = {"record": "TIME_AXIS_RECORD", "event": "TIME_AXIS_EVENT"}
_WHEN = f"A time: {times.UNDERSTOOD}."


def moment(text: str) -> datetime:
    """Return the moment that *text* means; one that is not understood is an error of usage."""
    with arguments_told():
        return times.parse(text, datetime.fromtimestamp(SYSTEM.now_ns() / 1e9, UTC))


def revision_at(client: Client, when: datetime) -> int:
    """Return the last revision that was recorded by then."""
    fields = {"pattern": OWN + "/-", "at_time": times.stamp(when), "page_size": 1}
    return int(client.call_json("ContextService.Get", fields).get("revision", 0))


@app.command("at", context_settings=NEGATIVE)
def at_time(
    when: Annotated[str, typer.Argument(help=_WHEN)],
    pattern: Annotated[str, typer.Argument(help="Which paths; by default what the applications and you hold.")] = "",
    axis: Annotated[str, typer.Option(help="record: as it was known then; event: as it was in the world.")] = "record",
    tier: Annotated[bool, typer.Option("--tier", help="Also show where each value was read from.")] = False,
    limit: Annotated[int, typer.Option(help="The most entries; 0 means all.")] = 0,
) -> None:
    """Show what everything held at a time."""
    if axis not in _AXES:
        raise typer.BadParameter(f"--axis {axis}: use record or event")
    found = moment(when)
    fields: dict[str, Any] = {
        "pattern": pattern or "//",
        "at_time": times.stamp(found),
        "time_axis": _AXES[axis],
        "include_tier": tier,
    }
    shown = 0
    with CURRENT.client(60.0) as client:
        for message in _pages(client, "ContextService.Get", fields, limit):
            if CURRENT.as_json:
                CURRENT.show(message, _nothing)
                continue
            entries = [
                entry for entry in message.get("entries", []) if pattern or not entry["path"].startswith(OWN + "/")
            ]
            if not shown:
                say(f"{times.show(found)}, revision {message.get('revision', 0)}")
            _entries(entries, tier=tier)
            shown += len(entries)
    if not shown and not CURRENT.as_json:
        say("Nothing was there then.")


def _pages(client: Client, name: str, fields: dict[str, Any], limit: int) -> Iterator[dict[str, Any]]:
    left = limit
    while True:
        page = client.call_json(name, {**fields, "page_size": min(left, _PAGE) if limit else _PAGE}, 60.0)
        yield page
        left -= len(page.get("entries", []))
        if not page.get("next_page_token") or (limit and left <= 0):
            return
        fields["page_token"] = page["next_page_token"]


def _nothing(_: dict[str, Any]) -> None:
    return


def _entries(entries: list[dict[str, Any]], *, tier: bool) -> None:
    """Print one table for each application, and one for what belongs to none."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        groups.setdefault(entry["path"].split("/")[1], []).append(entry)
    for name, listed in groups.items():
        say(f"\n/{name}")
        columns = ("PATH", "VALUE", "REVISION", "BY", *(("TIER",) if tier else ()), "")
        table(
            columns,
            (
                (
                    entry["path"],
                    literal.show(entry.get("value")),
                    entry.get("revision", "-"),
                    entry.get("origin", ""),
                    *((entry.get("tier", ""),) if tier else ()),
                    status_of(entry).strip(),
                )
                for entry in listed
            ),
            "",
        )


@app.command()
def history(
    pattern: Annotated[str, typer.Argument(help="Which paths.")] = "//",
    limit: Annotated[int, typer.Option(help="The most transactions; 0 means all.")] = 20,
    since: Annotated[str, typer.Option(help=f"Only what came after. {_WHEN}")] = "",
    until: Annotated[str, typer.Option(help="Only what came up to this time.")] = "",
) -> None:
    """Show past changes, newest first; 1 where some of them cannot be read."""
    after, upto = (moment(text) if text else None for text in (since, until))
    fields: dict[str, Any] = {"pattern": pattern}
    undone: dict[str, str] = {}
    seen = broken = False
    with CURRENT.client(60.0) as client:
        if after is not None:
            fields["after_revision"] = str(revision_at(client, after))
        if upto is not None:
            last = revision_at(client, upto)
            if not last:
                say("Nothing had happened by then.")
                return
            fields["until_revision"] = str(last)
        for message in _history_pages(client, fields, limit):
            CURRENT.show(message, lambda page: _history(page, undone))
            seen = seen or bool(message.get("transactions"))
            broken = broken or bool(message.get("missing"))
    if broken:
        raise typer.Exit(EXIT_FAILED)
    if not seen and not CURRENT.as_json:
        say("Nothing has happened there" + (" in that time." if since or until else " yet."))


def _history_pages(client: Client, fields: dict[str, Any], limit: int) -> Iterator[dict[str, Any]]:
    left = limit
    while True:
        page = client.call_json("ContextService.History", {**fields, "page_size": min(left or 1000, 1000)}, 60.0)
        yield page
        left -= len(page.get("transactions", []))
        if not page.get("next_page_token") or (limit and left <= 0):
            return
        left = max(left, 0)
        fields["page_token"] = page["next_page_token"]


def _history(message: dict[str, Any], undone: dict[str, str]) -> None:
    """Print transactions; *undone* collects what later ones have taken back, by revision."""
    for transaction in message.get("transactions", []):
        revision = transaction["revision"]
        taken = transaction.get("undone_revisions", [])
        if revision not in undone:  # an undo that was taken back itself has taken nothing back
            undone.update(dict.fromkeys(taken, revision))
        when = datetime.fromisoformat(transaction["record_time"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        say(f"{revision}  {when}  {'; '.join(_notes(transaction, undone))}")
        for event in transaction.get("events", []):
            say("   " + event_line(event).strip().split("  ", 1)[-1].rsplit("  by ", 1)[0])
    for gap in message.get("missing", []):
        fail(
            f"the revisions {gap['first_revision']} to {gap['last_revision']} cannot be read: their frame"
            f" {gap['frame_id']} of the archive is {gap['reason']}. Run 'lightfast archive verify', then 'lightfast"
            " archive repair'; what is lost comes back only with a backup"
        )


def _notes(transaction: dict[str, Any], undone: dict[str, str]) -> Iterator[str]:
    yield f"by {transaction.get('origin') or 'nobody any more (purged)'}"
    if transaction.get("cause_revision"):
        yield f"because of {transaction['cause_revision']}"
    if transaction.get("group_id"):
        yield f"group {transaction['group_id']}"
    if transaction.get("undone_revisions"):
        yield "takes back " + ", ".join(transaction["undone_revisions"])
    if by := undone.get(transaction["revision"]):
        yield f"TAKEN BACK by {by}"
    if label := transaction.get("label"):
        yield label
    if not transaction.get("events"):
        yield "what it changed was purged"
