"""OpenAI as a provider; its SDK is loaded with the first request."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk import MissingDependency, Provider, hookimpl

INSTALL = "pip install 'lightfast[openai]'"


@hookimpl
def lightfast_providers(config: Mapping[str, Any]) -> Sequence[Provider]:
    """Bring the service, where its SDK is installed."""
    if importlib.util.find_spec("openai") is None:
        raise MissingDependency("openai", INSTALL)
    from lightfast_providers.openai.provider import OpenAI

    return [OpenAI()]
