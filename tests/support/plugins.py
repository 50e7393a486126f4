"""Helpers for the tests of the plugin host: plugins written to files, a sink that notes, patience."""

from __future__ import annotations

import asyncio
import importlib.metadata
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightfast.host.plugins import PluginHost
from lightfast.host.records import PluginRecord
from lightfast.sdk import Bridge, Embedder, JobType, Model, Operation, Provider

PROVIDER = """
from lightfast.sdk import Artifact, Model, Progress, Provider, ProviderError, hookimpl


class Echo(Provider):
    name = "{provider}"
    description = "answers with the prompt"
    local = True

    def models(self):
        return [Model("text", outputs=("text",)), Model("image", outputs=("image",))]

    async def generate(self, request, bench):
        yield Progress(0.5, "{says}")
        yield Artifact("image/png", (request.prompt + str(request.seed)).encode())

{more}

@hookimpl
def lightfast_providers(config):
    return [Echo()]
"""


def provider_source(provider: str = "echo", says: str = "half", more: str = "") -> str:
    """Return the source of a plugin that brings one provider."""
    return PROVIDER.format(provider=provider, says=says, more=textwrap.dedent(more))


@contextmanager
def installed(folder: Path, **sources: str) -> Iterator[list[importlib.metadata.EntryPoint]]:
    """Write modules into *folder*, put it on the path, and return entry points for them."""
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(source))
    sys.path.insert(0, str(folder))
    try:
        yield [importlib.metadata.EntryPoint(name.removeprefix("lfx_"), name, "lightfast") for name in sources]
    finally:
        sys.path.remove(str(folder))
        for name in sources:
            sys.modules.pop(name, None)


class NotingSink:
    """Notes what it is given and what is taken back."""

    def __init__(self) -> None:
        self.providers: dict[str, Provider] = {}
        self.models: dict[str, Sequence[Model]] = {}
        self.bridges: dict[str, Bridge] = {}
        self.embedders: dict[str, Embedder] = {}
        self.operations: dict[str, Operation] = {}
        self.job_types: dict[str, JobType] = {}
        self.log: list[str] = []
        self.refuse: BaseException | None = None

    def provider_added(self, plugin: str, provider: Provider, models: Sequence[Model]) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.providers[provider.name], self.models[provider.name] = provider, models
        self.log.append(f"+{plugin}/{provider.name}")

    def provider_removed(self, plugin: str, provider: Provider) -> None:
        assert self.providers.pop(provider.name) is provider
        self.log.append(f"-{plugin}/{provider.name}")

    def bridge_added(self, plugin: str, bridge: Bridge, config: Mapping[str, Any]) -> None:
        self.bridges[bridge.kind] = bridge
        self.log.append(f"+{plugin}/{bridge.kind}")

    def bridge_removed(self, plugin: str, bridge: Bridge) -> None:
        assert self.bridges.pop(bridge.kind) is bridge
        self.log.append(f"-{plugin}/{bridge.kind}")

    def embedder_added(self, plugin: str, embedder: Embedder) -> None:
        self.embedders[embedder.name] = embedder
        self.log.append(f"+{plugin}/{embedder.name}")

    def embedder_removed(self, plugin: str, embedder: Embedder) -> None:
        assert self.embedders.pop(embedder.name) is embedder
        self.log.append(f"-{plugin}/{embedder.name}")

    def operation_added(self, plugin: str, operation: Operation) -> None:
        self.operations[operation.name] = operation

    def operation_removed(self, plugin: str, operation: Operation) -> None:
        assert self.operations.pop(operation.name) is operation

    def job_type_added(self, plugin: str, job_type: JobType) -> None:
        self.job_types[job_type.name] = job_type

    def job_type_removed(self, plugin: str, job_type: JobType) -> None:
        pass


def record_of(host: PluginHost, name: str) -> PluginRecord:
    """Return the record of one plugin."""
    return next(record for record in host.records() if record.name == name)


async def until(condition: Callable[[], Any], what: str, timeout: float = 60.0) -> None:
    """Wait until *condition* holds; fail naming *what* did not come."""
    try:
        async with asyncio.timeout(timeout):
            while not condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"did not come within {timeout} s: {what}") from None
