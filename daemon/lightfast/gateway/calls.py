"""What is asked of the gateway, and what it answers step by step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lightfast.sdk import Model, Preview, TextDelta
from lightfast_link.value import Asset, Value

DEFAULT_TIMEOUT = 300.0
"""How long a generation may take where the caller does not say, in seconds."""
MAX_TIMEOUT = 24 * 3600.0
"""The longest a caller may ask for, in seconds."""


@dataclass(frozen=True, slots=True)
class GenerateCall:
    """One request: *model* is `provider/model`, or empty for the first that makes *output*.

    *sources* are SHA-256 of stored assets; *seed* `None` means that one is chosen and told; *timeout*
    in seconds, 0 for the default; the result is placed at *target_path* in the context when it is done.
    """

    model: str = ""
    output: str = ""
    prompt: str = ""
    settings: Mapping[str, Value] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    seed: int | None = None
    target_path: str = ""
    timeout: float = 0.0
    group: str = ""


@dataclass(frozen=True, slots=True)
class StepProgress:
    """How far it is: 0 to 1, or -1 where that is not known; which model works, with which seed."""

    fraction: float
    message: str
    model: str
    seed: int


@dataclass(frozen=True, slots=True)
class StepUsage:
    """What was used; *duration* in seconds. The last step of a generation."""

    input_tokens: int
    output_tokens: int
    duration: float
    cost_usd: float


@dataclass(frozen=True, slots=True)
class OperationStep:
    """One step of a generation."""

    operation_id: str
    kind: StepProgress | TextDelta | Preview | Asset | StepUsage


@dataclass(frozen=True, slots=True)
class ProviderRecord:
    """One provider; *reason* says why it is not *available* and what to do."""

    name: str
    description: str
    available: bool
    reason: str
    local: bool
    plugin: str


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """One model under its full *name*, `provider/model`."""

    name: str
    provider: str
    model: Model
