"""sim, pack: what works without a daemon."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from lightfast.app.cli.session import CURRENT, fail, hush, say, table
from lightfast.core.errors import FailedPrecondition, NotFound

if TYPE_CHECKING:
    from lightfast.host.plugins import PluginHost
    from lightfast.sdk import Pack, Simulator

app = typer.Typer()
T = TypeVar("T", "Simulator", "Pack")


def load_plugins() -> PluginHost:
    """Load the installed plugins without a daemon."""
    hush()
    from lightfast.host.plugins import PluginHost

    host = PluginHost({}, dropins=None)
    host.load_all()
    return host


def _pick(found: list[T], name: str, what: str) -> T:
    for item in found:
        if item.name == name:
            return item
    names = ", ".join(sorted(item.name for item in found)) or "none"
    raise NotFound(f"there is no {what} {name!r}; there is {names}")


@app.command()
def sim(
    name: Annotated[str, typer.Argument(help="Which application; without one, list them.")] = "",
    listen: Annotated[str, typer.Option(help="HOST:PORT; the real application's own by default.")] = "",
    reply_port: Annotated[int, typer.Option(help="Where answers go; the real application's own by default.")] = 0,
) -> None:
    """Run a simulator: the application's real protocol on a real socket."""
    simulators = load_plugins().simulators()
    if not name:
        table(
            ("SIMULATOR", "LISTENS ON", ""),
            ((s.name, f"{s.default_listen[0]}:{s.default_listen[1]}", s.description) for s in simulators),
            "No simulators.",
        )
        return
    chosen = _pick(simulators, name, "simulator")
    address = chosen.default_listen
    if listen:
        host, colon, port = listen.rpartition(":")
        if not colon or not port.isdecimal() or int(port) > 65_535:
            raise typer.BadParameter(f"{listen!r}: write it as HOST:PORT, with a port from 0 to 65535")
        address = (host or "127.0.0.1", int(port))
    if CURRENT.home:
        os.environ["LIGHTFAST_HOME"] = CURRENT.home  # where a simulator that joins the daemon looks for it
    with contextlib.suppress(KeyboardInterrupt), _told():
        asyncio.run(_simulate(chosen, address, reply_port or chosen.default_reply_port))


def _say_if_alone() -> None:
    """Tell that a simulator which joins the daemon has none to join yet."""
    from lightfast_link import endpoints

    try:
        endpoints.find(CURRENT.home)
    except endpoints.EndpointsError as error:
        fail(f"{error}. Waiting for it …")


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turn what a plugin raises into an error that the command line tells."""
    from lightfast.sdk import PluginError

    try:
        yield
    except PluginError as error:
        raise FailedPrecondition(str(error)) from error


async def _simulate(simulator: Simulator, listen: tuple[str, int], reply_port: int) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C arrives as KeyboardInterrupt
            loop.add_signal_handler(number, task.cancel)  # type: ignore[union-attr]

    def ready(address: tuple[str, int]) -> None:
        say(f"{simulator.description}: listening on {address[0]}:{address[1]}")

    if not simulator.default_listen[1]:
        _say_if_alone()
    with contextlib.suppress(asyncio.CancelledError):
        await simulator.run(listen, reply_port, ready)


@app.command()
def pack(
    name: Annotated[str, typer.Argument(help="Which application; without one, list them.")] = "",
    output: Annotated[Path, typer.Option(help="The folder to write into.")] = Path(),
) -> None:
    """Write the half of a bridge that is installed inside an application."""
    packs = load_plugins().packs()
    if not name:
        table(("PACK", ""), ((p.name, p.description) for p in packs), "No packs.")
        return
    chosen = _pick(packs, name, "pack")
    with _told():
        output.mkdir(parents=True, exist_ok=True)
        path, advice = chosen.write(output)
    CURRENT.show({"path": str(path), "advice": advice}, lambda done: say(f"{done['path']}\n{done['advice']}"))
    if not path.exists():
        fail(f"{path} was not written")
        raise typer.Exit(1)
