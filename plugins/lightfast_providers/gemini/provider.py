"""Gemini as a provider. The SDK is loaded with the first request; it makes one attempt, for the daemon retries."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from lightfast.sdk import (
    BatchStep,
    Condition,
    EmbeddingRequest,
    Embeddings,
    Finish,
    GenerationRequest,
    Job,
    MissingDependency,
    Model,
    Provider,
    ProviderError,
    Session,
    Step,
    TextDelta,
    Usage,
    Workbench,
)
from lightfast_providers._common import bounded
from lightfast_providers._common.clients import Clients
from lightfast_providers._common.sdk import asking
from lightfast_providers.gemini import answers, batches, models
from lightfast_providers.gemini.failures import SERVICE, ending, explained, stopped, unreadable
from lightfast_providers.gemini.requests import config, contents, options, system, version

if TYPE_CHECKING:
    import httpx2
    from google.genai import Client
    from google.genai.types import BatchJob

INSTALL = "pip install 'lightfast[gemini]'"
HOME = "https://generativelanguage.googleapis.com"
_NOTED: ContextVar[list[httpx2.Response] | None] = ContextVar("gemini_answers", default=None)


@dataclass(frozen=True, slots=True)
class Line:
    """The SDK's client and the HTTP client under it, whose answers are bounded."""

    sdk: Client
    http: httpx2.AsyncClient


class Gemini(Provider):
    """The Gemini API through Google's SDK, version `v1`; `v1beta` for models in preview and for batches.

    What it thinks is not passed on; a picture that it draws while thinking is a preview.
    """

    name = "gemini"
    description = "Gemini, by Google: text, pictures, speech and embeddings."
    needs_key = True
    key_names = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
    price_provider = "google"

    def __init__(self, polls: tuple[float, float] = batches.POLLS) -> None:
        """Take the shortest and the longest pause between two questions about a batch, in seconds."""
        self.most_bytes = bounded.MOST_BYTES
        self._polls = polls
        self._clients: Clients[Line] = Clients(self._make, _end)

    def models(self) -> Sequence[Model]:
        """Return the models of `AS_OF`."""
        return models.LISTED

    def model(self, name: str) -> Model | None:
        """Return any model that is called `gemini-…` or `gemma-…`."""
        return models.named(name)

    async def discover(self, session: Session) -> Sequence[Model] | None:
        """Return the models the account may use."""
        async with self._asking(session) as line:
            told: Any = {"http_options": options("", 30.0), "page_size": 200}
            listed = [info async for info in await line.sdk.aio.models.list(config=told)]
        return [model for info in listed if (model := models.discovered(info)) is not None]

    def lists_all(self, session: Session) -> bool:
        """Say that the service itself lists all it has; a stand-in for it may take any name."""
        return not session.base_url

    async def probe(self, session: Session) -> Condition:
        """Ask for one model, which costs nothing."""
        async with self._asking(session) as line:
            told: Any = {"http_options": options("", 15.0), "page_size": 1}
            await line.sdk.aio.models.list(config=told)
        return Condition("the key is good")

    async def count_tokens(self, request: GenerationRequest) -> int:
        """Return the tokens of the request, as the service counts them; the system prompt as if it was said."""
        async with self._asking(request.session) as line:
            asked: Any = contents(request, told=system(request))  # the Gemini API counts no system prompt
            told: Any = {"http_options": options(request.model, request.timeout)}
            found = await line.sdk.aio.models.count_tokens(model=request.model, contents=asked, config=told)
        if found.total_tokens is None:
            raise unreadable("no count")
        return found.total_tokens

    async def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        """Yield text as it comes, or one picture or sound; the usage also of what broke off."""
        steps = self._text(request) if request.output == "text" else self._media(request)
        async with aclosing(steps):
            async for step in steps:
                yield step
        await self._clients.tidy()

    async def _text(self, request: GenerationRequest) -> AsyncGenerator[Step, None]:
        counts: Any = None
        reason: Any = None
        some = False
        failed: ProviderError | None = None
        try:
            async with self._asking(request.session) as line:
                asked: Any = contents(request)
                stream: Any = await line.sdk.aio.models.generate_content_stream(
                    model=request.model, contents=asked, config=config(request)
                )
                under: list[httpx2.Response] = []
                try:
                    chunk: Any = await _first(stream, under)
                    while chunk is not None:
                        some = True
                        counts = chunk.usage_metadata or counts
                        reason = answers.reason(chunk) or reason
                        failed = answers.refused(chunk) or failed
                        if said := answers.text(chunk):
                            yield TextDelta(said)
                        chunk = await anext(stream, None)
                finally:
                    await stream.aclose()
                    for response in under:
                        await response.aclose()
                if not some:
                    raise unreadable("a stream without a part")
        except ProviderError as error:
            failed = error
        if (used := answers.usage(counts)) is not None:
            yield used
        if failed is None and reason is None:
            failed = ProviderError(f"the stream of {SERVICE} ended before its end", kind="unavailable")
        if failed is None and ending(reason) in {"filtered", "failed"}:
            failed = stopped(reason)
        if failed is not None:
            raise failed from None
        yield Finish(ending(reason))

    async def _media(self, request: GenerationRequest) -> AsyncGenerator[Step, None]:
        async with self._asking(request.session) as line:
            asked: Any = contents(request)
            answer = await line.sdk.aio.models.generate_content(
                model=request.model, contents=asked, config=config(request)
            )
        for step in answers.media(answer, request):
            yield step

    async def embed(self, request: EmbeddingRequest, bench: Workbench) -> Embeddings:
        """Return one vector for each text."""
        # Each text is a content of its own: newer models make one vector of what is in one content.
        asked: Any = [{"role": "user", "parts": [{"text": text}]} for text in request.texts]
        size = request.dimensions or None
        told: Any = {"http_options": options(request.model, request.timeout), "output_dimensionality": size}
        async with self._asking(request.session) as line:
            found = await line.sdk.aio.models.embed_content(model=request.model, contents=asked, config=told)
        vectors = tuple(tuple(map(float, each.values or ())) for each in found.embeddings or ())
        if len(vectors) != len(request.texts) or not all(vectors):
            raise unreadable(f"{len(vectors)} vectors for {len(request.texts)} texts")
        counted = found.usage_metadata.prompt_token_count if found.usage_metadata is not None else None
        return Embeddings(vectors, Usage(input_tokens=counted or 0, requests=1))

    async def batch(
        self, requests: Sequence[GenerationRequest], session: Session, job: str, bench: Workbench
    ) -> AsyncIterator[BatchStep]:
        """Yield the steps of a batch, at half the price and within a day."""
        if not job:
            async with self._asking(session, paid=True) as line:
                job = await batches.create(line.sdk, requests)

        async def state() -> BatchJob:
            async with self._asking(session) as line:
                return await batches.state(line.sdk, job)

        yield Job(job)
        async for step in batches.follow(state, len(requests), session, self._polls):
            yield step

    async def cancel(self, session: Session, job: str) -> None:
        """Cancel a batch."""
        async with self._asking(session) as line:
            told: Any = {"http_options": options("", 30.0, batches.API)}
            await line.sdk.aio.batches.cancel(name=job, config=told)

    async def close(self) -> None:
        """Close the connections."""
        await self._clients.close()

    # -- within

    def _make(self, session: Session) -> Line:
        try:
            import httpx2
            from google.genai import Client
        except ImportError:
            raise MissingDependency("google-genai", INSTALL) from None
        told = bounded.options(httpx2, SERVICE, lambda: self.most_bytes)
        told["event_hooks"] = {"response": [*told["event_hooks"]["response"], _note]}
        http = httpx2.AsyncClient(**told)
        # With a client of ours it takes no other HTTP library, retries nothing and asks no environment for a place.
        where: Any = {"base_url": session.base_url or HOME, "api_version": version(""), "httpx_async_client": http}
        return Line(Client(vertexai=False, api_key=session.key.reveal(), http_options=where), http)

    def _asking(self, session: Session, *, paid: bool = False) -> AbstractAsyncContextManager[Line]:
        return asking(self._clients, session, partial(explained, session=session, paid=paid), "google.genai")


async def _first(stream: Any, under: list[httpx2.Response]) -> Any:
    """Return the first part of a stream, and put the HTTP answer under it into *under*.

    A stream of the SDK that is left before its end keeps its connection: it is generators in generators, of which
    closing the outermost closes no other.
    """
    token = _NOTED.set(under)
    try:
        return await anext(stream, None)
    finally:
        _NOTED.reset(token)


async def _note(response: httpx2.Response) -> None:
    noted = _NOTED.get()
    if noted is not None:
        noted.append(response)


async def _end(line: Line) -> None:
    await line.sdk.aio.aclose()
    line.sdk.close()
    await line.http.aclose()
