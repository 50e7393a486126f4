"""osc: maps of OSC devices, which ones there are, and new ones. All of it works without a daemon."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lightfast.app.cli.local import load_plugins
from lightfast.app.cli.session import CURRENT, fail, say, table
from lightfast.core.errors import FailedPrecondition, InvalidArgument, NotFound
from lightfast.core.ports import holder

if TYPE_CHECKING:
    from lightfast.sdk import Pack
    from lightfast.sdk.oscmap.learning import Learner

osc = typer.Typer(no_args_is_help=True, help="Maps: join any OSC device by one file that describes it.")

PREFIX = "osc-"
"""Packs whose names begin with it are maps."""
_KIND = re.compile(r"[a-z][a-z0-9_-]{0,39}")


def _folder() -> Path:
    from lightfast.core.paths import find

    return find(CURRENT.home).config / "osc"


def _packs() -> dict[str, Pack]:
    packs = load_plugins().packs()
    return {pack.name.removeprefix(PREFIX): pack for pack in packs if pack.name.startswith(PREFIX)}


@osc.command()
def maps() -> None:
    """List the maps that come with Lightfast, and your own."""
    from lightfast.sdk.oscmap import MapError, read_file

    folder = _folder()
    rows = [{"map": name, "where": "comes with it", "what": pack.description} for name, pack in _packs().items()]
    for path in sorted(folder.glob("*.y*ml")) if folder.is_dir() else ():
        try:
            found = read_file(path)
            what = f"{found.title}: {len(found.parameters)} parameters, at {found.remote[0]}:{found.remote[1]}"
        except (MapError, OSError) as error:
            what = f"broken: {str(error).splitlines()[0]}"
        rows.append({"map": path.stem, "where": "in use", "what": what})
    CURRENT.show(
        {"folder": str(folder), "maps": rows},
        lambda shown: table(
            ("MAP", "", ""), ((row["map"], row["where"], row["what"]) for row in shown["maps"]), "No maps."
        ),
    )


@osc.command()
def use(
    name: Annotated[str, typer.Argument(help="Which map; `lightfast osc maps` lists them.")],
    folder: Annotated[Path | None, typer.Option(help="Another folder than the daemon's own.")] = None,
) -> None:
    """Put a map into your folder; a running daemon takes it at once."""
    from lightfast.sdk import PluginError

    packs = _packs()
    if name not in packs:
        raise NotFound(f"there is no map {name!r}; there is {', '.join(packs) or 'none'}")
    target = folder or _folder()
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        path, advice = packs[name].write(target)
    except PluginError as error:
        raise FailedPrecondition(str(error)) from error
    CURRENT.show({"path": str(path), "advice": advice}, lambda done: say(f"{done['path']}\n{done['advice']}"))


@osc.command()
def check(files: Annotated[list[Path], typer.Argument(help="The maps.")]) -> None:
    """Say what is wrong in a map, with line and column."""
    from lightfast.sdk.oscmap import MapError, read_file

    broken = False
    for path in files:
        try:
            found = read_file(path)
        except MapError as error:
            broken = True
            for line in str(error).splitlines():
                fail(f"{path.parent / line}" if path.parent != Path() else line)
            continue
        say(f"{path}: {found.title}, {len(found.parameters)} parameters, {len(found.commands)} commands")
    if broken:
        raise typer.Exit(1)


@osc.command()
def learn(
    port: Annotated[int, typer.Option(help="The port of this machine that the device sends to.", min=1, max=65_535)],
    seconds: Annotated[float, typer.Option("--for", help="How long to listen.", min=0.1, max=86_400)] = 10.0,
    output: Annotated[Path | None, typer.Option(help="The file to write; without it, the map is printed.")] = None,
    kind: Annotated[str, typer.Option(help="What to call the device; its mount.")] = "",
) -> None:
    """Listen to a device and write its map: move every control once, through its whole range."""
    from lightfast.sdk.oscmap import read

    kind = kind or (output.stem.lower() if output is not None and _KIND.fullmatch(output.stem.lower()) else "device")
    if not _KIND.fullmatch(kind):
        raise InvalidArgument(f"--kind {kind!r}: use small letters, digits, - and _, such as mixer")
    if output is not None and output.exists():
        raise FailedPrecondition(f"{output} is there already: choose another --output, or move it away")
    if output is not None and not output.absolute().parent.is_dir():
        raise NotFound(f"there is no folder {output.absolute().parent} to write {output.name} into: make it first")
    learner, heard = _listen(port, seconds)
    if not learner.seen:
        raise NotFound(
            f"nothing came to UDP port {port} of 127.0.0.1 within {heard:.1f} s: let the device send OSC there, and "
            "move its controls while this runs"
        )
    text = learner.write(kind, port, heard)
    found = read(text, f"{kind}.yaml")
    if output is None:
        typer.echo(text, nl=False)
        return
    with output.open("x", encoding="utf-8") as opened:
        opened.write(text)
    CURRENT.show(
        {"path": str(output), "parameters": len(found.parameters), "messages": learner.messages},
        lambda done: say(
            f"{done['path']}: {done['parameters']} parameters from {done['messages']} messages\n"
            f"Put it into {_folder()} to use it."
        ),
    )


def _listen(port: int, seconds: float) -> tuple[Learner, float]:
    """Gather what comes to *port* of this machine until the time is over, or Ctrl-C."""
    from lightfast.sdk.osc import OscError, decode
    from lightfast.sdk.oscmap.learning import Learner

    learner = Learner()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        try:
            listening.bind(("127.0.0.1", port))
        except OSError as error:
            by = holder(port, "udp") or "another program"
            raise FailedPrecondition(
                f"UDP port {port} cannot be listened on ({error.strerror}); it is held by {by}: stop it, or let the "
                "device send to another port"
            ) from None
        if not CURRENT.as_json:
            fail(f"listening on 127.0.0.1:{port} for {seconds:g} s; Ctrl-C ends it early …")
        begin = time.monotonic()
        try:
            while (left := begin + seconds - time.monotonic()) > 0:
                listening.settimeout(left)
                try:
                    datagram, sender = listening.recvfrom(65_536)
                except TimeoutError:
                    break
                try:
                    learner.hear((sender[0], sender[1]), decode(datagram))
                except OscError as error:
                    fail(f"left out: a datagram of {len(datagram)} bytes that is no OSC: {error}")
        except KeyboardInterrupt:
            fail("ended early")
        return learner, max(time.monotonic() - begin, 0.001)
