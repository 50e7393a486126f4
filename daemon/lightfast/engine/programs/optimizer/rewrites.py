"""The rewrites in their order."""

from __future__ import annotations

from lightfast.engine.programs.optimizer.batch import batch
from lightfast.engine.programs.optimizer.dead import remove_dead
from lightfast.engine.programs.optimizer.dedupe import dedupe
from lightfast.engine.programs.optimizer.fold import fold
from lightfast.engine.programs.optimizer.hazards import Hazards
from lightfast.engine.programs.optimizer.reorder import reorder

__all__ = ["REWRITES", "Hazards"]

REWRITES = (fold, dedupe, remove_dead, batch, reorder)
"""In this order; the first three make room for each other."""
