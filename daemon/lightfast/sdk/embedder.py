"""What turns texts into vectors that lie close where the texts mean the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable


@runtime_checkable
class Embedder(Protocol):
    """One embedding space. `embed` is called in a worker thread, never twice at once, and may block there."""

    name: str
    """Kept with each vector: vectors of different names are never compared. Change it when the weights change."""
    dimensions: int
    """How many numbers a vector has."""

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return one vector for each text, of length 1 (or all zeros for a text without content)."""
        ...

    def close(self) -> None:
        """Let go of what it holds; it is not used afterwards."""
        ...
