"""What the sessions stand on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lightfast.core.clock import Clock
from lightfast.core.tasks import TaskGroup
from lightfast.gateway.calls import ModelRecord
from lightfast.gateway.limits.stored import Stored
from lightfast.gateway.ports import Load
from lightfast.sdk import Model
from lightfast.security.secrets.finder import KeyFinder

Price = Callable[[ModelRecord, Load], float | None]
"""Returns what a load costs in US dollars at most; `None`: nobody knows."""


@dataclass(slots=True)
class SessionRooms:
    """The clock, the finder of keys, the counters on the disk; *price* and *model* are asked through the gateway."""

    clock: Clock
    tasks: TaskGroup
    finder: KeyFinder
    stored: Stored
    price: Price
    model: Callable[[str], Model | None]
    """Returns the model `provider/model`; `None`: it is not known."""
