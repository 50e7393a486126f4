"""What is held of each loaded plugin, and its way to those who use it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import structlog

from lightfast.host.discover import Candidate
from lightfast.host.guard import failure_of, guarded, guarded_await
from lightfast.host.isolated import IsolatedPlugin
from lightfast.host.loader import Brought
from lightfast.host.records import PluginSink
from lightfast.sdk import Provider
from lightfast.sdk.contract import PluginMistake

log = structlog.get_logger("lightfast.host")


@dataclass(slots=True)
class Held:
    """A plugin that is loaded, with the table it was loaded with."""

    candidate: Candidate
    brought: Brought
    config: Mapping[str, Any]
    generation: int = 1
    isolated: IsolatedPlugin | None = None


def check_unique(held: Held, others: Iterable[Held]) -> None:
    """Raise `PluginMistake` where *held* brings a name that another plugin has already brought."""
    wanted = held.brought.names()
    for name in wanted:
        if wanted.count(name) > 1:
            raise PluginMistake(f"it brings {name} twice")
    for other in others:
        if other.candidate.name == held.candidate.name:
            continue
        for name in set(wanted) & set(other.brought.names()):
            raise PluginMistake(
                f"it brings {name}, which the plugin {other.candidate.name} already does: rename one, or set"
                f" [plugins.{other.candidate.name}] enabled = false"
            )


def hand_on(held: Held, sink: PluginSink) -> None:
    """Give what a plugin brings to *sink*; where that is refused all is taken back and the refusal raised."""
    name = held.candidate.name
    given = Brought(held.brought.module)
    try:
        for provider, models in held.brought.providers:
            sink.provider_added(name, provider, models)
            given.providers.append((provider, models))
        for bridge in held.brought.bridges:
            sink.bridge_added(name, bridge, held.config)
            given.bridges.append(bridge)
        for embedder in held.brought.embedders:
            sink.embedder_added(name, embedder)
            given.embedders.append(embedder)
        for operation in held.brought.operations:
            sink.operation_added(name, operation)
            given.operations.append(operation)
        for job_type in held.brought.job_types:
            sink.job_type_added(name, job_type)
            given.job_types.append(job_type)
    except BaseException:
        hand_back(replace(held, brought=given), sink)
        raise


def hand_back(held: Held, sink: PluginSink) -> None:
    """Take what a plugin brought back from *sink*; trouble with one thing does not keep the others."""
    name = held.candidate.name
    outcomes = [guarded(sink.bridge_removed, name, bridge) for bridge in held.brought.bridges]
    outcomes += [guarded(sink.provider_removed, name, provider) for provider, _ in held.brought.providers]
    outcomes += [guarded(sink.embedder_removed, name, embedder) for embedder in held.brought.embedders]
    outcomes += [guarded(sink.operation_removed, name, operation) for operation in held.brought.operations]
    outcomes += [guarded(sink.job_type_removed, name, job_type) for job_type in held.brought.job_types]
    for outcome in outcomes:
        if outcome.error is not None:
            log.error("could not be taken back", plugin=name, reason=failure_of(outcome.error).reason)


async def close_providers(held: Held) -> None:
    """Close the providers of a plugin that nobody took."""
    for provider, _ in held.brought.providers:
        outcome = await guarded_await(_bounded(provider))
        if outcome.error is not None:
            log.warning("a provider failed to close", provider=provider.name, reason=repr(outcome.error))


async def _bounded(provider: Provider) -> None:
    async with asyncio.timeout(5.0):
        await provider.close()
