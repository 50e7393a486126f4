"""say: the front desk."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Annotated, Any

import typer
from google.protobuf import json_format

from lightfast.app.cli.session import CURRENT, EXIT_FAILED, say

app = typer.Typer()


@app.command("say")
def say_line(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="LINE", help="Plain words or a coded line; none: line by line.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show what comes of it, until it is over.")] = False,
    project: Annotated[str, typer.Option(help="The project its cost is booked to.")] = "",
    suggest: Annotated[bool, typer.Option("--suggest", help="Only show what may come next.")] = False,
    grammar: Annotated[bool, typer.Option("--grammar", help="Only show the coded language.")] = False,
) -> None:
    """Say what is to be done: lightfast say 'add a red cube', or lightfast say 'wf:nightly_render'."""
    if grammar:
        from lightfast.engine.desk import grammar as letters

        say((letters.__doc__ or "").strip())
        return
    if suggest:
        _suggest()
        return
    if not words:
        _line_by_line(project, follow)
        return
    line = " ".join(words)
    if follow:
        _follow((line,), project)
        return
    with CURRENT.client() as client:
        response = client.say(line, project=project)
    _show(response)
    if response.line.startswith("er:"):
        raise typer.Exit(EXIT_FAILED)


def _suggest() -> None:
    with CURRENT.client() as client:
        found = client.suggest_next(5)
    for each in found:
        CURRENT.show(_plain(each), lambda item: say(f"{item['line']}  ({item.get('reason', '')})"))
    if not found and not CURRENT.as_json:
        say("Nothing was said yet: lightfast say 'what is to be done'")


def _line_by_line(project: str, follow: bool) -> None:
    """Say the lines of the input, one after the other; an empty one is passed over."""
    asks = sys.stdin.isatty() and not CURRENT.as_json
    with CURRENT.client() as client:
        while True:
            if asks:
                sys.stdout.write("> ")
                sys.stdout.flush()
            line = sys.stdin.readline()
            if not line:
                return
            if not line.strip():
                continue
            if follow:
                _show_all(client.converse((line.rstrip("\n"),), project=project))
            else:
                _show(client.say(line.rstrip("\n"), project=project))


def _follow(lines: Iterable[str], project: str) -> None:
    with CURRENT.client() as client:
        bad = _show_all(client.converse(lines, project=project))
    if bad:
        raise typer.Exit(EXIT_FAILED)


def _show_all(messages: Iterable[Any]) -> bool:
    """Show messages as they come; say whether one was an error."""
    bad = speaking = False
    for message in messages:
        if message.delta and not CURRENT.as_json:
            say(message.delta) if message.next_steps else sys.stdout.write(message.delta)
            speaking = not message.next_steps
            continue
        if speaking:
            say("")
            speaking = False
        _show(message)
        bad = bad or message.line.startswith("er:")
    if speaking:
        say("")
    return bad


def _show(message: Any) -> None:
    CURRENT.show(_plain(message), _told)


def _told(item: dict[str, Any]) -> None:
    say(item.get("line", ""))
    if item.get("text"):
        say(f"  {item['text']}")
    if item.get("command"):
        say(f"  understood as {item['command']} ({item.get('confidence', 0.0):.0%})")
    if item.get("next_steps"):
        say(f"  next: {'  '.join(item['next_steps'])}")


def _plain(message: Any) -> dict[str, Any]:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)
