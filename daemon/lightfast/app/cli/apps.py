"""apps, invoke: applications and what they can do."""

from __future__ import annotations

import json
import uuid
from typing import Annotated, Any

import typer

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
    CURRENT.call("AppService.GetApp", {"mount": mount_of(mount)}, lambda found: say(json.dumps(found["app"], indent=2)))


@apps.command()
def commands(mount: str) -> None:
    """List the commands of an application."""
    CURRENT.call(
        "AppService.ListCommands",
        {"mount": mount_of(mount)},
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
        "mount": mount_of(mount),
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

    CURRENT.call("AppService.Resync", {"mount": mount_of(mount)}, render, timeout=60.0)


def mount_of(text: str) -> str:
    """Return the mount that is meant, with or without its slash."""
    return text if text.startswith("/") else f"/{text}"
