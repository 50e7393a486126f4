"""Claude as a provider. The SDK is loaded with the first request; its retries are off, for the daemon does them."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

from lightfast.sdk import (
    BatchStep,
    Condition,
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
    Workbench,
)
from lightfast_providers._common import bounded
from lightfast_providers._common.clients import Clients
from lightfast_providers._common.offloop import prepared
from lightfast_providers._common.sdk import asking
from lightfast_providers.anthropic import batches, models
from lightfast_providers.anthropic.failures import SERVICE, explained, told, unreadable
from lightfast_providers.anthropic.requests import Counts, Seam, counted, parameters

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic
    from anthropic.types.messages import MessageBatch

INSTALL = "pip install 'lightfast[anthropic]'"
HOME = "https://api.anthropic.com"
_ENDS = {
    "end_turn": "stop", "stop_sequence": "stop", "tool_use": "stop", "pause_turn": "stop",
    "max_tokens": "length", "model_context_window_exceeded": "length",
}  # fmt: skip


class Anthropic(Provider):
    """Speaks version 2026-10-21 of Claude's API through the official SDK. What it thinks is not passed on."""

    name = "anthropic"
    description = "Claude, by Anthropic: text from text, pictures and PDFs."
    needs_key = True
    key_names = ("ANTHROPIC_API_KEY",)
    tiers = models.TIERS

    def __init__(self, polls: tuple[float, float] = batches.POLLS) -> None:
        """Take the shortest and the longest pause between two questions about a batch, in seconds."""
        self.most_bytes = bounded.MOST_BYTES
        self._polls = polls
        self._longest = {model.name: model.max_output_tokens for model in models.LISTED}
        self._clients: Clients[AsyncAnthropic] = Clients(self._make, _end)

    def models(self) -> Sequence[Model]:
        """Return the models of `AS_OF`."""
        return models.LISTED

    def model(self, name: str) -> Model | None:
        """Return any model that is called `claude-…`."""
        return models.named(name)

    async def discover(self, session: Session) -> Sequence[Model] | None:
        """Return the models the account may use, with the dates of their end."""
        async with self._asking(session) as client:
            listed = [info async for info in client.models.list(limit=100, timeout=_seconds(30.0))]
        found = [model for info in listed if (model := models.discovered(info)) is not None]
        self._longest |= {model.name: model.max_output_tokens for model in found}
        return found

    def lists_all(self, session: Session) -> bool:
        """Say that the service itself lists all it has; a stand-in for it may take any name."""
        return not session.base_url

    async def probe(self, session: Session) -> Condition:
        """Ask for one model, which costs nothing."""
        async with self._asking(session) as client:
            answer = await client.models.with_raw_response.list(limit=1, timeout=_seconds(15.0))
            await answer.parse()
        return Condition("the key is good", told(answer.headers))

    async def count_tokens(self, request: GenerationRequest) -> int:
        """Return the tokens of the request, as the service counts them."""
        async with self._asking(request.session) as client:
            found = await client.messages.count_tokens(**counted(request), timeout=_seconds(request.timeout))
        return found.input_tokens

    async def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        """Yield the limits, the text as it comes, the usage (also of an answer that broke off) and why it ended."""
        count, seam = Counts(), Seam(request.prefix)
        reason, some = "", False
        failed: ProviderError | None = None
        try:
            async with self._asking(request.session) as client:
                asked = await prepared(bench, parameters, request, self._most(request.model))
                stream = await client.messages.create(**asked, stream=True, timeout=_seconds(request.timeout))
                try:
                    if (limits := told(stream.response.headers)) is not None:
                        yield limits
                    async for event in _read(stream):
                        if event.type == "message_start":
                            count.take(event.message.usage)
                        elif event.type == "content_block_delta" and event.delta.type == "text_delta":
                            if text := seam.join(event.delta.text):
                                some = True
                                yield TextDelta(text)
                        elif event.type == "message_delta":
                            count.take(event.usage)
                            reason = event.delta.stop_reason or reason
                            if reason == "refusal":
                                failed = _filtered(event.delta)
                finally:
                    await stream.close()
        except ProviderError as error:
            failed = error
        if (usage := count.usage()) is not None:
            yield usage
        if failed is None and reason == "model_context_window_exceeded" and not some:
            failed = ProviderError(f"{SERVICE}: the request fills the window of {request.model}", kind="context")
        if failed is not None:
            raise failed from None
        yield Finish(_ENDS.get(reason, "stop"))
        await self._clients.tidy()

    async def batch(
        self, requests: Sequence[GenerationRequest], session: Session, job: str, bench: Workbench
    ) -> AsyncIterator[BatchStep]:
        """Yield the steps of a Message Batch, at half the price and within a day."""
        if not job:
            async with self._asking(session, paid=True) as client:
                asked = [await prepared(bench, parameters, each, self._most(each.model)) for each in requests]
                job = await batches.create(client, asked)

        async def state() -> MessageBatch:
            async with self._asking(session) as client:
                return await batches.state(client, job)

        yield Job(job)
        async for progress in batches.progress(state, len(requests), self._polls):
            yield progress
        async with self._asking(session) as client:
            async for answer in batches.answers(client, job, len(requests), session):
                yield answer

    async def cancel(self, session: Session, job: str) -> None:
        """Cancel a batch; what of it is done already stays done, and is paid for."""
        async with self._asking(session) as client:
            await client.messages.batches.cancel(job, timeout=_seconds(30.0))

    async def close(self) -> None:
        """Close the connections."""
        await self._clients.close()

    # -- within

    def _most(self, name: str) -> int:
        """Return the longest answer of a model, 0 where it is not known."""
        known = models.named(name)
        return self._longest.get(name) or (known.max_output_tokens if known else 0)

    def _make(self, session: Session) -> AsyncAnthropic:
        try:
            import httpx2
            from anthropic import AsyncAnthropic
        except ImportError:
            raise MissingDependency("anthropic", INSTALL) from None
        # The daemon warns of models that end soon, with their dates; the SDK need not.
        warnings.filterwarnings("ignore", r"The model '.*' is deprecated", DeprecationWarning)
        return AsyncAnthropic(
            api_key=session.key.reveal(),
            base_url=session.base_url or HOME,
            max_retries=0,
            http_client=bounded.client(httpx2, SERVICE, lambda: self.most_bytes),
        )

    def _asking(self, session: Session, *, paid: bool = False) -> AbstractAsyncContextManager[AsyncAnthropic]:
        return asking(self._clients, session, partial(explained, session=session, paid=paid), "anthropic")


async def _read(stream: Any) -> AsyncIterator[Any]:
    """Yield the events of a stream that is one and is whole."""
    kind = stream.response.headers.get("content-type", "")
    if not kind.startswith("text/event-stream"):
        raise unreadable(what=f"{kind.partition(';')[0] or 'no type'} instead of a stream")
    event = None
    async for event in stream:
        yield event
    if event is None:
        raise unreadable(what="a stream without events")
    if event.type != "message_stop":
        raise ProviderError(f"the stream of {SERVICE} ended before its end", kind="unavailable")


def _filtered(delta: Any) -> ProviderError:
    details = getattr(delta, "stop_details", None)
    category = getattr(details, "category", None) or "no category"
    return ProviderError(f"{SERVICE} refused to answer, by its policy ({category})", kind="filtered")


def _seconds(timeout: float) -> Any:
    import httpx2

    return bounded.timeouts(httpx2, timeout)


async def _end(client: AsyncAnthropic) -> None:
    await client.close()
