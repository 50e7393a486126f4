"""prompts: templates that make prompts."""

from __future__ import annotations

import sys
import uuid
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from lightfast.app.cli import literal
from lightfast.app.cli.session import CURRENT, arguments_told, say, table

prompts = typer.Typer(
    no_args_is_help=True,
    help="Prompt templates with versions: lightfast prompts save caption 'A caption of {{ what }}'.",
)
_TIMEOUT = 40.0
"""The first template starts a process."""
Name = Annotated[str, typer.Argument(help="The name, or name@version.")]


@prompts.command()
def save(
    name: Annotated[str, typer.Argument(help="A name; one that exists gets a new version where something changed.")],
    text: Annotated[str, typer.Argument(help="The text, with {{ argument }}; - reads it from the input.")] = "",
    file: Annotated[Path | None, typer.Option(help="Read the text from this file.")] = None,
    system: Annotated[str, typer.Option(help="What the model is to keep to; may hold arguments, too.")] = "",
    system_file: Annotated[Path | None, typer.Option(help="Read that from this file.")] = None,
    description: Annotated[str, typer.Option(help="A few words about it.")] = "",
    model: Annotated[str, typer.Option(help="The model it is written for; any by default.")] = "",
) -> None:
    """Save a template."""
    if bool(text) == (file is not None):
        raise typer.BadParameter("give the text, or --file FILE")
    if file is not None:
        text = file.read_text(encoding="utf-8")
    elif text == "-":
        text = sys.stdin.read()
    if system_file is not None:
        system = system_file.read_text(encoding="utf-8")
    prompt = {"name": name, "text": text, "system": system, "description": description, "model": model}
    CURRENT.call(
        "GenerationService.SavePrompt",
        {"prompt": prompt, "request_id": uuid.uuid4().hex},
        lambda found: say(_title(found["prompt"])),
        timeout=_TIMEOUT,
    )


@prompts.command()
def show(name: Name) -> None:
    """Show a template."""

    def render(found: dict[str, Any]) -> None:
        prompt = found["prompt"]
        say(_title(prompt) + (f", saved {_time(prompt['create_time'])}" if prompt.get("create_time") else ""))
        if prompt.get("description"):
            say(prompt["description"])
        if prompt.get("system"):
            say(f"\nsystem:\n{prompt['system']}")
        if prompt.get("text"):
            say(f"\n{prompt['text']}")

    CURRENT.call("GenerationService.GetPrompt", {"name": name}, render)


@prompts.command("list")
def list_prompts(
    name: Annotated[str, typer.Argument(help="All versions of this one; the newest of each by default.")] = "",
) -> None:
    """List the templates."""
    CURRENT.call(
        "GenerationService.ListPrompts",
        {"name": name},
        lambda found: table(
            ("PROMPT", "VERSION", "ARGUMENTS", "MODEL", "SAVED", ""),
            (
                (
                    item["name"],
                    item.get("version", ""),
                    ", ".join(item.get("arguments", [])),
                    item.get("model", ""),
                    _time(item.get("create_time", "")),
                    item.get("description", ""),
                )
                for item in found.get("prompts", [])
            ),
            "No templates yet: lightfast prompts save NAME TEXT",
        ),
    )


@prompts.command()
def delete(name: Annotated[str, typer.Argument(help="The name.")]) -> None:
    """Delete a template with all its versions."""
    CURRENT.call(
        "GenerationService.DeletePrompt",
        {"name": name, "request_id": uuid.uuid4().hex},
        lambda found: say(f"gone, with {found.get('versions', 0)} versions"),
    )


@prompts.command()
def render(
    name: Name,
    arguments: Annotated[list[str] | None, typer.Argument(help="name=value; values as JSON or as text.")] = None,
    compact: Annotated[bool, typer.Option("--compact", help="Leave out what does not change the meaning.")] = False,
) -> None:
    """Show what a template makes of its arguments."""
    with arguments_told():
        given = literal.parse_named(arguments or [])

    def shown(found: dict[str, Any]) -> None:
        if found.get("rendered_system"):
            say(f"system:\n{found['rendered_system']}\n")
        say(found.get("rendered", ""))
        saved = f", {found['tokens_saved']} saved" if found.get("tokens_saved", "0") != "0" else ""
        say(f"-- {found.get('tokens', 0)} tokens{saved}")

    fields = {"name": name, "arguments": given, "render": True, "compact": compact}
    CURRENT.call("GenerationService.GetPrompt", fields, shown, timeout=_TIMEOUT)


def _title(prompt: dict[str, Any]) -> str:
    takes = ", ".join(prompt.get("arguments", [])) or "no arguments"
    written = f", for {prompt['model']}" if prompt.get("model") else ""
    return f"{prompt['name']}@{prompt.get('version', 0)}: {takes}{written}"


def _time(text: str) -> str:
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S") if text else ""
