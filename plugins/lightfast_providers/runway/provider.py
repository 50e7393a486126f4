"""The provider Runway: tasks that are made, asked about and deleted through its SDK."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from lightfast.sdk import (
    Artifact,
    Condition,
    GenerationRequest,
    Job,
    Limit,
    Limits,
    Model,
    Progress,
    Provider,
    ProviderError,
    Session,
    Step,
    Usage,
    Workbench,
)
from lightfast_providers._common import bounded
from lightfast_providers._common.clients import Clients
from lightfast_providers._common.limits import retry_after
from lightfast_providers._common.media import asked, data_uri, ending, media_type
from lightfast_providers._common.offloop import loaded
from lightfast_providers._common.rest import MOST_BYTES, Rest, hidden
from lightfast_providers.runway.offers import BY_NAME, OFFERS, TIERS, Offer

if TYPE_CHECKING:
    from runwayml import AsyncRunwayML

API = "https://api.dev.runwayml.com"
INSTALL = "pip install 'lightfast[runway]'"
SMALL = 3_500_000
"""Bytes of a source that goes as a data URI, which may have 5 MB; larger ones are uploaded."""
_KINDS = {
    400: "invalid", 401: "auth", 403: "denied", 404: "not_found", 405: "invalid", 408: "timeout", 422: "invalid",
    429: "limit", 502: "overloaded", 503: "overloaded", 504: "overloaded",
}  # fmt: skip
_STATES = {"PENDING": "waiting", "THROTTLED": "waiting: as many tasks as the tier allows are running"}


class Runway(Provider):
    """Runway's API for developers."""

    name = "runway"
    description = "Film, images and sound by Runway and others, at runwayml.com."
    needs_key = True
    key_names = ("RUNWAYML_API_SECRET",)
    tiers = TIERS

    def __init__(self) -> None:
        self._clients: Clients[AsyncRunwayML] = Clients(self._made, _ended)
        self._files = Rest("Runway", INSTALL)
        self.pauses = (3.0, 6.0)
        """The shortest and the longest wait between two questions about a task: not below five seconds for long."""
        self.most_bytes = MOST_BYTES

    def models(self) -> Sequence[Model]:
        """Return what is on offer."""
        return [offer.model for offer in OFFERS]

    async def probe(self, session: Session) -> Condition:
        """Ask about the organization: its credits, and the lowest limits of its tier."""
        async with self._client(session) as client:
            found: Any = await self._call(session, client.organization.retrieve(timeout=15.0), 15.0)
        try:
            balance, models = float(found.credit_balance), found.tier.models.values()
            limits = [
                Limit(kind, window, float(min(told)))
                for kind, window, name in (
                    ("concurrency", 0.0, "max_concurrent_generations"),
                    ("requests", 86400.0, "max_daily_generations"),
                )
                if (told := [getattr(each, name) for each in models if getattr(each, name) is not None])
            ]
        except (AttributeError, TypeError, ValueError):
            raise ProviderError("Runway told of its organization what cannot be read", kind="malformed") from None
        return Condition(f"{balance:g} credits", Limits(tuple(limits), balance, "credits"))

    async def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        """Make a task, or take one up, and fetch what it made."""
        session, job = request.session, request.job
        if not job:
            job = await self._submit(request)
            yield Job(job)
        last: Progress | None = None
        task: Any = None
        async for found in asked(lambda: self._task(session, job), self.pauses):
            task = found
            if task.status in ("SUCCEEDED", "FAILED", "CANCELLED"):
                break
            state = _progress(task)
            if state != last:
                last = state
                yield state
        spent = Usage(credits=_credits(task), requests=1)
        if task.status != "SUCCEEDED":
            yield spent  # a task that failed may have cost something all the same
            raise _failure(task)
        outputs = [each for each in getattr(task, "output", None) or () if isinstance(each, str)]
        if not outputs:
            raise ProviderError("Runway says that it is done, and names no result", kind="malformed")
        for url in outputs:
            answer = await self._files.fetch(
                url, base_url=session.base_url, timeout=max(request.timeout, 1.0), most=self.most_bytes
            )
            kind = media_type(answer.content, answer.headers.get("content-type", ""), url)
            if not kind.startswith(request.output + "/"):
                raise ProviderError(f"Runway made {kind} instead of {request.output}", kind="malformed")
            name = url.partition("?")[0].rpartition("/")[2][:120]
            yield Artifact(kind, answer.content, name, {"task": job, "credits": spent.credits})
        yield spent

    async def cancel(self, session: Session, job: str) -> None:
        """Cancel a task, or delete it when it is over: both are the same to Runway."""
        async with self._client(session) as client:
            await self._call(session, client.tasks.delete(job, timeout=15.0), 15.0)

    async def close(self) -> None:
        """Close the connections."""
        await self._clients.close()
        await self._files.close()

    # -- within

    @asynccontextmanager
    async def _client(self, session: Session) -> AsyncIterator[AsyncRunwayML]:
        await loaded("runwayml")
        await self._clients.tidy()
        with self._clients.lend(session) as client:
            yield client

    def _made(self, session: Session) -> AsyncRunwayML:
        import httpx
        from runwayml import AsyncRunwayML

        return AsyncRunwayML(
            api_key=session.key.reveal(),
            base_url=session.base_url or API,
            max_retries=0,
            http_client=bounded.client(httpx, "Runway", lambda: self.most_bytes),
        )

    async def _submit(self, request: GenerationRequest) -> str:
        offer = BY_NAME.get(request.model)
        if offer is None:
            raise ProviderError(f"Runway has no model {request.model}", kind="not_found")
        resource = offer.pictured if request.sources else offer.plain
        if not resource:
            what = "needs an image" if not request.sources else "takes no image"
            raise ProviderError(f"runway/{request.model} {what}", kind="invalid")
        async with self._client(request.session) as client:
            values = await self._values(request, offer, resource, client)
            create: Any = getattr(client, resource).create  # one signature for each model: not known here
            work = create(**values, timeout=bounded.timeouts(_httpx(), request.timeout))
            found = await self._call(request.session, work, request.timeout, paid=True)
        job = getattr(found, "id", None)
        if not isinstance(job, str) or not job:
            raise ProviderError("Runway made a task without an id", kind="malformed")
        return job

    async def _values(
        self, request: GenerationRequest, offer: Offer, resource: str, client: AsyncRunwayML
    ) -> dict[str, Any]:
        values: dict[str, Any] = {"model": request.model, **request.settings}
        if request.prompt:
            values["prompt_text"] = request.prompt
        if offer.seed:
            values["seed"] = request.seed % 2**32
        if "voice" in values:
            values["voice"] = {"type": "runway-preset", "preset_id": values["voice"]}
        places = []
        for number, content in enumerate(request.sources):
            kind = media_type(content, request.source_types[number] if number < len(request.source_types) else "")
            if len(content) <= SMALL:
                places.append(data_uri(content, kind))
                continue
            upload = client.uploads.create_ephemeral(file=(f"source{ending(kind)}", content, kind), timeout=120.0)
            places.append(str((await self._call(request.session, upload, 120.0)).uri))
        if places and resource == "image_to_video":
            values["prompt_image"] = places[0]
        elif places:
            values["reference_images"] = [{"uri": uri, "tag": f"image{at}"} for at, uri in enumerate(places, 1)]
        return values

    async def _task(self, session: Session, job: str) -> Any:
        async with self._client(session) as client:
            try:
                found: Any = await self._call(session, client.tasks.retrieve(job, timeout=20.0), 20.0)
            except ProviderError as error:
                if error.kind == "not_found":
                    raise ProviderError(f"Runway has no task {job}", kind="failed", retryable=False) from None
                raise
        if getattr(found, "status", None) not in ("SUCCEEDED", "FAILED", "CANCELLED", "RUNNING", *_STATES):
            raise ProviderError("Runway told of a task what cannot be read", kind="malformed")
        return found

    async def _call(self, session: Session, work: Awaitable[Any], timeout: float, *, paid: bool = False) -> Any:
        """Wait for a call of the SDK; whatever goes wrong is a `ProviderError`."""
        import runwayml

        lost = False if paid else None  # what may have arrived is not sent again
        key = session.key
        try:
            async with asyncio.timeout(timeout):
                return await work
        except (TimeoutError, runwayml.APITimeoutError):
            raise ProviderError(f"Runway did not answer within {timeout:g} s", kind="timeout", retryable=lost) from None
        except runwayml.APIConnectionError as error:
            if (found := bounded.found_in(error)) is not None:
                raise found from None
            cause = error.__cause__
            sent = not isinstance(cause, _httpx().ConnectError)
            said = hidden(" ".join(str(cause or error).split())[:200], key)
            raise ProviderError(
                f"Runway cannot be reached: {said or type(cause).__name__}", kind="unavailable",
                retryable=lost if sent else None,
            ) from None  # fmt: skip
        except runwayml.APIStatusError as error:
            raise _refusal(error, key) from None
        except (runwayml.RunwayMLError, ValueError, TypeError, AttributeError) as error:
            if (found := bounded.found_in(error)) is not None:
                raise found from None
            said = hidden(" ".join(str(error).split())[:200], key)
            raise ProviderError(f"Runway answered what cannot be read: {said}", kind="malformed") from None
        except _httpx().HTTPError as error:
            said = hidden(" ".join(str(error).split())[:200], key)
            raise ProviderError(f"the connection to Runway broke: {said}", kind="unavailable", retryable=lost) from None


def _httpx() -> Any:
    import httpx

    return httpx


async def _ended(client: AsyncRunwayML) -> None:
    await client.close()


def _credits(task: Any) -> float:
    cost = getattr(task, "cost", None)
    found = getattr(cost, "credits", 0)
    return float(found) if isinstance(found, int | float) else 0.0


def _progress(task: Any) -> Progress:
    if task.status == "RUNNING":
        found = getattr(task, "progress", None)
        return Progress(min(max(float(found), 0.0), 1.0) if isinstance(found, int | float) else -1.0, "running")
    estimate = getattr(getattr(task, "estimated_cost", None), "credits", None)
    costs = f", about {estimate:g} credits" if isinstance(estimate, int | float) else ""
    return Progress(0.0, _STATES[task.status] + costs)


def _failure(task: Any) -> ProviderError:
    """Return the error of a task that failed (docs.dev.runwayml.com/errors/task-failures): asking again is no use."""
    if task.status == "CANCELLED":
        return ProviderError(f"the task {task.id} was cancelled at Runway", kind="failed", retryable=False)
    code = str(getattr(task, "failure_code", None) or "")
    text = " ".join(str(getattr(task, "failure", "")).split())[:300]
    if "SAFETY" in code:
        kind = "filtered"
    elif code.startswith("ASSET") or (code.startswith("INPUT_PREPROCESSING") and "INTERNAL" not in code):
        kind = "invalid"
    elif "INTERNAL" in code or code.startswith("THIRD_PARTY"):
        kind = "unavailable"
    else:
        kind = "failed"
    return ProviderError(
        f"Runway failed ({code or 'no code'}): {text or 'it says no more'}", kind=kind, retryable=False
    )


def _refusal(error: Any, key: Any) -> ProviderError:
    body: Mapping[str, Any] = error.body if isinstance(error.body, dict) else {}
    text = body.get("error") or body.get("message") or ""
    issues = body.get("issues")
    if isinstance(issues, list):
        wrong = [f"{_path(each)}: {each.get('message', '')}" for each in issues if isinstance(each, dict)]
        text = f"{text} {'; '.join(wrong)}"
    text = hidden(" ".join(str(text).split())[:300] or "it says nothing more", key)
    status = int(error.status_code)
    low = text.lower()
    kind = _KINDS.get(status, "unavailable" if status >= 500 else "failed")
    broke = status in (400, 402, 403) and "credit" in low
    spent = broke or (status == 429 and any(word in low for word in ("daily", "month", "24 hour", "spend", "quota")))
    limits = Limits((Limit("spend", 0.0, remaining=0.0),)) if broke else None
    if spent and not broke:
        limits = Limits((Limit("requests", 86400.0, remaining=0.0),))
    return ProviderError(
        f"Runway refused with status {status}: {text}",
        kind="limit" if spent else kind,
        terminal=spent,
        retry_after=retry_after(error.response.headers),
        limits=limits,
    )


def _path(issue: Mapping[str, Any]) -> str:
    found = issue.get("path", "")
    return ".".join(map(str, found)) if isinstance(found, list) else str(found)
