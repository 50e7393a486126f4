"""SIGHUP: reads the settings anew, puts into force what can be, and names what needs a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from lightfast.app.notify import Notifier
from lightfast.app.settings import Settings
from lightfast.core import log as logging
from lightfast.core.config import ConfigError
from lightfast.core.config_load import Loaded
from lightfast.core.errors import LightfastError
from lightfast.engine.show.show import Show
from lightfast.host.plugins import PluginHost

log = structlog.get_logger("lightfast.daemon")

Follow = Callable[[Settings], Awaitable[None]]
"""Puts changed settings into force."""


class Reloader:
    """Holds the settings in force. `loaded` is what `GetConfig` shows."""

    def __init__(self, loaded: Loaded[Settings], read: Callable[[], Loaded[Settings]], notifier: Notifier) -> None:
        self.loaded = loaded
        self._read = read
        self._notifier = notifier
        self._followers: list[tuple[str, Follow]] = []
        self._wanted: asyncio.Event | None = None
        self.may_reload: Callable[[], str] = str
        """Set by the composition: returns why the settings must stay as they are now, or the empty text."""
        self.put_off = False
        """A reload was asked for and waits for `catch_up`."""

    def follow(self, section: str, action: Follow) -> None:
        """Call *action* with the new settings when a key of *section* changed that needs no restart."""
        self._followers.append((section + ".", action))

    async def run(self, wanted: asyncio.Event) -> None:
        """Reload whenever *wanted* is set."""
        self._wanted = wanted
        while True:
            await wanted.wait()
            wanted.clear()
            if why := self.may_reload():
                self.put_off = True
                log.warning("the settings are not read again yet", why=why)
                continue
            self._notifier.reloading()
            try:
                await self._reload()
            finally:
                self._notifier.ready("serving")

    def catch_up(self) -> None:
        """Reload if that was put off."""
        if self.put_off and self._wanted is not None:
            self.put_off = False
            self._wanted.set()

    async def _reload(self) -> None:
        try:
            fresh = self._read()
        except ConfigError as error:
            mistakes = [str(one) for one in error.problems]
            log.error("the settings stay as they are", mistakes=mistakes)  # noqa: TRY400  # it is no crash
            return
        changed = self.loaded.changed(fresh)
        rows = {row.key: row for row in (*self.loaded.rows, *fresh.rows)}
        waiting = [key for key in changed if rows[key].restart]
        followed = [key for key in changed if not rows[key].restart]
        chosen = fresh.settings.log
        if any(key.startswith("log.") for key in followed):
            logging.configure(chosen.level, chosen.style)
        for section, action in self._followers:
            if any(key.startswith(section) for key in followed):
                try:
                    await action(fresh.settings)
                except LightfastError as error:
                    log.error("a section could not be put into force", section=section, why=error.message)  # noqa: TRY400
        self.loaded = fresh
        log.info("settings reloaded", changed=followed)
        if waiting:
            log.warning("these settings changed and wait for a restart", keys=waiting)


def join_show(show: Show, host: PluginHost, reloader: Reloader) -> None:
    """Let nothing be loaded anew in a locked show: what changes meanwhile follows when it is unlocked."""
    host.may_reload = reloader.may_reload = show.guard.why_not
    show.guard.follow(host.catch_up)
    show.guard.follow(reloader.catch_up)
    show.deferred = lambda: [
        *(["the settings (SIGHUP)"] if reloader.put_off else []),
        *(f"the plugin {name}" for name in host.put_off),
    ]
