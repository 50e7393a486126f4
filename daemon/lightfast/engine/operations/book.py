"""All operations there are: the built-in ones, and those that plugins bring."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightfast.core.errors import AlreadyExists
from lightfast.engine.operations.world import HouseWorld

if TYPE_CHECKING:
    from lightfast.engine.operations.rooms import OperationRooms
    from lightfast.sdk import Operation

_THEMES = {
    "apps": ("app.command",),
    "computing": ("value.compute",),
    "context": ("context.get", "context.set", "context.delete", "context.merge", "context.move", "context.apply"),
    "flowing": ("flow.branch", "flow.map", "workflow.call"),
    "generating": ("generate.text", "generate.image", "generate.video", "generate.audio"),
    "remembering": ("memory.remember", "memory.forget", "memory.recall", "embed.texts"),
    "scenes": ("scene.save", "scene.delete", "scene.recall"),
    "transporting": ("transport.play", "transport.stop", "transport.tempo", "transport.seek"),
    "waiting": ("wait.pattern", "wait.beat", "wait.seconds"),
    "working": ("task.create", "task.update"),
}
"""The modules of the built-in operations, each loaded when one of its operations is first asked for."""
_BUILT_IN = {name: theme for theme, names in _THEMES.items() for name in names}


@dataclass(frozen=True, slots=True)
class OperationKind:
    """One kind of instruction, and the plugin that brings it; empty: it is built in."""

    operation: Operation
    plugin: str


class Operations:
    """Implements `lightfast.engine.ports.OperationBook`; *world* is what checks are made against."""

    def __init__(self, rooms: OperationRooms) -> None:
        self.rooms = rooms
        self.world = rooms.world = HouseWorld(rooms)
        self._kinds: dict[str, OperationKind] = {}
        self._order: tuple[str, ...] = ()
        rooms.find = self.find

    def find(self, name: str) -> Operation | None:
        """Return one, or `None`."""
        kind = self._kind(name)
        return None if kind is None else kind.operation

    def _kind(self, name: str) -> OperationKind | None:
        if name not in self._kinds and name in _BUILT_IN:
            theme = _BUILT_IN[name]
            module = importlib.import_module(f"lightfast.engine.operations.{theme}")
            for made in getattr(module, theme.upper()):
                self._kinds[made.name] = OperationKind(made(self.rooms), "")
        return self._kinds.get(name)

    def names(self) -> Sequence[str]:
        """Return the names, in order."""
        if not self._order:
            self._order = tuple(sorted({*_BUILT_IN, *self._kinds}))
        return self._order

    def plugin(self, name: str) -> str:
        """Return the plugin that brought it; empty: built in, or there is none."""
        kind = self._kinds.get(name)
        return "" if kind is None else kind.plugin

    def kinds(self) -> Sequence[OperationKind]:
        """Return all kinds of instructions, by name."""
        return [kind for name in self.names() if (kind := self._kind(name)) is not None]

    def add_operation(self, plugin: str, operation: Operation) -> None:
        """Take an operation of *plugin* (empty: of the daemon); raises `AlreadyExists` (OPERATION_EXISTS)."""
        if operation.name in self._kinds or operation.name in _BUILT_IN:
            held = self.plugin(operation.name)
            owner = f"plugin {held}" if held else "the daemon itself"
            remedy = f", or set [plugins.{held}] enabled = false" if held else ""
            raise AlreadyExists(
                f"the operation {operation.name!r} of plugin {plugin} is already brought by {owner}: rename it{remedy}",
                reason="OPERATION_EXISTS",
                metadata={"operation": operation.name, "plugin": held},
            )
        self._kinds[operation.name] = OperationKind(operation, plugin)
        self._order = ()

    def remove_operation(self, plugin: str, operation: Operation) -> None:
        """Let an operation of *plugin* go; one that another plugin has under this name stays."""
        held = self._kinds.get(operation.name)
        if held is not None and held.operation is operation and held.plugin == plugin:
            del self._kinds[operation.name]
            self._order = ()

    def stop(self) -> None:
        """Say that the daemon stops: what is cancelled from now on is left to the next one where it can be."""
        self.rooms.gateway.stopping = True
