"""Which models a generation may use, and so what it may do and cost, before it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightfast.core.errors import LightfastError
from lightfast.engine.operations.built import is_open
from lightfast.engine.operations.world import HouseWorld
from lightfast.engine.programs.near import did_you_mean
from lightfast.gateway.leash import Leash
from lightfast.gateway.ports import Load
from lightfast.gateway.routing.aliases import COMPUTED
from lightfast.sdk import Effect, Mistake, World

if TYPE_CHECKING:
    from lightfast.engine.operations.rooms import OperationRooms

_ALL = frozenset((Effect.REVERSIBLE, Effect.SPEND, Effect.NETWORK))
_MOST_NAMED = 3
"""So many models are named to whoever approves."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What was asked for: *model* is `provider/model`, an alias, empty (any), or a reference.

    *needs* are capabilities that it takes; *sourced*: it starts from something, which not every model can.
    """

    output: str
    model: str
    known: bool
    rooms: OperationRooms
    needs: frozenset[str] = frozenset()
    sourced: bool = False

    @classmethod
    def of(cls, output: str, arguments: Mapping[str, Any], rooms: OperationRooms) -> Choice:
        """Return the choice that *arguments* make."""
        model = str(arguments.get("model", ""))
        needs = frozenset(name for name in ("schema", "system") if arguments.get(name))
        return cls(output, model, not is_open(model), rooms, needs, bool(arguments.get("sources")))

    @property
    def exact(self) -> bool:
        """Say whether one model is named: nothing else may stand in for it, since its effects were checked."""
        return "/" in self.model

    def models(self, world: World) -> Sequence[Any]:
        """Return the models that may be used, those that cannot be used now included where nobody else is named."""
        house = world if isinstance(world, HouseWorld) else None
        if house is not None and self.exact:
            found = house.model(self.model)
            return [] if found is None or self.output not in found.record.model.outputs else [found]
        models = world.models(self.output) if house is None else house.known(self.output)
        if self.exact:
            return [model for model in models if model.name == self.model]
        usable = [model for model in models if model.available] or list(models)
        if not self.model:
            return usable
        if house is None:
            return [model for model in models if self.model in model.aliases]
        return self._of_alias(house, usable)

    def foreseen(self, world: World, load: Load | None = None) -> Sequence[Any]:
        """Return the models that would be tried, in order; empty: one or an alias is named, or nobody can say."""
        if self.model or self.sourced or not self.known or not isinstance(world, HouseWorld):
            return []
        return world.foreseen(self.output, self.needs, load or Load())

    def _of_alias(self, house: HouseWorld, usable: Sequence[Any]) -> Sequence[Any]:
        if not house.is_alias(self.model):
            return []
        found: dict[str, Any] = {}
        try:
            members = house.unfold(self.model)
        except LightfastError:
            return []
        for member in members:
            if member in COMPUTED:
                some = [model for model in usable if model.local] if member == "local" else usable
            else:
                one = house.model(member)
                some = [] if one is None else [one]
            for model in some:
                found.setdefault(model.name, model)
        return list(found.values())


def effects_of(choice: Choice, world: World) -> frozenset[Effect]:
    """Return what generating does: an asset or a text more, and what the models that may be used bring about.

    Without a model, what the one brings about that would be tried first: it is kept to that when it runs.
    """
    models = choice.foreseen(world)[:1] or (choice.models(world) if choice.known else [])
    return _of_models(models) if models else _ALL


def effects_within(choice: Choice, world: World, allowed: frozenset[Effect]) -> frozenset[Effect]:
    """Return what generating does when it keeps to *allowed*: other models may be there that bring about less."""
    effects = effects_of(choice, world)
    if effects <= allowed or choice.exact or not any(_fits(each, allowed) for each in choice.models(world)):
        return effects
    return effects & (allowed | {Effect.REVERSIBLE})


def leash_of(effects: frozenset[Effect]) -> Leash:
    """Return what keeps a request to *effects*."""
    return Leash(spend=Effect.SPEND in effects, network=Effect.NETWORK in effects)


def told(choice: Choice, world: World) -> str:
    """Return the models that may be used, for whoever approves it: the first, and those that stand in for it."""
    if choice.exact or not choice.known:
        return choice.model if choice.known else ""
    effects = effects_of(choice, world)
    models = [each for each in choice.foreseen(world) or choice.models(world) if _fits(each, effects)]
    names = [each.name for each in models]
    if not names:
        return choice.model
    others = names[1:_MOST_NAMED]
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    of = f" (or {', '.join(others)}{more})" if others else ""
    return f"{choice.model}: {names[0]}{of}" if choice.model else f"{names[0]}{of}"


def _fits(model: Any, allowed: frozenset[Effect]) -> bool:
    return (model.free or Effect.SPEND in allowed) and (model.local or Effect.NETWORK in allowed)


def _of_models(models: Sequence[Any]) -> frozenset[Effect]:
    found = {Effect.REVERSIBLE}
    if not all(model.free for model in models):
        found.add(Effect.SPEND)
    if not all(model.local for model in models):
        found.add(Effect.NETWORK)
    return frozenset(found)


def upper_cost(choice: Choice, load: Load, world: World) -> float | None:
    """Return the most that one generation costs with any of the models, in USD; `None`: nobody can bound it."""
    models = choice.foreseen(world, load) or (choice.models(world) if choice.known else [])
    if not models:
        return None
    effects = effects_of(choice, world)
    models = [model for model in models if _fits(model, effects)]
    dearest = 0.0
    for model in models:
        free = 0.0 if model.free else None
        bound = world.bound(model, load) if isinstance(world, HouseWorld) else free
        if bound is None:
            return None
        dearest = max(dearest, bound)
    return dearest


def wrong_model(choice: Choice, world: World) -> list[Mistake]:
    """Return what is wrong with the model that is named; that it cannot be used now is a warning."""
    if not choice.known:
        return []
    models = choice.models(world)
    if not models:
        return [_unknown(choice, world)]
    if not any(model.available for model in models):
        told = f"{choice.model or 'every model of this kind'} cannot be used now: see 'lightfast models'"
        return [Mistake("NO_MODEL_AVAILABLE", told, "arguments.model", warning=True)]
    return []


def _unknown(choice: Choice, world: World) -> Mistake:
    if not choice.model:
        told = f"no model here makes {choice.output}: see 'lightfast models'"
        return Mistake("NO_MODEL", told, "arguments.model")
    house = world if isinstance(world, HouseWorld) else None
    other = house.model(choice.model) if house is not None and choice.exact else None
    if other is not None:
        told = f"{choice.model} makes {', '.join(other.record.model.outputs)}, not {choice.output}"
        return Mistake("MODEL_UNFIT", told, "arguments.model")
    names = [model.name for model in world.models(choice.output)]
    names += house.alias_names() if house is not None else []
    told = f"there is no model {choice.model!r}{did_you_mean(choice.model, names)}"
    return Mistake("MODEL_NOT_FOUND", told, "arguments.model")
