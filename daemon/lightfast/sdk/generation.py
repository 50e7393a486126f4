"""What is asked of an AI provider, and what it answers step by step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lightfast.core.secret import Secret
from lightfast_link.value import Value


@dataclass(frozen=True, slots=True)
class Session:
    """The account a request is made with: its *key* (empty where none is needed) and where the service is.

    *base_url* is empty for the service's own address; *options* are further keys of `[providers.NAME]`, such as
    `organization` or `project`.
    """

    account: str = "default"
    key: Secret = field(default_factory=lambda: Secret(""))
    base_url: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; *role* is `user`, `assistant` or `system`."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What is asked of a model; *settings* are complete (defaults filled in), *seed* is always given.

    *messages* were said before the prompt. *prefix* is the beginning of an answer that broke off elsewhere: continue
    right after it, and yield only what is new (only models with the capability `continue` are given one). *schema* is
    a JSON Schema that the answer must fit (only with the capability `schema`). *source_types* are the media types of
    *sources*. *job* is the identity that an earlier run has yielded as `Job`: take that job up, make no new one.
    *idempotency_key* is the same for every attempt of one operation with one model. *timeout* is what is left of the
    deadline, in seconds; the gateway keeps it, a provider may pass it on.
    """

    model: str
    output: str
    prompt: str
    settings: Mapping[str, Value]
    seed: int
    sources: tuple[bytes, ...] = ()
    source_types: tuple[str, ...] = ()
    system: str = ""
    messages: tuple[Message, ...] = ()
    prefix: str = ""
    schema: Mapping[str, Any] | None = None
    max_output_tokens: int = 0
    session: Session = field(default_factory=Session)
    job: str = ""
    idempotency_key: str = ""
    timeout: float = 300.0


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """Texts to turn into vectors; *dimensions* 0 means the model's own."""

    model: str
    texts: tuple[str, ...]
    dimensions: int = 0
    session: Session = field(default_factory=Session)
    timeout: float = 60.0


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
    """What was used; several of them add up.

    The counts are those of all services alike: *input_tokens* are all of the request, *cached_tokens* and
    *cache_write_tokens* are included in them; *output_tokens* are all of the answer, *reasoning_tokens* included; the
    audio and image tokens are included likewise. Where a service counts a part apart (Anthropic its cache, Gemini its
    thoughts), its provider adds it. *seconds* of sound or film, *characters*, *images*, and *credits* of the service
    are what media services charge by. *cost_usd* is what the service itself reports; `None`: it does not.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    image_input_tokens: int = 0
    image_output_tokens: int = 0
    characters: int = 0
    seconds: float = 0.0
    images: int = 0
    credits: float = 0.0
    requests: int = 0

    def __add__(self, other: Usage) -> Usage:
        """Return both together; a cost that only one reports is that one's."""
        summed = {name: getattr(self, name) + getattr(other, name) for name in _COUNTS}
        known = [each.cost_usd for each in (self, other) if each.cost_usd is not None]
        return Usage(cost_usd=sum(known) if known else None, **summed)


_COUNTS = tuple(name for name in Usage.__dataclass_fields__ if name != "cost_usd")


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit as the service tells it, in a header or an error.

    *kind* is `requests`, `tokens`, `input_tokens`, `output_tokens`, `concurrency` or `spend`; *window* in seconds (60
    for a minute, 86400 for a day, 0 for concurrency); *limit* and *remaining* -1 where they are not told; *reset_after*
    in seconds until it is whole again, -1 where that is not told.
    """

    kind: str
    window: float
    limit: float = -1.0
    remaining: float = -1.0
    reset_after: float = -1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What the service said about its limits with this answer; *balance* `None` where it does not say."""

    limits: tuple[Limit, ...]
    balance: float | None = None
    balance_unit: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """The service works on it under this identity. The daemon has written it down when the next step is asked for."""

    job_id: str


@dataclass(frozen=True, slots=True)
class Finish:
    """Why the text ended: `stop`, `length`, `filtered` or `schema`."""

    reason: str


Step = Progress | TextDelta | Preview | Artifact | Usage | Limits | Job | Finish
"""What a provider yields, in any order and number; at least one `Artifact` or `TextDelta`."""


@dataclass(frozen=True, slots=True)
class Embeddings:
    """One vector for each text, in their order."""

    vectors: tuple[tuple[float, ...], ...]
    usage: Usage = field(default_factory=Usage)
    limits: Limits | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """How an account was found by `Provider.probe`."""

    message: str = ""
    limits: Limits | None = None
    expires_after: float = 0.0
    """In seconds; 0: it does not expire."""


@dataclass(frozen=True, slots=True)
class BatchAnswer:
    """The answer to the request at *index* of a batch; *error* says why there is none."""

    index: int
    text: str = ""
    error: str = ""
    usage: Usage = field(default_factory=Usage)


BatchStep = Job | Progress | Limits | BatchAnswer
"""What a batch yields: its `Job` first, progress, and in the end an answer for each request."""
