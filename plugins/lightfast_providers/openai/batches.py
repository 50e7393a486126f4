"""Texts by `/batches`: half the price, within a day (https://platform.openai.com/docs/api-reference/batch)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from lightfast.sdk import BatchAnswer, BatchStep, GenerationRequest, Job, Progress, ProviderError, Session, Workbench
from lightfast_providers._common.openai_errors import hidden
from lightfast_providers._common.openai_text import count, responses_usage
from lightfast_providers._common.openai_wire import Wire
from lightfast_providers.openai.responses import body_of, text_of

ENDPOINT = "/v1/responses"
WINDOW = "24h"
WAIT_S = 60.0
"""The deadline of each call on the way, in seconds; the batch itself may take a day."""
POLLS = (5.0, 60.0)
"""Seconds from one look at a batch to the next: at first, and at most."""
_ENDED = frozenset(("completed", "failed", "expired", "cancelled"))
MOST_MISSES = 5
"""So many looks in a row may fail before the batch is given up for now."""


class Batches:
    """Batches of one service. *polls* as `POLLS`."""

    def __init__(self, wire: Wire, polls: tuple[float, float] = POLLS) -> None:
        self._wire, self._polls = wire, polls

    async def run(
        self, requests: Sequence[GenerationRequest], session: Session, job: str, bench: Workbench
    ) -> AsyncIterator[BatchStep]:
        """Yield the job, progress, and an answer for each request."""
        if not job:
            job = await self._made(await bench.run(_lines, requests), session)
        yield Job(job)
        wait, longest = self._polls
        misses = 0
        while True:
            try:
                batch = (await self._wire.ask(session, f"/batches/{job}", timeout=WAIT_S)).payload
                misses = 0
            except ProviderError as error:
                misses += 1
                if not error.retryable or misses > MOST_MISSES:
                    raise
                batch = {}
            total = count(batch, "request_counts", "total")
            done = count(batch, "request_counts", "completed") + count(batch, "request_counts", "failed")
            if batch:
                yield Progress(done / total if total else -1.0, str(batch.get("status", "")))
            if batch.get("status") in _ENDED:
                break
            await asyncio.sleep(wait)
            wait = min(wait * 1.5, longest)
        async for answer in self._answers(batch, len(requests), session):
            yield answer

    async def cancel(self, session: Session, job: str) -> None:
        """End a batch; what is done by then is charged."""
        await self._wire.ask(session, f"/batches/{job}/cancel", {}, timeout=WAIT_S)

    async def _made(self, lines: bytes, session: Session) -> str:
        file = ("file", ("batch.jsonl", lines, "application/jsonl"))
        stored = await self._wire.ask(session, "/files", {"purpose": "batch"}, timeout=WAIT_S, files=[file])
        body = {"input_file_id": stored.payload.get("id"), "endpoint": ENDPOINT, "completion_window": WINDOW}
        made = await self._wire.ask(session, "/batches", body, timeout=WAIT_S)
        job = made.payload.get("id")
        if not isinstance(job, str) or not job:
            raise self._wire.malformed("a batch without an identity")
        return job

    async def _answers(self, batch: Mapping[str, Any], total: int, session: Session) -> AsyncIterator[BatchStep]:
        left = set(range(total))
        for name in ("output_file_id", "error_file_id"):
            file = batch.get(name)
            if not file:
                continue
            content, _ = await self._wire.fetch(session, f"/files/{file}/content", timeout=WAIT_S)
            for line in content.decode("utf-8", "replace").splitlines():
                answer = self._answer(line, session) if line.strip() else None
                if answer is not None and answer.index in left:
                    left.discard(answer.index)
                    yield answer
        for index in sorted(left):
            yield BatchAnswer(index, error=_why(batch, session))

    def _answer(self, line: str, session: Session) -> BatchAnswer:
        try:
            found = json.loads(line)
            index = int(found["custom_id"])
            response = found.get("response") or {}
            body = response.get("body") or {}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self._wire.malformed("a line of a batch's results that cannot be read") from None
        error = found.get("error") or body.get("error")
        if error or int(response.get("status_code") or 200) >= 400:
            said = self._wire.refused(session, error or {}, status=int(response.get("status_code") or 0))
            return BatchAnswer(index, error=str(said))
        usage = responses_usage(body.get("usage"))
        if body.get("status") == "incomplete":
            reason = (body.get("incomplete_details") or {}).get("reason", "")
            return BatchAnswer(index, text_of(body), f"it broke off: {reason}", usage)
        return BatchAnswer(index, text_of(body), usage=usage)


def _lines(requests: Sequence[GenerationRequest]) -> bytes:
    """Return the requests as a file, one JSON object a line. Blocks."""
    lines = [
        json.dumps({"custom_id": str(index), "method": "POST", "url": ENDPOINT, "body": body_of(request)})
        for index, request in enumerate(requests)
    ]
    return "\n".join(lines).encode()


def _why(batch: Mapping[str, Any], session: Session) -> str:
    told = [str(each.get("message", "")) for each in (batch.get("errors") or {}).get("data") or ()]
    return hidden(f"the batch is {batch.get('status')}{': ' if told else ''}{'; '.join(told)}", session)
