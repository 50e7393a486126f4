"""The tree of commands, and the options before them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from lightfast import __version__
from lightfast.app.cli import (
    admin,
    archive,
    batches,
    collecting,
    conflicts,
    context,
    declare,
    demo,
    desk,
    doctor,
    happenings,
    importing,
    jobs,
    journal,
    keys,
    links,
    local,
    making,
    mcp,
    memory,
    models,
    operations,
    osc,
    past,
    planning,
    prompts,
    providers,
    runs,
    scenes,
    showmode,
    spending,
    transport,
    undoing,
    upkeep,
    views,
    workflow,
    workspaces,
)
from lightfast.app.cli.panels import DAEMON, Grouped, panel_of
from lightfast.app.cli.session import CURRENT

root = typer.Typer(
    name="lightfast",
    cls=Grouped,
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
    past.app,
    undoing.app,
    declare.app,
    making.app,
    batches.app,
    operations.app,
    spending.app,
    models.app,
    admin.app,
    local.app,
    doctor.app,
    demo.app,
    showmode.app,
    journal.app,
    memory.app,
    mcp.app,
    happenings.app,
    importing.app,
    views.app,
    desk.app,
    upkeep.app,
    runs.app,
    planning.app,
):
    root.registered_commands += room.registered_commands
root.add_typer(conflicts.apps, name="apps")
root.add_typer(archive.archive, name="archive")
root.add_typer(links.link, name="link")
root.add_typer(batches.batch, name="batch")
root.add_typer(collecting.gc, name="gc")
root.add_typer(spending.budget, name="budget")
root.add_typer(scenes.scene, name="scene")
root.add_typer(workflow.workflow, name="workflow")
root.add_typer(workflow.triggers, name="triggers")
root.add_typer(runs.runs, name="runs")
root.add_typer(transport.transport, name="transport")
root.add_typer(showmode.show, name="show")
root.add_typer(journal.record, name="record")
root.add_typer(memory.memory, name="memory")
root.add_typer(operations.operation, name="operation")
root.add_typer(prompts.prompts, name="prompts")
root.add_typer(keys.key, name="key")
root.add_typer(providers.providers, name="providers")
root.add_typer(admin.token, name="token")
root.add_typer(admin.plugins, name="plugins")
root.add_typer(osc.osc, name="osc")
root.add_typer(upkeep.backup, name="backup")
root.add_typer(jobs.jobs, name="jobs")
root.add_typer(workspaces.workspaces, name="workspaces")
root.add_typer(workspaces.projects, name="projects")
root.add_typer(workspaces.tasks, name="tasks")

for command in root.registered_commands:
    command.rich_help_panel = panel_of(str(command.name or getattr(command.callback, "__name__", "")))
for group in root.registered_groups:
    group.rich_help_panel = panel_of(str(group.name))


@root.command(rich_help_panel=DAEMON)
def serve() -> None:
    """Run the daemon (the same as lightfastd; see lightfastd --help)."""
