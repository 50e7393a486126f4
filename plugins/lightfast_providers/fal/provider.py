"""The provider fal: submit, state, result and cancel of its queue."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from lightfast.sdk import (
    Artifact,
    Condition,
    GenerationRequest,
    Job,
    Model,
    Progress,
    Provider,
    ProviderError,
    Session,
    Step,
    Usage,
    Workbench,
)
from lightfast_providers._common.media import asked, data_uri, from_data_uri, media_type, percent
from lightfast_providers._common.offloop import prepared
from lightfast_providers._common.rest import MOST_BYTES, Answer, Rest, by_status, said
from lightfast_providers.fal.offers import LISTED, unlisted

QUEUE = "https://queue.fal.run"
INSTALL = "pip install 'lightfast[fal]'"
NAMESPACES = ("workflows", "comfy")
"""First parts of an id that come before the owner."""
_FILTERED = ("content_policy_violation", "nsfw_content_detected")
_KINDS = {
    "request_timeout": "timeout",
    "startup_timeout": "unavailable",
    "generation_timeout": "timeout",
    "runner_scheduling_failure": "overloaded",
    "runner_connection_timeout": "unavailable",
    "runner_disconnected": "unavailable",
    "runner_connection_refused": "unavailable",
    "runner_connection_error": "unavailable",
    "runner_server_error": "unavailable",
    "internal_error": "unavailable",
    "internal_server_error": "unavailable",
    "downstream_service_error": "unavailable",
    "downstream_service_unavailable": "unavailable",
    "client_disconnected": "failed",
    "client_cancelled": "failed",
}
"""Error types of requests and of models (https://docs.fal.ai: request-errors, errors)."""


class Fal(Provider):
    """Every model of fal by its id."""

    name = "fal"
    description = "Models for images, film and sound of many makers, at fal.ai."
    needs_key = True
    key_names = ("FAL_KEY",)

    def __init__(self) -> None:
        self._rest = Rest("fal", INSTALL, _refusal)
        self.pauses = (0.5, 5.0)
        """The shortest and the longest wait between two questions about a job, in seconds."""
        self.most_bytes = MOST_BYTES

    def models(self) -> Sequence[Model]:
        """Return those that are listed."""
        return LISTED

    def model(self, name: str) -> Model | None:
        """Return any other by its id."""
        return unlisted(name)

    async def probe(self, session: Session) -> Condition:
        """Ask for a job that is not there: only who has a key is told so."""
        try:
            await self._ask("GET", session, "fal-ai/flux/requests/00000000-0000-0000-0000-000000000000/status")
        except ProviderError as error:
            if error.kind not in ("not_found", "invalid"):
                raise
        return Condition()

    async def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        """Put it into the queue, or take up what is in there, and fetch what was made."""
        session, job = request.session, request.job
        if not job:
            answer = await self._ask(
                "POST",
                session,
                quote(request.model, safe="/"),
                json=await prepared(bench, _input, request),
                timeout=request.timeout,
                paid=True,
            )
            told = answer.table()
            if not isinstance(told.get("request_id"), str):
                raise ProviderError("fal accepted it without a request_id", kind="malformed")
            job = f"{_root(request.model)}/requests/{told['request_id']}"
            yield Job(job)
        last: Progress | None = None
        async for state in asked(lambda: self._state(session, job), self.pauses):
            if state is None:
                break
            if state != last:
                last = state
                yield state
        answer = await self._ask("GET", session, job, timeout=60.0, explain=_late_refusal)
        made = answer.table()
        count = 0
        async for artifact in self._results(request, made, answer):
            count += 1
            yield artifact
        image = request.output == "image"
        yield Usage(images=count if image else 0, seconds=0.0 if image else _seconds(request), requests=1)

    async def cancel(self, session: Session, job: str) -> None:
        """Take it out of the queue, or tell the runner to end it."""
        try:
            await self._ask("PUT", session, f"{job}/cancel")
        except ProviderError as error:
            if error.kind not in ("invalid", "not_found", "failed"):  # it is over already
                raise

    async def close(self) -> None:
        """Close the connections."""
        await self._rest.close()

    # -- within

    async def _ask(self, method: str, session: Session, path: str, **more: Any) -> Answer:
        base = (session.base_url or QUEUE).rstrip("/")
        headers = {"Authorization": f"Key {session.key.reveal()}"}
        more.setdefault("timeout", 20.0)
        return await self._rest.send(method, f"{base}/{path}", headers=headers, key=session.key, **more)

    async def _state(self, session: Session, job: str) -> Progress | None:
        """Return how far a job is; `None` once it is over."""
        try:
            told = (await self._ask("GET", session, f"{job}/status", params={"logs": "1"})).table()
        except ProviderError as error:
            if error.kind == "not_found":
                raise ProviderError(f"fal knows the job {job} no more", kind="failed", retryable=False) from None
            raise
        status = told.get("status")
        if status == "COMPLETED":
            if told.get("error") or told.get("error_type"):
                raise _ended(_failure(str(told.get("error_type", "")), str(told.get("error") or "it says no more")))
            return None
        if status == "IN_QUEUE":
            return Progress(0.0, f"waiting, {told.get('queue_position', '?')} before it")
        if status == "IN_PROGRESS":
            lines = [str(each.get("message", "")) for each in told.get("logs") or () if isinstance(each, dict)]
            text = " ".join(lines[-1].split())[:120] if lines else ""
            return Progress(percent("\n".join(lines)), text or "working")
        raise ProviderError(f"fal says the state of the job is {status!r}", kind="malformed")

    async def _results(
        self, request: GenerationRequest, made: Mapping[str, Any], answer: Answer
    ) -> AsyncIterator[Artifact]:
        unfit = made.get("has_nsfw_concepts")
        flags = unfit if isinstance(unfit, list) else []
        about: dict[str, Any] = {"app": request.model}
        for name in ("seed", "timings"):
            if name in made:
                about[name] = made[name]
        if (units := answer.number("x-fal-billable-units")) is not None:
            about["billable_units"] = units
        found = [each for each in _files(made) if _fits(each, request.output)]
        if found and len(flags) == len(found):
            found = [each for each, flag in zip(found, flags, strict=True) if not flag]
            if not found:
                raise ProviderError("fal's safety checker held all results back", kind="filtered")
        count = 0
        for each in found:
            if each["url"].startswith("data:"):
                kind, content = from_data_uri(each["url"])
            else:
                file = await self._rest.fetch(
                    each["url"],
                    base_url=request.session.base_url,
                    timeout=max(request.timeout, 1.0),
                    most=self.most_bytes,
                )
                content, kind = file.content, str(each.get("content_type") or file.headers.get("content-type", ""))
            kind = media_type(content, kind, str(each.get("file_name") or each["url"][:2000]))
            if kind.startswith(request.output + "/") and content:
                count += 1
                yield Artifact(kind, content, str(each.get("file_name") or ""), about)
        if not count:
            raise ProviderError(f"{request.model} made no {request.output}: {', '.join(made)[:200]}", kind="failed")


def _input(request: GenerationRequest) -> dict[str, Any]:
    """Return the input of the model: prompt, settings, and the sources as data URIs."""
    settings = dict(request.settings)
    more = settings.pop("input", {})
    found: dict[str, Any] = {"prompt": request.prompt, **settings}
    if any(model.name == request.model and "seed" in model.capabilities for model in LISTED):
        found["seed"] = request.seed % 2**32
    kinds: dict[str, list[str]] = {}
    for number, content in enumerate(request.sources):
        told = request.source_types[number] if number < len(request.source_types) else ""
        kind = media_type(content, told)
        kinds.setdefault(kind.partition("/")[0], []).append(data_uri(content, kind))
    for kind, uris in kinds.items():
        found[f"{kind}_url" if len(uris) == 1 else f"{kind}_urls"] = uris[0] if len(uris) == 1 else uris
    return found | (dict(more) if isinstance(more, Mapping) else {})


def _root(model: str) -> str:
    """Return the part of an id that its jobs are under: owner and application."""
    parts = model.split("/")
    return quote("/".join(parts[: 3 if parts[0] in NAMESPACES else 2]), safe="/")


def _files(made: Any, depth: int = 6) -> list[dict[str, Any]]:
    """Return the files in a result: objects with a `url`."""
    if isinstance(made, list):
        return [file for each in made for file in _files(each, depth - 1)] if depth else []
    if not isinstance(made, dict) or not depth:
        return []
    if isinstance(made.get("url"), str):
        return [made]
    return [file for each in made.values() for file in _files(each, depth - 1)]


def _fits(file: Mapping[str, Any], output: str) -> bool:
    kind = str(file.get("content_type") or "")
    return not kind or kind.startswith((output + "/", "application/octet-stream"))


def _seconds(request: GenerationRequest) -> float:
    for name in ("duration", "seconds_total"):
        try:
            return float(str(request.settings[name]))
        except (KeyError, ValueError):
            continue
    return 0.0


def _failure(kind: str, message: str) -> ProviderError:
    if kind in _FILTERED:
        return ProviderError(f"fal holds it back: {message[:300]}", kind="filtered")
    return ProviderError(f"fal failed ({kind or 'no type'}): {message[:300]}", kind=_KINDS.get(kind, "failed"))


def _ended(error: ProviderError) -> ProviderError:
    """Return the error of a job that failed itself: to ask about it again changes nothing."""
    error.retryable = False
    return error


def _late_refusal(answer: Answer) -> ProviderError | None:
    """Return the error that a model ended with, which comes in place of its result."""
    error = _refusal(answer)
    return None if error is None else _ended(error)


def _refusal(answer: Answer) -> ProviderError | None:
    """Return the error of an answer: a list of what is wrong with the input, or one type with a text."""
    told = answer.told()
    detail = told.get("detail") if isinstance(told, dict) else None
    kind = answer.headers.get("x-fal-error-type", "") or (
        str(told.get("error_type", "")) if isinstance(told, dict) else ""
    )
    if isinstance(detail, list):
        wrong = [each for each in detail if isinstance(each, dict)]
        for each in wrong:
            if each.get("type") in (*_FILTERED, *_KINDS):
                return _failure(str(each["type"]), str(each.get("msg", "")))
        text = "; ".join(f"{'.'.join(map(str, each.get('loc', ())))}: {each.get('msg', '')}" for each in wrong)
        return by_status(answer, text[:400] or said(answer))
    if answer.status == 403 and "exhausted balance" in said(answer).lower():
        return by_status(answer, said(answer), kind="limit", terminal=True)
    if kind in (*_FILTERED, *_KINDS):
        return _failure(kind, said(answer))
    return None
