"""One joined server: from the first answer to the last."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Sequence
from typing import Any

import structlog

from lightfast.sdk import AppSession, BridgeError, BridgeHost, Call, Hello, OscMessage, OscSender, Wish
from lightfast.sdk.running import Running
from lightfast.sdk.silence import Silence
from lightfast_bridges.supercollider import commands
from lightfast_bridges.supercollider.asking import Asker, NoAnswerError, RefusedError
from lightfast_bridges.supercollider.mirror import MALFORMED, Memory, Mirror
from lightfast_bridges.supercollider.settings import Settings
from lightfast_bridges.supercollider.tree import declarations
from lightfast_bridges.supercollider.wishes import Wishes

log = structlog.get_logger("lightfast.bridges.supercollider")

STRUCTURE = 0.03
"""Seconds after news of a new node until the tree is read: many come at once."""
BUFFER_TURNS = 3
"""Buffers are looked at in every third round."""


class EndedError(Exception):
    """The session is over, for the reason it carries."""


class Server:
    """Joins the server, keeps in step with it, and ends with `EndedError`; the engine's `AppChannel` to it."""

    def __init__(self, host: BridgeHost, sender: OscSender, settings: Settings, memory: Memory) -> None:
        self.host, self.settings = host, settings
        self.asker = Asker(sender.send)
        self.mirror = Mirror(memory, self._end)
        self.client = 0
        """The number the server gave us; node numbers of ours begin with it."""
        self.closed = False
        """The engine has ended it."""
        self._memory = memory
        self._loop = asyncio.get_running_loop()
        self._session: AppSession | None = None
        self._silence = Silence()
        self._troubles: dict[str, str] = {}
        self._resync = False
        self._ended: asyncio.Future[str] = self._loop.create_future()
        self._running = Running()

    def receive(self, messages: Sequence[OscMessage]) -> None:
        """Take the messages of one wake-up."""
        self._silence.heard()
        if self._troubles.pop("silence", None):
            self.mirror.stale.set()
            self._judge()
        for address, _, arguments in messages:
            self.asker.hear(address, tuple(arguments))
        self.mirror.hear(messages)

    # ------------------------------------------------------------------ joining

    async def run(self) -> None:
        """Join and stay; raises `EndedError` when the server is gone, `NoAnswerError` before it has joined."""
        status = await self.asker.ask("/status", test=_is("/status.reply"), tries=1)
        try:
            hello = await self._hello()
            await self._find_marker()
            await self._register()
            await self._read_tree()
            session = self._session = self.host.hello(self._with_document(hello), self)
            mirror = self.mirror
            mirror.session = session
            mirror.wishes = Wishes(session, self.asker.send, mirror.nodes)
            mirror.wishes.bus_held = mirror.follow
            mirror.wishes.held = mirror.values.__setitem__
            mirror.remember()
            mirror.take_status(status)
            await self._read_buses()
            if self.settings.buffers:
                numbers = range(self.settings.buffers)
                mirror.take_buffers(await self.asker.ask("/b_query", *numbers, test=_is("/b_info")))
            mirror.report_all()
            session.synced()
            await self._stay()
        except asyncio.CancelledError:
            self._end("the bridge stops")
            raise
        finally:
            self._leave()

    def _leave(self) -> None:
        """Take ourselves off the server's list; nodes go on, they belong to those who made them."""
        self.asker.send("/notify", 0)
        if self.mirror.wishes is not None:
            self.mirror.wishes.stop()
        if not self._ended.done():
            self._ended.set_result("scsynth stopped answering while it joined")
        if self._session is not None and not self.closed:
            self._session.lost(self._ended.result())

    async def _hello(self) -> Hello:
        version = await self.asker.ask("/version", test=_is("/version.reply"))
        host, port = self.settings.remote
        return Hello(
            kind="supercollider",
            instance_id=f"scsynth@{host}:{port}",
            name=self.settings.name,
            app_version=f"{version[1]}.{version[2]}{version[3]}" if len(version) > 3 else "",
            generation=-1,
            transport="osc",
            parameters=declarations(),
            commands=commands.COMMANDS,
            capabilities=frozenset({"readback"}),
        )

    def _with_document(self, hello: Hello) -> Hello:
        """Return *hello* with a name for what plays.

        The server holds nothing that survives it. It comes back empty, or a program has made its nodes anew: then
        the values are put back. Where a number belongs to another definition now, nothing may be put back into it.
        """
        if self.mirror.plays_something_else():
            self._memory.document += 1
        number = f"#{self._memory.document}" if self._memory.document else ""
        return dataclasses.replace(hello, document_id=hello.instance_id + number)

    async def _find_marker(self) -> None:
        """Find, or put, a number on a control bus that only a restart takes away."""
        bus = self.settings.marker
        if bus < 0:
            return
        try:
            _, held = await self.asker.ask("/c_get", bus, test=_bus(bus), tries=2, timeout=0.5)
        except (NoAnswerError, ValueError):
            log.info("a restart of the server is seen by its silence only", bus=bus)
            return
        if not (isinstance(held, float) and held >= 1 and held.is_integer()):
            held = float(random.randrange(1, 1 << 23))  # noqa: S311  # it is no secret
            self.asker.send("/c_set", bus, held)
        self.mirror.marker = (bus, held)

    async def _register(self) -> None:
        """Ask to be told of nodes; a server that did not see us leave knows us still."""

        def answered(heard: str, said: Sequence[Any]) -> bool:
            return heard in {"/done", "/fail"} and said[:1] == ("/notify",)

        said = await self.asker.ask("/notify", 1, test=answered)
        words = " ".join(one.strip() for one in said[1:] if isinstance(one, str))
        self.client = next((one for one in said[1:] if isinstance(one, int)), 0)
        if words and "already registered" not in words:
            self._troubles["notify"] = (
                f"scsynth tells us nothing by itself ({words}): changes are seen when it is asked; "
                "end clients that are not in use, or give it more logins (-l)"
            )

    # ------------------------------------------------------------------ reading

    async def _read_tree(self) -> None:
        """Read the node tree, without the controls where they do not fit into a datagram."""
        for controls in (1, 0):
            asked = self._loop.time()
            try:
                said = await self.asker.ask(
                    "/g_queryTree", 0, controls, test=_is("/g_queryTree.reply", controls, 0), tries=2, timeout=0.5
                )
            except NoAnswerError:
                continue
            if not await self._is_the_same():
                return
            self._troubles.pop("tree", None)
            if not controls:
                self._troubles["tree"] = (
                    "the node tree does not fit into a datagram: nodes are shown without their controls"
                )
            self.mirror.take_tree(said, asked)
            return
        await self.asker.ask("/status", test=_is("/status.reply"), tries=1)  # silence ends here
        self._troubles["tree"] = "the node tree does not fit into a datagram: nodes are not shown"

    async def _is_the_same(self) -> bool:
        """Say whether it is still the server that was joined: what another one holds must not pass for its news."""
        if self.mirror.marker is None:
            return True
        bus, value = self.mirror.marker
        _, held = await self.asker.ask("/c_get", bus, test=_bus(bus), tries=2, timeout=0.5)
        return bool(held == value)

    async def _read_buses(self) -> None:
        for bus in sorted({*self.settings.buses, *self._memory.buses}):
            try:
                _, value = await self.asker.ask("/c_get", bus, test=_bus(bus), tries=2, timeout=0.5)
            except (NoAnswerError, ValueError):
                self._troubles["buses"] = f"scsynth has no control bus {bus}: correct buses of [plugins.supercollider]"
                self._memory.buses.discard(bus)
                continue
            self.mirror.buses.add(bus)
            self.mirror.values[f"buses/{bus}"] = float(value)

    # ------------------------------------------------------------------ staying

    async def _stay(self) -> None:
        ended = False
        try:
            async with asyncio.TaskGroup() as tasks:
                self._running.group = tasks
                tasks.create_task(self._watch_end())
                tasks.create_task(self._keep_alive())
                tasks.create_task(self._keep_in_step())
        except* EndedError:
            ended = True
        finally:
            self._running.group = None
        if ended:
            raise EndedError(self._ended.result())

    async def _keep_alive(self) -> None:
        """Ask for everything that is not told, which shows that it lives, too."""
        turn = 0
        self._silence.heard()  # it has just told everything
        self._silence.begin()
        while True:
            self._judge()
            await asyncio.sleep(self.settings.poll)
            silent = self._silence.look(self.settings.poll)
            if silent > self.settings.gone:
                self._end(f"scsynth has been silent for {silent:.0f} s: it was ended, has crashed or hangs")
                return
            if silent > self.settings.silence:
                self._troubles["silence"] = f"scsynth has not answered for {silent:.0f} s: it hangs, or was ended"
            self.asker.send("/status")
            marker = self.mirror.marker
            first, buses = [marker[0]] if marker else [], list(self.mirror.buses)
            for start in range(0, len(buses) or len(first), 256):
                self.asker.send("/c_get", *first, *buses[start : start + 256])
            if turn % BUFFER_TURNS == 0 and self.settings.buffers:
                self.asker.send("/b_query", *range(self.settings.buffers))
            turn += 1
            self.mirror.stale.set()

    async def _keep_in_step(self) -> None:
        """Read the tree again whenever it may have changed: others set controls without a word to us."""
        while True:
            await self.mirror.stale.wait()
            await asyncio.sleep(STRUCTURE)
            self.mirror.stale.clear()
            full, self._resync = self._resync, False
            try:
                await self._read_tree()
            except NoAnswerError:
                self._resync = full  # `_keep_alive` judges the silence
                continue
            except MALFORMED as error:
                log.warning("an answer was dropped", reason=str(error))
                self._resync = full
                continue
            if full and self._session is not None:
                self.mirror.report_all()
                self._session.synced()

    def _judge(self) -> None:
        """Tell how things are."""
        if self._session is not None:
            self._session.degraded("; ".join(self._troubles.values()))

    async def _watch_end(self) -> None:
        raise EndedError(await asyncio.shield(self._ended))

    def _end(self, reason: str) -> None:
        self._running.group = None  # no command begins any more
        if not self._ended.done():
            self._ended.set_result(reason)

    # ------------------------------------------------------------------ AppChannel

    def apply(self, wishes: Sequence[Wish]) -> None:
        """Send wishes to the server."""
        if self.mirror.wishes is not None and not self._ended.done():
            for wish in wishes:
                self.mirror.wishes.apply(wish)

    def invoke(self, call: Call) -> None:
        """Run a command."""
        self._running.invoke(self._session, call, self._call, "scsynth is not in step: try again in a moment")

    async def _call(self, session: AppSession, call: Call) -> None:
        try:
            result = await commands.run(self, call)
        except RefusedError as error:
            session.fail(call.call_id, f"scsynth refused {call.command}: {error}")
        except (ValueError, NoAnswerError, BridgeError, OSError) as error:
            session.fail(call.call_id, str(error))
        else:
            self.mirror.stale.set()
            session.result(call.call_id, result)

    def progress(self, call_id: int, fraction: float, message: str) -> None:
        """Tell how far a command is."""
        if self._session is not None:
            self._session.progress(call_id, fraction, message)

    def cancel(self, call_id: int) -> None:
        """Stop waiting; a render is ended."""
        self._running.cancel(call_id)

    def resync(self) -> None:
        """Report everything again."""
        self._resync = True
        self.mirror.stale.set()

    def close(self, reason: str) -> None:
        """End the session at the engine's wish."""
        self.closed = True
        self._end(reason)


def _bus(number: int) -> Any:
    """Return the test for the value of one control bus."""
    return lambda heard, said: (
        heard == "/c_set" and len(said) == 2 and said[0] == number and isinstance(said[1], int | float)
    )


def _is(address: str, *begins: Any) -> Any:
    """Return the test for a message by its address and its first arguments."""
    return lambda heard, said: heard == address and tuple(said[: len(begins)]) == begins
