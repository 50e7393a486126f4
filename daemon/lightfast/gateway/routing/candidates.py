"""Who could answer: the models a name, an alias or nothing leads to, in order. Implements `ports.Candidates`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import structlog

from lightfast.core.clock import Clock
from lightfast.core.errors import LightfastError, NotFound, Unavailable
from lightfast.core.tasks import TaskGroup
from lightfast.gateway.calls import ModelRecord, ProviderRecord
from lightfast.gateway.catalog import EMBEDDING, Catalog, check_makes, check_output
from lightfast.gateway.leash import Leash
from lightfast.gateway.ports import Attempt, Load, Sessions
from lightfast.gateway.routing.aliases import COMPUTED, Aliases
from lightfast.gateway.routing.chains import Chains
from lightfast.gateway.routing.circuits import Circuits
from lightfast.gateway.routing.discovery import PATIENCE_S, Discovery, asks
from lightfast.gateway.routing.health import Health
from lightfast.gateway.routing.lifecycle import Lifecycle
from lightfast.gateway.routing.needs import Needs
from lightfast.gateway.routing.ranking import Prices, Ranking
from lightfast.gateway.routing.seen import SeenModels
from lightfast.gateway.routing.verdicts import Verdict, provider_error, verdict

log = structlog.get_logger("lightfast.gateway")

MOST_CANDIDATES = 16
"""So many models are tried for one request at most."""


class Routing(Chains):
    """Finds models by name, alias, capability, and by how they do; `attempted` tells it of every attempt."""

    def __init__(self, catalog: Catalog, clock: Clock, tasks: TaskGroup, aliases: Aliases | None = None) -> None:
        self.settled: Callable[[], Awaitable[None]] | None = None
        """Waits until the plugins are loaded: an unknown model waits for it before it is refused."""
        self.providers: Callable[[], Sequence[ProviderRecord]] = tuple
        """Returns the providers, those included whose plugin could not be loaded."""
        self.priced: Callable[[str], bool] = lambda _: False
        """Says whether the settings have a price for a model by its name."""
        self.aliases = aliases or Aliases()
        self.circuits = Circuits(clock)
        self.seen = SeenModels()
        self.lifecycle = Lifecycle(clock)
        self.ranking = Ranking(catalog, self.circuits, self.seen, self.lifecycle, clock)
        self.health = Health(clock, tasks, self.circuits)
        self.discovery = Discovery(clock, tasks, catalog.replace)
        self._catalog = catalog
        self._sessions: Sessions | None = None
        catalog.on_remove.append(self.forget)

    def join(self, sessions: Sessions | None = None, costs: Prices | None = None) -> None:
        """Work with the rooms that know the accounts, and the prices."""
        self._sessions = self.health.sessions = self.discovery.sessions = sessions
        self.ranking.join(sessions, costs)

    # ---- Candidates
    async def ordered(
        self,
        name: str,
        output: str,
        *,
        fallbacks: Sequence[str] = (),
        strict: bool = False,
        needs: frozenset[str] = frozenset(),
        load: Load | None = None,
        sources: Sequence[str] = (),
        leash: Leash | None = None,
    ) -> list[ModelRecord]:
        """Return the models to try, in order: those of an alias or a name, then those to fall back on.

        Without a name that is the first that can be used, and of other providers one each of its kind (learned or
        procedural): a service for which there is a key comes first, then the providers in the order of their coming.
        *needs* are capabilities, and `input:image` and the like; *sources* the media of what is given to start from: a
        model that takes none of these, or needs more of them, is not chosen by itself.

        Raises `NotFound` with the nearest name, `InvalidArgument` (the model named cannot do it), `FailedPrecondition`
        (MODEL_RETIRED, ALIAS_CYCLE, EFFECT_NOT_APPROVED: *leash* forbids all there are), `Unavailable` (CIRCUIT_OPEN,
        NO_MODEL_AVAILABLE; with the reasons).
        """
        if output:
            check_output(output, EMBEDDING)
        wanted = Needs(output, needs, load or Load(), tuple(sources), self._forbids(leash))
        chain = await self._found(name, fallbacks, wanted)
        # What the first one makes is what is made; who falls back makes the same.
        wanted = replace(wanted, output=output or chain[0].model.outputs[0])
        chain = [record for record in chain if record.name == name or not wanted.lacks(record)]
        if not strict:
            chain += await self._fallbacks(name, fallbacks, wanted)
        chain = list({record.name: record for record in chain}.values())
        found = self._usable(chain, wanted, name)[: 1 if strict else MOST_CANDIDATES]
        self.health.used(found[0].provider)
        if found[0].model.deprecation_date:
            self.lifecycle.warn(found[0], self._catalog.listed())
        return found

    async def known(self) -> None:
        """Find out who is there, for `foreseen` and `standing`: keys, lists of models, servers on this machine.

        Waits until the plugins are loaded, and then for a moment; nothing fails.
        """
        if self.settled is not None:
            await self.settled()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await self.refresh()
                await self.discovery.told()

    def allowed(self, model: str) -> bool:
        """Say whether the circuit to `provider/model` is closed, or one trial may go through now: this one."""
        return self.circuits.allowed(model)

    # ---- what is known
    def aliases_of(self, records: Sequence[ModelRecord]) -> dict[str, list[str]]:
        """Return the aliases that lead to each of *records*, by name."""
        found: dict[str, list[str]] = {record.name: [] for record in records}
        for alias in self.aliases.names():
            reached: set[str] = set()
            for output in dict.fromkeys(output for record in records for output in record.model.outputs):
                try:
                    reached |= {each.name for each in self._members(alias, Needs(output, frozenset(), Load()))}
                except LightfastError:  # said when the settings were read, and at use
                    continue
            for name in reached & found.keys():
                found[name].append(alias)
        return found

    async def refresh(
        self, providers: Sequence[str] | None = None, listed: Sequence[str] = (), *, ask: bool = True
    ) -> None:
        """Look for keys that were not looked for, and ask for lists of models that are old; nothing fails.

        Of these providers, or of all; those whose keys cannot be used are not asked, and those of models that are
        *listed* only where another one needs them. Without *ask* no service is asked at all.
        """
        chosen = [each for each in self._catalog.all() if providers is None or each.name in providers]
        await self.discovery.look(chosen)
        if not ask:
            return
        asked = [each for each in chosen if asks(each) and each.name not in listed and self._can_ask(each.name)]
        if asked:
            await self.discovery.refresh(asked)

    def follow(self, aliases: Aliases) -> None:
        """Take other aliases and chains of fallbacks; requests under way keep the models that were found for them."""
        self.aliases = aliases
        self.check_settings()

    def check_settings(self) -> list[str]:
        """Return what is wrong with the aliases and chains of the settings, and log it."""
        known = {record.name: record.model.outputs for record in self._catalog.listed()}
        mistakes = self.aliases.mistakes(known, [record.name for record in self.providers()])
        for mistake in mistakes:
            log.warning("an alias is wrong", mistake=mistake)
        return mistakes

    # ---- news
    def attempted(self, attempt: Attempt) -> None:
        """Take in an attempt that is over: its model's health and latency."""
        said = verdict(attempt)
        self.health.used(attempt.provider)
        if said is Verdict.WORKS:
            self.circuits.works(attempt.model)
            self.discovery.answered(attempt.provider)
            self.seen.worked(attempt.model, attempt.first, attempt.duration)
            return
        if said is Verdict.NOTHING:
            self.circuits.undecided(attempt.model)
            return
        self.seen.failed(attempt.model)
        told = None if attempt.error is None else provider_error(attempt.error)
        retry_after = 0.0 if told is None else max(0.0, told.retry_after)
        opened = self.circuits.fails(attempt.model, service=said is Verdict.SERVICE, retry_after=retry_after)
        if opened:
            wait = self.circuits.wait(attempt.model)
            log.warning("it fails again and again and is left alone for a while", name=opened, wait_s=round(wait, 1))
            if self._catalog.has(attempt.provider):
                self.health.watch(self._catalog.provider(attempt.provider))

    def forget(self, provider: str) -> None:
        """Let go of what is known of a provider that leaves; a new version of it begins anew."""
        self.circuits.forget(provider)
        self.seen.forget(provider)
        self.health.forget(provider)
        self.discovery.forget(provider)

    # ---- finding
    async def _found(self, name: str, fallbacks: Sequence[str], wanted: Needs) -> list[ModelRecord]:
        names = [name, *(fallbacks or self.aliases.fallbacks.get(wanted.output, ()))]
        providers = self._asked_of(names)
        await self.refresh(providers, self._listed_of(names) if providers is not None else ())
        if providers is None and name and self.ranking.costs is not None:
            await self.ranking.costs.ready(*self._catalog.listed(wanted.output))
        try:
            found = await self._chain(name, wanted)
            if self.settled is None or "/" in name or await self._any_here(found):
                return found
        except NotFound:
            if self.settled is None:
                raise
        # Plugins may still be loading: what is missing may come, and who is away may find one that stands in.
        await self.settled()
        await self.refresh(providers)
        return await self._chain(name, wanted)

    async def _any_here(self, records: Sequence[ModelRecord]) -> bool:
        """Say whether one of *records* can be used; of providers that came just now the keys are looked for first.

        A server that came just now may not run: nobody is relied on as long as such a one was not asked.
        """
        await self.discovery.look([self._catalog.provider(name) for name in {each.provider for each in records}])
        here = [each.provider for each in records if self.standing(each).available]
        if any(self.discovery.unasked(self._catalog.provider(name)) for name in here):
            return False
        return not all(self.discovery.pending(name) for name in here)

    async def _chain(self, name: str, wanted: Needs) -> list[ModelRecord]:
        if not name:
            return self._any(wanted)
        if self.aliases.is_alias(name):
            return self._of_alias(name, wanted)
        record = await self._named(name, "model")
        wanted.check(record)
        if self.lifecycle.retired(record):
            raise self.lifecycle.refusal(record, self._catalog.listed())
        return [record]

    async def _named(self, name: str, field: str) -> ModelRecord:
        record = self._catalog.find(name)
        provider = name.partition("/")[0]
        doubted = record is None or (self.discovery.whole(provider) and self._slip(name))
        if doubted and self._catalog.has(provider) and self._can_ask(provider):
            await self.discovery.arrive(self._catalog.provider(provider))
        if record is not None and self.discovery.whole(provider) and (near := self._slip(name)):
            raise NotFound(
                f"there is no model {name!r}: did you mean {near!r}? What a service does not list is used where the"
                f" settings name it, in gateway.aliases or providers.{provider}.prices",
                reason="MODEL_NOT_FOUND",
                field=field,
            )
        if record is None and not self._catalog.has(provider):
            for known in self.providers():
                if known.name == provider and known.reason:  # its plugin could not be loaded
                    raise Unavailable(f"{name} cannot be used: {known.reason}", reason="NO_MODEL_AVAILABLE")
        return self._catalog.named(name, self.aliases.names(), field)

    def _slip(self, name: str) -> str:
        """Return what was probably meant by a name that is in no list, and in no setting; else the empty text."""
        return "" if self.aliases.names_model(name) or self.priced(name) else self._catalog.near(name)

    async def _fallbacks(self, name: str, given: Sequence[str], wanted: Needs) -> list[ModelRecord]:
        found: list[ModelRecord] = []
        for each in given:
            if self.aliases.is_alias(each):
                found += self._members(each, wanted)
                continue
            record = await self._named(each, "fallbacks")
            if wanted.output not in record.model.outputs:
                check_makes(record, wanted.output)
            found.append(record)
        # An alias is its own chain: what is to stay local, say, must not end elsewhere by a default.
        if not given and not self.aliases.is_alias(name):
            found = self._default(wanted)
        kept = []
        for record in found:
            if wanted.lacks(record):
                log.info("a fallback is left out", model=record.name, reason=wanted.lacks(record))
            else:
                kept.append(record)
        return kept

    def _usable(self, chain: list[ModelRecord], wanted: Needs, name: str) -> list[ModelRecord]:
        standings = {record.name: self.standing(record) for record in chain}
        usable = [record for record in chain if standings[record.name].available]
        usable = [record for record in usable if not wanted.too_small(record)] or usable
        if usable:
            return usable
        first = chain[0]
        if first.name == name and self.circuits.may(name):
            return [first]  # whoever asks it says best what is wrong: a key, a plugin
        reasons = "; ".join(f"{each}: {standing.reason}" for each, standing in list(standings.items())[:5])
        waits = [standing.wait for standing in standings.values() if standing.wait]
        raise Unavailable(
            f"nobody can answer now: {reasons}",
            reason="CIRCUIT_OPEN" if waits else "NO_MODEL_AVAILABLE",
            retry_after=min(waits) if waits else None,
        )

    def _asked_of(self, names: Sequence[str]) -> list[str] | None:
        """Return the providers that *names* are of; `None`: it may be any."""
        found = set()
        for name in names:
            try:
                members = self.aliases.unfold(name) if name else [name]
            except LightfastError:
                members = []  # said when it is used
            for member in members:
                if not member or member in COMPUTED:
                    return None
                found.add(member.partition("/")[0])
        return sorted(found)

    def _listed_of(self, names: Sequence[str]) -> list[str]:
        """Return the providers of which all that *names* want is listed: they need not be asked for it."""
        unlisted = {name.partition("/")[0] for name in names if not self._catalog.lists(name)}
        return [name.partition("/")[0] for name in names if name and name.partition("/")[0] not in unlisted]

    def _can_ask(self, provider: str) -> bool:
        return self._sessions is None or not self._sessions.trouble(provider)
