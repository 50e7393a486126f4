"""gc: what is old and out of reach; pins keep things."""

from __future__ import annotations

import re
from collections import Counter
from typing import Annotated, Any

import typer

from lightfast.app.cli.progress import Bar
from lightfast.app.cli.session import CURRENT, EXIT_FAILED, arguments_told, fail, say, table
from lightfast.core.errors import NotFound
from lightfast_link.path import compile_pattern

gc = typer.Typer(invoke_without_command=True, help="Collect what is old and out of reach; pin what is to stay.")

_PINS = "/pins/"
_ACTIONS = {
    "COLLECT_ACTION_EVICT": "out of memory",
    "COLLECT_ACTION_DEMOTE": "to the archive",
    "COLLECT_ACTION_DELETE": "deleted",
}


@gc.callback()
def collect(
    context: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and why, and do nothing.")
    ] = False,
    kinds: Annotated[list[str] | None, typer.Option("--kind", help="Only this kind; repeatable.")] = None,
    seconds: Annotated[float, typer.Option(help="The most time it may take, in seconds.")] = 60.0,
    size: Annotated[int, typer.Option("--bytes", help="The most bytes it may move or delete; 0: no limit.")] = 0,
) -> None:
    """Move what is old to the archive, and delete what nothing reaches; old history stays readable."""
    if context.invoked_subcommand is not None:
        return
    fields = {
        "validate_only": dry_run,
        "time_budget": f"{seconds:.3f}s",
        "byte_budget": str(size),
        "kinds": kinds or [],
    }
    items: list[dict[str, Any]] = []
    refused: list[str] = []
    last: dict[str, Any] = {}
    with CURRENT.client() as client, Bar("collect", CURRENT, sizes=True) as bar:
        for last in client.stream_json("ContextService.CollectGarbage", fields):
            items += last.get("items", [])
            refused += last.get("refused", [])
            bar.at(int(last.get("bytes", 0)))
    CURRENT.show({**last, "items": items, "refused": refused}, lambda found: _told(found, dry=dry_run))
    if refused:
        raise typer.Exit(EXIT_FAILED)


def _told(found: dict[str, Any], *, dry: bool) -> None:
    items = found["items"]
    if dry:
        rows = [(i["kind"], i["id"], _ACTIONS[i["action"]], i.get("bytes", 0), i["reason"]) for i in items]
        table(("KIND", "WHAT", "WOULD GO", "BYTES", "BECAUSE"), rows, "Nothing is due.")
    else:
        done = Counter((i["kind"], _ACTIONS[i["action"]]) for i in items)
        for (kind, action), count in sorted(done.items()):
            say(f"{kind}: {count} {action}")
        say(f"{found.get('bytes', 0)} bytes moved or freed" if items else "Nothing was due.")
    if kept := found.get("kept"):
        say("kept: " + ", ".join(f"{count} by {by}" for by, count in sorted(kept.items())))
    if found.get("exhausted"):
        say("A budget ended it before it was through: run it again, or give it more (--seconds, --bytes).")
    for reason in found["refused"]:
        fail(f"lightfast: {reason}")


@gc.command()
def pin(
    name: Annotated[str, typer.Argument(help="What the pin is called.")],
    what: Annotated[list[str], typer.Argument(help="Patterns of paths, assets, memories or frames, by their ids.")],
) -> None:
    """Keep something, whatever its age: an entry below /pins says so."""
    for each in what:
        _look(each)
    value = {"list_value": {"values": [{"string_value": each} for each in what]}}
    mutation = {"set": {"path": _PINS + name, "value": value}}
    CURRENT.call("ContextService.Apply", {"mutations": [mutation]}, lambda _: say(f"pinned: {', '.join(what)}"))


def _look(what: str) -> None:
    """Raise where *what* names nothing: a pin with a slip in it would keep nothing, and nobody would know."""
    if what.startswith("/"):
        with arguments_told():
            compile_pattern(what)
    elif re.fullmatch(r"[0-9a-f]{16}", what):
        with CURRENT.client() as client:
            missing = client.call_json("MemoryService.GetFrames", {"frame_ids": [what]}).get("missing", {})
        if str(missing.get(what, "")).startswith("unknown"):
            raise NotFound(f"there is no frame {what} in the archive: nothing was pinned")
    elif not re.search(r"[0-9a-f]{64}", what):
        with CURRENT.client() as client:
            client.call_json("MemoryService.GetMemory", {"memory": what})


@gc.command()
def unpin(name: Annotated[str, typer.Argument(help="What the pin is called.")]) -> None:
    """Take a pin away."""
    path = _PINS + name
    CURRENT.call("ContextService.Get", {"paths": [path]}, lambda _: None)  # one that is not there is told of
    mutation = {"delete": {"path": path}}
    CURRENT.call("ContextService.Apply", {"mutations": [mutation]}, lambda _: say(f"{name} is pinned no more"))


@gc.command()
def pins() -> None:
    """List the pins."""
    CURRENT.call(
        "ContextService.Get",
        {"pattern": _PINS + "/"},
        lambda found: table(
            ("PIN", "KEEPS"),
            ((entry["path"].removeprefix(_PINS), _said(entry["value"])) for entry in found.get("entries", [])),
            "No pins.",
        ),
    )


def _said(value: dict[str, Any]) -> str:
    kind, held = next(iter(value.items()))
    return ", ".join(_said(each) for each in held.get("values", [])) if kind == "list_value" else str(held)
