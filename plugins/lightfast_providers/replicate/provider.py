"""The provider Replicate: predictions that are made, asked about, cancelled, and whose files are fetched at once."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from lightfast.sdk import (
    Artifact,
    Condition,
    Finish,
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
    TextDelta,
    Usage,
    Workbench,
)
from lightfast_providers._common.media import asked, data_uri, ending, from_data_uri, media_type, percent, urls
from lightfast_providers._common.rest import MOST_BYTES, Answer, Rest, by_status, said
from lightfast_providers.replicate.offers import LISTED, input_of, settings_of, unlisted

API = "https://api.replicate.com/v1"
INSTALL = "pip install 'lightfast[replicate]'"
SMALL = 256 * 1024
"""Files up to this size go as data URIs, larger ones are uploaded (replicate.com/docs: input files)."""
_RESETS = re.compile(r"(?:resets?|available) in ~?(\d+(?:\.\d+)?) ?(s|m)", re.IGNORECASE)
_RATE = re.compile(r"(\d+) requests per (second|minute)", re.IGNORECASE)
_FILTERED = re.compile(r"nsfw|flagged as sensitive|\(E005\)|safety|content policy", re.IGNORECASE)
_PASSING = re.compile(r"prediction interrupted|\(code: P[AS]\)|\(E(?:8765|6716|4875|9243)\)", re.IGNORECASE)
_MEMORY = re.compile(r"out of memory|\(E1001\)", re.IGNORECASE)


class Replicate(Provider):
    """Every public model of Replicate by owner and name, and by version."""

    name = "replicate"
    description = "Models that anybody may publish, at replicate.com."
    needs_key = True
    key_names = ("REPLICATE_API_TOKEN",)
    # https://replicate.com/docs/topics/predictions/rate-limits: creating predictions; lower with little credit.
    tiers: Mapping[str, Sequence[tuple[str, float, float]]] = {"default": (("requests", 60.0, 600.0),)}

    def __init__(self) -> None:
        self._rest = Rest("Replicate", INSTALL, _refusal)
        self.pauses = (0.5, 5.0)
        """The shortest and the longest wait between two questions about a prediction, in seconds."""
        self.most_bytes = MOST_BYTES

    def models(self) -> Sequence[Model]:
        """Return those that are listed."""
        return LISTED

    def model(self, name: str) -> Model | None:
        """Return any other by owner and name."""
        return unlisted(name)

    async def discover(self, session: Session) -> Sequence[Model]:
        """Return the listed models with the settings that they have now."""
        found = []
        for model in LISTED:
            fields = input_of((await self._ask("GET", session, f"models/{model.name}")).table())
            found.append(dataclasses.replace(model, settings=settings_of(fields)) if fields else model)
        return found

    async def probe(self, session: Session) -> Condition:
        """Ask who the key belongs to."""
        told = (await self._ask("GET", session, "account")).table()
        return Condition(f"account {told.get('username', '?')}")

    async def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        """Make a prediction, or take one up, and fetch what it made."""
        session, job = request.session, request.job
        if not job:
            job = await self._submit(request)
            yield Job(job)
        last: Progress | None = None
        made: dict[str, Any] = {}
        async for told in asked(lambda: self._state(session, job), self.pauses):
            made = told
            if made.get("status") == "succeeded":
                break
            state = _progress(made)
            if state != last:
                last = state
                yield state
        count = 0
        if request.output == "text":
            text = _text(made.get("output"))
            if not text:
                raise ProviderError(f"{request.model} made no text", kind="failed")
            yield TextDelta(text)
        else:
            async for artifact in self._results(request, made):
                count += 1
                yield artifact
        yield _usage(request, made, count)
        if request.output == "text":
            yield Finish("stop")

    async def cancel(self, session: Session, job: str) -> None:
        """End a prediction."""
        await self._ask("POST", session, f"predictions/{job}/cancel")

    async def close(self) -> None:
        """Close the connections."""
        await self._rest.close()

    # -- within

    async def _ask(self, method: str, session: Session, path: str, **more: Any) -> Answer:
        base = (session.base_url or API).rstrip("/")
        headers = {"Authorization": f"Bearer {session.key.reveal()}"}
        more.setdefault("timeout", 20.0)
        return await self._rest.send(method, f"{base}/{path}", headers=headers, key=session.key, **more)

    async def _submit(self, request: GenerationRequest) -> str:
        """Make a prediction and return its id. Models that are not listed may need their version, so ask."""
        name, _, version = request.model.partition(":")
        listed = any(model.name == request.model for model in LISTED)
        fields: dict[str, dict[str, Any]] = {}
        if not listed:
            path = f"models/{name}/versions/{version}" if version else f"models/{name}"
            about = (await self._ask("GET", request.session, path, timeout=request.timeout)).table()
            fields = input_of(about)
            if not version and not about.get("is_official"):
                version = str((about.get("latest_version") or {}).get("id") or "")
        body: dict[str, Any] = {"input": await self._input(request, fields, listed=listed)}
        path = f"models/{name}/predictions"
        if version:
            path, body["version"] = "predictions", version
        answer = await self._ask("POST", request.session, path, json=body, timeout=request.timeout, paid=True)
        job = answer.table().get("id")
        if not isinstance(job, str) or not job:
            raise ProviderError("Replicate made a prediction without an id", kind="malformed")
        return job

    async def _input(
        self, request: GenerationRequest, fields: Mapping[str, Mapping[str, Any]], *, listed: bool
    ) -> dict[str, Any]:
        settings = dict(request.settings)
        more = settings.pop("input", {})
        found: dict[str, Any] = settings
        if request.prompt:
            found["text" if "prompt" not in fields and "text" in fields else "prompt"] = request.prompt
        if listed or "seed" in fields:
            found["seed"] = request.seed % 2**31
        if request.system and "system_prompt" in fields:
            found["system_prompt"] = request.system
        free = [name for name, rule in fields.items() if rule.get("format") == "uri"]
        for number, content in enumerate(request.sources):
            kind = media_type(content, request.source_types[number] if number < len(request.source_types) else "")
            word = kind.partition("/")[0]
            name = next((each for each in free if word in each), free[0] if free else word)
            if name in free:
                free.remove(name)
            found[name] = await self._file(request, content, kind)
        return found | (dict(more) if isinstance(more, Mapping) else {})

    async def _file(self, request: GenerationRequest, content: bytes, kind: str) -> str:
        if len(content) <= SMALL:
            return data_uri(content, kind)
        answer = await self._ask(
            "POST", request.session, "files", files={"content": (f"source{ending(kind)}", content, kind)}, timeout=120.0
        )
        place = (answer.table().get("urls") or {}).get("get")
        if not isinstance(place, str):
            raise ProviderError("Replicate took a file and did not say where it is", kind="malformed")
        return place

    async def _state(self, session: Session, job: str) -> dict[str, Any]:
        """Return a prediction; raise `ProviderError` where it ended badly."""
        try:
            told = (await self._ask("GET", session, f"predictions/{job}")).table()
        except ProviderError as error:
            if error.kind == "not_found":
                raise ProviderError(f"Replicate has no prediction {job}", kind="failed", retryable=False) from None
            raise
        status = told.get("status")
        if status == "failed":
            raise _failure(str(told.get("error") or "it does not say at what"))
        if status in ("canceled", "aborted"):
            raise ProviderError(f"the prediction {job} was cancelled at Replicate", kind="failed", retryable=False)
        if status not in ("starting", "processing", "succeeded"):
            raise ProviderError(f"Replicate says the status of a prediction is {status!r}", kind="malformed")
        if status == "succeeded" and told.get("data_removed"):
            raise ProviderError(
                f"what the prediction {job} made was deleted, as Replicate does after an hour", kind="failed",
                retryable=False,
            )  # fmt: skip
        return told

    async def _results(self, request: GenerationRequest, made: Mapping[str, Any]) -> AsyncIterator[Artifact]:
        metrics = made.get("metrics") or {}
        about = {"model": request.model, "version": made.get("version"), "predict_time": metrics.get("predict_time")}
        base, count = request.session.base_url, 0
        for url in urls(made.get("output")):
            if url.startswith("data:"):
                kind, content = from_data_uri(url)
                name = ""
            else:
                file = await self._rest.fetch(
                    url, base_url=base, timeout=max(request.timeout, 1.0), most=self.most_bytes
                )
                kind, content = file.headers.get("content-type", ""), file.content
                name = url.partition("?")[0].rpartition("/")[2][:120]
            kind = media_type(content, kind, url[:2000])
            if kind.startswith(request.output + "/") and content:
                count += 1
                yield Artifact(kind, content, name, about)
        if not count:
            raise ProviderError(f"{request.model} made no {request.output}", kind="failed")


def _progress(told: Mapping[str, Any]) -> Progress:
    if told.get("status") == "starting":
        return Progress(0.0, "starting")
    logs = str(told.get("logs") or "")
    lines = logs.strip().splitlines()
    return Progress(percent(logs), " ".join(lines[-1].split())[:120] if lines else "working")


def _text(output: Any) -> str:
    if isinstance(output, str):
        return output
    return "".join(map(str, output)) if isinstance(output, list) else ""


def _usage(request: GenerationRequest, made: Mapping[str, Any], count: int) -> Usage:
    """Return what was used: images where they are what is paid for, else the time on the hardware, whatever it is."""
    metrics = made.get("metrics") or {}

    def number(name: str) -> float:
        found = metrics.get(name)
        return float(found) if isinstance(found, int | float) else 0.0

    tokens = {"input_tokens": int(number("input_token_count")), "output_tokens": int(number("output_token_count"))}
    images = int(number("image_count")) or (count if request.output == "image" else 0)
    by_image = any(model.name == request.model for model in LISTED)
    seconds = number("video_output_duration_seconds") or (0.0 if by_image else number("predict_time"))
    return Usage(images=images, seconds=seconds, requests=1, **tokens)


def _failure(message: str) -> ProviderError:
    """Return the error of a prediction that failed: to ask about it again changes nothing."""
    text = " ".join(message.split())[:300]
    if _FILTERED.search(text):
        return ProviderError(f"Replicate holds it back: {text}", kind="filtered")
    kind = "unavailable" if _PASSING.search(text) else "overloaded" if _MEMORY.search(text) else "failed"
    return ProviderError(f"the prediction failed: {text}", kind=kind, retryable=False)


def _refusal(answer: Answer) -> ProviderError | None:
    """Return the error of an answer (RFC 7807: title, detail, status); a 429 tells its wait in words."""
    text = said(answer)
    if answer.status == 422 and _FILTERED.search(text):
        return ProviderError(f"Replicate holds it back: {text}", kind="filtered")
    if answer.status != 429:
        return None
    error = by_status(answer, text)
    found = _RESETS.search(text)
    if found:
        error.retry_after = float(found[1]) * (60.0 if found[2].lower() == "m" else 1.0)
    rate = _RATE.search(text)
    window = 1.0 if rate and rate[2].lower() == "second" else 60.0
    most = float(rate[1]) if rate else -1.0
    error.limits = Limits((Limit("requests", window, most, 0.0, error.retry_after),))
    return error
