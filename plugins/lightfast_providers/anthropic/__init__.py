"""Claude, by Anthropic: messages as streams, pictures and PDFs read, answers by schema, tokens counted, batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk import MissingDependency, Provider, hookimpl
from lightfast_providers._common.sdk import installed
from lightfast_providers.anthropic.provider import INSTALL, Anthropic

__all__ = ["Anthropic", "lightfast_providers"]


@hookimpl
def lightfast_providers(config: Mapping[str, Any]) -> Sequence[Provider]:
    """Bring the provider, where its SDK is installed."""
    if not installed("anthropic"):
        raise MissingDependency("anthropic", INSTALL)
    return [Anthropic()]
