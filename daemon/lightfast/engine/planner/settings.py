"""How the planner works."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

GRAMMAR = "grammar"
"""The name of the offline grammar among the planners."""


MOST_CHARACTERS = 4_000
"""The longest intent, in characters."""


@dataclass(frozen=True, slots=True)
class PlannerSettings:
    """*chain* are the models that plan, in turn; none: the grammar alone. *reviewer* may refuse; empty: none.

    *review_required*: a plan that the reviewer did not answer about is refused. *deadline_s* and *max_cost_usd* are
    for all models of one plan together, *repairs* how often one model is told its mistakes, *view_tokens* what of
    the context it is told. *specialists* are the models that are asked first, by type of intent.
    """

    chain: tuple[str, ...] = ()
    reviewer: str = ""
    review_required: bool = False
    deadline_s: float = 60.0
    max_cost_usd: float = 0.25
    repairs: int = 2
    view_tokens: int = 1500
    max_output_tokens: int = 2000
    specialists: Mapping[str, str] = field(default_factory=dict)
