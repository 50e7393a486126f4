"""transport: the one timeline, who leads it and who follows."""

from __future__ import annotations

import sys
import time
import uuid
from typing import Annotated, Any

import typer

from lightfast.app.cli.session import CURRENT, NEGATIVE, say, table
from lightfast.core.errors import FailedPrecondition, NotFound

ROOT = "/transport"
INTERNAL = "internal"

transport = typer.Typer(
    invoke_without_command=True, help="The one timeline: play, stop, seek, tempo; who leads it and who follows."
)


@transport.callback()
def status(context: typer.Context) -> None:
    """Show the timeline, and how each application keeps to it."""
    if context.invoked_subcommand is None:
        CURRENT.call("TransportService.GetTransport", {}, lambda found: _show(found["transport"]))


@transport.command()
def play() -> None:
    """Play, all together."""
    _ask("Play", {})


@transport.command()
def stop() -> None:
    """Stop."""
    _ask("Stop", {})


@transport.command(context_settings=NEGATIVE)
def seek(
    where: Annotated[str, typer.Argument(help="Seconds (12.5), beats (16b), frames (250f) or HH:MM:SS:FF.")],
) -> None:
    """Go to a position."""
    _ask("Seek", _target(where))


@transport.command()
def tempo(bpm: Annotated[float, typer.Argument(help="Beats per minute, from 20 to 999.")]) -> None:
    """Set the tempo; the beat goes on without a jump."""
    _ask("SetTempo", {"tempo": bpm})


@transport.command()
def tap() -> None:
    """Tap the tempo: press Enter on each beat, q and Enter to end; or one tap where there is no terminal."""
    with CURRENT.client() as client:
        client.publish(_taps())
        found = client.call_json("TransportService.GetTransport", {})
    CURRENT.show(found, lambda message: say(f"{message['transport']['tempo']:g} bpm"))


@transport.command()
def rate(
    name: Annotated[str, typer.Argument(help="23.976, 24, 25, 29.97, 29.97df, 30, 48, 50, 59.94, 59.94df, 60.")],
) -> None:
    """Count frames and timecode so."""
    _write({"set": {"path": f"{ROOT}/frame_rate", "value": {"string_value": name}}}, f"frame rate {name}")


@transport.command()
def lead(mount: Annotated[str, typer.Argument(help="An application, such as /ardour, or internal.")]) -> None:
    """Let an application lead the timeline, or the daemon's own clock (internal)."""
    mount = mount if mount == INTERNAL else _known(mount)
    _write({"set": {"path": f"{ROOT}/leader", "value": {"string_value": mount}}}, f"{mount} leads")


@transport.command()
def follow(
    mount: Annotated[str, typer.Argument(help="An application, such as /blender.")],
    offset: Annotated[float, typer.Option(help="How many seconds later than the timeline it is to be.")] = 0.0,
    tempo: Annotated[bool, typer.Option("--tempo/--no-tempo", help="Whether it takes the tempo, too.")] = True,
) -> None:
    """Let an application follow the timeline."""
    mount = _known(mount)
    fields = {"offset": {"double_value": offset}, "tempo": {"bool_value": tempo}}
    value = {"map_value": {"fields": fields}}
    _write({"set": {"path": f"{ROOT}/follows{mount}", "value": value}}, f"{mount} follows")


@transport.command()
def unfollow(mount: Annotated[str, typer.Argument(help="An application.")]) -> None:
    """Let an application go its own way again."""
    mount = "/" + mount.strip("/")
    try:
        with CURRENT.client() as client:
            client.get(f"{ROOT}/follows{mount}")
    except NotFound:  # it is not meant to follow: that is well where it is known
        mount = _known(mount)
    _write({"delete": {"path": f"{ROOT}/follows{mount}"}}, f"{mount} follows no more")


@transport.command()
def watch(
    max_rate_hz: Annotated[float, typer.Option("--rate", help="The most lines a second while it plays.")] = 2.0,
) -> None:
    """Show the timeline as it goes, until interrupted."""
    with CURRENT.client() as client:
        for message in client.stream_json("TransportService.WatchTransport", {"max_rate_hz": max_rate_hz}):
            CURRENT.show(message, lambda found: say(_line(found["transport"])))


def _ask(method: str, fields: dict[str, Any]) -> None:
    fields = {**fields, "request_id": uuid.uuid4().hex}
    CURRENT.call(f"TransportService.{method}", fields, lambda found: say(_line(found["transport"])))


def _write(mutation: dict[str, Any], done: str) -> None:
    fields = {"mutations": [mutation], "request_id": uuid.uuid4().hex, "label": f"transport: {done}"}
    CURRENT.call("ContextService.Apply", fields, lambda _: say(done))


def _known(mount: str) -> str:
    """Return a mount that has a transport; raise what to do where it is not joined or has none."""
    mount = "/" + mount.strip("/")
    with CURRENT.client() as client:
        apps = client.call_json("TransportService.GetTransport", {})["transport"].get("apps", [])
        if any(app["mount"] == mount and (app.get("has") or app["state"].endswith("AWAY")) for app in apps):
            return mount
        joined = client.call_json("AppService.ListApps", {"page_size": 1000}).get("apps", [])
    if any(app["mount"] == mount for app in joined):
        raise FailedPrecondition(f"{mount} has no transport that could lead or follow", reason="NO_TIMELINE")
    there = ", ".join(app["mount"] for app in apps) or "none yet"
    raise NotFound(f"there is no application {mount}; with a transport there are: {there}", reason="APP_UNKNOWN")


def _target(where: str) -> dict[str, Any]:
    if ":" in where or ";" in where:
        return {"timecode": where}
    number, unit = (where[:-1], where[-1]) if where[-1:] in {"b", "f", "s"} else (where, "s")
    try:
        if unit == "f":
            return {"frames": int(number)}
        return {"beats" if unit == "b" else "position": float(number)}
    except ValueError:
        raise typer.BadParameter(
            f"{where!r} is no position: write seconds (12.5), beats (16b), frames (250f) or HH:MM:SS:FF"
        ) from None


def _taps() -> Any:
    if not sys.stdin.isatty():
        yield {f"{ROOT}/tap": time.monotonic()}
        return
    say("Press Enter on each beat; q and Enter to end.")
    while sys.stdin.readline().strip().lower() not in {"q", "quit"}:
        yield {f"{ROOT}/tap": time.monotonic()}


def _line(found: dict[str, Any]) -> str:
    playing = "playing" if found.get("playing") else "stopped"
    return (
        f"{playing}  {found.get('timecode', '')}  {found.get('position', 0.0):.3f} s  "
        f"beat {found.get('beats', 0.0):.2f}  {found.get('tempo', 0.0):g} bpm  led by {found.get('leading', INTERNAL)}"
    )


def _show(found: dict[str, Any]) -> None:
    say(_line(found))
    leader, leading = found.get("leader", INTERNAL), found.get("leading", INTERNAL)
    if leader != leading:
        say(f"{leader} is meant to lead")
    if found.get("notice"):
        say(found["notice"])
    columns = ("app", "role", "state", "phase ms", "p99 ms", "drift ppm", "corrections", "reason")
    empty = "No application with a transport is joined."
    table(columns, [_row(app) for app in found.get("apps", []) if not _is_idle(app)], empty)


def _is_idle(app: dict[str, Any]) -> bool:
    """Say whether an application is neither here nor meant to be."""
    return bool(app["role"].endswith("_NONE") and app["state"].endswith("_AWAY"))


def _row(app: dict[str, Any]) -> tuple[str, ...]:
    numbers = [f"{app[name]:.1f}" if name in app else "-" for name in ("phase_ms", "phase_p99_ms", "drift_ppm")]
    role = app["role"].removeprefix("TRANSPORT_ROLE_").lower()
    state = app["state"].removeprefix("TRANSPORT_APP_STATE_").lower().replace("_", " ")
    has = " ".join(app.get("has", []))
    return (app["mount"], role, state, *numbers, app.get("corrections", "0"), app.get("reason", "") or f"has {has}")
