"""Asks providers for the models they have just now: those whose list is not fixed, such as local servers.

Nobody is asked unless somebody needs it: with the first request, and again when the list has grown old and is used.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import structlog

from lightfast.core.clock import Clock
from lightfast.core.errors import LightfastError
from lightfast.core.redaction import hide
from lightfast.core.tasks import TaskGroup
from lightfast.gateway.ports import Sessions
from lightfast.gateway.routing.health import probes
from lightfast.gateway.within import within
from lightfast.host.apart import itself
from lightfast.host.guard import guarded
from lightfast.sdk import Model, Provider, Session
from lightfast.sdk.contract import PluginMistake, check_models

log = structlog.get_logger("lightfast.gateway")

FRESH_S = 600.0
"""A list is asked for anew when it is older than this."""
AGAIN_S = 30.0
"""After a failure nobody is asked again for so long."""
LONGEST_S = 10.0
"""How long one provider may take."""
PATIENCE_S = 3.0
"""How long a request waits for the lists; what comes later is there for the next."""


@dataclass(slots=True)
class _Asked:
    next: float
    at: float = 0.0
    task: asyncio.Task[None] | None = None
    reason: str = ""
    alive: bool = False
    """It has answered, some time."""
    whole: bool = False
    """Its list is all there is."""


class Discovery:
    """Keeps the lists of models fresh; *found* is told of a new one."""

    def __init__(
        self,
        clock: Clock,
        tasks: TaskGroup,
        found: Callable[[Provider, Sequence[Model]], None],
        *,
        patience: float = PATIENCE_S,
    ) -> None:
        self.sessions: Sessions | None = None
        self._clock = clock
        self._tasks = tasks
        self._found = found
        self._patience = patience
        self._asked: dict[str, _Asked] = {}
        self._looked: set[str] = set()

    async def refresh(self, providers: Sequence[Provider]) -> None:
        """Ask those of *providers* whose list is old, all at once; wait for a moment, never fail.

        One that has been asked before is not waited for: what is known of it is good until it answers.
        """
        waited = []
        for provider in providers:
            if not asks(provider):
                continue
            known = provider.name in self._asked
            task = self._ask(provider)
            if task is not None and not known:
                waited.append(task)
        if waited:
            await asyncio.wait(waited, timeout=self._patience)

    async def look(self, providers: Sequence[Provider]) -> None:
        """Let the keys of those be looked for that need one and were not looked at yet; nobody is asked."""
        sessions = self.sessions
        fresh = [each for each in providers if each.needs_key and each.name not in self._looked]
        if sessions is None or not fresh:
            return
        self._looked.update(each.name for each in fresh)

        async def look(name: str) -> None:
            with contextlib.suppress(LightfastError):  # the sessions know from then on, and say why
                await sessions.any_session(name)

        tasks = [self._tasks.start(look(each.name), f"key of {each.name}") for each in fresh]
        await asyncio.wait(tasks, timeout=self._patience)

    async def arrive(self, provider: Provider) -> None:
        """Ask one provider anew, for a model that is not in its list; wait for a moment. Not twice within `AGAIN_S`."""
        if discovers(provider):
            asked = self._asked.setdefault(provider.name, _Asked(0.0))
            asked.next = min(asked.next, asked.at + AGAIN_S)
            if (task := self._ask(provider)) is not None:
                await asyncio.wait([task], timeout=self._patience)

    async def told(self) -> None:
        """Wait for a moment until those that were asked and are not known yet have answered; never fail."""
        waited = [
            asked.task
            for name, asked in self._asked.items()
            if self.pending(name) and asked.task is not None and not asked.task.done()
        ]
        if waited:
            await asyncio.wait(waited, timeout=self._patience)

    def reason(self, provider: str) -> str:
        """Return why *provider* could not be asked for its models the last time; empty when it could."""
        asked = self._asked.get(provider)
        return asked.reason if asked is not None else ""

    def away(self, provider: str) -> str:
        """Return why *provider* is not there, where it has not answered yet; empty: it has, or nobody asked it.

        One that has answered before is left to its circuit: a list that cannot be had now is no reason not to use it.
        """
        asked = self._asked.get(provider)
        return "" if asked is None or asked.alive else asked.reason

    def whole(self, provider: str) -> bool:
        """Say whether *provider* has told all the models there are."""
        asked = self._asked.get(provider)
        return asked is not None and asked.whole

    def unasked(self, provider: Provider) -> bool:
        """Say whether *provider* is a server on this machine of which nobody knows anything: it came just now."""
        return answers_here(provider) and provider.name not in self._asked

    def pending(self, provider: str) -> bool:
        """Say whether *provider* was asked, and nobody knows yet whether it is there."""
        asked = self._asked.get(provider)
        return asked is not None and not asked.alive and not asked.reason

    def answered(self, provider: str) -> None:
        """Take in that *provider* works."""
        asked = self._asked.get(provider)
        if asked is not None:
            asked.alive = True

    def forget(self, provider: str) -> None:
        """Let go of a provider that leaves."""
        self._looked.discard(provider)
        asked = self._asked.pop(provider, None)
        if asked is not None and asked.task is not None:
            asked.task.cancel()

    def _ask(self, provider: Provider) -> asyncio.Task[None] | None:
        asked = self._asked.setdefault(provider.name, _Asked(0.0))
        if asked.task is not None and not asked.task.done():
            return asked.task
        now = self._clock.monotonic()
        if asked.next and now < asked.next:
            return None
        asked.at, asked.next = now, now + AGAIN_S
        asked.task = self._tasks.start(self._discover(provider, asked), f"models of {provider.name}")
        return asked.task

    async def _discover(self, provider: Provider, asked: _Asked) -> None:
        reason = ""
        try:
            session = await self.sessions.any_session(provider.name) if self.sessions is not None else Session()
        except LightfastError as error:
            asked.reason = error.message
            return
        outcome = await within(self._tasks, LONGEST_S, f"list {provider.name}", provider.discover, session)
        if outcome.error is not None:
            late = isinstance(outcome.error, TimeoutError)
            reason = f"it did not answer within {LONGEST_S:g} s" if late else hide(str(outcome.error))
        elif outcome.value is not None:
            try:
                models = check_models(_shim(provider.name, outcome.value))
            except PluginMistake as error:
                reason = str(error)
            else:
                self._found(provider, models)
                asked.whole = guarded(provider.lists_all, session).value is True
        if not reason and answers_here(provider):
            probed = (await within(self._tasks, LONGEST_S, f"ask {provider.name}", provider.probe, session)).error
            reason = hide(str(probed) or type(probed).__name__) if probed is not None else ""
        asked.reason, asked.alive = reason, asked.alive or not reason
        if reason:
            log.info("a provider was asked for its models in vain", provider=provider.name, reason=reason)
        else:
            asked.next = self._clock.monotonic() + FRESH_S


def asks(provider: Provider) -> bool:
    """Say whether *provider* is asked anything before it is used."""
    return discovers(provider) or answers_here(provider)


def answers_here(provider: Provider) -> bool:
    """Say whether *provider* is a server on this machine that may not run, and can say whether it does."""
    return provider.local and probes(provider)


def discovers(provider: Provider) -> bool:
    """Say whether *provider* has a list to be asked for."""
    return type(itself(provider)).discover is not Provider.discover


def _shim(name: str, models: Any) -> Provider:
    return cast("Provider", SimpleNamespace(name=name, models=lambda: models))
