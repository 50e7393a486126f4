"""ElevenLabs: speech, sound effects, music and transcription, through its SDK (https://elevenlabs.io/docs)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk import Provider, hookimpl
from lightfast_providers._common.rest import needs
from lightfast_providers.elevenlabs.provider import INSTALL, ElevenLabs

__all__ = ["ElevenLabs", "lightfast_providers"]


@hookimpl
def lightfast_providers(config: Mapping[str, Any]) -> Sequence[Provider]:
    """Bring ElevenLabs."""
    needs(INSTALL, "elevenlabs")
    return [ElevenLabs()]
