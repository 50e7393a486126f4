"""What an AI provider is to the daemon."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from lightfast.sdk.errors import ProviderError
from lightfast.sdk.generation import (
    BatchStep,
    Condition,
    EmbeddingRequest,
    Embeddings,
    GenerationRequest,
    Session,
    Step,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for one *unit* (see `UNITS`); *source* and *date* (YYYY-MM-DD) say where and when it was looked up."""

    unit: str
    usd: float
    source: str = ""
    date: str = ""


UNITS = (
    *("input_token", "output_token", "cached_token", "cache_write_token", "reasoning_token"),
    *("audio_input_token", "audio_output_token", "image_input_token", "image_output_token"),
    *("character", "second", "image", "request", "credit"),
)
"""What prices are for. `cached_token` and the like replace `input_token` for the tokens they are about."""


@dataclass(frozen=True, slots=True)
class Model:
    """One model: *name* without the provider, what it takes and makes (`text image audio video`, also `embedding`).

    *settings* is a JSON Schema of type object; the gateway checks requests against its `properties` (type, minimum,
    maximum, enum, default) before the provider sees them. *capabilities* are of `CAPABILITIES`, *tags* name the
    aliases it is for by itself (`fast`, `best`, `cheap`). *prices* are needed only where neither the token prices nor
    the media prices of the daemon know the model; a free one says so by `prices=()` and *free*. *limits* are requests,
    tokens a minute and the like, as the service documents them. *deprecation_date* and *retirement_date* are
    YYYY-MM-DD, empty where none is announced. *price_name* is the name under which prices are listed, where it differs.
    """

    name: str
    outputs: tuple[str, ...]
    inputs: tuple[str, ...] = ("text",)
    description: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    procedural: bool = False
    capabilities: tuple[str, ...] = ()
    context_tokens: int = 0
    max_output_tokens: int = 0
    tags: tuple[str, ...] = ()
    prices: tuple[Price, ...] = ()
    free: bool = False
    price_name: str = ""
    limits: tuple[tuple[str, float, float], ...] = ()
    """Each a kind (as `Limit.kind`), a window in seconds and a number."""
    deprecation_date: str = ""
    retirement_date: str = ""
    needs_sources: int = 0
    """How many sources it needs at least; without them it is not chosen by itself."""
    remote: bool = False
    """It runs on another machine, though its provider is on this one: what is sent leaves, and may be paid for."""


CAPABILITIES = (
    *("stream", "schema", "system", "continue", "seed", "batch", "count_tokens"),
    *("transcribe", "edit", "preview", "jobs"),
)
"""What a model may be able to do: `continue` goes on from a given beginning, `jobs` outlast a restart."""


class Workbench(Protocol):
    """What the daemon lends a provider for one generation."""

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Run blocking work in the media pool, off the event loop; cancelled waits leave it running."""


class Provider(ABC):
    """One AI service, or a local one. The daemon calls it on its event loop: never block there.

    The daemon retries, waits for limits, falls back and keeps budgets: a provider makes one attempt, with the retries
    of its SDK switched off, and says by a `ProviderError` what went wrong.
    """

    name: str
    description: str = ""
    local: bool = False
    needs_key: bool = False
    key_names: tuple[str, ...] = ()
    """The environment variables that usually hold the key, such as `OPENAI_API_KEY`."""
    tiers: Mapping[str, Sequence[tuple[str, float, float]]] = {}
    """The limits of each tier of the service: kind, window in seconds, number."""
    price_provider: str = ""
    """The name under which the token prices know the service, where it differs from *name*."""
    heavy: bool = False
    """Its generations take whole processors of this machine. Each then runs in a process of its own, at a low priority:
    one that loads the plugin anew, with the same table, and keeps nothing for the next generation."""

    @abstractmethod
    def models(self) -> Sequence[Model]:
        """Return the models; called once when the plugin is loaded."""

    def model(self, name: str) -> Model | None:
        """Return a model that is not listed, where the service has more than one could list; `None`: there is none."""
        del name
        return None

    async def discover(self, session: Session) -> Sequence[Model] | None:
        """Ask the service for its models; they replace those of `models`. `None`: those are all there are."""
        del session
        return None

    def lists_all(self, session: Session) -> bool:
        """Say whether `discover` returns all there is: a name beyond it, and like one of it, is then a mistake."""
        del session
        return False

    @abstractmethod
    def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        """Yield the steps of one generation; cancellation closes the iterator. Raise `ProviderError` to fail."""

    async def embed(self, request: EmbeddingRequest, bench: Workbench) -> Embeddings:
        """Return vectors; only for models that make `embedding`."""
        del bench
        raise ProviderError(f"{self.name}/{request.model} makes no embeddings", kind="invalid")

    async def count_tokens(self, request: GenerationRequest) -> int:
        """Return the tokens of a request; only for models with the capability `count_tokens`."""
        raise ProviderError(f"{self.name}/{request.model} does not count tokens", kind="invalid")

    async def probe(self, session: Session) -> Condition:
        """Make a cheap call with the account, to see whether it can be used; raise `ProviderError` where not."""
        del session
        return Condition()

    async def cancel(self, session: Session, job: str) -> None:  # noqa: B027 — not every service has jobs
        """Tell the service to end a job; called when its generation or batch was cancelled."""

    def batch(
        self, requests: Sequence[GenerationRequest], session: Session, job: str, bench: Workbench
    ) -> AsyncIterator[BatchStep]:
        """Yield the steps of a batch, taking up *job* where one is given; only with the capability `batch`."""
        del requests, session, job, bench
        raise ProviderError(f"{self.name} has no batches", kind="invalid")

    async def close(self) -> None:  # noqa: B027 — not every provider holds something
        """Give back what is held; called once, also after a failure."""
