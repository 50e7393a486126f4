"""demo: the main job, from nothing, on a private daemon."""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from lightfast.app.cli.session import say
from lightfast.app.cli.stage import Stage
from lightfast.core.errors import LightfastError

app = typer.Typer()
INTERRUPTED = 130
_ENDINGS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@app.command()
def demo(
    stay: Annotated[bool, typer.Option(help="Stay up until Ctrl-C.")] = False,
    folder: Annotated[Path | None, typer.Option(help="Where to put everything; a new folder by default.")] = None,
    simulate: Annotated[bool, typer.Option(help="Use the Blender simulator even where Blender is there.")] = False,
) -> None:
    """Join Blender, Live and others, link, crash, undo, play, record, do what a sentence asks, remember, purge."""
    from lightfast.app.cli.show import Show

    root = (folder or Path(tempfile.mkdtemp(prefix="lightfast-demo-"))).absolute()
    root.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    played = False
    with _ended_by_signals(), _cleaned(Stage(root)) as stage:
        try:
            show = Show(stage, simulate=simulate)
            show.run()
            played = True
            say(f"\nDone in {time.monotonic() - began:.1f} s.")
            for missing in show.left_out:
                say(f"  left out here: {missing}")
            say("  not in it: a real Live, a real TouchDesigner, and all else that lightfast apps names")
            say(f"Everything lies in {root}")
            say("  state/  the store and the assets;  *.log  what each process said")
            if stay:
                show.invite()
                while True:
                    time.sleep(3600)
        except KeyboardInterrupt:
            say("\nEnding.")
            if not played:
                raise typer.Exit(INTERRUPTED) from None
        except LightfastError:
            for log in sorted(root.glob("*.log")):
                said = log.read_text(errors="replace")[-1500:]
                say(f"--- the end of {log}\n{said}")
            raise


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let a polite wish to end, or a closed terminal, do what Ctrl-C does; put the old handlers back."""

    def end(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in _ENDINGS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _cleaned(stage: Stage) -> Iterator[Stage]:
    """End all processes in any case; a second Ctrl-C does not leave some behind, ending them is bounded."""
    try:
        yield stage
    finally:
        for number in _ENDINGS:
            signal.signal(number, signal.SIG_IGN)
        stage.close()
