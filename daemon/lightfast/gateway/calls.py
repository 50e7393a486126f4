"""What is asked of the gateway, and what it answers step by step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lightfast.sdk import Message, Model, Preview, TextDelta, Usage
from lightfast_link.value import Asset, Value

if TYPE_CHECKING:
    from lightfast.gateway.leash import Leash

DEFAULT_TIMEOUT = 300.0
"""How long a generation may take where the caller does not say, in seconds."""
MAX_TIMEOUT = 24 * 3600.0
"""The longest a caller may ask for, in seconds."""

CACHE_USES = ("", "off", "exact", "semantic", "refresh")
"""How a call may use kept answers; empty: as the settings say."""


@dataclass(frozen=True, slots=True)
class GenerateCall:
    """One request: *model* is `provider/model` or an alias, or empty for the first that makes *output*.

    *sources* are SHA-256 of stored assets; *seed* `None` means that one is chosen and told; *timeout*
    in seconds, 0 for the default; the result is placed at *target_path* in the context when it is done.
    *schema* is a JSON Schema as a text, which the answer must fit. *fallbacks* are models and aliases to go on
    with where *model* fails; *strict*: none. *cache* is of `CACHE_USES`. *max_cost_usd* 0: what the budgets say;
    *price_consent*: it may be made although its price is not bounded. *template* makes the prompt, with *arguments*.
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
    keep_prompt: bool = True
    """False: the record of the operation is without the prompt, which holds what others have said in confidence."""
    system: str = ""
    messages: tuple[Message, ...] = ()
    schema: str = ""
    max_output_tokens: int = 0
    fallbacks: tuple[str, ...] = ()
    strict: bool = False
    cache: str = ""
    project: str = ""
    run: str = ""
    max_cost_usd: float = 0.0
    price_consent: bool = False
    template: str = ""
    arguments: Mapping[str, Value] = field(default_factory=dict)
    window: Window | None = None
    operation_id: str = ""
    """Chosen by a caller who asks for it again after a restart: its row is on the disk before anything is sent, and
    when the daemon stops a job is left to the next one. Empty: one is made."""
    leash: Leash | None = None
    """What it may bring about, whoever could answer; `None`: anything, for it was asked for by a person."""


@dataclass(frozen=True, slots=True)
class Window:
    """What of the context goes along: the entries that *patterns* match, in at most *max_tokens* (0: what fits)."""

    patterns: tuple[str, ...]
    max_tokens: int = 0


@dataclass(frozen=True, slots=True)
class StepProgress:
    """How far it is: 0 to 1, or -1 where that is not known; which model works, with which seed."""

    fraction: float
    message: str
    model: str
    seed: int


@dataclass(frozen=True, slots=True)
class StepUsage:
    """What was used, by all attempts; *duration* in seconds. The last step of a generation.

    *cost_basis* is that of `Paid`; *cache* where the answer is from: empty (made), `exact`, `semantic` or `shared`.
    """

    input_tokens: int
    output_tokens: int
    duration: float
    cost_usd: float
    usage: Usage = field(default_factory=Usage)
    cost_basis: str = ""
    saved_usd: float = 0.0
    cache: str = ""
    model: str = ""
    finish_reason: str = ""


@dataclass(frozen=True, slots=True)
class StepFallback:
    """*to_model* goes on, because *from_model* failed; they may be the same.

    *restarted*: what came before no longer counts, the answer begins anew. Else it goes on where it broke off.
    """

    from_model: str
    to_model: str
    restarted: bool
    reason: str


StepKind = StepProgress | TextDelta | Preview | Asset | StepUsage | StepFallback


@dataclass(frozen=True, slots=True)
class OperationStep:
    """One step of a generation."""

    operation_id: str
    kind: StepKind


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
