"""What the operations work with: the rooms of the daemon."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightfast.context.memory.port import TemporalMemory
    from lightfast.context.scenes.scenes import Scenes
    from lightfast.context.store import Store
    from lightfast.core.clock import Clock
    from lightfast.engine.apps.registry import AppRegistry
    from lightfast.engine.ports import WorkflowRoom, WorkspaceRoom
    from lightfast.engine.scenes.recalls import Recalls
    from lightfast.engine.transport.transport import Transport
    from lightfast.gateway.router import Gateway
    from lightfast.sdk import Operation, World


def _none(name: str) -> None:
    """Find nothing."""


@dataclass(slots=True)
class OperationRooms:
    """The rooms; an operation of one that is not there says so, as a mistake before it runs and as an error in it.

    *workspaces* and *workflows* are set by the composition when they are made.
    """

    store: Store
    registry: AppRegistry
    gateway: Gateway
    clock: Clock
    scenes: Scenes | None = None
    recalls: Recalls | None = None
    transport: Transport | None = None
    memory: TemporalMemory | None = None
    workspaces: WorkspaceRoom | None = None
    workflows: WorkflowRoom | None = None
    find: Callable[[str], Operation | None] = _none
    """Finds an operation by its name; this and the next are set by the book."""
    world: World | None = None
