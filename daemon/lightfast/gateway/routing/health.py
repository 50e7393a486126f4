"""Looks after providers that are down: asks them, from time to time, whether they are back.

Only those that were used lately and whose circuit is open are asked, by their own cheap `probe`; nobody else is.
"""

from __future__ import annotations

import asyncio

import structlog

from lightfast.core.clock import Clock
from lightfast.core.errors import LightfastError
from lightfast.core.tasks import TaskGroup
from lightfast.gateway.ports import Sessions
from lightfast.gateway.routing.circuits import FIRST_PAUSE_S, LONGEST_PAUSE_S, Circuits
from lightfast.gateway.within import within
from lightfast.host.apart import itself
from lightfast.sdk import Provider, ProviderError, Session

log = structlog.get_logger("lightfast.gateway")

USED_S = 900.0
"""A provider that nobody wanted for so long is no longer asked."""
PROBE_S = 10.0
"""How long a probe may take."""


class Health:
    """Probes of providers that are down: one task for each, which ends when it is back or nobody wants it."""

    def __init__(self, clock: Clock, tasks: TaskGroup, circuits: Circuits) -> None:
        self.sessions: Sessions | None = None
        self.probes = 0
        """How many were made."""
        self._clock = clock
        self._tasks = tasks
        self._circuits = circuits
        self._used: dict[str, float] = {}
        self._watched: dict[str, asyncio.Task[None]] = {}

    def used(self, provider: str) -> None:
        """Take in that somebody wants *provider*."""
        self._used[provider] = self._clock.monotonic()

    def watch(self, provider: Provider) -> None:
        """Ask *provider* until it is back; one that has no probe of its own is left to trials."""
        watched = self._watched.get(provider.name)
        if not probes(provider) or (watched is not None and not watched.done()):
            return
        self._watched[provider.name] = self._tasks.start(self._watch(provider), f"probe of {provider.name}")

    def watching(self) -> list[str]:
        """Return the providers that are asked."""
        return sorted(name for name, task in self._watched.items() if not task.done())

    def forget(self, provider: str) -> None:
        """Let go of a provider that leaves."""
        self._used.pop(provider, None)
        task = self._watched.pop(provider, None)
        if task is not None:
            task.cancel()

    async def _watch(self, provider: Provider) -> None:
        pause = FIRST_PAUSE_S
        while True:
            await asyncio.sleep(pause)
            if not await self.step(provider):
                return
            pause = min(LONGEST_PAUSE_S, pause * 2)

    async def step(self, provider: Provider) -> bool:
        """Ask once, where that is still wanted; say whether to go on."""
        name = provider.name
        down = any(held == name or held.startswith(name + "/") for held in self._circuits.down())
        if not down or self._clock.monotonic() - self._used.get(name, 0.0) > USED_S:
            return False
        if not await self._answers(provider):
            return True
        log.info("a provider is back", provider=name)
        self._circuits.recovered(name)
        return False

    async def _answers(self, provider: Provider) -> bool:
        try:
            session = await self.sessions.any_session(provider.name) if self.sessions is not None else Session()
        except LightfastError:
            return False  # without a key it cannot be asked, and the sessions say so themselves
        self.probes += 1
        outcome = await within(self._tasks, PROBE_S, f"ask {provider.name}", provider.probe, session)
        error = outcome.error
        # A service that refuses the account, or asks to wait, is there.
        return error is None or (isinstance(error, ProviderError) and error.kind in {"auth", "denied", "limit"})


def probes(provider: Provider) -> bool:
    """Say whether *provider* has a probe of its own."""
    return type(itself(provider)).probe is not Provider.probe
