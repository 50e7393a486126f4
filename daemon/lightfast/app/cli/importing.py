"""`lightfast import`: takes in folders of JSON and YAML."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lightfast.app.cli.session import CURRENT, EXIT_FAILED, EXIT_USAGE, fail, say, table

app = typer.Typer()


@app.command(name="import")
def import_(
    folder: Annotated[Path, typer.Argument(help="The folder: workspaces, projects, tasks, context, workflows in it.")],
    update: Annotated[bool, typer.Option("--update", help="Change what is there with other contents.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, and change nothing.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write the report into this file, as JSON.")] = None,
) -> None:
    """Import JSON workspaces, projects, tasks and contexts, and YAML workflows.

    A bad file is named and the rest taken in. Broken off, it is simply begun again: what is there is left alone.
    """
    from lightfast.app.imports.daemon import DaemonTarget
    from lightfast.app.imports.importing import take_in
    from lightfast.app.imports.layout import look

    try:
        found = look(folder)
    except FileNotFoundError as error:
        fail(str(error))
        raise typer.Exit(EXIT_USAGE) from None
    with CURRENT.client() as client:
        done = take_in(found, DaemonTarget(client), update=update, dry_run=dry_run)
    plain = done.plain()
    if report is not None:
        report.write_text(json.dumps(plain, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if CURRENT.as_json:
        say(json.dumps(plain, ensure_ascii=False))
    else:
        columns = ("", "found", "would come" if dry_run else "imported", "updated", "there", "different", "bad")
        rows = [
            (kind, count.found, count.imported, count.updated, count.there, count.different, count.bad)
            for kind, count in done.counts.items()
            if count.found
        ]
        table(columns, rows, f"{folder} holds no records")
        for each in done.bad:
            say(f"bad: {each.where}: {each.reason}")
        for line in done.mismatches:
            say(f"differs: {line}")
    if not done.good:
        raise typer.Exit(EXIT_FAILED)
