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

    def follow(self, section: str, action: Follow) -> None:
        """Call *action* with the new settings when a key of *section* changed that needs no restart."""
        self._followers.append((section + ".", action))

    async def run(self, wanted: asyncio.Event) -> None:
        """Reload whenever *wanted* is set."""
        while True:
            await wanted.wait()
            wanted.clear()
            self._notifier.reloading()
            try:
                await self._reload()
            finally:
                self._notifier.ready("serving")

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
