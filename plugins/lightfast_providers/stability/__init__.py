"""Stability AI: images and sound, over its REST API v2beta (https://platform.stability.ai/docs/api-reference)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk import Provider, hookimpl
from lightfast_providers._common.rest import needs
from lightfast_providers.stability.provider import INSTALL, Stability

__all__ = ["Stability", "lightfast_providers"]


@hookimpl
def lightfast_providers(config: Mapping[str, Any]) -> Sequence[Provider]:
    """Bring Stability."""
    needs(INSTALL, "httpx2")
    return [Stability()]
