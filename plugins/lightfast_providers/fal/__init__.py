"""fal: image, film and sound models of many makers behind one queue, over REST (https://docs.fal.ai)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk import Provider, hookimpl
from lightfast_providers._common.rest import needs
from lightfast_providers.fal.provider import INSTALL, Fal

__all__ = ["Fal", "lightfast_providers"]


@hookimpl
def lightfast_providers(config: Mapping[str, Any]) -> Sequence[Provider]:
    """Bring fal."""
    needs(INSTALL, "httpx2")
    return [Fal()]
