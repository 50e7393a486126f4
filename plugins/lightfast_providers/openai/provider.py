"""OpenAI: text, pictures, speech, transcription, vectors, batches."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from lightfast.sdk import (
    BatchStep,
    Condition,
    EmbeddingRequest,
    Embeddings,
    GenerationRequest,
    Model,
    Provider,
    Session,
    Step,
    Workbench,
)
from lightfast_providers._common import bounded
from lightfast_providers.openai.models import LISTED, TIERS, guessed

if TYPE_CHECKING:
    from lightfast_providers._common.openai_wire import Wire
    from lightfast_providers.openai.batches import Batches

BASE_URL = "https://api.openai.com/v1"
PROBE_S = 15.0


class OpenAI(Provider):
    """The service of OpenAI, through its official SDK. Options of a session: `organization`, `project`.

    What speaks to it is imported with the first request: most daemons that list it never use it.
    """

    name = "openai"
    description = "OpenAI: text, images, speech, transcription, embeddings."
    needs_key = True
    key_names = ("OPENAI_API_KEY",)
    tiers = TIERS
    most_bytes = 2 * bounded.MOST_BYTES
    """Ten pictures may come in one answer."""

    def __init__(self, *, polls: tuple[float, float] | None = None, base_url: str = BASE_URL) -> None:
        self._polls, self._base_url = polls, base_url

    @functools.cached_property
    def _wire(self) -> Wire:
        from lightfast_providers._common.openai_wire import Wire

        return Wire("OpenAI", self._base_url, "openai", lambda: self.most_bytes)

    @functools.cached_property
    def _batches(self) -> Batches:
        from lightfast_providers.openai.batches import POLLS, Batches

        return Batches(self._wire, self._polls or POLLS)

    def models(self) -> Sequence[Model]:
        """Return the models known when this version was made."""
        return LISTED

    def model(self, name: str) -> Model | None:
        """Return a model that is newer than this version, or a dated one, by what its name says of its kind."""
        return guessed(name)

    async def discover(self, session: Session) -> Sequence[Model] | None:
        """Return the models the account may use; the service tells when one will be shut down."""
        answer = await self._wire.ask(session, "/models", timeout=PROBE_S)
        found = {str(item.get("id")): item for item in answer.payload.get("data") or () if isinstance(item, dict)}
        known = {model.name: model for model in LISTED}
        models = []
        for name, item in found.items():
            model = known.get(name) or guessed(name)
            if model is not None:
                shut = item.get("shutdown_date")
                models.append(dataclasses.replace(model, retirement_date=shut) if isinstance(shut, str) else model)
        return models or None  # a stand-in for the service may list none of them

    def lists_all(self, session: Session) -> bool:
        """Say that the service itself lists all it has; a stand-in for it may take any name."""
        return self._base_url == BASE_URL and not session.base_url

    async def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        """Ask the endpoint that the model is for."""
        from lightfast_providers.openai import pictures, responses, sound

        steps: AsyncGenerator[Step, None]
        if request.output == "image":
            steps = pictures.paint(self._wire, request, bench)
        elif request.output == "audio":
            steps = sound.speak(self._wire, request)
        elif _transcribes(request.model):
            steps = sound.transcribe(self._wire, request)
        else:
            steps = responses.write(self._wire, request, bench)
        async with contextlib.aclosing(steps):
            with self._wire.reading(request.session):
                async for step in steps:
                    yield step

    async def embed(self, request: EmbeddingRequest, bench: Workbench) -> Embeddings:
        """Return vectors by `/embeddings`."""
        from lightfast_providers._common.openai_vectors import embedded

        body: dict[str, Any] = {"model": request.model, "input": list(request.texts), "encoding_format": "base64"}
        if request.dimensions:
            body["dimensions"] = request.dimensions
        return await embedded(self._wire, request, body, bench)

    async def count_tokens(self, request: GenerationRequest) -> int:
        """Return the tokens of a request, by the service itself."""
        from lightfast_providers._common.openai_text import count
        from lightfast_providers.openai import responses

        body = responses.body_of(request)
        kept: dict[str, Any] = {
            name: body[name] for name in ("model", "input", "instructions", "text", "reasoning") if name in body
        }
        answer = await self._wire.ask(request.session, "/responses/input_tokens", kept, timeout=request.timeout)
        return count(answer.payload, "input_tokens")

    async def probe(self, session: Session) -> Condition:
        """List the models, which costs nothing."""
        from lightfast_providers._common.limits import openai_limits

        answer = await self._wire.ask(session, "/models", timeout=PROBE_S)
        models = len(answer.payload.get("data") or ())
        return Condition(f"{models} models", openai_limits(answer.headers))

    async def cancel(self, session: Session, job: str) -> None:
        """End a batch."""
        await self._batches.cancel(session, job)

    def batch(
        self, requests: Sequence[GenerationRequest], session: Session, job: str, bench: Workbench
    ) -> AsyncIterator[BatchStep]:
        """Yield the steps of a batch of texts."""
        return self._batches.run(requests, session, job, bench)

    async def close(self) -> None:
        """Close every connection."""
        if "_wire" in self.__dict__:
            await self._wire.close()


def _transcribes(name: str) -> bool:
    found = next((model for model in LISTED if model.name == name), None) or guessed(name)
    return found is not None and "transcribe" in found.capabilities
