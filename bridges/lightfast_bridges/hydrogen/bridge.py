"""The bridge to Hydrogen, the drum machine, by its OSC server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from lightfast.sdk import (
    AppSession,
    Bridge,
    BridgeError,
    BridgeHost,
    Call,
    Command,
    Dialect,
    Finding,
    Hello,
    OscMessage,
    OscSender,
    Parameter,
    Term,
    Timeline,
    Wish,
)
from lightfast.sdk.ports import is_open
from lightfast.sdk.running import Running, apart
from lightfast.sdk.settings import Table, listen_for, pause
from lightfast_bridges.hydrogen.mixer import Mixer
from lightfast_bridges.hydrogen.tables import VERBS, declarations, pack

log = structlog.get_logger("lightfast.bridges.hydrogen")

BACKOFF = (0.5, *([1.0] * 30), *([2.0] * 30), 4.0)
"""Seconds between two looks for Hydrogen; the last one is kept."""
REGISTER = "/Hydrogen/LIGHTFAST"
"""No command of Hydrogen's: any first message from a port makes it a client, who is told the whole mixer."""
TOLD_S = 2.0
"""Seconds that Hydrogen has for telling the whole mixer; a busy window system makes it slow."""
BEAT = 0.5
"""Seconds between two looks at the port."""
ENABLE = "in Hydrogen: Options > Preferences > OSC, tick Enable OSC support and Enable OSC feedback, and restart it"


class EndedError(Exception):
    """The session is over, for the reason it carries."""


class HydrogenBridge(Bridge):
    """Looks for Hydrogen, joins it, and looks for it again when it is gone."""

    kind = "hydrogen"
    title = "Hydrogen"
    timeline = Timeline(playing="transport/playing", tempo="transport/tempo")
    dialect = Dialect((Term("master.volume", ("master/volume",)),))

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        """*config* is the plugin's table: remote, name."""
        self._config = dict(config or {})

    def parameters(self) -> Sequence[Parameter]:
        """Return what is known of every song's paths."""
        return declarations()

    def commands(self) -> Sequence[Command]:
        """Return Hydrogen's verbs."""
        return [verb.command for verb in VERBS.values()]

    async def diagnose(self, config: Mapping[str, Any]) -> Sequence[Finding]:
        """Say whether a program listens where Hydrogen is looked for."""
        remote, _ = settings_of({**self._config, **config})
        subject = f"UDP {remote[0]}:{remote[1]}"
        if await is_open(remote):
            what = "a program listens there; Hydrogen tells nothing by which a look could know it"
            return [Finding("ok", subject, what, f"if it does not join, {ENABLE}")]
        what = "nothing listens there: Hydrogen is not running, its OSC is off, or it found the port taken"
        return [Finding("error", subject, what, ENABLE)]

    async def run(self, host: BridgeHost) -> None:
        """Join Hydrogen until cancelled."""
        remote, name = settings_of({**self._config, **host.config})
        where = f"{remote[0]}:{remote[1]}"
        attempt, told = 0, ""
        while True:
            reason = f"Hydrogen does not listen at {where}: start it; {ENABLE}"
            if await is_open(remote):
                try:
                    await apart(_serve(host, remote, name))
                except EndedError as ended:
                    log.info("hydrogen session ended", reason=str(ended), remote=remote)
                    attempt, reason = 0, ""
                except (TimeoutError, BridgeError) as error:
                    why = str(error) or f"a program has the port, but does not answer as Hydrogen does: {ENABLE}"
                    reason = f"Hydrogen at {where}: {why}"
                    attempt = max(attempt + 1, 31)  # each look makes us its client once more
            else:
                attempt += 1
            if reason and reason != told:
                host.absent(reason)
            told = reason
            await host.sleep(pause(attempt, BACKOFF))


async def _serve(host: BridgeHost, remote: tuple[str, int], name: str) -> None:
    """Join the Hydrogen at *remote*; a new port makes us a new client, who is told everything."""
    session: HydrogenSession | None = None

    def receive(messages: list[OscMessage]) -> None:
        if session is not None:
            session.receive(messages)

    sender = await host.open_osc(remote, (listen_for(remote[0]), 0), receive)
    try:
        session = HydrogenSession(host, sender, remote, name)
        await session.run()
    finally:
        sender.close()


class HydrogenSession:
    """One joined Hydrogen; the engine's `AppChannel` to it."""

    def __init__(self, host: BridgeHost, sender: OscSender, remote: tuple[str, int], name: str) -> None:
        self._host = host
        self._sender = sender
        self._remote = remote
        self._name = name
        self._mixer = Mixer(sender)
        self._session: AppSession | None = None
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._closed = False
        self._running = Running()

    def receive(self, messages: Sequence[OscMessage]) -> None:
        """Take the messages of one wake-up."""
        self._mixer.hear(messages)

    async def run(self) -> None:
        """Join and stay; raises `EndedError` when it is gone, `TimeoutError` where it does not tell its mixer."""
        self._sender.send(REGISTER)
        async with asyncio.timeout(TOLD_S):
            await self._mixer.told.wait()
        session = self._session = self._mixer.session = self._host.hello(self._hello(), self)
        self._mixer.full()
        session.synced()
        try:
            async with asyncio.TaskGroup() as tasks:
                self._running.group = tasks
                tasks.create_task(self._watch_end())
                tasks.create_task(self._keep_looking())
        except* EndedError:
            pass
        finally:
            self._running.group = None
            self._mixer.stop()
            if not self._ended.done():
                self._ended.set_result("the bridge stops")
            if not self._closed:
                session.lost(self._ended.result())
        raise EndedError(self._ended.result())

    def _hello(self) -> Hello:
        host, port = self._remote
        strips = sum(path.endswith("/solo") for path in self._mixer.held)
        return Hello(
            kind="hydrogen",
            instance_id=f"hydrogen@{host}:{port}",
            name=self._name,
            document_id=f"{strips}-strips",  # the song's name cannot be had
            generation=-1,
            transport="osc",
            parameters=tuple(declarations()),
            commands=tuple(verb.command for verb in VERBS.values()),
        )

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            if not await is_open(self._remote):
                self._end("nothing listens on Hydrogen's port any more")
                return

    async def _watch_end(self) -> None:
        raise EndedError(await asyncio.shield(self._ended))

    def _end(self, reason: str) -> None:
        self._running.group = None  # no command begins any more
        if not self._ended.done():
            self._ended.set_result(reason)

    # ------------------------------------------------------------------ AppChannel

    def apply(self, wishes: Sequence[Wish]) -> None:
        """Send wishes to Hydrogen."""
        if self._session is not None and not self._ended.done():
            for wish in wishes:
                self._mixer.apply(self._session, wish)

    def invoke(self, call: Call) -> None:
        """Run a command."""
        self._running.invoke(self._session, call, self._call, "Hydrogen is gone")

    async def _call(self, session: AppSession, call: Call) -> None:
        verb = VERBS.get(call.command)
        try:
            if verb is None:
                raise ValueError(f"Hydrogen has no command {call.command}")  # noqa: TRY301
            packed = pack(verb, dict(call.arguments))
            if not await is_open(self._remote):
                raise ValueError("nothing listens on Hydrogen's port any more")  # noqa: TRY301
            self._mixer.told.clear()
            self._sender.send(verb.address, *packed)
            if verb.told:
                async with asyncio.timeout(min(call.timeout, 30.0)):
                    await self._mixer.told.wait()
        except TimeoutError:
            session.fail(call.call_id, f"Hydrogen does not say that it carried {call.command} out")
        except (ValueError, BridgeError) as error:
            session.fail(call.call_id, str(error))
        else:
            session.result(call.call_id, None)

    def cancel(self, call_id: int) -> None:
        """Stop waiting for a command; Hydrogen cannot be stopped from carrying it out."""
        self._running.cancel(call_id)

    def resync(self) -> None:
        """Report everything again: Hydrogen has told each change, and tells all only to who is new."""
        if self._session is not None:
            self._mixer.full()
            self._session.synced()

    def close(self, reason: str) -> None:
        """End the session at the engine's wish."""
        self._closed = True
        self._end(reason)


def settings_of(config: Mapping[str, Any]) -> tuple[tuple[str, int], str]:
    """Return where Hydrogen is and its name, from a plugin's table; raise `BridgeError` that names a wrong setting."""
    table = Table("hydrogen", config, ("remote", "name"))
    return table.address("remote", ("127.0.0.1", 9000)), table.text("name")
