"""The local provider: real pictures and sounds by rule, without a model, a key or a network.

It says what it is: every result names its generator as `studio (procedural, no learned model)`.
Importing it costs little: Pillow is loaded with the first picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk import Provider, hookimpl
from lightfast_providers.studio.provider import Studio


@hookimpl
def lightfast_providers(config: Mapping[str, Any]) -> Sequence[Provider]:
    """Bring the studio."""
    return [Studio()]
