"""view: the context as one consumer needs it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lightfast.app.cli.session import CURRENT, EXIT_USAGE, fail, say

app = typer.Typer()


@app.command()
def view(
    patterns: Annotated[list[str] | None, typer.Argument(help="What is selected; none: everything.")] = None,
    for_app: Annotated[str, typer.Option("--app", help="The mount of the application that is to get it.")] = "",
    tokens: Annotated[int, typer.Option(help="The window of the model that is to get it, in tokens.")] = 0,
    model: Annotated[str, typer.Option(help="The model, for its way of counting.")] = "",
    purpose: Annotated[str, typer.Option(help="What it is for, in words: the closest comes first.")] = "",
    exclude: Annotated[list[str] | None, typer.Option(help="A pattern that is left out.")] = None,
    memory: Annotated[bool, typer.Option("--memory", help="With what the memory holds of the purpose.")] = False,
    recent: Annotated[int, typer.Option(help="With so many of the last changes.")] = 0,
    at_revision: Annotated[int | None, typer.Option(help="As of this revision.")] = None,
    write: Annotated[bool, typer.Option("--apply", help="Write it to the application, as one change.")] = False,
) -> None:
    """Show the context in an application's units, axes and names, or as a text that fits a model's window."""
    if bool(for_app) == bool(tokens):
        fail("lightfast: give --app MOUNT for an application, or --tokens N for a model")
        raise typer.Exit(EXIT_USAGE)
    request: dict[str, Any] = {"patterns": patterns or [], "exclude": exclude or [], "purpose": purpose}
    if at_revision is not None:
        request["at_revision"] = at_revision
    if for_app:
        request["app"] = {"mount": for_app}
    else:
        request |= {"model": {"model": model, "budget_tokens": tokens}}
        request |= {"include_memory": memory, "recent_changes": recent}
    found = CURRENT.call("ContextService.Recontextualize", request, _app if for_app else _model, timeout=30.0)
    if write and for_app:
        _write(found)


def _write(found: dict[str, Any]) -> None:
    mutations = [{"set": {"path": item["name"], "value": item["value"]}} for item in found.get("items", [])]
    if not mutations:
        fail("lightfast: nothing of it has a place there")
        return
    request = {"mutations": mutations, "label": "view"}
    CURRENT.call("ContextService.Apply", request, lambda done: say(f"written: revision {done.get('revision', 0)}"))


def _app(found: dict[str, Any]) -> None:
    for item in found.get("items", []):
        unit = f" {item['unit']}" if item.get("unit") else ""
        say(f"{item['name']} = {_value(item['value'])}{unit}  from {item['source']}")
    _left_out(found)


def _model(found: dict[str, Any]) -> None:
    say(found.get("text", "").rstrip("\n"))
    say(f"-- {found.get('tokens', 0)} tokens, counted by {found.get('counter', '')}")
    _left_out(found)


def _left_out(found: dict[str, Any]) -> None:
    if not found.get("omitted"):
        return
    reasons: dict[str, list[str]] = {}
    for omission in found.get("omissions", []):
        reasons.setdefault(omission["reason"], []).append(omission["source"])
    say(f"-- left out: {found['omitted']}")
    for reason, sources in reasons.items():
        more = f" and {len(sources) - 3} more" if len(sources) > 3 else ""
        say(f"   {reason}: {', '.join(sources[:3])}{more}")


def _value(value: dict[str, Any]) -> str:
    kind, held = next(iter(value.items()))
    return str(held.get("values", held)) if kind in {"vector_value", "list_value"} else str(held)
