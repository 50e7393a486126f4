"""Ollama: the models of this machine, or those it runs in its cloud. Models are never fetched from here.

In `[plugins.ollama]`, `base_url` says where it is (`http://127.0.0.1:11434`); away from this machine it does not count
as local, and neither do its models as free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk import MissingDependency, Provider, hookimpl
from lightfast_providers._common.sdk import installed
from lightfast_providers.ollama.provider import INSTALL, Ollama

__all__ = ["Ollama", "lightfast_providers"]


@hookimpl
def lightfast_providers(config: Mapping[str, Any]) -> Sequence[Provider]:
    """Bring the provider, where its SDK is installed."""
    if not installed("ollama"):
        raise MissingDependency("ollama", INSTALL)
    return [Ollama(str(config.get("base_url", "")))]
