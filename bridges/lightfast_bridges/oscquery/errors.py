"""What keeps a server from being used, in words for a person."""

from __future__ import annotations


class TroubleError(Exception):
    """The server cannot be used now; the message says why."""


class DroppedError(Exception):
    """The WebSocket broke; the server may still be there."""
