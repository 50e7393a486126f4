"""The loaded plugins, and what they bring, by kind."""

from __future__ import annotations

from lightfast.host.holding import Held
from lightfast.sdk import Bridge, Embedder, JobType, Launcher, Operation, Pack, Provider, Simulator


class Shelf:
    """Holds the loaded plugins by name."""

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}

    def providers(self) -> list[Provider]:
        """Return the providers of the loaded plugins."""
        return [provider for held in self._held.values() for provider, _ in held.brought.providers]

    def bridges(self) -> list[Bridge]:
        """Return the bridges of the loaded plugins, ordered by kind."""
        found = [bridge for held in self._held.values() for bridge in held.brought.bridges]
        return sorted(found, key=lambda bridge: bridge.kind)

    def embedders(self) -> list[Embedder]:
        """Return the embedders of the loaded plugins, ordered by name."""
        found = [embedder for held in self._held.values() for embedder in held.brought.embedders]
        return sorted(found, key=lambda embedder: embedder.name)

    def operations(self) -> list[Operation]:
        """Return the operations of the loaded plugins, ordered by name."""
        found = [operation for held in self._held.values() for operation in held.brought.operations]
        return sorted(found, key=lambda operation: operation.name)

    def job_types(self) -> list[JobType]:
        """Return the types of jobs of the loaded plugins, ordered by name."""
        found = [job_type for held in self._held.values() for job_type in held.brought.job_types]
        return sorted(found, key=lambda job_type: job_type.name)

    def simulators(self) -> list[Simulator]:
        """Return the simulators of the loaded plugins, ordered by name."""
        found = [simulator for held in self._held.values() for simulator in held.brought.simulators]
        return sorted(found, key=lambda simulator: simulator.name)

    def packs(self) -> list[Pack]:
        """Return the packs of the loaded plugins, ordered by name."""
        found = [pack for held in self._held.values() for pack in held.brought.packs]
        return sorted(found, key=lambda pack: pack.name)

    def launchers(self) -> list[Launcher]:
        """Return the launchers of the loaded plugins, ordered by name."""
        found = [launcher for held in self._held.values() for launcher in held.brought.launchers]
        return sorted(found, key=lambda launcher: launcher.name)

    def owner(self, filename: str, module: str) -> str:
        """Return the plugin that a frame belongs to; called from the stall thread."""
        for name, held in list(self._held.items()):
            candidate = held.candidate
            if candidate.path is not None:
                if filename == str(candidate.path):
                    return name
            else:
                target = candidate.module.partition(":")[0]
                if module == target or module.startswith(target + "."):
                    return name
        return ""
