"""The hooks. Each is called once per plugin when it is loaded and returns what the plugin brings.

The docstrings are the documentation: `lightfast plugins --hooks` prints them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pluggy

from lightfast.sdk.bridge import Bridge
from lightfast.sdk.embedder import Embedder
from lightfast.sdk.launcher import Launcher
from lightfast.sdk.operation import JobType, Operation
from lightfast.sdk.packs import Pack
from lightfast.sdk.provider import Provider
from lightfast.sdk.simulator import Simulator

hookspec = pluggy.HookspecMarker("lightfast")
hookimpl = pluggy.HookimplMarker("lightfast")
"""Marks an implementation: `@hookimpl` on a module-level function with a hook's name."""


@hookspec
def lightfast_providers(config: Mapping[str, Any]) -> Sequence[Provider]:
    """Return the AI providers this plugin brings; *config* is its `[plugins.NAME]` table."""
    raise NotImplementedError


@hookspec
def lightfast_bridges(config: Mapping[str, Any]) -> Sequence[Bridge]:
    """Return the bridges this plugin brings; *config* is its `[plugins.NAME]` table."""
    raise NotImplementedError


@hookspec
def lightfast_embedders(config: Mapping[str, Any]) -> Sequence[Embedder]:
    """Return the embedders this plugin brings, not yet loaded; *config* is its `[plugins.NAME]` table."""
    raise NotImplementedError


@hookspec
def lightfast_operations(config: Mapping[str, Any]) -> Sequence[Operation]:
    """Return the operations this plugin adds to programs; *config* is its `[plugins.NAME]` table."""
    raise NotImplementedError


@hookspec
def lightfast_job_types(config: Mapping[str, Any]) -> Sequence[JobType]:
    """Return the types of durable jobs this plugin can do; *config* is its `[plugins.NAME]` table."""
    raise NotImplementedError


@hookspec
def lightfast_simulators() -> Sequence[Simulator]:
    """Return the simulators `lightfast sim NAME` can start; each says that it is one."""
    raise NotImplementedError


@hookspec
def lightfast_packs() -> Sequence[Pack]:
    """Return the in-application halves that `lightfast pack NAME` can write to a file."""
    raise NotImplementedError


@hookspec
def lightfast_launchers() -> Sequence[Launcher]:
    """Return what can start a real application so that it joins a daemon; the demo uses them."""
    raise NotImplementedError
