"""Replicate: models that anybody may publish, over its HTTP API (https://replicate.com/docs/reference/http)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk import Provider, hookimpl
from lightfast_providers._common.rest import needs
from lightfast_providers.replicate.provider import INSTALL, Replicate

__all__ = ["Replicate", "lightfast_providers"]


@hookimpl
def lightfast_providers(config: Mapping[str, Any]) -> Sequence[Provider]:
    """Bring Replicate."""
    needs(INSTALL, "httpx2")
    return [Replicate()]
