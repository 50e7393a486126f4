"""A real Ardour, a real daemon process, a client over gRPC: what a user has, and what each may survive."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.ardour import Ardour, ardour, make_session, wanted
from tests.support.daemon import Daemon
from tests.support.netns import network

from lightfast.api.v1.apps_pb2 import APP_STATE_LIVE
from lightfast.client import AsyncClient
from lightfast.core.errors import LightfastError, NotFound
from lightfast_bridges.ardour.law import position
from lightfast_link.value import Value, close

pytestmark = pytest.mark.real_app
SILENT_S = 600.0 if os.environ.get("LIGHTFAST_LONG") else 30.0
"""How long a two-way link must stay silent after a change."""
REST_S = 5.0
"""Longer than a late echo."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ardour]:
    """One Ardour for all tests of this file."""
    wanted()
    with network() as net, ardour(net, tmp_path_factory.mktemp("ardour")) as found:
        yield found
        print(found.said())


@asynccontextmanager
async def desk(running: Ardour, home: Path) -> AsyncIterator[AsyncClient]:
    """Run a daemon inside Ardour's network, and a client of it outside."""
    daemon = Daemon(home, flags=["plugins.ardour.silence=4.0", "plugins.ardour.poll=0.5"])
    with running.net.inside():
        daemon.start()
    try:
        async with AsyncClient(home=str(home)) as client:
            yield client
    finally:
        print(daemon.log()[-6000:])
        await asyncio.to_thread(daemon.stop)


async def seen(look: Callable[[], Awaitable[Any]], what: str, within: float = 90.0) -> Any:
    """Return the first true answer of *look*."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        with contextlib.suppress(NotFound):
            if found := await look():
                return found
        await asyncio.sleep(0.01)
    raise AssertionError(f"not seen within {within} s: {what}")


async def live(client: AsyncClient, document: str = "session-song") -> Any:
    """Wait until Ardour has joined with a session, and nothing is pending."""

    async def look() -> Any:
        for app in await client.list_apps():
            if app.mount == "/ardour" and app.state == APP_STATE_LIVE and not app.pending:
                return app if app.document_id == document else None
        return None

    return await seen(look, f"/ardour with {document}")


async def holds(client: AsyncClient, path: str, value: Value, tolerance: float = 0.01) -> None:
    """Wait until Ardour is known to hold *value*."""
    entry: Any = None

    async def look() -> bool:
        nonlocal entry
        entry = await client.get(path)
        return entry.status == "SETTLED" and entry.reported is not None and close(entry.reported, value, tolerance)

    try:
        await seen(look, f"{path} at {value!r}")
    except AssertionError as error:
        raise AssertionError(f"{error}; it is {entry}") from None


async def test_the_desk_and_ardour_hold_the_same(running: Ardour, tmp_path: Path) -> None:
    async with desk(running, tmp_path / "home") as client:
        await live(client)
        assert (await client.get("/ardour/strips/Drums/type")).value == "audio_track"
        await client.set("/ardour/strips/Drums/gain", -12.0)
        await holds(client, "/ardour/strips/Drums/gain", -12.0, 1e-4)
        await holds(client, "/ardour/strips/Drums/fader", 0.467359, 1e-5)
        running.control.send("/strip/gain", running.control.ssid("Drums"), -6.0)
        await holds(client, "/ardour/strips/Drums/gain", -6.0)
        await client.set("/ardour/strips/Drums/mute", True)
        await holds(client, "/ardour/strips/Drums/mute", True)
        await client.set("/ardour/strips/Drums/plugins/1/parameters/1/value", -3.0)
        await holds(client, "/ardour/strips/Drums/plugins/1/parameters/1/value", -3.0)
        await client.set("/ardour/transport/playing", True)
        await holds(client, "/ardour/transport/playing", True)
        await client.invoke("/ardour", "transport_stop")
        await holds(client, "/ardour/transport/playing", False)
        with pytest.raises(LightfastError, match=r"6\.03"):
            await client.set("/ardour/strips/Drums/gain", 12.0)

        await client.set("/ardour/strips/Voice%2FLead/comment", "follows its strip")
        await holds(client, "/ardour/strips/Voice%2FLead/comment", "follows its strip")
        await client.move("/ardour/strips/Voice%2FLead", "/ardour/strips/Singer")
        await holds(client, "/ardour/strips/Singer/comment", "follows its strip")
        await holds(client, "/ardour/strips/Singer/name", "Singer")
        assert running.control.ssid("Singer")
        running.control.send("/strip/name", running.control.ssid("Singer"), "Voice/Lead")
        await holds(client, "/ardour/strips/Voice%2FLead/comment", "follows its strip")
        with pytest.raises(NotFound):
            await client.get("/ardour/strips/Singer/comment")


@pytest.mark.slow
@pytest.mark.limit(SILENT_S + 180)
async def test_a_two_way_link_stays_silent(running: Ardour, tmp_path: Path) -> None:
    async with desk(running, tmp_path / "home") as client:
        await live(client)
        fader, free = "/ardour/strips/Reverb/fader", "/free/fader"
        await client.set(fader, 0.6)
        await holds(client, fader, 0.6, 1e-5)
        await client.link(fader, free, two_way=True)

        async def follows(value: float) -> bool:
            held = (await client.get(free)).value
            return held is not None and close(held, value, 1e-4)

        await seen(lambda: follows(0.6), "the free path follows")
        running.control.send("/strip/gain", running.control.ssid("Reverb"), -21.0)
        await seen(lambda: follows(position(-21.0)), "the free path follows Ardour")
        await client.set(free, 0.3)
        await holds(client, fader, 0.3, 1e-5)
        paths = (fader, free, "/ardour/strips/Reverb/gain")
        before = await rested(client, paths)
        told = await asyncio.to_thread(_counted, running, SILENT_S)
        assert [(await client.get(path)).revision for path in paths] == before, "something goes round"
        assert told == 0, "the daemon goes on writing to Ardour"


async def rested(client: AsyncClient, paths: Sequence[str]) -> list[int]:
    """Wait until nothing has changed for so long that a late echo would have come; return the revisions."""
    revisions: list[int] = []
    since = time.monotonic()

    async def look() -> bool:
        nonlocal revisions, since
        now = [(await client.get(path)).revision for path in paths]
        if now != revisions:
            revisions, since = now, time.monotonic()
        return time.monotonic() - since > REST_S

    await seen(look, "rest")
    return revisions


def _counted(running: Ardour, seconds: float) -> int:
    """Return how often Ardour tells of a fader in so many *seconds*."""
    running.control.drain()
    end, count = time.monotonic() + seconds, 0
    while (left := end - time.monotonic()) > 0:
        count += running.control.wait(lambda told, _: told == "/strip/fader", left) is not None
    return count


async def test_two_daemons_share_one_ardour(running: Ardour, tmp_path: Path) -> None:
    async with desk(running, tmp_path / "one") as one, desk(running, tmp_path / "other") as other:
        await live(one)
        await live(other)
        await one.set("/ardour/strips/Synth/gain", -7.0)
        await holds(other, "/ardour/strips/Synth/gain", -7.0)
        await other.set("/ardour/strips/Synth/gain", -8.0)
        await holds(one, "/ardour/strips/Synth/gain", -8.0)


@pytest.mark.limit(400)
async def test_killed_it_comes_back_as_it_was_and_another_session_as_it_is(running: Ardour, tmp_path: Path) -> None:
    async with desk(running, tmp_path / "home") as client:
        await live(client)
        await client.set("/ardour/master/gain", -5.0)
        await holds(client, "/ardour/master/gain", -5.0)
        await asyncio.to_thread(running.kill)

        async def stale() -> bool:
            return (await client.get("/ardour/master/gain")).status == "STALE"

        await seen(stale, "the loss")
        starting = asyncio.create_task(asyncio.to_thread(running.start))
        await live(client)
        print(f"ardour is in step again {time.monotonic() - running.listening:.2f} s after it listens")
        await starting
        await holds(client, "/ardour/master/gain", -5.0)
        told = await asyncio.to_thread(running.control.ask, f"/strip/{running.control.ssid('Master')}/gain")
        assert told is not None
        assert told[0] == pytest.approx(-5.0, abs=0.1), "what was not saved was put back"

        await asyncio.to_thread(running.stop)
        mine = running.session
        running.session = await asyncio.to_thread(make_session, running.net, running.folder, "other", first="Kick")
        try:
            await asyncio.to_thread(running.start)
            await live(client, "session-other")
            await holds(client, "/ardour/master/gain", 0.0)
            await holds(client, "/ardour/strips/Kick/name", "Kick")
        finally:
            running.session = mine
