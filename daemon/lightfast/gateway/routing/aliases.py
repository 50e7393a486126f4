"""Aliases: names for chains of models. The user's own come from the settings, the others are computed.

A member of a chain is `provider/model` or another alias. A chain is in the order to be tried.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence

from lightfast.core.errors import FailedPrecondition

COMPUTED = ("fast", "best", "cheap", "local")
"""The aliases that are computed from what is known of the models, where the settings have none of that name."""
MOST_MEMBERS = 32
"""The longest chain, when all aliases in it are unfolded."""


class Aliases:
    """The aliases of the settings, and the chains that are fallen back on by default, one for each output."""

    def __init__(
        self, own: Mapping[str, Sequence[str]] | None = None, fallbacks: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self.own = {name: tuple(chain) for name, chain in (own or {}).items()}
        self.fallbacks = {output: tuple(chain) for output, chain in (fallbacks or {}).items()}

    def is_alias(self, name: str) -> bool:
        """Say whether *name* is an alias."""
        return name in self.own or name in COMPUTED

    def names(self) -> list[str]:
        """Return the names of all aliases."""
        return sorted({*self.own, *COMPUTED})

    def names_model(self, name: str) -> bool:
        """Say whether an alias or a chain of the settings has the model *name* as a member."""
        return any(name in chain for chain in (*self.own.values(), *self.fallbacks.values()))

    def unfold(self, name: str) -> list[str]:
        """Return the models and computed aliases that *name* leads to, in order, each once.

        Raises `FailedPrecondition` (ALIAS_CYCLE, ALIAS_TOO_LONG), naming the way.
        """
        found: dict[str, None] = {}
        for member in self._walk(name, ()):
            found.setdefault(member)
            if len(found) > MOST_MEMBERS:
                raise FailedPrecondition(
                    f"the alias {name!r} leads to more than {MOST_MEMBERS} models: shorten gateway.aliases.{name}",
                    reason="ALIAS_TOO_LONG",
                    field="model",
                )
        return list(found)

    def _walk(self, name: str, way: tuple[str, ...]) -> Iterator[str]:
        if name in way:
            circle = " → ".join([*way[way.index(name) :], name])
            raise FailedPrecondition(
                f"the aliases lead in a circle: {circle}: change gateway.aliases in the settings",
                reason="ALIAS_CYCLE",
                field="model",
            )
        if name not in self.own:
            yield name
            return
        for member in self.own[name]:
            # An alias may keep the computed one of its own name as a member: fast = ["my/model", "fast"].
            if member == name and name in COMPUTED:
                yield member
            else:
                yield from self._walk(member, (*way, name))

    def mistakes(self, known: Mapping[str, Sequence[str]], providers: Sequence[str]) -> list[str]:
        """Return what is wrong with the settings, as far as can be seen: one text each.

        *known* are the outputs of each model, *providers* all that are here, those that cannot be used included. Models
        of a provider that is away, and those that a service has without listing them, cannot be judged.
        """
        found: list[str] = []
        for name in self.own:
            try:
                members = self.unfold(name)
            except FailedPrecondition as error:
                found.append(error.message)
                continue
            found += self._unknown(f"gateway.aliases.{name}", members, known, providers)
        for output, chain in self.fallbacks.items():
            key = f"gateway.fallbacks.{output}"
            try:
                members = [each for name in chain for each in self.unfold(name)]
            except FailedPrecondition as error:
                found.append(f"{key}: {error.message}")
                continue
            found += self._unknown(key, members, known, providers)
            found += [
                f"{key}: {member} makes {', '.join(known[member])}, not {output}"
                for member in members
                if member in known and output not in known[member]
            ]
        return list(dict.fromkeys(found))

    def _unknown(
        self, key: str, members: Sequence[str], known: Mapping[str, Sequence[str]], providers: Sequence[str]
    ) -> list[str]:
        found = []
        for member in members:
            if member in known or member in COMPUTED:
                continue
            provider, slash, _ = member.partition("/")
            listed = any(name.startswith(provider + "/") for name in known)
            if slash and provider in providers and not listed:
                continue
            near = difflib.get_close_matches(member, [*known, *self.names()], n=1, cutoff=0.5)
            found.append(f"{key}: there is no {member!r}" + (f": did you mean {near[0]!r}?" if near else ""))
        return found
