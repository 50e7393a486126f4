"""usage, budget, failures: what AI services have cost, what they may cost, and what went wrong with them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from lightfast.app.cli import times
from lightfast.app.cli.session import CURRENT, arguments_told, say, table

app = typer.Typer()
budget = typer.Typer(no_args_is_help=True, help="Set, list and remove budgets: what AI services may cost.")

_WHOSE = "Whose: all, project:NAME, client:NAME or run:NAME; the name * means each that has none of its own."
_PER = "Over what: day, month (both UTC) or total."


@app.command()
def usage(
    by: Annotated[
        str,
        typer.Option("--by", help="Sum up by these, such as model,day: provider, model, project, client, day, run."),
    ] = "model",
    since: Annotated[str, typer.Option("--since", help="From then on, such as yesterday, -7d, 2026-03-01.")] = "",
    until: Annotated[str, typer.Option("--until", help="Until then.")] = "",
    project: Annotated[str, typer.Option(help="Only that of this project.")] = "",
) -> None:
    """Show what was used, what it has cost, and what was saved."""
    names = [name.strip() for name in by.split(",") if name.strip()]
    fields: dict[str, Any] = {"group_by": names, "project": project}
    with arguments_told():
        now = datetime.now(UTC)
        if since:
            fields["after"] = times.stamp(times.parse(since, now))
        if until:
            fields["before"] = times.stamp(times.parse(until, now))

    def render(found: dict[str, Any]) -> None:
        sums = found.get("sums", [])
        table(
            (*(name.upper() for name in names), "REQUESTS", "FAILED", "IN", "CACHED", "OUT", "COST", "SAVED"),
            (
                (
                    *(one.get("group", {}).get(name, "") or "-" for name in names),
                    one.get("requests", 0),
                    one.get("failures", 0),
                    one.get("usage", {}).get("input_tokens", 0),
                    one.get("usage", {}).get("cached_tokens", 0),
                    one.get("usage", {}).get("output_tokens", 0),
                    money(one.get("usage", {}).get("cost_usd", 0.0)),
                    money(one.get("usage", {}).get("saved_usd", 0.0)),
                )
                for one in sums
            ),
            "Nothing was used.",
        )
        if len(sums) > 1:
            paid = sum(one.get("usage", {}).get("cost_usd", 0.0) for one in sums)
            saved = sum(one.get("usage", {}).get("saved_usd", 0.0) for one in sums)
            say(f"{money(paid)} in all, {money(saved)} saved")

    CURRENT.call("GenerationService.GetUsage", fields, render)


@app.command()
def failures(
    provider: Annotated[str, typer.Argument(help="Only those of this provider.")] = "",
    operation: Annotated[str, typer.Option(help="Only those of this operation.")] = "",
    limit: Annotated[int, typer.Option(help="The most failures.", min=1, max=1000)] = 20,
) -> None:
    """Show which attempts at models failed lately, why, and what was done about it."""

    def render(found: dict[str, Any]) -> None:
        errors = found.get("errors", [])
        if not errors:
            say("No failures.")
        for one in errors:
            account = f" ({one['account']})" if one.get("account") else ""
            done = f", {one['outcome']}" if one.get("outcome") else ""
            say(f"{one.get('time', '')}  {one.get('model', '')}{account}  {one.get('reason', '')}{done}")
            say(f"    {one.get('message', '')}")
            for cause in one.get("causes", []):
                say(f"    because of {cause}")

    fields = {"provider": provider, "operation_id": operation, "page_size": limit}
    CURRENT.call("GenerationService.ListFailures", fields, render)


@budget.command("set")
def set_budget(
    whose: Annotated[str, typer.Argument(help=_WHOSE)],
    usd: Annotated[float, typer.Argument(help="US dollars.", min=0.0)],
    per: Annotated[str, typer.Option("--per", help=_PER)] = "total",
) -> None:
    """Set or change a budget, for example: lightfast budget set project:film 5 --per day."""
    _change({**_whose(whose), "limit_usd": usd, "period": per}, remove=False)


@budget.command("remove")
def remove_budget(
    whose: Annotated[str, typer.Argument(help=_WHOSE)],
    per: Annotated[str, typer.Option("--per", help=_PER)] = "total",
) -> None:
    """Remove a budget; one of the settings counts again."""
    _change({**_whose(whose), "period": per}, remove=True)


@budget.command("list")
def list_budgets() -> None:
    """List the budgets with what was spent, and what is held for generations under way."""
    CURRENT.call("GenerationService.ListBudgets", {}, lambda found: _budgets(found.get("budgets", []), "No budgets."))


def _change(fields: dict[str, Any], *, remove: bool) -> None:
    def render(found: dict[str, Any]) -> None:
        if remove:
            say("removed")
        else:
            _budgets([found["budget"]], "")

    CURRENT.call("GenerationService.SetBudget", {"budget": fields, "remove": remove}, render)


def _whose(text: str) -> dict[str, str]:
    scope, _, name = text.partition(":")
    return {"scope": scope, "name": name}


def _called(scope: str, name: str) -> str:
    if scope == "client" and name.startswith("client:"):
        return name  # the origin of a token: it is typed without saying so twice
    return f"{scope}:{name}" if name else scope


def _budgets(found: list[dict[str, Any]], empty: str) -> None:
    table(
        ("BUDGET", "PER", "LIMIT", "SPENT", "HELD", "ANEW"),
        (
            (
                _called(one["scope"], one.get("name", "")),
                one.get("period", ""),
                money(one.get("limit_usd", 0.0)),
                money(one.get("spent_usd", 0.0)) + (" at most" if one.get("name") == "*" else ""),
                money(one.get("held_usd", 0.0)),
                one.get("reset_time", "never"),
            )
            for one in found
        ),
        empty,
    )


def money(usd: float) -> str:
    """Return US dollars with the digits that matter: cents, and below a cent two digits more than there are zeros."""
    if not usd:
        return "$0"
    if abs(usd) >= 1:
        return f"${usd:.2f}"
    return f"${usd:.6f}".rstrip("0") if abs(usd) >= 0.000001 else f"${usd:.9f}".rstrip("0")
