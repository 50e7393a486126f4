"""apps, invoke, link: applications and the links between them."""

from __future__ import annotations

import json
import uuid
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lightfast.app.cli import literal
from lightfast.app.cli.session import CURRENT, NEGATIVE, arguments_told, asks_for_percent, fail, say, table

apps = typer.Typer(invoke_without_command=True, help="Show and drive the applications.")


@apps.callback()
def list_apps(context: typer.Context) -> None:
    """List the applications."""
    if context.invoked_subcommand is None:
        CURRENT.call("AppService.ListApps", {"page_size": 1000}, _list)


def _list(message: dict[str, Any]) -> None:
    table(
        ("MOUNT", "KIND", "STATE", "VERSION", "BY", "WHY"),
        (
            (
                item["mount"],
                item.get("kind", "") + (" (simulator)" if item.get("simulator") else ""),
                item.get("state", "").removeprefix("APP_STATE_").lower(),
                item.get("app_version", ""),
                item.get("transport", ""),
                item.get("state_reason", ""),
            )
            for item in message.get("apps", [])
        ),
        "No application yet. Start one, or a simulator: lightfast sim ableton",
    )


@apps.command()
def show(mount: str) -> None:
    """Show one application."""
    CURRENT.call("AppService.GetApp", {"mount": _mount(mount)}, lambda found: say(json.dumps(found["app"], indent=2)))


@apps.command()
def commands(mount: str) -> None:
    """List the commands of an application."""
    CURRENT.call(
        "AppService.ListCommands",
        {"mount": _mount(mount)},
        lambda found: table(
            ("COMMAND", "ARGUMENTS", "EFFECT", ""),
            (
                (
                    item["name"],
                    ", ".join(
                        argument["name"] + ("" if argument.get("required") else "?")
                        for argument in item.get("arguments", [])
                    ),
                    item.get("effect", ""),
                    item.get("description", ""),
                )
                for item in found.get("commands", [])
            ),
            "It offers no commands.",
        ),
    )


@apps.command(context_settings=NEGATIVE)
def invoke(
    mount: str,
    command: str,
    arguments: Annotated[list[str] | None, typer.Argument(help="name=value, values as in 'lightfast set'.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds it may take.")] = 60.0,
) -> None:
    """Run a command of an application: lightfast apps invoke /blender create_object kind=CUBE."""
    fields: dict[str, Any] = {
        "mount": _mount(mount),
        "command": command,
        "timeout": f"{timeout}s",
        "request_id": uuid.uuid4().hex,
    }
    with arguments_told():
        fields["arguments"] = literal.parse_named(arguments or [])
    with CURRENT.client() as client:
        for message in client.stream_json("AppService.Invoke", fields, timeout + 5):
            CURRENT.show(message, _step)


def _step(message: dict[str, Any]) -> None:
    if "progress" in message:
        progress = message["progress"]
        fail(f"{asks_for_percent(progress.get('fraction', 0.0))} {progress.get('message', '')}")
    else:
        say(literal.show(message.get("result")))


@apps.command()
def resync(mount: str) -> None:
    """Read everything back from an application and put it in step again."""

    def render(message: dict[str, Any]) -> None:
        say(f"in step: {message.get('taken', 0)} values taken, {message.get('restored', 0)} put back")
        for path in message.get("lost_paths", []):
            fail(f"lost: {path}")

    CURRENT.call("AppService.Resync", {"mount": _mount(mount)}, render, timeout=60.0)


def _mount(text: str) -> str:
    return text if text.startswith("/") else f"/{text}"


class _LinkGroup(TyperGroup):
    """Takes `link /a /b` as `link add /a /b`: a path can never be the name of a command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert the command that is meant."""
        if args and args[0].startswith("/"):
            args = ["add", *args]
        return super().parse_args(ctx, args)


link = typer.Typer(cls=_LinkGroup, no_args_is_help=True, help="Link two paths: lightfast link /ableton/song/tempo /a.")


@link.command()
def add(
    source: Annotated[str, typer.Argument(help="The path that leads.")],
    target: Annotated[str, typer.Argument(help="The path that follows.")],
    two_way: Annotated[bool, typer.Option("--two-way", help="The target moves the source, too.")] = False,
    expression: Annotated[str, typer.Option("--as", help="A converter in x, for example 'x / 60'.")] = "",
) -> None:
    """Create a link."""
    fields = {
        "link": {"source": source, "target": target, "two_way": two_way, "expression": expression},
        "request_id": uuid.uuid4().hex,
    }
    CURRENT.call("LinkService.CreateLink", fields, lambda found: say(_line(found["link"])))


def _line(item: dict[str, Any]) -> str:
    arrow = "<->" if item.get("two_way") else "->"
    through = f"  as {item['expression']}" if item.get("expression") else ""
    trouble = f"  ERROR {item['last_error']}" if item.get("last_error") else ""
    off = "  (off)" if item.get("disabled") else ""
    return f"{item['link_id']}  {item['source']} {arrow} {item['target']}{through}{off}{trouble}"


@link.command("ls")
def list_links() -> None:
    """List the links."""

    def render(message: dict[str, Any]) -> None:
        links = message.get("links", [])
        say("\n".join(map(_line, links)) if links else "No links yet: lightfast link SOURCE TARGET")

    CURRENT.call("LinkService.ListLinks", {"page_size": 1000}, render)


@link.command()
def rm(link_id: str) -> None:
    """Delete a link; the values stay."""
    CURRENT.call("LinkService.DeleteLink", {"link_id": link_id}, lambda _: say("gone"))


@link.command("test", context_settings=NEGATIVE)
def try_link(
    source: str,
    target: str,
    value: Annotated[str | None, typer.Argument(help="A value; without one, the value the source has.")] = None,
    two_way: Annotated[bool, typer.Option("--two-way")] = False,
    expression: Annotated[str, typer.Option("--as")] = "",
) -> None:
    """Say what a link would do, and change nothing."""
    fields: dict[str, Any] = {
        "link": {"source": source, "target": target, "two_way": two_way, "expression": expression}
    }
    if value is not None:
        with arguments_told():
            fields["value"] = literal.parse(value)

    def render(message: dict[str, Any]) -> None:
        say(f"the target would get {literal.show(message.get('converted'))}")
        if message.get("returned"):
            say(f"and it would come back as {literal.show(message['returned'])}")

    CURRENT.call("LinkService.TestLink", fields, render)
