"""Any server that speaks OpenAI's protocol: llama.cpp, vLLM, LM Studio, OpenRouter, Mercury and others.

One address, whose models are then `compatible/…`:

    [providers.compatible]
    base_urls = ["http://127.0.0.1:8080/v1"]

Or several, each a provider of its own name:

    [plugins.compatible.servers]
    llama = "http://127.0.0.1:8080/v1"
    openrouter = "https://openrouter.ai/api/v1"
    mercury = { base_url = "https://api.inceptionlabs.ai/v1", body = { reasoning_effort = "low" } }

Keys are those of any provider: `[providers.openrouter] keys = …`, or `OPENROUTER_API_KEY`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk import MissingDependency, Provider, hookimpl

INSTALL = "pip install 'lightfast[compatible]'"


@hookimpl
def lightfast_providers(config: Mapping[str, Any]) -> Sequence[Provider]:
    """Bring a provider for each server of the settings, and `compatible` for the one of `[providers.compatible]`."""
    if importlib.util.find_spec("openai") is None:
        raise MissingDependency("openai", INSTALL)
    from lightfast_providers.compatible.provider import Compatible
    from lightfast_providers.compatible.servers import servers_of

    return [Compatible(server) for server in servers_of(config)]
