"""ComfyUI: workflow files with named inputs, each of them a model.

The protocol is that of ComfyUI 0.3 (server.py, execution.py): `POST /prompt`, `/queue`, `/history`, `/view`, and a
WebSocket for progress and previews.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk import Provider, hookimpl
from lightfast_providers._common.rest import needs
from lightfast_providers.comfyui.provider import INSTALL, ComfyUI

__all__ = ["ComfyUI", "lightfast_providers"]


@hookimpl
def lightfast_providers(config: Mapping[str, Any]) -> Sequence[Provider]:
    """Bring ComfyUI; `folder` in its table is where the workflow files are."""
    needs(INSTALL, "httpx2", "websockets")
    return [ComfyUI(str(config.get("folder", "")))]
