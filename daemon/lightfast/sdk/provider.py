"""What an AI provider is to the daemon."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from lightfast_link.value import Value

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Model:
    """One model: *name* without the provider, what it takes and makes (`text image audio video`).

    *settings* is a JSON Schema of type object; the gateway checks requests against its
    `properties` (type, minimum, maximum, enum, default) before the provider sees them.
    """

    name: str
    outputs: tuple[str, ...]
    inputs: tuple[str, ...] = ("text",)
    description: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    procedural: bool = False


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What is asked of a model; *settings* are complete (defaults filled in), *seed* is always given."""

    model: str
    output: str
    prompt: str
    settings: Mapping[str, Value]
    seed: int
    sources: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is, from 0 to 1 (-1: not known), and what it does."""

    fraction: float
    message: str = ""


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More text."""

    text: str


@dataclass(frozen=True, slots=True)
class Preview:
    """An early, smaller result of at most 256 KiB."""

    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Artifact:
    """A finished result; the daemon stores it as an asset. *settings* go into its provenance."""

    media_type: str
    content: bytes
    name: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used: tokens where they are counted, and US dollars."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0


Step = Progress | TextDelta | Preview | Artifact | Usage
"""What a provider yields, in any order and number; at least one `Artifact` or `TextDelta`."""


class Workbench(Protocol):
    """What the daemon lends a provider for one generation."""

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Run blocking work in the media pool, off the event loop; cancelled waits leave it running."""


class Provider(ABC):
    """One AI service, or a local one. The daemon calls it on its event loop: never block there."""

    name: str
    description: str = ""
    local: bool = False

    @abstractmethod
    def models(self) -> Sequence[Model]:
        """Return the models; called once when the plugin is loaded."""

    @abstractmethod
    def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        """Yield the steps of one generation; cancellation closes the iterator. Raise `ProviderError` to fail."""

    async def close(self) -> None:  # noqa: B027 — not every provider holds something
        """Give back what is held; called once, also after a failure."""
