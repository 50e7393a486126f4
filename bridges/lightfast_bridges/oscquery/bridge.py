"""The bridge: one session for each server that is named or found, each looked for again when it is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from lightfast.sdk import Bridge, BridgeError, BridgeHost, Finding
from lightfast.sdk.settings import Table, pause
from lightfast_bridges.oscquery.discovery import Discovery
from lightfast_bridges.oscquery.errors import TroubleError
from lightfast_bridges.oscquery.remote import Remote
from lightfast_bridges.oscquery.session import ServerSession

log = structlog.get_logger("lightfast.bridges.oscquery")

BACKOFF = (0.5, 1.0, 2.0, 4.0, 5.0)
"""Seconds between two looks; the last one is kept."""
MAX_SERVERS = 16
_SETTINGS = ("servers", "server", "discover", "poll", "name")


class OscQueryBridge(Bridge):
    """Joins the OSCQuery servers of the settings: ossia score, Chataigne, TouchDesigner, another daemon."""

    kind = "oscquery"
    title = "OSCQuery servers"

    async def diagnose(self, config: Mapping[str, Any]) -> Sequence[Finding]:
        """Ask each server of the settings what it is."""
        try:
            urls, _, _ = settings_of(config)
        except BridgeError as error:
            return [Finding("error", "oscquery", str(error), "mend it in lightfast.toml")]
        return [await _looked_at(url) for url in urls]

    async def run(self, host: BridgeHost) -> None:
        """Join servers until cancelled."""
        try:
            urls, discover, poll = settings_of(host.config)
        except BridgeError as error:  # it will not mend itself: another setting starts the bridge anew
            host.absent(str(error))
            await asyncio.Event().wait()
            return
        if not urls and not discover:
            host.absent(
                'no server is named: set [plugins.oscquery] servers = ["http://127.0.0.1:5678"], or discover = true'
            )
        running: dict[str, asyncio.Task[None]] = {}
        discovery = Discovery() if discover else None
        try:
            for url in urls:
                running[url] = asyncio.ensure_future(_keep(host, url, poll, alone=len(urls) == 1))
            if discovery is None:
                await asyncio.Event().wait()
                return
            async for url in discovery.found():
                if url not in running and len(running) < MAX_SERVERS:
                    running[url] = asyncio.ensure_future(_keep(host, url, poll, alone=False))
        finally:
            for task in running.values():
                task.cancel()
            if running:
                await asyncio.wait(running.values(), timeout=2.0)
            if discovery is not None:
                await discovery.close()


async def _keep(host: BridgeHost, url: str, poll: float, *, alone: bool) -> None:
    """Join the server at *url* again and again."""
    attempt = 0
    told = ""
    wanted = str(host.config.get("name", ""))
    name = wanted
    while True:
        joined = False
        try:
            remote = Remote(url)
            await remote.open()
            try:
                session = ServerSession(host, remote, wanted, poll)
                try:
                    await session.run()
                finally:
                    joined = session.session is not None
                    name = session.name or name
                    if session.session is not None:
                        session.session.lost("the server is gone")
            finally:
                await remote.close()
            reason = "it ended"
        except TroubleError as error:
            reason = str(error)
        except Exception as error:  # one server's answers are not the others' trouble
            reason = f"{url} could not be used: {type(error).__name__}: {error}"
            if reason != told:
                log.exception("an oscquery server could not be used", server=url)
        attempt = 0 if joined else attempt + 1
        if reason != told or joined:
            host.absent(f"{reason}; start it, or take it out of the settings", name or ("" if alone else _label(url)))
            told = reason
        await host.sleep(pause(attempt, BACKOFF))


def _label(url: str) -> str:
    return "oscquery-" + url.rpartition(":")[2].strip("/")


async def _looked_at(url: str) -> Finding:
    try:
        remote = Remote(url)
        await remote.open()
        try:
            info = await remote.host_info()
        finally:
            await remote.close()
    except TroubleError as error:
        return Finding("error", url, str(error), "start the server, or correct [plugins.oscquery] servers")
    how = "tells its changes" if info.listens else "tells no changes, so it is polled"
    return Finding("ok", url, f"{info.name or 'a server without a name'} {how}; OSC goes to port {info.osc_port}")


def settings_of(config: Mapping[str, Any]) -> tuple[list[str], bool, float]:
    """Return the servers, whether others are looked for, and the seconds of polling; raise `BridgeError`."""
    table = Table("oscquery", config, _SETTINGS)
    servers = config.get("servers", [])
    if isinstance(servers, str) or not isinstance(servers, (list, tuple)):
        raise BridgeError('oscquery.servers must be a list, such as ["http://127.0.0.1:5678"]')
    urls = [*servers, *([config["server"]] if "server" in config else [])]
    for url in urls:
        try:
            Remote(url if isinstance(url, str) else repr(url))
        except TroubleError as error:
            raise BridgeError(f"oscquery.servers: {error}") from None
    if len(urls) > MAX_SERVERS:
        raise BridgeError(f"oscquery.servers names {len(urls)}, the most is {MAX_SERVERS}")
    poll = config.get("poll", 1.0)
    if isinstance(poll, bool) or not isinstance(poll, (int, float)) or not 0.05 <= poll <= 3600:
        raise BridgeError(f"oscquery.poll is {poll!r}: write the seconds between two readings, from 0.05 to 3600")
    if "name" in config and len(urls) > 1:
        raise BridgeError("oscquery.name names one server: give each of several an entry in `instances`")
    return list(dict.fromkeys(urls)), table.flag("discover"), float(poll)
