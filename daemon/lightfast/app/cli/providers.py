"""providers: the AI services, their accounts, limits and balances."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from lightfast.app.cli.session import CURRENT, EXIT_FAILED, table

providers = typer.Typer(help="Show the AI services and how their accounts stand.")
_CHECK_TIMEOUT = 60.0
_SPANS = {60.0: "min", 3600.0: "h", 86_400.0: "day"}
_GOOD = ("READY",)


@providers.callback(invoke_without_command=True)
def list_providers(
    context: typer.Context,
    limits: Annotated[bool, typer.Option("--limits", help="Show the limits, and what is left of them.")] = False,
) -> None:
    """List the services with their accounts; 'lightfast providers check NAME' asks one whether it can be used."""
    if context.invoked_subcommand is not None:
        return
    with CURRENT.client() as client:
        listed = client.call_json("GenerationService.ListProviders", {})
        found = client.call_json("GenerationService.ListSessions", {})
    message = {"providers": listed.get("providers", []), "sessions": found.get("sessions", [])}
    CURRENT.show(message, lambda both: _show(both["providers"], both["sessions"], limits=limits))


@providers.command("check")
def check(
    name: Annotated[str, typer.Argument(metavar="PROVIDER", help="For example openai.")],
    limits: Annotated[bool, typer.Option("--limits", help="Show the limits, and what is left of them.")] = False,
) -> None:
    """Ask a service whether it can be used: a cheap call with each account. Exit code 1: none can."""
    found = CURRENT.call(
        "GenerationService.CheckProvider",
        {"provider": name},
        lambda answer: _show([], answer.get("sessions", []), limits=limits),
        _CHECK_TIMEOUT,
    )
    if not any(_state(session) in _GOOD for session in found.get("sessions", [])):
        raise typer.Exit(EXIT_FAILED)


def _show(listed: list[dict[str, Any]], sessions: list[dict[str, Any]], *, limits: bool) -> None:
    named = {session["provider"] for session in sessions}
    rows: list[tuple[Any, ...]] = []
    for session in sessions:
        rows.append(
            (
                session["provider"],
                session.get("account", ""),
                _state(session).lower().replace("_", " "),
                session.get("key_source", ""),
                session.get("requests", 0),
                session.get("failures", 0),
                _seconds(session.get("latency", "")),
                _balance(session),
                session.get("reason", ""),
            )
        )
        if limits:
            rows += [("", "", _limit(limit), limit.get("source", ""), *[""] * 5) for limit in session.get("limits", [])]
    rows += [
        (item["name"], "", "not there", *[""] * 5, item.get("reason", ""))
        for item in listed
        if item["name"] not in named
    ]
    columns = ("PROVIDER", "ACCOUNT", "STATE", "KEY", "REQUESTS", "FAILED", "LATENCY", "BALANCE", "")
    table(columns, rows, "There are no providers: see 'lightfast plugins'.")


def _state(session: dict[str, Any]) -> str:
    return str(session.get("state", "")).removeprefix("SESSION_STATE_")


def _limit(limit: dict[str, Any]) -> str:
    window = limit.get("window_s", 0.0)
    span = f" a {_SPANS.get(window, f'{window:g} s')}" if window else ""
    return f"{limit.get('remaining', 0.0):g} of {limit.get('limit', 0.0):g} {limit['kind']}{span}"


def _balance(session: dict[str, Any]) -> str:
    if "balance" not in session:
        until = session.get("expire_time", "")
        return f"until {datetime.fromisoformat(until).astimezone():%H:%M}" if until else ""
    return f"{session['balance']:g} {session.get('balance_unit', '')}".rstrip()


def _seconds(duration: str) -> str:
    """Return a duration of proto JSON (`0.009800407s`) to two places."""
    return f"{float(duration.removesuffix('s')):.2g} s" if duration else ""
