"""kill -9 of real applications, each started again: the seconds from when it listens until it is in step with the tree.

A value is changed before each kill; it must be back in the application itself. Blender comes to the daemon by itself,
so its time runs from its hello. What is not installed is left out, with the line that installs it.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.bench.measure import Row, single
from tests.bench.world import World
from tests.support.ardour import ardour, wanted
from tests.support.blender import blender
from tests.support.blender import wanted as wanted_blender
from tests.support.daemon import Daemon
from tests.support.joined import Desk, daemon_with, desk
from tests.support.netns import network
from tests.support.ports import free_port
from tests.support.puredata import Pd
from tests.support.scsynth import Client, Scsynth
from tests.support.waiting import until

from lightfast.api.v1.apps_pb2 import APP_STATE_LIVE

TIMES = 3
GOAL_S = 2.0


def again(house: Desk, kill: Callable[[], None], start: Callable[[], float], times: int = TIMES) -> list[float]:
    """Kill it *times* times; *start* returns when it listened, by the monotonic clock."""
    found = []
    for _ in range(times):
        before = house.live().connect_time.ToNanoseconds()
        kill()
        listened = start()

        def back(before: int = before) -> bool:
            app = house.app()
            return (
                app is not None
                and app.connect_time.ToNanoseconds() != before
                and not app.pending
                and app.state == APP_STATE_LIVE
            )

        until(back, f"{house.mount} in step again")
        found.append(time.monotonic() - listened)
    return found


def row(what: str, found: list[float], note: str = "") -> Row:
    """Return the row of one application."""
    note = f"{len(found)} times, most {max(found):.2f} s{'; ' if note else ''}{note}"
    return single(f"Recovery of {what} after kill -9, median", statistics.median(found), "s", most=GOAL_S, note=note)


@contextmanager
def left_out(what: str) -> Iterator[None]:
    """Say what is missing, and go on."""
    try:
        yield
    except pytest.skip.Exception as missing:
        print(f"recovery of {what} is left out: {missing.msg}", flush=True)
    except AssertionError as error:  # a program that did not come up must not take the figures of the others along
        print(f"recovery of {what} FAILED: {error}", flush=True)


def puredata(folder: Path) -> Row:
    """Kill Pd, whose patch answers once it listens."""
    pd = Pd(folder, free_port())
    try:
        pd.start()
        with desk(daemon_with(folder / "home", "puredata", listen=f"127.0.0.1:{pd.listen}"), "/drone") as house:
            house.live()
            house.set("osc/freq", 777.0)

            def start() -> float:
                pd.start()
                pd.read()
                return time.monotonic()

            found = again(house, pd.kill, start)
            until(lambda: pd.read()["freq"] == 777.0, "the value in the patch")
            return row("Pd", found)
    finally:
        pd.close()


def scsynth(folder: Path) -> Row:
    """Kill scsynth."""
    server = Scsynth(folder)
    eye = Client(server.port)
    try:
        server.start()
        server.wait()
        settings = {"remote": f"127.0.0.1:{server.port}", "buses": "0-3"}
        with desk(daemon_with(folder / "home", "supercollider", **settings), "/supercollider") as house:
            house.live()
            house.set("buses/2", 0.25)

            def start() -> float:
                server.start()
                server.wait()
                return time.monotonic()

            found = again(house, server.kill, start)
            until(lambda: eye.bus(2) == 0.25, "the value in the bus")
            return row("scsynth", found)
    finally:
        eye.close()
        server.close()


def blender_itself(folder: Path) -> Row:
    """Kill Blender; it has the daemon's word for how long it took, from its hello."""
    installation = wanted_blender("application")
    daemon = Daemon(folder / "home")
    with desk(daemon, "/blender") as house:
        found = []
        for number in range(TIMES + 1):
            with blender(installation, daemon.home) as process:

                def there(pid: int = process.pid) -> Any:
                    app = house.app()
                    return (
                        app
                        if app is not None and app.pid == pid and app.state == APP_STATE_LIVE and not app.pending
                        else None
                    )

                app = until(there, "Blender in step")
                if number:
                    found.append(app.recovery_duration.ToNanoseconds() / 1e9)
                process.kill()
                process.wait(10)
        return row("Blender", found, "from its hello")


def ardour_itself(folder: Path) -> Row:
    """Kill Ardour, in a network of its own."""
    wanted()
    starting: list[Future[object]] = []
    with network() as net, ardour(net, folder) as running, ThreadPoolExecutor(1) as pool:
        daemon = daemon_with(folder / "home", "ardour")
        with net.inside():
            daemon.start()
        try:
            with desk_of(daemon, "/ardour") as house:
                house.live()

                def start() -> float:
                    begun = time.monotonic()
                    starting.append(pool.submit(running.start))  # it goes on for seconds to see whether Ardour acts
                    until(lambda: running.listening > begun, "Ardour's port")
                    return running.listening

                found = again(house, running.kill, start, 1)
                for each in starting:
                    each.result()
        finally:
            daemon.stop()
        return row("Ardour", found, "from when it has its port; loading its session is in it")


@contextmanager
def desk_of(daemon: Daemon, mount: str) -> Iterator[Desk]:
    """Look at a daemon that runs already."""
    from lightfast.client import Client as Lightfast

    with Lightfast(home=daemon.home) as client:
        yield Desk(daemon, client, mount)


def measure() -> list[Row]:
    """Measure one after the other."""
    made = []
    cases = {"Pd": puredata, "scsynth": scsynth, "Blender": blender_itself, "Ardour": ardour_itself}
    for what, case in cases.items():
        with left_out(what), tempfile.TemporaryDirectory(prefix="lf-bench-") as folder:
            made.append(case(Path(folder)))
    return made


async def run(_world: World, _pairs: int) -> list[Row]:
    """Measure all that are here."""
    return await asyncio.to_thread(measure)
