"""The tree of commands, and the options before them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from lightfast import __version__
from lightfast.app.cli import (
    admin,
    conflicts,
    context,
    declare,
    demo,
    doctor,
    journal,
    links,
    local,
    making,
    osc,
    showmode,
    transport,
)
from lightfast.app.cli.session import CURRENT

root = typer.Typer(
    name="lightfast",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="One shared, revisioned memory for every creative application on the desk.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lightfast {__version__}")
        raise typer.Exit


def _token(file: Path) -> str:
    try:
        found = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise typer.BadParameter(f"--token-file {file} cannot be read: {why}") from None
    if not found:
        raise typer.BadParameter(f"--token-file {file} is empty")
    return found


@root.callback()
def options(
    home: Annotated[
        Path | None, typer.Option(help="The folder of a daemon of its own.", envvar="LIGHTFAST_HOME")
    ] = None,
    address: Annotated[str, typer.Option(help="HOST:PORT of a daemon; needs a token.")] = "",
    token_file: Annotated[Path | None, typer.Option(help="A file with the token.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print messages as JSON, one a line.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Take the options that every command shares."""
    CURRENT.home = str(home) if home else None
    CURRENT.address = address or None
    CURRENT.token = _token(token_file) if token_file else os.environ.get("LIGHTFAST_TOKEN", "")
    if address and not CURRENT.token:
        raise typer.BadParameter(f"{address} asks for a token: add --token-file FILE, or set LIGHTFAST_TOKEN")
    CURRENT.as_json = as_json


for room in (
    context.app,
    declare.app,
    making.app,
    admin.app,
    local.app,
    doctor.app,
    demo.app,
    showmode.app,
    journal.app,
):
    root.registered_commands += room.registered_commands
root.add_typer(conflicts.apps, name="apps")
root.add_typer(links.link, name="link")
root.add_typer(transport.transport, name="transport")
root.add_typer(showmode.show, name="show")
root.add_typer(journal.record, name="record")
root.add_typer(admin.token, name="token")
root.add_typer(admin.plugins, name="plugins")
root.add_typer(osc.osc, name="osc")


@root.command()
def serve() -> None:
    """Run the daemon (the same as lightfastd; see lightfastd --help)."""
