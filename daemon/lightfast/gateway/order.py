"""A request that was checked: what a generation is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lightfast.core.errors import LightfastError
from lightfast.gateway.calls import GenerateCall, ModelRecord
from lightfast.gateway.ports import Asked, Fitted, Load, Payer
from lightfast.gateway.schemas import AnswerSchema
from lightfast.sdk import GenerationRequest, Session


@dataclass(slots=True)
class Candidate:
    """One model to try, with the *settings* it is given; *unfit* says why it cannot do this at all.

    *fitted* is the call as it fits into its window, once that was looked at; *load* is then made from it.
    """

    record: ModelRecord
    load: Load
    settings: Mapping[str, Any] = field(default_factory=dict)
    unfit: LightfastError | None = None
    fitted: Fitted | None = None


@dataclass(slots=True)
class Order:
    """One checked request. *call* is with its template rendered; *deadline* is on the monotonic clock, in seconds."""

    operation_id: str
    call: GenerateCall
    origin: str
    output: str
    seed: int
    timeout: float
    deadline: float
    candidates: list[Candidate]
    payer: Payer
    sources: tuple[bytes, ...] = ()
    source_types: tuple[str, ...] = ()
    schema: AnswerSchema | None = None
    asked: Asked | None = None

    @property
    def cache(self) -> str:
        """Return how kept answers are used; not at all where not even the prompt is to be kept."""
        return self.call.cache if self.call.keep_prompt else "off"

    def request(
        self, candidate: Candidate, session: Session, *, prefix: str, job: str, timeout: float
    ) -> GenerationRequest:
        """Return what the provider of *candidate* is given; *timeout* is what is left, in seconds."""
        record = candidate.record
        call = candidate.fitted.call if candidate.fitted is not None else self.call
        return GenerationRequest(
            record.model.name,
            self.output,
            call.prompt,
            candidate.settings,
            self.seed,
            self.sources,
            self.source_types,
            call.system,
            call.messages,
            prefix,
            self.schema.parsed if self.schema is not None else None,
            call.max_output_tokens,
            session,
            job,
            f"{self.operation_id}.{record.name}",
            timeout,
        )
