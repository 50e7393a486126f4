"""scene: saving, comparing and recalling what the applications hold."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lightfast.app.cli import literal, times
from lightfast.app.cli.past import moment, revision_at
from lightfast.app.cli.progress import Bar
from lightfast.app.cli.session import CURRENT, EXIT_FAILED, fail, say, table

if TYPE_CHECKING:
    from lightfast.client import Client

scene = typer.Typer(
    no_args_is_help=True, help="Scenes: save what the applications hold, and bring it back: lightfast scene save NAME."
)
_PAGE = 10_000
_SHOWN = 40
_TIMEOUT = 60.0
Only = Annotated[list[str] | None, typer.Argument(help="Only these paths; all it holds by default.")]
Exclude = Annotated[list[str] | None, typer.Option(help="What to leave out; may be repeated.")]


@scene.command()
def save(
    name: Annotated[str, typer.Argument(help="A name; one that exists gets a new version.")],
    patterns: Annotated[
        list[str] | None, typer.Argument(help="What it holds; what it held before, or everything, by default.")
    ] = None,
    exclude: Exclude = None,
    description: Annotated[str, typer.Option(help="A few words about it.")] = "",
    at: Annotated[str, typer.Option("--at", help=f"As it was then: a revision, or a time: {times.UNDERSTOOD}.")] = "",
    etag: Annotated[str, typer.Option(help="Only if it still has this etag.")] = "",
    dry: Annotated[bool, typer.Option("--dry-run", help="Only say what would be saved.")] = False,
) -> None:
    """Save values under a name."""
    fields: dict[str, Any] = {
        "name": name,
        "patterns": patterns or [],
        "exclude": exclude or [],
        "description": description,
        "etag": etag,
        "validate_only": dry,
        "request_id": "" if dry else uuid.uuid4().hex,
    }
    when = None if not at or at.isdecimal() else moment(at)
    with CURRENT.client(_TIMEOUT) as client:
        if at:
            fields["at_revision"] = at if when is None else str(revision_at(client, when))
        message = client.call_json("ContextService.SaveScene", fields)
    CURRENT.show(message, lambda found: _saved(found["scene"], dry=dry))


def _saved(found: dict[str, Any], *, dry: bool) -> None:
    word = "would be" if dry else "is"
    of = f" of {', '.join(found['mounts'])}" if found.get("mounts") else ""
    say(
        f"{found['name']} {word} version {found['version']}: {found.get('entries', 0)} values{of}, "
        f"as of revision {found.get('saved_revision', 0)}"
    )
    if not found.get("entries"):
        fail(f"note: nothing that {found['name']} is to hold was there: look at its patterns with 'lightfast ls'")


@scene.command("list")
def list_scenes() -> None:
    """List the scenes."""
    fields: dict[str, Any] = {"page_size": _PAGE}
    with CURRENT.client(_TIMEOUT) as client:
        while True:
            message = client.call_json("ContextService.ListScenes", fields)
            CURRENT.show(message, _listed)
            if not message.get("next_page_token"):
                return
            fields["page_token"] = message["next_page_token"]


def _listed(message: dict[str, Any]) -> None:
    table(
        ("SCENE", "VERSION", "VALUES", "SAVED", "REVISION", "OF", ""),
        (
            (
                item["name"],
                item["version"],
                item.get("entries", 0),
                _time(item.get("update_time", "")),
                item.get("saved_revision", 0),
                " ".join(item.get("mounts", [])),
                item.get("description", ""),
            )
            for item in message.get("scenes", [])
        ),
        "No scenes yet: lightfast scene save NAME",
    )


@scene.command()
def show(
    name: str,
    version: Annotated[int, typer.Option(help="An older version; the newest by default.")] = 0,
) -> None:
    """Show a scene with all it holds."""
    fields: dict[str, Any] = {"name": name, "version": version, "page_size": _PAGE}
    with CURRENT.client(_TIMEOUT) as client:
        while True:
            message = client.call_json("ContextService.GetScene", fields)
            CURRENT.show(message, lambda found: _details(found, first="page_token" not in fields))
            if not message.get("next_page_token"):
                return
            fields["page_token"] = message["next_page_token"]


def _details(message: dict[str, Any], *, first: bool) -> None:
    item = message["scene"]
    if first:
        _saved(item, dry=False)
        say(f"saved {_time(item.get('update_time', ''))} by {item.get('origin', '?')}; etag {item['etag']}")
        without = f", without {', '.join(item['exclude'])}" if item.get("exclude") else ""
        say(f"of {', '.join(item.get('patterns', []))}{without}")
        if item.get("description"):
            say(item["description"])
    table(
        ("PATH", "VALUE", "REVISION"),
        (
            (entry["path"], literal.show(entry.get("value")), entry.get("revision", "~"))
            for entry in message.get("entries", [])
        ),
        "It holds nothing.",
    )


@scene.command()
def delete(name: str, etag: Annotated[str, typer.Option(help="Only if it still has this etag.")] = "") -> None:
    """Delete a scene with all its versions."""
    fields = {"name": name, "etag": etag, "request_id": uuid.uuid4().hex}
    CURRENT.call("ContextService.DeleteScene", fields, lambda _: say("gone"))


@scene.command()
def diff(
    before: Annotated[str, typer.Argument(help="A scene, 'now', 'rev:1234' or 'at:yesterday 18:00'.")],
    after: Annotated[str, typer.Argument(help="The same; the values of now by default.")] = "now",
    only: Annotated[list[str] | None, typer.Option("--only", help="Only these paths; may be repeated.")] = None,
) -> None:
    """Compare scenes, revisions, times and the values of now."""
    fields: dict[str, Any] = {
        "before": _ref(before),
        "after": _ref(after),
        "patterns": only or [],
        "page_size": _PAGE,
    }
    with CURRENT.client(_TIMEOUT) as client:
        while True:
            message = client.call_json("ContextService.DiffScenes", fields)
            CURRENT.show(message, lambda found: _differences(found.get("differences", []), before, after))
            if not message.get("next_page_token"):
                return
            fields["page_token"] = message["next_page_token"]


def _ref(text: str) -> dict[str, Any]:
    if text == "now":
        return {}
    kind, colon, rest = text.partition(":")
    if colon and kind == "rev" and rest.isdecimal():
        return {"at_revision": rest}
    if colon and kind == "at":
        return {"at_time": times.stamp(moment(rest))}
    return {"scene": text}


def _differences(found: list[dict[str, Any]], before: str, after: str) -> None:
    table(
        ("PATH", before.upper(), after.upper()),
        ((each["path"], literal.show(each.get("before")), literal.show(each.get("after"))) for each in found),
        "They hold the same.",
    )


@scene.command()
def recall(
    name: str,
    patterns: Only = None,
    exclude: Exclude = None,
    dry: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    morph: Annotated[float, typer.Option(help="Seconds in which numbers, vectors and colors move there.")] = 0.0,
    curve: Annotated[str, typer.Option(help="How they move: linear, smooth, exp, log, s.")] = "",
    verify: Annotated[float, typer.Option(help="Seconds applications have to report the values.")] = 10.0,
    version: Annotated[int, typer.Option(help="An older version; the newest by default.")] = 0,
) -> None:
    """Bring a scene back; Ctrl-C stops a morph where it is."""
    for option, seconds in (("--morph", morph), ("--verify", verify)):
        if not 0 <= seconds < 1e6:
            raise typer.BadParameter(f"{option} {seconds:g}: use a number of seconds, from 0 to less than 1,000,000")
    fields: dict[str, Any] = {
        "name": name,
        "patterns": patterns or [],
        "exclude": exclude or [],
        "validate_only": dry,
        "curve": curve,
        "verify": f"{verify:.9f}s",
        "version": version,
    }
    if morph:
        fields["morph"] = f"{morph:.9f}s"
    with CURRENT.client() as client:
        _follow(client, fields, dry=dry)


def _follow(client: Client, fields: dict[str, Any], *, dry: bool) -> None:
    changes: list[dict[str, Any]] = []
    problems: list[dict[str, Any]] = []
    last: dict[str, Any] = {}
    group = ""
    try:
        with Bar(f"recalling {fields['name']}", CURRENT) as bar:
            for message in client.stream_json("ContextService.RecallScene", fields):
                CURRENT.show(message, lambda _: None)
                phase = message.get("phase", "").removeprefix("RECALL_PHASE_")
                group = message.get("group_id", group)
                if phase == "PLANNED":
                    changes += message.get("changes", [])
                    # What waits for an application is named again at the end, as it is then.
                    problems += [each for each in message.get("problems", []) if dry or not each.get("queued")]
                elif phase == "MORPHING":
                    bar.at(round(100 * message.get("progress", 0.0)), 100)
                elif phase == "APPLIED":
                    group = message.get("group_id", "")
                    bar.at(100, 100, "waiting for the applications")
                elif phase == "VERIFIED":
                    problems += message.get("problems", [])
                    last = message
    except KeyboardInterrupt:
        fail(f"stopped; take it back with: lightfast undo --group {group}")
        raise
    if not CURRENT.as_json:
        _summary(changes, problems, last, group, dry=dry)
    if problems:
        raise typer.Exit(EXIT_FAILED)


def _summary(
    changes: list[dict[str, Any]], problems: list[dict[str, Any]], last: dict[str, Any], group: str, *, dry: bool
) -> None:
    if dry:
        _differences(changes[:_SHOWN], "now", "scene")
        if len(changes) > _SHOWN:
            say(f"… and {len(changes) - _SHOWN} more")
    else:
        say(f"{len(changes)} values changed; {last.get('settled', 0)} are reported by their applications")
    for problem in problems[:_SHOWN]:
        queued = "waits: " if problem.get("queued") else ""
        found = f" (it has {literal.show(problem['found'])})" if problem.get("found") else ""
        fail(f"{problem['path']}: {queued}{problem['reason']}{found}")
    if len(problems) > _SHOWN:
        fail(f"… and {len(problems) - _SHOWN} more")
    if group and not dry:
        say(f"take it back with: lightfast undo --group {group}")


def _time(text: str) -> str:
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S") if text else ""
