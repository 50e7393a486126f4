"""What the acts of the demo share: telling what is done, and waiting until it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from lightfast.app.cli.session import say
from lightfast.app.cli.stage import wait_for
from lightfast.core.errors import NotFound
from lightfast_link.value import close

if TYPE_CHECKING:
    from lightfast.client import Client

TEMPO = "/ableton/song/tempo"
FOLLOWER = "/blender/scene/lightfast/bpm"
THIRD = "/touchdesigner/time/tempo"
APP_STATE_LIVE = 4  # of apps.proto
_QUICK_S = 0.002


@contextmanager
def step(text: str) -> Iterator[None]:
    """Tell what is done, and how long it took."""
    began = time.monotonic()
    typer.echo(f"• {text} … ", nl=False)
    try:
        yield
    except BaseException:
        say("")
        raise
    say(f"{(time.monotonic() - began) * 1000:.0f} ms")


def live(client: Client, mount: str, pid: int = -1, check: Callable[[], None] = lambda: None) -> Any:
    """Return the application at *mount* once it is in step, and not the process *pid*; *check* raises if it cannot."""

    def look() -> Any:
        check()
        for item in client.list_apps():
            if item.mount == mount and item.state == APP_STATE_LIVE and item.pid != pid:
                return item
        return None

    return wait_for(look, f"{mount} being in step", 60)


def number(client: Client, path: str) -> float:
    """Return a value that is a number."""
    value = client.get(path).value
    return float(value) if isinstance(value, int | float) else 0.0


def arrive(client: Client, path: str, wanted: float) -> None:
    """Wait until the application reports *wanted* at *path*."""

    def look() -> bool | None:
        try:
            entry = client.get(path)
        except NotFound:
            return None
        arrived = entry.reported is not None and close(entry.reported, wanted) and entry.status == "SETTLED"
        return True if arrived else None

    wait_for(look, f"{path} reporting {wanted}", 15, every=_QUICK_S)
