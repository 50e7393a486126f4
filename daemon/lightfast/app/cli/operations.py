"""operations, operation: generations under way, and those that are over."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lightfast.app.cli.made import cost_of
from lightfast.app.cli.session import CURRENT, asks_for_percent, say, table

app = typer.Typer()
operation = typer.Typer(no_args_is_help=True, help="One generation: show it, cancel it.")

_MOST = 1000


@app.command()
def operations(
    running: Annotated[bool, typer.Option("--running", help="Only those that run.")] = False,
    project: Annotated[str, typer.Option(help="Only those of this project.")] = "",
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=_MOST)] = 50,
) -> None:
    """List generations, the newest first."""
    CURRENT.call(
        "GenerationService.ListOperations",
        {"running_only": running, "project": project, "page_size": limit},
        lambda found: table(
            ("OPERATION", "STATE", "DONE", "MODEL", "MAKES", "BEGAN", "COST", ""),
            (_row(each) for each in found.get("operations", [])),
            "No generation runs." if running else "No generations yet: lightfast generate text 'hello'",
        ),
    )


def _row(item: dict[str, Any]) -> tuple[Any, ...]:
    usage = item.get("usage", {})
    return (
        item["operation_id"],
        _state(item),
        asks_for_percent(item.get("fraction", 0.0)).strip(),
        item.get("model", ""),
        item.get("output", ""),
        item.get("create_time", ""),
        f"{float(usage.get('cost_usd', 0.0)):.4g}",
        item.get("error", "")[:80],
    )


def _state(item: dict[str, Any]) -> str:
    return str(item.get("state", "")).removeprefix("OPERATION_STATE_").lower()


@operation.command("show")
def show(operation_id: str) -> None:
    """Show one generation: its text so far, its assets, what it used, who failed before."""
    CURRENT.call("GenerationService.GetOperation", {"operation_id": operation_id}, _whole)


@operation.command("cancel")
def cancel(operation_id: str) -> None:
    """Cancel a generation; one that is over stays as it is."""
    CURRENT.call(
        "GenerationService.CancelOperation",
        {"operation_id": operation_id},
        lambda found: say(_state(found["operation"])),
        timeout=20.0,
    )


def _whole(found: dict[str, Any]) -> None:
    item = found["operation"]
    say(f"{item['operation_id']}  {_state(item)}  {asks_for_percent(item.get('fraction', 0.0)).strip()}")
    for name in ("model", "output", "create_time", "end_time", "project", "job_id", "error"):
        if item.get(name):
            say(f"{name.replace('_', ' ')}: {item[name]}")
    for fallback in item.get("fallbacks", []):
        how = "began anew" if fallback.get("restarted") else "went on"
        say(f"{fallback.get('to_model', '')} {how}: {fallback.get('reason', '')}")
    for asset in item.get("assets", []):
        say(f"{asset['uri']}  {asset.get('media_type', '')}  {asset.get('size')} bytes")
    if item.get("text"):
        say(item["text"])
    say(cost_of(item.get("usage", {})))
