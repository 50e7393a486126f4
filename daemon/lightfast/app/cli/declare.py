"""declare, describe: what is known of paths, and who may write them."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import typer

from lightfast.app.cli.session import CURRENT, say, table

app = typer.Typer()
_POLICIES = ("last_writer", "owner", "compare_and_set")
_PREFIX = "CONFLICT_POLICY_"


@app.command()
def describe(
    pattern: Annotated[str, typer.Argument(help="A pattern, or a path; without one, everything declared.")] = "",
) -> None:
    """Show what is declared of paths: kind, range, unit, who may write."""
    CURRENT.call("ContextService.Describe", {"pattern": pattern, "page_size": 1000}, _described)


def _described(message: dict[str, Any]) -> None:
    table(
        ("PATTERN", "KIND", "RANGE", "UNIT", "ACCESS", "POLICY", "BY", ""),
        (
            (
                item["pattern"],
                item.get("type", "") + (" signal" if item.get("entry_class") == "ENTRY_CLASS_SIGNAL" else ""),
                _range(item),
                item.get("unit", ""),
                item.get("access", "").removeprefix("ACCESS_").lower().replace("_", " "),
                _policy(item),
                item.get("owner", ""),
                item.get("description", ""),
            )
            for item in message.get("declarations", [])
        ),
        "Nothing is declared there.",
    )


def _range(item: dict[str, Any]) -> str:
    if "minimum" not in item and "maximum" not in item:
        return ""
    return f"{item.get('minimum', '')}..{item.get('maximum', '')}"


def _policy(item: dict[str, Any]) -> str:
    name = str(item.get("policy", "")).removeprefix(_PREFIX).lower()
    return f"{name} {item['owner_hold']}" if name == "owner" and "owner_hold" in item else name


@app.command()
def declare(
    pattern: Annotated[str, typer.Argument(help="A path, or a pattern: '/live/tracks/*/volume'.")],
    policy: Annotated[str, typer.Option(help=f"Who may write it: {', '.join(_POLICIES)}.")] = "",
    hold: Annotated[float, typer.Option(help="For how many seconds a write counts as touching (owner).")] = 1.0,
    remove: Annotated[bool, typer.Option("--remove", help="Take the declaration of this pattern away.")] = False,
) -> None:
    """Say who may write a path that others write, too; what else is declared of it stays."""
    fields: dict[str, Any] = {"request_id": uuid.uuid4().hex}
    if remove:
        CURRENT.call("ContextService.Declare", {**fields, "remove": [pattern]}, lambda _: say("taken away"))
        return
    if policy not in _POLICIES:
        raise typer.BadParameter(f"--policy {policy!r}: use one of {', '.join(_POLICIES)}")
    with CURRENT.client() as client:
        known = client.call_json("ContextService.Describe", {"pattern": pattern}).get("declarations", [])
        wanted = {**_base(pattern, known), "pattern": pattern, "policy": _PREFIX + policy.upper()}
        if policy == "owner":
            wanted["owner_hold"] = f"{hold:g}s"
        message = client.call_json("ContextService.Declare", {**fields, "declarations": [wanted]})
    CURRENT.show(message, lambda _: say(f"{pattern} is {policy} from now on"))


def _base(pattern: str, known: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the declaration that *pattern* has already, or for a path the one that covers it, without its stamp."""
    exact = [item for item in known if item["pattern"] == pattern]
    covering = known if not any(mark in pattern for mark in ("//", "*", "?", "[", "{")) else []
    found = (exact or covering or [{}])[0]
    return {key: value for key, value in found.items() if key not in {"pattern", "owner", "policy", "owner_hold"}}
