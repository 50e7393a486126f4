"""What the rooms of the gateway are to each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from lightfast.core.tokens import TokenCounter
from lightfast.gateway.calls import GenerateCall, ModelRecord
from lightfast.sdk import Limits, Price, ProviderError, Session, Usage
from lightfast_link.value import Asset

if TYPE_CHECKING:
    from lightfast.gateway.leash import Leash


@dataclass(frozen=True, slots=True)
class Payer:
    """Whose budgets count: the *project* (empty: none named), the *client* (its origin) and the *run* (empty: none)."""

    project: str = ""
    client: str = ""
    run: str = ""


@dataclass(frozen=True, slots=True)
class Load:
    """How much one attempt may use at most, as limits and prices see it.

    *settings* are those of the request, for media prices (`seconds`, `count`, size); *most_output_tokens* 0: unknown.
    """

    input_tokens: int = 0
    most_output_tokens: int = 0
    characters: int = 0
    output: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[tuple[str, int], ...] = ()
    """The media types of the sources, and their sizes in bytes; their tokens are not in *input_tokens*."""


class Reservation(Protocol):
    """A place within the limits of one account; it is given back by exactly one of `settle` and `release`."""

    session: Session

    def tell(self, limits: Limits) -> None:
        """Take in what the service said about its limits."""
        ...

    def refused(self, error: ProviderError) -> None:
        """Take in that the service refused: a 429, a key that is denied, an empty balance."""
        ...

    def settle(self, usage: Usage, duration: float) -> None:
        """Count what was used instead of what was reserved; *duration* in seconds."""
        ...

    def release(self) -> None:
        """Give it back: nothing was used."""
        ...


class Sessions(Protocol):
    """The accounts with the providers, and their limits. Implemented by `gateway.sessions`."""

    async def reserve(self, record: ModelRecord, load: Load, *, deadline: float, account: str = "") -> Reservation:
        """Wait for a place at the account that has one first; *deadline* on the monotonic clock of the daemon.

        Only *account*, where one is given: a job is known to the account that it was made with.

        Raises `FailedPrecondition` (NO_KEY, KEY_REFUSED, BALANCE_EMPTY), `Exhausted` (LIMIT_REACHED, with
        retry_after: what is reserved can never be within the limits, or not before the deadline).
        """
        ...

    def delay(self, record: ModelRecord, load: Load) -> float:
        """Return how long `reserve` would wait, in seconds; infinite where it would refuse."""
        ...

    async def any_session(self, provider: str, account: str = "") -> Session:
        """Return a session for a call that no limit counts: a probe, a list of models, the end of a job.

        That of *account* where it is named and still there. Keys are looked for at the first use of a provider, which
        may take a moment. Raises `FailedPrecondition` (NO_KEY, KEY_REFUSED).
        """
        ...

    def trouble(self, provider: str) -> str:
        """Return why no account of *provider* can be used, and what to do; empty when one can."""
        ...


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """What an attempt will cost in US dollars: likely, and at most (`None`: nobody knows); *basis* says from where."""

    model: str
    likely_usd: float
    most_usd: float | None
    basis: str
    input_tokens: int = 0
    most_output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Paid:
    """What an attempt has cost; *basis* is `reported`, `prices`, `free` or `unknown`."""

    cost_usd: float
    basis: str


class Hold(Protocol):
    """Money held for one attempt; it ends by exactly one of `settle` (or `book`) and `release`."""

    paid: Paid | None
    """Known once it was booked, before that is on the disk."""

    def book(self, usage: Usage, *, failed: bool = False) -> asyncio.Future[bool]:
        """Begin to `settle`: booked in memory when it returns; the future is done when the disk has it, or refused."""
        ...

    async def settle(self, usage: Usage, *, failed: bool = False) -> Paid:
        """Book what was used, also by an attempt that failed, and let go of the rest. On the disk when it returns."""
        ...

    def keep(self) -> None:
        """Have it written down before whatever is written next: it may have to outlive the daemon."""
        ...

    async def release(self) -> None:
        """Let go of it: nothing was used."""
        ...


class Costs(Protocol):
    """Prices, budgets and the ledger. Implemented by `gateway.cost`."""

    async def ready(self, *records: ModelRecord) -> None:
        """Load the price lists off the loop where one of *records* needs them; at once where none does.

        To be awaited before `estimate` and `prices`, which else may load them in place, in a third of a second.
        """
        ...

    def prices(self, record: ModelRecord) -> tuple[Price, ...]:
        """Return what a model costs, for display; empty where it is free or nobody knows."""
        ...

    def estimate(self, record: ModelRecord, load: Load) -> CostEstimate:
        """Return what an attempt will cost."""
        ...

    async def hold(
        self,
        operation_id: str,
        record: ModelRecord,
        estimate: CostEstimate,
        payer: Payer,
        *,
        account: str,
        most_usd: float = 0.0,
        consent: bool = False,
    ) -> Hold:
        """Hold the upper bound in every budget that counts, before the attempt; in memory at once, then on the disk.

        Raises `Exhausted` (BUDGET_EXCEEDED, naming the budget, what is left and what is asked) and
        `FailedPrecondition` (PRICE_UNKNOWN: no bound, and no consent).
        """
        ...

    async def saved(self, operation_id: str, record: ModelRecord, payer: Payer, usd: float, how: str) -> None:
        """Book what was not paid: *how* is `exact`, `semantic` or `shared`."""
        ...

    async def taken_up(self, operation_id: str) -> Hold | None:
        """Return the hold of an operation that a stopped daemon left, to be settled by who resumes it."""
        ...


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer that is kept: its text or its assets, what it used and cost, and which model made it."""

    model: str
    text: str
    assets: tuple[Asset, ...]
    usage: Usage
    cost_usd: float
    finish_reason: str = ""
    seed: int = 0


class Answers(Protocol):
    """Answers that are kept. Implemented by `gateway.cache`. *asked* is what makes up the key: see `Asked`.

    *use* is that of the call (`calls.CACHE_USES`), and `off` for a call whose prompt is not to be kept. Who generates
    joins the flight of `key` first (`cache.flights`), and only who leads looks, generates, keeps and finishes, in this
    order: so there is one call to a provider, whatever comes in between.
    """

    def key(self, asked: Asked, use: str) -> str:
        """Return the key under which the same request under way is shared; empty: it is not shared."""
        ...

    async def find(self, asked: Asked, use: str) -> tuple[Kept, str] | None:
        """Return an answer and how it was found (`exact` or `semantic`)."""
        ...

    async def keep(self, asked: Asked, kept: Kept, use: str = "") -> None:
        """Keep an answer that is whole, within the bounds of size and lifetime; what must not be kept is left out."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """All of a request that its answer depends on; equal ones have equal answers.

    *seed* is `None` where the caller left it open. *sources* are SHA-256.
    """

    model: str
    output: str
    prompt: str
    system: str
    messages: tuple[tuple[str, str], ...]
    schema: str
    settings: Mapping[str, Any]
    sources: tuple[str, ...]
    seed: int | None
    max_output_tokens: int


class Windows(Protocol):
    """Counts tokens and fits requests into windows. Implemented by `gateway.prompts`."""

    def counter(self, model: str) -> TokenCounter:
        """Return who counts for `provider/model` offline; it leans high."""
        ...


@dataclass(frozen=True, slots=True)
class Fitted:
    """A call as it fits into a window: its `prompt` with the context, its `messages` without *left_out* of the oldest.

    *context* is that context alone. *tokens* is what it all takes at most, leaning high; *estimate* the same as the
    plain estimate has it, to be handed back as `Attempt.estimate`. *omitted* entries of the context had no place,
    *context_tokens* is what the others take. *most_output_tokens* is what the window leaves of the bound of the
    answer (0: neither the call nor the model has one, or the window is not known).
    """

    call: GenerateCall
    tokens: int
    estimate: int
    context: str = ""
    left_out: int = 0
    omitted: int = 0
    context_tokens: int = 0
    most_output_tokens: int = 0


class Prompts(Protocol):
    """Prompt templates, and context that is packed around a prompt. Implemented by `gateway.prompts`."""

    async def prepare(self, call: GenerateCall) -> GenerateCall:
        """Return *call* with its template rendered into `prompt` and `system`; one without a template as it is.

        The model that the template was written for is taken where the call names none. Raises `NotFound`,
        `InvalidArgument`.
        """
        ...

    async def fit(self, call: GenerateCall, record: ModelRecord) -> Fitted:
        """Return *call* as it fits into the window of a model: for each candidate anew, from the prepared call.

        The oldest messages go first when it is too long; the context of `call.window` takes what is left and stands
        before the prompt. Raises `FailedPrecondition` (CONTEXT_TOO_LONG, saying by how much: another model may do).
        """
        ...


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a model, when it is over.

    *outcome* is `ok`, `error` or `cancelled`; *action* what is done about an error: `retried`, `fallback`, `failed`.
    *first* is the time to the first text or preview, *duration* to the end, both in seconds.
    """

    operation_id: str
    model: str
    provider: str
    account: str
    payer: Payer
    outcome: str
    action: str
    error: BaseException | None
    first: float
    duration: float
    usage: Usage
    paid: Paid | None
    time: int
    """In ns since 1970."""
    estimate: int = 0
    """`Fitted.estimate` of what was sent; 0: not known. With the actual count it teaches the counter of the model."""


AttemptListener = Callable[[Attempt], None]
"""Told of every attempt on the loop, when it is over; must not raise and not block."""


class Candidates(Protocol):
    """Finds who could answer. Implemented by `gateway.routing`."""

    async def ordered(
        self,
        name: str,
        output: str,
        *,
        fallbacks: Sequence[str] = (),
        strict: bool = False,
        needs: frozenset[str] = frozenset(),
        load: Load | None = None,
        sources: Sequence[str] = (),
        leash: Leash | None = None,
    ) -> list[ModelRecord]:
        """Return the models to try, in order: those of an alias or a name, then those to fall back on.

        *needs* are capabilities, *sources* the media (`image`) of what is given to start from; what *leash* forbids is
        never among them. Raises `NotFound` with the nearest name, `InvalidArgument`, `Unavailable` (all known ones are
        down, with the reasons), `FailedPrecondition` (EFFECT_NOT_APPROVED).
        """
        ...

    def allowed(self, model: str) -> bool:
        """Say whether the circuit to `provider/model` is closed, or one trial may go through now."""
        ...
