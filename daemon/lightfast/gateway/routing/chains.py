"""The chains of models that a name, an alias or nothing leads to, as far as they are known without asking anybody."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from lightfast.core.errors import InvalidArgument, LightfastError, NotFound, Unavailable
from lightfast.gateway.calls import ModelRecord, ProviderRecord
from lightfast.gateway.catalog import Catalog, none_makes, trouble
from lightfast.gateway.leash import Leash, not_approved
from lightfast.gateway.ports import Load, Sessions
from lightfast.gateway.routing.aliases import COMPUTED, Aliases
from lightfast.gateway.routing.circuits import FAILING, Circuits
from lightfast.gateway.routing.discovery import Discovery
from lightfast.gateway.routing.lifecycle import Lifecycle
from lightfast.gateway.routing.needs import Needs, Standing, nearest
from lightfast.gateway.routing.ranking import Ranking

MOST_COMPUTED = 8
"""So many models a computed alias leads to."""


class Chains:
    """A half of `Routing`, which sets what is used here."""

    providers: Callable[[], Sequence[ProviderRecord]]
    aliases: Aliases
    circuits: Circuits
    lifecycle: Lifecycle
    ranking: Ranking
    discovery: Discovery
    _catalog: Catalog
    _sessions: Sessions | None

    def foreseen(
        self, output: str, *, needs: frozenset[str] = frozenset(), load: Load | None = None
    ) -> list[ModelRecord]:
        """Return whom `ordered` would try now for a request that names no model, in order, without asking anybody.

        Those that cannot be used now are there only where no other is; empty: nobody makes it.
        """
        wanted = Needs(output, needs, load or Load())
        try:
            chain = self._any(wanted)
        except LightfastError:
            return []
        chain += [record for record in self._default(wanted) if not wanted.lacks(record)]
        chain = list({record.name: record for record in chain}.values())
        usable = [each for each in chain if self.standing(each).available and not self.discovery.pending(each.provider)]
        return usable or chain

    def trouble(self, provider: str) -> str:
        """Return why nothing of *provider* can be used now; empty when it can."""
        own = trouble(self._catalog.provider(provider)) if self._catalog.has(provider) else ""
        own = own or (self._sessions.trouble(provider) if self._sessions is not None else "")
        return own or self.discovery.away(provider)

    def standing(self, record: ModelRecord) -> Standing:
        """Say whether *record* can be used now."""
        if self.lifecycle.retired(record):
            return Standing(False, self.lifecycle.notice(record))
        if reason := self.trouble(record.provider):
            return Standing(False, reason)
        if not self.circuits.may(record.name):
            wait = self.circuits.wait(record.name)
            return Standing(False, f"{FAILING}: it is tried again in {wait:.0f} s", wait)
        return Standing(True)

    def _forbids(self, leash: Leash | None) -> Callable[[ModelRecord], str] | None:
        if leash is None or (leash.spend and leash.network):
            return None
        return lambda record: leash.forbids(record, self._catalog.provider(record.provider), self.ranking.costs)

    def _any(self, wanted: Needs) -> list[ModelRecord]:
        able = [record for record in self._catalog.listed(wanted.output) if not wanted.lacks(record)]
        if not able:
            if listed := self._catalog.listed(wanted.output):
                if kept_out := wanted.kept_out(listed):
                    raise not_approved(kept_out)
                raise _nothing_can(wanted, listed)
            raise none_makes(wanted.output)
        able = [record for record in able if not self.lifecycle.retired(record)] or able
        troubles = {name: bool(self.trouble(name)) for name in {record.provider for record in able}}

        able = nearest(able, wanted.output)

        def standing(record: ModelRecord) -> tuple[bool, bool, bool, bool]:  # who is known to be there goes first
            unsure = self.discovery.pending(record.provider) or not self.circuits.may(record.name)
            unwell = self.ranking.health(record, wanted.load) >= 3
            keyed = self._catalog.provider(record.provider).needs_key
            return (troubles[record.provider] or unsure, unwell, self.lifecycle.deprecated(record), not keyed)

        able.sort(key=standing)
        first = able[0]
        kind = (first.model.procedural, wanted.output or first.model.outputs[0])
        chosen: dict[str, ModelRecord] = {}
        for record in able:
            if record.model.procedural == kind[0] and kind[1] in record.model.outputs:
                chosen.setdefault(record.provider, record)
        return list(chosen.values())

    def _of_alias(self, name: str, wanted: Needs) -> list[ModelRecord]:
        if not wanted.output and name in COMPUTED and name not in self.aliases.own:
            wanted = replace(wanted, output="text")
        members = self._members(name, wanted)
        if not wanted.output and members:
            wanted = replace(wanted, output=members[0].model.outputs[0])
        able = [record for record in members if not wanted.lacks(record)]
        if able:
            return able
        if kept_out := wanted.kept_out(members):
            raise not_approved(kept_out)
        if members:
            lacking = "; ".join(f"{record.name} {wanted.lacks(record)}" for record in members[:5])
            raise InvalidArgument(f"the alias {name!r} leads to no model that can do it: {lacking}", field="model")
        away = [each for each in self.aliases.unfold(name) if each not in COMPUTED]
        if away:
            raise Unavailable(
                f"no model of the alias {name!r} is here: {self._why_away(away)}", reason="NO_MODEL_AVAILABLE"
            )
        raise NotFound(
            f"the alias {name!r} leads to no model that makes {wanted.output or 'text'} here: see 'lightfast models'",
            reason="NO_MODEL",
            field="model",
        )

    def _members(self, name: str, wanted: Needs) -> list[ModelRecord]:
        """Return the models of an alias in order, those that cannot do it included where the user named them."""
        found: dict[str, ModelRecord] = {}
        unknown: NotFound | None = None
        for member in self.aliases.unfold(name):
            chosen: Sequence[ModelRecord]
            if member in COMPUTED:
                able = [record for record in self._catalog.listed(wanted.output) if not wanted.lacks(record)]
                able = [record for record in able if not self.lifecycle.retired(record)]
                able = nearest(able, wanted.output)
                usable = self._available(able) or able
                chosen = self.ranking.computed(member, usable, wanted.load)
                chosen = (chosen or self.ranking.computed(member, able, wanted.load))[:MOST_COMPUTED]
            else:
                try:
                    chosen = self._member(member, name)
                except NotFound as error:  # told when the settings were read, too: the others of the chain go on
                    chosen, unknown = (), unknown or error
            for record in chosen:
                found.setdefault(record.name, record)
        if unknown is not None and not found:
            raise unknown
        return list(found.values())

    def _available(self, records: Sequence[ModelRecord]) -> list[ModelRecord]:
        """Return those that `standing` finds available, of which none is retired."""
        troubles = {name: bool(self.trouble(name)) for name in {record.provider for record in records}}
        return [record for record in records if not troubles[record.provider] and self.circuits.may(record.name)]

    def _member(self, member: str, alias: str) -> list[ModelRecord]:
        record = self._catalog.find(member)
        if record is not None:
            return [record]
        provider = member.partition("/")[0]
        known = {each.name for each in self.providers()}
        if provider in known and not any(each.provider == provider for each in self._catalog.listed()):
            return []  # its plugin, or its server, is away: others of the chain are not
        try:
            self._catalog.named(member, self.aliases.names())
        except NotFound as error:
            where = f"in gateway.aliases.{alias}: " if alias in self.aliases.own else ""
            raise NotFound(where + error.message, reason="MODEL_NOT_FOUND", field="model") from None
        return []

    def _default(self, wanted: Needs) -> list[ModelRecord]:
        """Return the models that the settings fall back on."""
        found: list[ModelRecord] = []
        for each in self.aliases.fallbacks.get(wanted.output, ()):
            found += self._members(each, wanted) if self.aliases.is_alias(each) else self._member(each, "")
        return found

    def _why_away(self, members: Sequence[str]) -> str:
        known = {record.name: record for record in self.providers()}
        parts = []
        for member in members[:5]:
            provider = member.partition("/")[0]
            record = known.get(provider)
            reason = self.discovery.reason(provider) or (record.reason if record is not None else "")
            parts.append(f"{member}: {reason or 'its provider has no models now'}")
        return "; ".join(parts)


def _nothing_can(wanted: Needs, listed: Sequence[ModelRecord]) -> InvalidArgument:
    lacking = "; ".join(f"{record.name} {wanted.lacks(record)}" for record in listed[:5])
    return InvalidArgument(
        f"no model here that makes {wanted.output or 'anything'} can do it: {lacking}",
        reason="NOT_CAPABLE",
        field="model",
    )
