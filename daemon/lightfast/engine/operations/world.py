"""What is there, for checks before anything runs: the real rooms behind `lightfast.sdk.World`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lightfast.context.entry import Entry
from lightfast.core.errors import LightfastError
from lightfast.gateway.catalog import trouble
from lightfast.gateway.leash import is_free, is_local
from lightfast.gateway.ports import Load
from lightfast.gateway.routing.candidates import Routing

if TYPE_CHECKING:
    from lightfast.engine.operations.rooms import OperationRooms
    from lightfast.engine.ports import WorkflowRoom
    from lightfast.engine.programs.program import Program
    from lightfast.gateway.calls import ModelRecord
    from lightfast.sdk import Command
    from lightfast_link.value import Value


@dataclass(frozen=True, slots=True)
class KnownModel:
    """One model under its full *name*; *local*: it runs on this machine, *free*: it costs nothing."""

    name: str
    local: bool
    free: bool
    available: bool
    aliases: tuple[str, ...]
    record: ModelRecord = field(repr=False)


@dataclass(frozen=True, slots=True)
class KnownWorkflow:
    """One workflow that can be run."""

    name: str
    room: WorkflowRoom = field(repr=False)

    @property
    def summary(self) -> str:
        """Return what it does."""
        return str(self.room.describe(self.name).get("summary", ""))

    @property
    def parameters_schema(self) -> Mapping[str, Any]:
        """Return the JSON Schema of its parameters."""
        found: Mapping[str, Any] = self.room.describe(self.name).get("parameters_schema", {})
        return found

    def program(self, parameters: Mapping[str, Value]) -> Program:
        """Return its program with these parameters; raises what they are wrong in."""
        return self.room.program(self.name, parameters)


class HouseWorld:
    """Implements `lightfast.sdk.World` over the rooms of the daemon. `ready` first makes it complete."""

    def __init__(self, rooms: OperationRooms) -> None:
        self._rooms = rooms

    async def ready(self) -> None:
        """Read what is asked about without waiting later: the scenes, which keys there are, and the price lists."""
        rooms, routing = self._rooms, self._routing
        if routing is not None:
            await routing.refresh(ask=False)
        if rooms.scenes is not None:
            await rooms.scenes.all()
        if rooms.gateway.costs is not None:
            await rooms.gateway.costs.ready(*rooms.gateway.catalog.listed())

    async def models_ready(self) -> None:
        """Find out which models are there, before anything is said of what generating would do: see `Routing.known`."""
        routing, costs = self._routing, self._rooms.gateway.costs
        if routing is None:
            return
        await routing.known()
        if costs is not None:
            await costs.ready(*self._rooms.gateway.catalog.listed())

    def value(self, path: str) -> Value | None:
        """Return the value of the context at *path*; `None`: nothing, or not in memory."""
        entry = self._rooms.store.peek(path)
        return entry.value if isinstance(entry, Entry) else None

    def has(self, path: str) -> bool:
        """Say whether there is an entry at *path*."""
        return self._rooms.store.peek(path) is not None

    def declared(self, path: str) -> Any:
        """Return the `lightfast.context.entry.Declaration` that holds for *path*, or `None`."""
        return self._rooms.store.declaration(path)

    def mount_of(self, path: str) -> str:
        """Return the mount that *path* lies under, or the empty text."""
        return self._rooms.store.mount_of(path)

    def suggest(self, path: str) -> str:
        """Return ` Did you mean …?` with what is close to *path*, or the empty text."""
        return self._rooms.store.suggest(path)

    def mounts(self) -> Sequence[str]:
        """Return the mounts of applications that were seen."""
        return tuple(self._rooms.registry.mounts())

    def commands(self, mount: str) -> Mapping[str, Command]:
        """Return the commands of an application by name; empty: there is none such."""
        try:
            return {command.name: command for command in self._rooms.registry.commands(mount)}
        except LightfastError:
            return {}

    def models(self, output: str) -> Sequence[KnownModel]:
        """Return the models that make *output*, in the order in which their providers came."""
        routing = self._routing
        aliases = {} if routing is None else routing.aliases_of(self._rooms.gateway.catalog.listed(output))
        return [replace(model, aliases=tuple(aliases.get(model.name, ()))) for model in self.known(output)]

    def known(self, output: str) -> Sequence[KnownModel]:
        """Return what `models` does, without the aliases, which take longer."""
        return [self._model(record) for record in self._rooms.gateway.catalog.listed(output)]

    def model(self, name: str) -> KnownModel | None:
        """Return the model `provider/name`, listed or not; `None`: there is none."""
        record = self._rooms.gateway.catalog.find(name)
        return None if record is None else self._model(record)

    def foreseen(self, output: str, needs: frozenset[str], load: Load) -> Sequence[KnownModel]:
        """Return the models that a request which names none would be tried with now, in order; see `models_ready`."""
        routing = self._routing
        if routing is None:
            known = self.known(output)
            return [model for model in known if model.available] or known
        return [self._model(record) for record in routing.foreseen(output, needs=needs, load=load)]

    @property
    def _routing(self) -> Routing | None:
        candidates = self._rooms.gateway.candidates
        return candidates if isinstance(candidates, Routing) else None

    def _model(self, record: ModelRecord) -> KnownModel:
        provider, routing = self._rooms.gateway.catalog.provider(record.provider), self._routing
        available = not trouble(provider)
        if routing is not None:  # of one that was asked, and has not answered yet, nobody knows whether it is there
            available = routing.standing(record).available and not routing.discovery.pending(record.provider)
        return KnownModel(record.name, is_local(record, provider), self._is_free(record), available, (), record)

    def _is_free(self, record: ModelRecord) -> bool:
        gateway = self._rooms.gateway
        return is_free(record, gateway.catalog.provider(record.provider), gateway.costs)

    def bound(self, model: KnownModel, load: Load) -> float | None:
        """Return what a request costs with *model* at most, in USD; `None`: nobody can bound it."""
        costs = self._rooms.gateway.costs
        if costs is None:
            return 0.0 if model.free else None
        return costs.estimate(model.record, load).most_usd

    def is_alias(self, name: str) -> bool:
        """Say whether *name* stands for a chain of models."""
        return self._routing is not None and self._routing.aliases.is_alias(name)

    def unfold(self, alias: str) -> Sequence[str]:
        """Return the models and computed aliases that *alias* leads to; raises where it leads in a circle."""
        return [alias] if self._routing is None else self._routing.aliases.unfold(alias)

    def alias_names(self) -> Sequence[str]:
        """Return the names of all aliases."""
        return () if self._routing is None else self._routing.aliases.names()

    def scenes(self) -> Sequence[str]:
        """Return the names of scenes; see `ready`."""
        return self._rooms.scenes.names if self._rooms.scenes is not None else ()

    def workflows(self) -> Mapping[str, KnownWorkflow]:
        """Return the workflows by name."""
        room = self._rooms.workflows
        return {} if room is None else {name: KnownWorkflow(name, room) for name in room.names()}
