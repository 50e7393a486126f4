"""Batches with their requests in line: made, asked about until they end, and read.

They are documented at `v1beta` only (https://ai.google.dev/api/batch-api). The answers come in the order of the
requests; the metadata that could name them does not always come back, so it is not relied on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from lightfast.sdk import BatchAnswer, BatchStep, GenerationRequest, Progress, ProviderError, Session, Usage
from lightfast_providers._common.media import asked
from lightfast_providers._common.rest import hidden
from lightfast_providers.gemini import answers
from lightfast_providers.gemini.failures import SERVICE, ending
from lightfast_providers.gemini.requests import config, contents, options

if TYPE_CHECKING:
    from google.genai import Client
    from google.genai.types import BatchJob

API = "v1beta"
POLLS = (5.0, 60.0)
"""Seconds between two questions: at first, and at most."""
CALL_S = 60.0
MOST_BYTES = 20_000_000
"""The largest batch with its requests in line, as the service takes it."""
_ENDED = frozenset(
    (
        *("JOB_STATE_SUCCEEDED", "JOB_STATE_PARTIALLY_SUCCEEDED"),
        *("JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED"),
    )
)
_WHY = {
    "JOB_STATE_CANCELLED": "the batch was cancelled",
    "JOB_STATE_EXPIRED": "the batch ran out of its time",
    "JOB_STATE_FAILED": "the batch failed",
}


async def create(client: Client, requests: Sequence[GenerationRequest]) -> str:
    """Make a batch for one model, and return its identity."""
    named = {each.model for each in requests}
    if len(named) != 1:
        raise ProviderError(f"a batch of {SERVICE} is for one model, not for {len(named)}", kind="invalid")
    size = sum(len(each.prompt) + len(each.system) + sum(map(len, each.sources)) * 4 // 3 for each in requests)
    if size > MOST_BYTES:
        raise ProviderError(
            f"a batch of {SERVICE} takes {MOST_BYTES} bytes of requests, not {size}: make several", kind="invalid"
        )
    wanted: Any = [{"contents": contents(each), "config": config(each, http=False)} for each in requests]
    told: Any = {"display_name": "lightfast", "http_options": options("", CALL_S, API)}
    made = await client.aio.batches.create(model=named.pop(), src=wanted, config=told)
    if not made.name:
        raise ProviderError(f"{SERVICE} made a batch without a name", kind="malformed")
    return made.name


async def state(client: Client, job: str) -> BatchJob:
    """Ask how far a batch is; once it has ended, the answers are with that."""
    told: Any = {"http_options": options("", CALL_S, API)}
    return await client.aio.batches.get(name=job, config=told)


async def follow(
    ask: Callable[[], Awaitable[BatchJob]], count: int, session: Session, polls: tuple[float, float]
) -> AsyncIterator[BatchStep]:
    """Yield how far it is, and an answer for each of *count* requests; a question that fails is asked again."""
    name, found = "", []
    async for batch in asked(ask, polls):
        name = str(getattr(batch.state, "value", batch.state))
        if name in _ENDED:
            found = (batch.dest.inlined_responses or []) if batch.dest is not None else []
            break
        yield Progress(-1.0, name.removeprefix("JOB_STATE_").lower())
    for index in range(count):
        if index < len(found):
            yield _answer(index, found[index], session)
        else:
            yield BatchAnswer(index, error=_WHY.get(name, "the service told no result of it"))


def _answer(index: int, told: Any, session: Session) -> BatchAnswer:
    if told.error is not None:
        message = " ".join(str(told.error.message or f"code {told.error.code}").split())[:300]
        return BatchAnswer(index, error=hidden(message, session.key))
    answer = told.response
    if answer is None:
        return BatchAnswer(index, error="the service told no result of it")
    used = answers.usage(answer.usage_metadata) or Usage(requests=1)
    reason = answers.reason(answer)
    if reason is None or ending(reason) in {"filtered", "failed"}:
        name = str(getattr(reason, "value", reason or "no answer"))
        return BatchAnswer(index, error=f"{SERVICE} gave no answer ({name})", usage=used)
    return BatchAnswer(index, text=answers.text(answer), usage=used)
