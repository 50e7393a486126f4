"""What is known of each plugin, and the port through which it is handed on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from lightfast.sdk import Bridge, Embedder, JobType, Model, Operation, Provider


class PluginState(StrEnum):
    """How a plugin stands."""

    READY = "READY"
    UNAVAILABLE = "UNAVAILABLE"
    FAILED = "FAILED"
    DISABLED = "DISABLED"


@dataclass(frozen=True, slots=True)
class PluginRecord:
    """One plugin: *source* is an entry point or a file, *reason* says why it stands so and what to do.

    *brings* holds `provider:NAME`, `bridge:KIND`, `embedder:NAME`, `operation:NAME`, `job_type:NAME`,
    `simulator:NAME`, `pack:NAME`, `launcher:NAME`; *hooks* the hooks it
    implements, as far as they could be seen; *generation* counts the versions loaded since the start.
    """

    name: str
    version: str
    source: str
    state: PluginState
    reason: str = ""
    brings: tuple[str, ...] = ()
    isolated: bool = False
    hooks: tuple[str, ...] = ()
    generation: int = 1


class PluginSink(Protocol):
    """Takes what plugins bring. Called on the event loop; no method may block.

    One that raises a `LightfastError` (a name is taken) refuses the whole plugin, which is then FAILED.
    Whoever takes a provider closes it when it is removed and no longer at work.
    """

    def provider_added(self, plugin: str, provider: Provider, models: Sequence[Model]) -> None:
        """Take a provider with its checked models."""

    def provider_removed(self, plugin: str, provider: Provider) -> None:
        """Use the provider for nothing new, and close it once it is idle."""

    def bridge_added(self, plugin: str, bridge: Bridge, config: Mapping[str, Any]) -> None:
        """Run a bridge; *config* is the plugin's `[plugins.NAME]` table."""

    def bridge_removed(self, plugin: str, bridge: Bridge) -> None:
        """Stop running the bridge."""

    def embedder_added(self, plugin: str, embedder: Embedder) -> None:
        """Offer an embedder."""

    def embedder_removed(self, plugin: str, embedder: Embedder) -> None:
        """Use the embedder for nothing new, and close it once it is idle."""

    def operation_added(self, plugin: str, operation: Operation) -> None:
        """Offer an operation to programs."""

    def operation_removed(self, plugin: str, operation: Operation) -> None:
        """Start it no more."""

    def job_type_added(self, plugin: str, job_type: JobType) -> None:
        """Offer a type of jobs."""

    def job_type_removed(self, plugin: str, job_type: JobType) -> None:
        """Start no more jobs of this type; they wait for it to come back."""
