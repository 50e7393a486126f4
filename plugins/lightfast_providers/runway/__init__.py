"""Runway: film, images and sound as tasks, through its SDK (https://docs.dev.runwayml.com)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk import Provider, hookimpl
from lightfast_providers._common.rest import needs
from lightfast_providers.runway.provider import INSTALL, Runway

__all__ = ["Runway", "lightfast_providers"]


@hookimpl
def lightfast_providers(config: Mapping[str, Any]) -> Sequence[Provider]:
    """Bring Runway."""
    needs(INSTALL, "runwayml", "httpx2")
    return [Runway()]
