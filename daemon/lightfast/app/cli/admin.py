"""status, plugins, token: the daemon itself."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lightfast.app.cli.session import CURRENT, say, table
from lightfast.app.cli.showmode import warn

app = typer.Typer()
token = typer.Typer(no_args_is_help=True, help="Issue, list and revoke tokens.")
plugins = typer.Typer(invoke_without_command=True, help="Show and reload the plugins.")


@app.command()
def status() -> None:
    """Show the daemon: versions, addresses, numbers."""

    def render(message: dict[str, Any]) -> None:
        say(f"Lightfast {message.get('version')}, process {message.get('pid')}, since {message.get('start_time')}")
        say(
            f"store {message.get('store_id')}, revision {message.get('revision', 0)}, kept since "
            f"{message.get('oldest_revision', 0)}, {message.get('entries', 0)} entries, "
            f"{message.get('watchers', 0)} watchers"
        )
        say(f"state in {message.get('state_directory')}")
        for name, address in sorted(message.get("endpoints", {}).items()):
            if address and name not in {"pid", "store_id"}:
                say(f"  {name:<14} {address}")
        say(f"you are {message.get('origin')} and may {', '.join(message.get('scopes', []))}")

    CURRENT.call("AdminService.GetInfo", {}, render)
    if not CURRENT.as_json:
        with CURRENT.client() as client:
            warn(client.call_json("ShowService.GetShow", {}).get("show", {}))


@app.command()
def errors(limit: Annotated[int, typer.Option(help="The most errors.")] = 20) -> None:
    """Show the newest errors of the daemon."""
    CURRENT.call(
        "AdminService.ListErrors",
        {"page_size": limit},
        lambda found: table(
            ("WHEN", "WHERE", "WHAT"),
            ((e["record_time"], e.get("logger", ""), e.get("event", "")) for e in found.get("errors", [])),
            "No errors.",
        ),
    )


@app.command("config")
def config() -> None:
    """Show the settings in force and where each came from."""
    CURRENT.call(
        "AdminService.GetConfig",
        {},
        lambda found: table(
            ("KEY", "VALUE", "FROM", ""),
            (
                (s["key"], s.get("value", ""), s.get("source", ""), s.get("description", ""))
                for s in found.get("settings", [])
            ),
            "No settings.",
        ),
    )


@plugins.callback()
def list_plugins(
    context: typer.Context,
    hooks: Annotated[bool, typer.Option("--hooks", help="Print the hooks a plugin may implement.")] = False,
) -> None:
    """List the plugins with their state and its reason."""
    if hooks:
        _hooks()
    elif context.invoked_subcommand is None:
        CURRENT.call("AdminService.ListPlugins", {}, _plugins)


def _hooks() -> None:
    import inspect

    from lightfast.sdk import hookspecs

    for name, function in vars(hookspecs).items():
        if name.startswith("lightfast_"):
            say(f"{name}{inspect.signature(function)}\n    {inspect.getdoc(function)}\n")


def _plugins(message: dict[str, Any]) -> None:
    table(
        ("PLUGIN", "VERSION", "STATE", "BRINGS", "WHY"),
        (
            (
                item["name"],
                item.get("version", ""),
                item.get("state", "").removeprefix("PLUGIN_STATE_").lower(),
                ", ".join(item.get("brings", [])),
                item.get("reason", ""),
            )
            for item in message.get("plugins", [])
        ),
        "No plugins.",
    )


@plugins.command()
def reload(name: str) -> None:
    """Load a plugin anew."""
    CURRENT.call("AdminService.ReloadPlugin", {"name": name}, lambda found: _plugins({"plugins": [found["plugin"]]}))


@token.command()
def issue(
    name: Annotated[str, typer.Argument(help="Whose it is; becomes the origin of its writes.")],
    scope: Annotated[list[str] | None, typer.Option(help="watch, operate, approve, admin; may be repeated.")] = None,
    hours: Annotated[float, typer.Option(help="How long it lasts; 0 means for ever.")] = 0.0,
) -> None:
    """Issue a token; it is shown once."""
    fields: dict[str, Any] = {"name": name, "scopes": scope or ["watch"]}
    if hours:
        fields["ttl"] = f"{round(hours * 3600)}s"
    CURRENT.call("AdminService.IssueToken", fields, lambda found: say(found["secret"]))


@token.command("ls")
def list_tokens() -> None:
    """List the tokens, without their secrets."""
    CURRENT.call(
        "AdminService.ListTokens",
        {},
        lambda found: table(
            ("TOKEN", "NAME", "MAY", "UNTIL"),
            (
                (t["token_id"], t.get("name", ""), ", ".join(t.get("scopes", [])), t.get("expire_time", "for ever"))
                for t in found.get("tokens", [])
            ),
            "No tokens.",
        ),
    )


@token.command()
def revoke(token_id: str) -> None:
    """Revoke a token at once."""
    CURRENT.call("AdminService.RevokeToken", {"token_id": token_id}, lambda _: say("revoked"))
