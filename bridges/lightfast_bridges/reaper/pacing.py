"""How fast REAPER is written to: its OSC thread sleeps between the packets it sends itself."""

from __future__ import annotations

from collections.abc import Callable

Send = Callable[..., None]
BURST = 64
"""Messages in one go."""
PAUSE = 0.01
"""Seconds between two goes."""
