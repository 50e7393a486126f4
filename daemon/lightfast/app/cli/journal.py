"""record, replay: whole sessions, and what becomes of them when they are played again."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lightfast.app.cli import literal
from lightfast.app.cli.session import CURRENT, EXIT_FAILED, Session, fail, say, table

app = typer.Typer()
POLL_S = 0.5


class _RecordGroup(TyperGroup):
    """Takes `record NAME` as `record start NAME`; a recording called like a command needs the long form."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert the command that is meant."""
        if args and args[0] not in self.commands and args[0] not in {"--help", "--show-completion"}:
            args = ["start", *args]
        return super().parse_args(ctx, args)


record = typer.Typer(
    cls=_RecordGroup, no_args_is_help=True, help="Record sessions: lightfast record NAME, end with Ctrl-C."
)


@record.command()
def start(
    name: Annotated[str, typer.Argument(help="A name for the recording.")] = "",
    patterns: Annotated[list[str] | None, typer.Option(help="What to record; may be repeated; all by default.")] = None,
    seconds: Annotated[float, typer.Option("--for", help="How long, in seconds.")] = 0.0,
    stop: Annotated[bool, typer.Option("--stop", help="End the recording under way.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Return at once; end it with --stop.")] = False,
) -> None:
    """Record everything that happens, until Ctrl-C, --for is over, or 'lightfast record --stop'."""
    if stop:
        CURRENT.call("ShowService.StopRecording", {"name": name}, lambda found: _done(found["recording"]), timeout=15)
        return
    if not name:
        raise typer.BadParameter("give a name, or --stop")
    fields: dict[str, Any] = {"name": name, "patterns": patterns or []}
    if seconds:
        fields["duration"] = f"{seconds:.9f}s"
    with CURRENT.client() as client:
        message = client.call_json("ShowService.StartRecording", fields)
        if detach:
            CURRENT.show(message, lambda _: say(f"recording {name}; end it with: lightfast record --stop"))
            return
        if not CURRENT.as_json:
            say(f"recording {name}; Ctrl-C ends it")
        try:
            while client.call_json("ShowService.GetShow", {}).get("recording", {}).get("name") == name:
                time.sleep(POLL_S if not seconds else min(POLL_S, max(0.05, seconds)))
        except KeyboardInterrupt:
            client.call_json("ShowService.StopRecording", {"name": name}, 15)
        listed = client.call_json("ShowService.ListRecordings", {"page_size": 1000})
    for found in listed.get("recordings", []):
        if found["name"] == name:
            CURRENT.show({"recording": found}, lambda done: _done(done["recording"]))
            if found.get("incomplete"):
                raise typer.Exit(EXIT_FAILED)


def _done(found: dict[str, Any]) -> None:
    say(
        f"{found['name']}: {_seconds(found.get('duration')):.1f} s, {_counts(found)}, {_size(found)}: {found['reason']}"
    )
    if found.get("incomplete"):
        fail(f"INCOMPLETE: {found['reason']}")


@record.command("list")
def list_recordings() -> None:
    """List the recordings."""
    CURRENT.call(
        "ShowService.ListRecordings",
        {"page_size": 1000},
        lambda message: table(
            ("RECORDING", "BEGAN", "SECONDS", "HOLDS", "SIZE", ""),
            (
                (
                    item["name"],
                    item.get("start_time", ""),
                    f"{_seconds(item.get('duration')):.1f}",
                    _counts(item),
                    _size(item),
                    "is being recorded"
                    if item.get("active")
                    else ("INCOMPLETE: " if item.get("incomplete") else "") + item.get("reason", ""),
                )
                for item in message.get("recordings", [])
            ),
            "No recordings yet: lightfast record NAME",
        ),
    )


@record.command("pack")
def pack_recording(
    name: str,
    hz: Annotated[
        float, typer.Option(help="Keep at most so many samples a second of each signal; 0: all. State is always kept.")
    ] = 0.0,
) -> None:
    """Pack a recording into a fraction of its bytes; it is replayed as before."""
    with CURRENT.client() as client:
        before = _find(client, name)
        message = client.call_json("ShowService.PackRecording", {"name": name, "hz": hz}, 600)
    CURRENT.show(message, lambda found: say(f"{name}: {_size(before)}, now {_size(found['recording'])}"))


@record.command("show")
def show_recording(name: str) -> None:
    """Show one recording."""
    with CURRENT.client() as client:
        found = _find(client, name)
    CURRENT.show(found, _details)


def _find(client: Any, name: str) -> dict[str, Any]:
    from lightfast.core.errors import NotFound

    for item in client.call_json("ShowService.ListRecordings", {"page_size": 1000}).get("recordings", []):
        if item["name"] == name:
            return dict(item)
    raise NotFound(f"there is no recording {name!r}: see 'lightfast record list'")


def _details(item: dict[str, Any]) -> None:
    say(f"{item['name']}, by {item.get('recorded_by', '?')}, began {item.get('start_time', '?')}")
    say(f"{_seconds(item.get('duration')):.3f} s, {_counts(item)}, {_size(item)}")
    say(f"of {', '.join(item.get('patterns', []))} in {item.get('store_id', '?')}")
    say(f"{'INCOMPLETE: ' if item.get('incomplete') else ''}{item.get('reason', 'it is being recorded')}")


@record.command()
def delete(name: str) -> None:
    """Delete a recording."""
    CURRENT.call("ShowService.DeleteRecording", {"name": name}, lambda _: say("gone"))


@record.command()
def export(
    name: str,
    output: Annotated[Path | None, typer.Option(help="The file; standard output by default.")] = None,
) -> None:
    """Write a recording as lines of JSON."""
    import base64

    with CURRENT.client() as client:
        parts = (
            base64.b64decode(message.get("lines", ""))
            for message in client.stream_json("ShowService.ExportRecording", {"name": name})
        )
        first = next(parts, b"")  # before the file is made: the recording may not be there
        if output is None:
            sys.stdout.buffer.write(first)
            for part in parts:
                sys.stdout.buffer.write(part)
            sys.stdout.flush()
            return
        with output.open("wb") as file:
            file.write(first)
            file.writelines(parts)
    say(str(output))


@app.command()
def replay(
    name: Annotated[str, typer.Argument(help="The recording.")],
    speed: Annotated[str, typer.Option(help="1 is as it was; max is as fast as it goes.")] = "1",
    begin: Annotated[float, typer.Option("--from", help="Where to begin, in seconds.")] = 0.0,
    end: Annotated[float, typer.Option("--to", help="Where to end, in seconds.")] = 0.0,
    apps: Annotated[list[str] | None, typer.Option("--app", help="Only this mount; may be repeated.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what links and applications caused.")] = False,
    dry: Annotated[bool, typer.Option("--dry", help="Only tell what would be written.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Compare with the recording; 1 where it differs.")] = False,
    private: Annotated[bool, typer.Option("--fresh", help="On a private daemon of its own, with --check.")] = False,
    sims: Annotated[
        list[str] | None, typer.Option("--sim", help="With --fresh: a simulator beside it; may be repeated.")
    ] = None,
) -> None:
    """Write the inputs of a recording again."""
    fields: dict[str, Any] = {
        "name": name,
        "speed": _speed(speed),
        "start": f"{begin:.9f}s",
        "apps": [app if app.startswith("/") else f"/{app}" for app in apps or []],
        "everything": everything,
        "dry_run": dry,
        "check": check,
    }
    if end:
        fields["end"] = f"{end:.9f}s"
    if private:
        if not check or dry:
            raise typer.BadParameter("--fresh goes with --check, and not with --dry")
        from lightfast.app.cli import fresh

        with fresh.house(CURRENT, name, sims or []) as session:
            result = _replay(session, {**fields, "set_up": True})
    elif sims:
        raise typer.BadParameter("--sim goes with --fresh")
    else:
        result = _replay(CURRENT, fields)
    if check and int(result.get("differences", 0)):
        raise typer.Exit(EXIT_FAILED)


def _speed(text: str) -> str | float:
    if text == "max":
        return "Infinity"
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise typer.BadParameter(f"--speed {text}: use a number above 0, or max")
    return number


def _replay(session: Session, fields: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    with session.client() as client:
        for message in client.stream_json("ShowService.Replay", fields):
            session.show(message, _step)
            result = message.get("result", result)
    return result


def _step(message: dict[str, Any]) -> None:
    if "progress" in message:
        item = message["progress"]
        done = f"{item.get('transactions', 0)} transactions, {item.get('samples', 0)} samples"
        fail(f"{_seconds(item.get('position')):8.1f} of {_seconds(item.get('end')):.1f} s: {done}")
    elif "write" in message:
        item = message["write"]
        source = f"{item['source']} -> " if item.get("source") else ""
        value = f" = {literal.show(item['value'])}" if "value" in item else ""
        say(f"{_seconds(item.get('position')):10.3f}  {item['action']:<8}{source}{item['path']}{value}")
    elif "difference" in message:
        item = message["difference"]
        was, now = (literal.show(item.get(side)) for side in ("recorded", "replayed"))
        note = f"  ({item['note']})" if item.get("note") else ""
        say(f"{item['kind']:<8} {item['path']}: recorded {was}, now {now}{note}")
    else:
        _result(message["result"])


def _result(item: dict[str, Any]) -> None:
    say(
        f"{item.get('transactions', 0)} transactions and {item.get('samples', 0)} samples in "
        f"{_seconds(item.get('duration')):.1f} s, at worst {_seconds(item.get('worst_lateness')) * 1000:.1f} ms late"
        + (f", {item['refused']} refused" if item.get("refused") else "")
    )
    if item.get("note"):
        fail(f"note: {item['note']}")
    if item.get("checked"):
        found = item.get("differences", 0)
        say(f"{found} differences" if int(found) else "no differences")
    if item.get("group_id") and int(item.get("transactions", 0)):
        say(f"take it back with: lightfast undo --group {item['group_id']}")


def _seconds(text: str | None) -> float:
    return float((text or "0s").rstrip("s"))


def _counts(item: dict[str, Any]) -> str:
    lost = f", {item['dropped']} lost" if item.get("dropped") else ""
    return f"{item.get('transactions', 0)} transactions, {item.get('samples', 0)} samples{lost}"


def _size(item: dict[str, Any]) -> str:
    size = float(item.get("size", 0))
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("the last unit is for all sizes")
