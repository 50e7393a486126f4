"""Message Batches: made, asked about until they end, and read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lightfast.sdk import BatchAnswer, Progress, Session, Usage
from lightfast_providers._common import bounded
from lightfast_providers._common.media import asked
from lightfast_providers._common.rest import hidden
from lightfast_providers.anthropic.requests import Counts

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic
    from anthropic.types.messages import MessageBatch

POLLS = (2.0, 60.0)
"""Seconds between two questions: at first, and at most."""
CALL_S = 60.0
_WHY = {
    "canceled": "it was cancelled before it was begun",
    "expired": "the batch ran out of its 24 hours before it was begun",
}


async def create(client: AsyncAnthropic, wanted: Sequence[Mapping[str, Any]]) -> str:
    """Make a batch of what `messages.create` takes, and return its identity."""
    requests: Any = [{"custom_id": f"r{index}", "params": dict(each)} for index, each in enumerate(wanted)]
    made = await client.messages.batches.create(requests=requests, timeout=_seconds(CALL_S))
    return made.id


async def state(client: AsyncAnthropic, job: str) -> MessageBatch:
    """Ask how far a batch is."""
    return await client.messages.batches.retrieve(job, timeout=_seconds(CALL_S))


async def progress(
    ask: Callable[[], Awaitable[MessageBatch]], count: int, polls: tuple[float, float]
) -> AsyncIterator[Progress]:
    """Yield how far it is, until it has ended; a question that fails now and then is asked again."""
    async for batch in asked(ask, polls):
        if batch.processing_status == "ended":
            return
        done = count - batch.request_counts.processing
        yield Progress(max(0.0, done / count) if count else 1.0, batch.processing_status)


async def answers(client: AsyncAnthropic, job: str, count: int, session: Session) -> AsyncIterator[BatchAnswer]:
    """Yield an answer for each of *count* requests."""
    missing = set(range(count))
    results = await client.messages.batches.results(job, timeout=_seconds(CALL_S))
    async for each in results:
        index = int(each.custom_id[1:]) if each.custom_id[1:].isdecimal() else -1
        if index in missing:
            missing.remove(index)
            yield _answer(index, each.result, session)
    for index in sorted(missing):
        yield BatchAnswer(index, error="the service told no result of it")


def _answer(index: int, result: Any, session: Session) -> BatchAnswer:
    if result.type == "succeeded":
        count = Counts()
        count.take(result.message.usage)
        usage = count.usage() or Usage(requests=1)
        text = "".join(block.text for block in result.message.content if block.type == "text")
        if result.message.stop_reason == "refusal":
            return BatchAnswer(index, error="the service refused to answer, by its policy", usage=usage)
        return BatchAnswer(index, text=text, usage=usage)
    if result.type == "errored":
        told = result.error.error
        message = " ".join(f"{told.type}: {told.message}".split())[:300]
        return BatchAnswer(index, error=hidden(message, session.key))
    return BatchAnswer(index, error=_WHY.get(result.type, str(result.type)))


def _seconds(timeout: float) -> Any:
    import httpx2

    return bounded.timeouts(httpx2, timeout)
