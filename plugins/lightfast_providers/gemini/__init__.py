"""Gemini, by Google: text, pictures, speech and embeddings, tokens counted, batches.

No film: the SDK's `generate_videos` works only with Google's enterprise platform and raises with the Gemini API, and
so do its calls for Imagen. Pictures come from Gemini's own models for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk import MissingDependency, Provider, hookimpl
from lightfast_providers._common.sdk import installed
from lightfast_providers.gemini.provider import INSTALL, Gemini

__all__ = ["Gemini", "lightfast_providers"]


@hookimpl
def lightfast_providers(config: Mapping[str, Any]) -> Sequence[Provider]:
    """Bring the provider, where its SDK is installed."""
    if not installed("google.genai"):
        raise MissingDependency("google-genai", INSTALL)
    return [Gemini()]
