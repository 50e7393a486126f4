"""The plugin host: finds plugins, loads them one by one under guard, and keeps a record of each."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import importlib.metadata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from lightfast.core.clock import SYSTEM, Clock
from lightfast.core.errors import NotFound
from lightfast.core.tasks import TaskGroup
from lightfast.host import discover
from lightfast.host.apart import set_apart
from lightfast.host.discover import Candidate
from lightfast.host.dropins import DEBOUNCE, DropinWatch
from lightfast.host.guard import Failure, Outcome, failure_of, guarded, guarded_await
from lightfast.host.holding import Held, check_unique, close_providers, hand_back, hand_on
from lightfast.host.isolated import IsolatedPlugin
from lightfast.host.loader import Brought, call_hooks, forget_module, import_plugin, manager
from lightfast.host.outcome import bring_isolated, failure_to_load, refusal, version_of
from lightfast.host.records import PluginRecord, PluginSink, PluginState
from lightfast.host.shelf import Shelf
from lightfast.host.stall import LIMIT, Stall, StallWatch
from lightfast.host.state import Disabled, StateFile
from lightfast.host.threads import in_thread

log = structlog.get_logger("lightfast.host")

Tables = Mapping[str, Mapping[str, Any]]
"""The `[plugins.NAME]` tables by name."""
HOST_KEYS = ("enabled", "isolated")
"""The keys of a table that are the host's; the plugin sees the rest."""


class PluginHost(Shelf):
    """Loads plugins from entry points and the drop-in folder.

    A daemon calls `start`, after its doors are open; a command-line program calls `load_all` and asks
    for `simulators()` and `packs()`, without a loop or a sink. Trouble with one plugin is in its record
    and never raised.
    """

    def __init__(
        self,
        config: Tables,
        dropins: Path | None = None,
        state_file: Path | None = None,
        *,
        sink: PluginSink | None = None,
        clock: Clock = SYSTEM,
        found: Iterable[importlib.metadata.EntryPoint] | None = None,
        stall_limit: float = LIMIT,
        debounce: float = DEBOUNCE,
        load_timeout: float = 20.0,
    ) -> None:
        """*found* replaces the installed entry points; times in seconds."""
        super().__init__()
        self._config = config
        self._folder = dropins
        self._state = StateFile(state_file)
        self._sink = sink
        self._clock = clock
        self._found = found
        self._stall_limit = stall_limit
        self._debounce = debounce
        self._load_timeout = load_timeout
        self._records: dict[str, PluginRecord] = {}
        self._candidates: dict[str, Candidate] = {}
        self._generations: dict[str, int] = {}
        self._tasks = TaskGroup("plugins")
        self._lock = asyncio.Lock()
        self._loaded = asyncio.Event()
        self._watch: DropinWatch | None = None
        self._stall: StallWatch | None = None
        self.may_reload: Callable[[], str] = str
        """Set by the composition: returns why no changed file may be loaded now, or the empty text."""
        self._put_off: dict[Path, None] = {}

    async def start(self, budget: float = 0.1) -> None:
        """Begin to load; return when all are loaded, or after *budget* seconds while the rest goes on."""
        self._stall = StallWatch(self.owner, self._stalled, limit=self._stall_limit)
        self._stall.start()
        self._tasks.start(self._load_found(), "load")
        try:
            async with asyncio.timeout(budget):
                await self._loaded.wait()
        except TimeoutError:
            log.debug("plugins go on loading")

    async def settled(self) -> None:
        """Wait until every plugin that was found at the start is loaded, or has failed."""
        await self._loaded.wait()

    def load_all(self) -> None:
        """Load everything now, in this thread and without a loop; isolated plugins are loaded here, too."""
        for each in [*discover.entry_points(self._found), *self._dropins_found()]:
            candidate = self._named(each)
            if self._is_off(candidate):
                continue
            generation = self._next_generation(candidate)
            self._admit(candidate, guarded(self._bring, candidate, generation), generation)
        self._loaded.set()

    async def close(self) -> None:
        """Stop watching, and take back what the plugins brought."""
        if self._watch is not None:
            self._watch.close()
        if self._stall is not None:
            self._stall.close()
        await self._tasks.close(2.0)
        for held in self._held.values():
            await self._release(held)
        self._held.clear()

    def records(self) -> list[PluginRecord]:
        """Return a record of each plugin seen so far, ordered by name."""
        return [self._records[name] for name in sorted(self._records)]

    async def reload(self, name: str) -> PluginRecord:
        """Load a plugin anew, also one that was kept off for blocking the loop; raise `NotFound`.

        When the new version is broken the old one goes on, and the record says so.
        """
        candidate = self._candidates.get(name)
        if candidate is None:
            near = difflib.get_close_matches(name, self._candidates, n=1)
            known = ", ".join(sorted(self._candidates)) or "none at all"
            hint = f"did you mean {near[0]!r}?" if near else f"there is {known}"
            raise NotFound(f"there is no plugin {name!r}: {hint}", reason="PLUGIN_NOT_FOUND", field="name")
        await asyncio.to_thread(self._state.enable, name)
        if candidate.path is not None:
            candidate = await asyncio.to_thread(discover.drop_in, candidate.path) or candidate
        await self._load(candidate)
        return self._records[name]

    async def reconfigure(self, config: Tables) -> None:
        """Take new `[plugins.NAME]` tables; plugins whose table changed are loaded anew."""
        old, self._config = self._config, config
        for name, candidate in sorted(self._candidates.items()):
            if old.get(name, {}) != config.get(name, {}):
                await self._load(candidate)

    async def _load_found(self) -> None:
        try:
            for candidate in await asyncio.to_thread(discover.entry_points, self._found):
                await self._load(candidate)
            if self._folder is not None:
                self._watch = DropinWatch(self._folder, self._file_changed, debounce=self._debounce)
                await asyncio.to_thread(self._watch.start)
            for candidate in await asyncio.to_thread(self._dropins_found):
                await self._load(candidate)
        finally:
            self._loaded.set()  # whoever waits must not wait for what went wrong here
        for name in sorted(set(self._config) - set(self._candidates)):
            near = difflib.get_close_matches(name, self._candidates, n=1)
            log.warning("a setting is for a plugin that is not there", plugin=name, nearest=near[0] if near else "")

    def _dropins_found(self) -> list[Candidate]:
        return discover.drop_ins(self._folder) if self._folder is not None and self._folder.is_dir() else []

    @property
    def put_off(self) -> list[str]:
        """Return the names of the changed files that wait for `catch_up`."""
        return sorted(path.name for path in self._put_off)

    def catch_up(self) -> None:
        """Load the files that changed while they might not be."""
        waiting, self._put_off = self._put_off, {}
        for path in waiting:
            self._file_changed(path)

    def _file_changed(self, path: Path) -> None:
        if why := self.may_reload():
            self._put_off[path] = None
            log.warning("a changed plugin waits", file=path.name, why=why)
            return
        self._tasks.start(self._follow(path), f"changed {path.name}")

    async def _follow(self, path: Path) -> None:
        async with self._lock:  # looked at only now: while others loaded it may have changed again
            candidate = await asyncio.to_thread(discover.drop_in, path)
            if candidate is not None:
                known = self._candidates.get(self._named(candidate).name)
                if known is None or known.digest != candidate.digest:
                    await self._load_now(candidate)
                return
            for name in [name for name, known in self._candidates.items() if known.path == path]:
                await self._drop(name)
                del self._candidates[name], self._records[name]
                log.info("plugin removed", plugin=name)

    def _named(self, candidate: Candidate) -> Candidate:
        """Return a drop-in under a name of its own where an installed plugin has the same one."""
        taken = self._candidates.get(candidate.name)
        if candidate.path is None or taken is None or taken.path is not None:
            return candidate
        return replace(candidate, name=f"{candidate.name}.py")

    async def _load(self, candidate: Candidate) -> None:
        async with self._lock:
            await self._load_now(candidate)

    async def _load_now(self, candidate: Candidate) -> None:
        """Load one plugin; the lock is held."""
        candidate = self._named(candidate)
        if self._is_off(candidate):
            await self._drop(candidate.name)
            return
        generation = self._next_generation(candidate)
        isolated: IsolatedPlugin | None = None
        outcome: Outcome[Brought]
        if self._table(candidate).get("isolated"):
            isolated = IsolatedPlugin(
                candidate, self._own(candidate), lambda trouble: self._troubled(candidate.name, trouble)
            )
            outcome = await guarded_await(bring_isolated(isolated))
        else:
            outcome = await in_thread(
                self._bring, candidate, generation, name=candidate.name, timeout=self._load_timeout,
                late=lambda found: self._came_late(candidate, found, generation),
            )  # fmt: skip
        await self._take(candidate, outcome, generation, isolated)

    def _came_late(self, candidate: Candidate, outcome: Outcome[Brought], generation: int) -> None:
        """Take a plugin after all that was given up before it was loaded, as where the machine stood still."""

        async def take() -> None:
            async with self._lock:
                is_wanted = candidate.name in self._candidates and self._generations[candidate.name] == generation
                if is_wanted and not self._is_off(candidate):
                    await self._take(candidate, outcome, generation)
                else:
                    forget_module(candidate, generation)

        with contextlib.suppress(RuntimeError):  # all is closed
            self._tasks.start(take(), f"late {candidate.name}")

    async def _take(
        self, candidate: Candidate, outcome: Outcome[Brought], generation: int, isolated: IsolatedPlugin | None = None
    ) -> None:
        """Put what was brought in its place, and let go of what was there; the lock is held."""
        if outcome.value is not None and isolated is None:
            apart = guarded(set_apart, outcome.value, candidate, self._own(candidate))
            outcome = outcome if apart.error is None else Outcome(error=apart.error)
        old = self._held.get(candidate.name)
        if not self._admit(candidate, outcome, generation, isolated) and isolated is not None:
            await isolated.close()
        if old is not None and self._held.get(candidate.name) is not old:
            await self._forget(old)

    def _bring(self, candidate: Candidate, generation: int) -> Brought:
        """Import one plugin and call its hooks; raises whatever it raises."""
        module = import_plugin(candidate, generation)
        try:
            plugins = manager()
            plugins.register(module, candidate.name)
            brought = call_hooks(plugins, module, self._own(candidate))
        except BaseException:
            forget_module(candidate, generation)
            raise
        return brought

    def _admit(
        self, candidate: Candidate, outcome: Outcome[Brought], generation: int, isolated: IsolatedPlugin | None = None
    ) -> bool:
        """Put what was brought in the place of what was there; say whether it could be."""
        self._candidates[candidate.name] = candidate
        if outcome.error is not None or outcome.value is None:
            self._failed(candidate, failure_to_load(outcome.error), generation)
            return False
        held = Held(candidate, outcome.value, self._own(candidate), generation, isolated)
        checked = guarded(check_unique, held, self._held.values())
        if checked.error is not None:
            forget_module(candidate, generation)
            self._failed(candidate, failure_of(checked.error), generation)
            return False
        old = self._held.pop(candidate.name, None)
        if self._sink is not None:
            if old is not None:
                hand_back(old, self._sink)
            taken = guarded(hand_on, held, self._sink)
            if taken.error is not None:
                forget_module(candidate, generation)
                self._failed(candidate, refusal(taken.error), generation)
                return False
        self._held[candidate.name] = held
        self._records[candidate.name] = self._record(candidate, PluginState.READY, generation, held=held)
        log.info("plugin ready", plugin=candidate.name, brings=held.brought.names())
        return True

    def _failed(self, candidate: Candidate, failure: Failure, generation: int) -> None:
        if failure.missing:  # nothing is wrong with it: a line on what to install says all
            log.warning("plugin unavailable", plugin=candidate.name, reason=failure.reason)
        else:
            log.error("plugin failed", plugin=candidate.name, reason=failure.reason, trace=failure.trace)
        held = self._held.get(candidate.name)
        if held is not None:
            reason = f"the new version is broken, the one before goes on: {failure.reason}"
            self._records[candidate.name] = replace(self._records[candidate.name], reason=reason)
            return
        state = PluginState.UNAVAILABLE if failure.missing else PluginState.FAILED
        self._records[candidate.name] = self._record(candidate, state, generation, reason=failure.reason)

    def _record(
        self, candidate: Candidate, state: PluginState, generation: int, *, reason: str = "", held: Held | None = None
    ) -> PluginRecord:
        return PluginRecord(
            candidate.name,
            version_of(candidate, held),
            candidate.source,
            state,
            reason,
            held.brought.names() if held is not None else (),
            isolated=bool(self._table(candidate).get("isolated")),
            hooks=held.brought.hooks if held is not None else discover.hooks_in_source(candidate),
            generation=generation,
        )

    def _is_off(self, candidate: Candidate) -> bool:
        """Say whether a plugin is to stay off, and record why."""
        name = candidate.name
        reason = ""
        if candidate.path is not None and name != candidate.path.stem:
            message = f"the name {candidate.path.stem} is that of an installed plugin: rename the file"
            self._candidates[name] = candidate
            self._records[name] = self._record(candidate, PluginState.FAILED, 0, reason=message)
            return True
        if self._table(candidate).get("enabled") is False:
            reason = f"[plugins.{name}] enabled = false in the configuration"
        elif (why := self._state.disabled().get(name)) is not None:
            if candidate.path is not None and why.digest != candidate.digest:
                self._state.enable(name)  # the file was changed since: it gets another chance
            else:
                reason = f"{why.reason}: repair it, then run lightfast plugins reload {name}\n{why.stack}"
        if not reason:
            return False
        self._candidates[name] = candidate
        self._records[name] = self._record(candidate, PluginState.DISABLED, 0, reason=reason)
        return True

    async def _drop(self, name: str) -> None:
        held = self._held.pop(name, None)
        if held is not None:
            await self._release(held)

    async def _release(self, held: Held) -> None:
        if self._sink is not None:
            hand_back(held, self._sink)
        await self._forget(held)

    async def _forget(self, held: Held) -> None:
        forget_module(held.candidate, held.generation)
        if self._sink is None:
            await close_providers(held)

    def _table(self, candidate: Candidate) -> Mapping[str, Any]:
        return self._config.get(candidate.name, {})

    def _own(self, candidate: Candidate) -> dict[str, Any]:
        """Return the plugin's table as the plugin sees it: without the keys that are the host's."""
        return {key: value for key, value in self._table(candidate).items() if key not in HOST_KEYS}

    def _next_generation(self, candidate: Candidate) -> int:
        number = self._generations.get(candidate.name, 0) + 1
        self._generations[candidate.name] = number
        return number

    def _troubled(self, name: str, trouble: str) -> None:
        record = self._records.get(name)
        if record is not None:
            state = PluginState.FAILED if trouble else PluginState.READY
            self._records[name] = replace(record, state=state, reason=trouble)

    def _stalled(self, stall: Stall) -> None:
        """Keep the plugin that blocks the loop off at the next start; runs in the stall thread."""
        log.error("the event loop is blocked", plugin=stall.plugin, seconds=round(stall.seconds, 1), stack=stall.stack)
        held = self._held.get(stall.plugin)
        if held is None:
            return
        reason = f"it blocked the event loop for more than {self._stall_limit:g} s"
        why = Disabled(reason, stall.stack, self._clock.now_ns(), held.candidate.digest)
        self._state.disable(stall.plugin, why)
        record = self._records.get(stall.plugin)
        if record is not None:
            said = (
                f"{reason} and is disabled at the next start; once it is repaired, 'lightfast plugins reload"
                f" {stall.plugin}' lets it load again\n{stall.stack}"
            )
            self._records[stall.plugin] = replace(record, reason=said)
