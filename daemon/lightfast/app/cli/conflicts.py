"""apps conflicts, resolve, diagnose: what is wrong between the context and an application, and its end."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Any

import typer

from lightfast.app.cli import literal
from lightfast.app.cli.apps import apps, mount_of
from lightfast.app.cli.session import CURRENT, EXIT_FAILED, NEGATIVE, arguments_told, say, table

__all__ = ["apps"]
_ROOT = "/lightfast/conflicts"


@apps.command()
def conflicts(
    mount: Annotated[str, typer.Argument(help="Only of this application.")] = "",
) -> None:
    """List the conflict records: overwritten wishes, and questions that wait for you."""
    fields: dict[str, Any] = {"pattern": _ROOT + "//", "page_size": 1000}
    found: list[dict[str, Any]] = []
    with CURRENT.client() as client:
        while True:
            message = client.call_json("ContextService.Get", fields)
            found += [entry for entry in message.get("entries", []) if _is_below(entry, mount)]
            if not message.get("next_page_token"):
                break
            fields["page_token"] = message["next_page_token"]
    CURRENT.show({"entries": found}, lambda _: _list(found))


def _fields(entry: dict[str, Any]) -> dict[str, Any]:
    return dict(entry.get("value", {}).get("map_value", {}).get("fields", {}))


def _text(entry: dict[str, Any], name: str) -> str:
    return str(_fields(entry).get(name, {}).get("string_value", ""))


def _is_below(entry: dict[str, Any], mount: str) -> bool:
    path = _text(entry, "path")
    return not mount or path == mount_of(mount) or path.startswith(mount_of(mount) + "/")


def _list(entries: list[dict[str, Any]]) -> None:
    table(
        ("ID", "", "PATH", "WISHED", "REPORTED", "BY", "WHEN", "WHY"),
        (
            (
                entry["path"].rpartition("/")[2],
                "asks" if _fields(entry).get("open") else "",
                _text(entry, "path"),
                literal.show(_fields(entry).get("wished")) if "wished" in _fields(entry) else "(nothing)",
                literal.show(_fields(entry).get("reported")) if "reported" in _fields(entry) else "(nothing)",
                _text(entry, "origin"),
                _when(entry),
                _text(entry, "reason"),
            )
            for entry in entries
        ),
        "No conflicts.",
    )


def _when(entry: dict[str, Any]) -> str:
    nanoseconds = int(_fields(entry).get("time", {}).get("int_value", 0))
    return datetime.fromtimestamp(nanoseconds / 1e9).astimezone().strftime("%Y-%m-%d %H:%M:%S")


@apps.command(context_settings=NEGATIVE)
def resolve(
    conflict_id: Annotated[str, typer.Argument(help="As 'lightfast apps conflicts' lists it.")],
    choice: Annotated[str, typer.Argument(help="wished, reported, or a value as in 'lightfast set'.")],
    kind: Annotated[str, typer.Option("--type", help="The type of a value; with it, even 'wished' is one.")] = "auto",
) -> None:
    """Say what is to hold: lightfast apps resolve ID wished|reported|VALUE."""
    fields: dict[str, Any] = {"conflict_id": conflict_id, "request_id": uuid.uuid4().hex}
    if choice in {"wished", "reported"} and kind == "auto":
        fields["choice"] = f"CONFLICT_CHOICE_{choice.upper()}"
    else:
        with arguments_told():
            fields["value"] = literal.parse(choice, kind)

    def render(message: dict[str, Any]) -> None:
        entry = message.get("entry")
        holds = f" = {literal.show(entry.get('value'))}" if entry else " is gone"
        waits = ", waiting for the application" if entry and entry.get("status") == "ENTRY_STATUS_PENDING" else ""
        say(f"revision {message.get('revision')}: {message.get('path')}{holds}{waits}")

    CURRENT.call("AppService.ResolveConflict", fields, render)


@apps.command()
def diagnose(target: Annotated[str, typer.Argument(help="A mount, or a kind of application.")]) -> None:
    """Say what stands between the daemon and an application, and what to do about it."""

    def render(message: dict[str, Any]) -> None:
        for finding in message.get("findings", []):
            level = finding.get("level", "").removeprefix("FINDING_LEVEL_").lower()
            say(f"{level:<8}{finding.get('subject', '')}: {finding.get('what', '')}")
            if finding.get("remedy"):
                say(f"        {finding['remedy']}")

    message = CURRENT.call("AppService.Diagnose", {"target": target}, render, timeout=15.0)
    if any(finding.get("level") == "FINDING_LEVEL_ERROR" for finding in message.get("findings", [])):
        raise typer.Exit(EXIT_FAILED)
