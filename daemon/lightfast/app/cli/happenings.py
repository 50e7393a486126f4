"""`lightfast events`: what happened in the engine."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from lightfast.app.cli.session import CURRENT, say
from lightfast.app.cli.times import local
from lightfast.client import generic

app = typer.Typer()


@app.command()
def events(
    kind: Annotated[list[str] | None, typer.Option(help="Only these kinds, such as 'run.*'.")] = None,
    entity: Annotated[str, typer.Option(help="Only what happened to this run, job, task …")] = "",
    after: Annotated[int | None, typer.Option(help="After the event of this number.")] = None,
    limit: Annotated[int, typer.Option(help="The most that are shown.", min=1)] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on for ever with what happens.")] = False,
) -> None:
    """Show what happened to runs, jobs, tasks, workflows and triggers."""
    kinds = tuple(kind or ())
    with CURRENT.client() as client:
        if not follow:
            for event in client.events(after=after or 0, kinds=kinds, entity_id=entity, limit=limit):
                _show(generic.to_json(event))
            return
        for event in client.watch_events(after=after, kinds=kinds, entity_id=entity):
            _show(generic.to_json(event))


def _show(event: generic.Json) -> None:
    if CURRENT.as_json:
        say(json.dumps(event, ensure_ascii=False))
        return
    payload = json.loads(event.get("payload", "{}"))
    more = "  ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in payload.items())
    when = local(event["time"])
    say(f"{event['sequence']:>6}  {when}  {event['kind']:<20} {event.get('entity_id', '')}  {more[:160]}")
