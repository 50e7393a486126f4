"""A private daemon for a replay: a folder of its own, free ports, the recording, and simulators beside it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lightfast.app.cli.session import Session
from lightfast.app.cli.stage import Stage, free_udp_port, wait_for
from lightfast.core import paths
from lightfast.core.errors import FailedPrecondition, NotFound

LIVE = 4
"""The state of an application that is in step, of apps.proto."""
START_S = 30.0


@contextmanager
def house(session: Session, name: str, sims: Sequence[str]) -> Iterator[Session]:
    """Run a daemon with the recording *name* of this user's daemon, and *sims*; yield how to reach it.

    Raises `FailedPrecondition` for a daemon of another machine, and `NotFound` for a recording or a simulator
    that is not there.
    """
    from lightfast.engine.journal.shelf import Shelf

    if session.address:
        raise FailedPrecondition("--fresh reads the recording from this machine: leave --address out")
    recording = Shelf(paths.find(session.home).state / "recordings").file(name)
    with tempfile.TemporaryDirectory(prefix="lightfast-replay-") as folder:
        home = Path(folder)
        place = home / "state" / "recordings"
        place.mkdir(parents=True, mode=0o700)
        shutil.copy(recording, place)
        stage = Stage(home)
        try:
            settings = [flag for sim in sims if not _joins(sim) for flag in _simulate(stage, sim)]
            stage.daemon(*settings)
            for sim in sims:
                if _joins(sim):
                    stage.start(sim, "-m", "lightfast", "--home", str(home), "sim", sim)
            private = Session(home=str(home), as_json=session.as_json)
            for sim in sims:
                wait_for(lambda sim=sim: _is_live(private, sim), f"the simulator {sim} joining", START_S)  # type: ignore[misc]
            yield private
        finally:
            stage.close()


def _joins(sim: str) -> bool:
    """Say whether a simulator joins the daemon by itself, instead of waiting to be called."""
    from lightfast.app.cli.local import load_plugins

    found = {item.name: item for item in load_plugins().simulators()}
    if sim not in found:
        raise NotFound(f"there is no simulator {sim!r}; there is {', '.join(sorted(found)) or 'none'}")
    return not found[sim].default_listen[1]


def _simulate(stage: Stage, sim: str) -> list[str]:
    """Start a simulator on free ports; return the settings that lead the daemon to it."""
    reply = free_udp_port()
    arguments = ("sim", sim, "--listen", "127.0.0.1:0", "--reply-port", str(reply))
    process = stage.start(sim, "-m", "lightfast", *arguments)

    def said() -> str | None:
        text = stage.log(sim).read_text(errors="replace")
        if process.poll() is not None:
            raise FailedPrecondition(f"the simulator {sim} ended with code {process.returncode}:\n{text[-2000:]}")
        found = [line for line in text.splitlines(keepends=True) if "listening on" in line and line.endswith("\n")]
        return found[0].strip() if found else None

    port = wait_for(said, f"the start of the simulator {sim}", START_S).rpartition(":")[2]
    return [f"plugins.{sim}.remote=127.0.0.1:{port}", f"plugins.{sim}.reply_port={reply}"]


def _is_live(session: Session, sim: str) -> bool | None:
    with session.client() as client:
        return True if any(app.kind == sim and app.state == LIVE for app in client.list_apps()) else None
