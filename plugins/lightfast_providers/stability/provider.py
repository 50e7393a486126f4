"""The provider Stability: forms that are answered with a result, or with a job that is asked about."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from lightfast.sdk import (
    Artifact,
    Condition,
    GenerationRequest,
    Job,
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
from lightfast_providers._common.media import asked, ending, media_type
from lightfast_providers._common.rest import MOST_BYTES, Answer, Rest, by_status, said
from lightfast_providers.stability.offers import BY_NAME, OFFERS, Offer

API = "https://api.stability.ai"
INSTALL = "pip install 'lightfast[stability]'"
_PENALTY = 60.0
"""Seconds for which who asked too often is not answered (platform.stability.ai/docs: rate limiting)."""


class Stability(Provider):
    """The REST API of Stability, v2beta."""

    name = "stability"
    description = "Images, their editing and sound, by Stability AI."
    needs_key = True
    key_names = ("STABILITY_API_KEY",)
    tiers: Mapping[str, Sequence[tuple[str, float, float]]] = {"default": (("requests", 10.0, 150.0),)}

    def __init__(self) -> None:
        self._rest = Rest("Stability", INSTALL, _refusal)
        self.pauses = (3.0, 10.0)
        """The shortest and the longest wait between two questions about a job; its limit asks for ten seconds."""
        self.most_bytes = MOST_BYTES

    def models(self) -> Sequence[Model]:
        """Return what is on offer."""
        return [offer.model for offer in OFFERS]

    async def probe(self, session: Session) -> Condition:
        """Ask for the credits that are left."""
        told = (await self._ask("GET", session, "v1/user/balance")).table()
        balance = told.get("credits")
        if not isinstance(balance, int | float):
            raise ProviderError("Stability told its balance without a number", kind="malformed")
        return Condition(f"{balance:g} credits", Limits((), float(balance), "credits"))

    async def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        """Send the form; the answer is the result, or a job that is asked about until it has one."""
        offer = BY_NAME.get(request.model)
        if offer is None:
            raise ProviderError(f"Stability has no model {request.model}", kind="not_found")
        session, job = request.session, request.job
        answer: Answer | None = None
        if not job:
            answer = await self._ask(
                "POST", session, f"v2beta/{offer.path}", files=_form(request, offer), timeout=request.timeout,
                most=self.most_bytes, paid=True, accept="application/json" if offer.results else _accept(request),
            )  # fmt: skip
            if offer.results:
                job = str(answer.table().get("id") or "")
                if not job:
                    raise ProviderError("Stability made a job without an id", kind="malformed")
                answer = None
                yield Job(job)
        if answer is None:
            path = f"v2beta/{offer.results}/{job}"
            async for found in asked(lambda: self._result(request, path), self.pauses):
                answer = found
                if found.status != 202:
                    break
                yield Progress(-1.0, "working")
        assert answer is not None  # noqa: S101 — either way has one
        yield self._artifact(request, offer, answer)
        yield Usage(credits=offer.credits, images=1 if request.output == "image" else 0, requests=1)

    async def cancel(self, session: Session, job: str) -> None:
        """Do nothing: Stability has no way to end a job, and forgets its result after a day."""

    async def close(self) -> None:
        """Close the connections."""
        await self._rest.close()

    # -- within

    async def _ask(
        self, method: str, session: Session, path: str, *, accept: str = "application/json", **more: Any
    ) -> Answer:
        base = (session.base_url or API).rstrip("/")
        headers = {"Authorization": f"Bearer {session.key.reveal()}", "Accept": accept}
        more.setdefault("timeout", 20.0)
        return await self._rest.send(method, f"{base}/{path}", headers=headers, key=session.key, **more)

    async def _result(self, request: GenerationRequest, path: str) -> Answer:
        try:
            return await self._ask(
                "GET",
                request.session,
                path,
                accept=_accept(request),
                timeout=max(request.timeout, 1.0),
                most=self.most_bytes,
            )
        except ProviderError as error:
            if error.kind == "not_found":
                raise ProviderError(
                    f"Stability has no job {request.job or path}: results are kept for a day",
                    kind="failed",
                    retryable=False,
                ) from None
            raise

    def _artifact(self, request: GenerationRequest, offer: Offer, answer: Answer) -> Artifact:
        # A result that was held back is a 200 as well: blurred, and said in a header.
        if answer.headers.get("finish-reason", "SUCCESS") == "CONTENT_FILTERED":
            raise ProviderError("Stability held the result back: it was filtered", kind="filtered")
        kind = media_type(answer.content, answer.headers.get("content-type", ""))
        if not answer.content or not kind.startswith(request.output + "/"):
            raise ProviderError(f"Stability answered with {kind} instead of {request.output}", kind="malformed")
        about: dict[str, Any] = {"credits": offer.credits}
        if answer.headers.get("seed"):
            about["seed"] = answer.headers["seed"]
        return Artifact(kind, answer.content, f"{request.model}{ending(kind)}", about)


def _accept(request: GenerationRequest) -> str:
    return f"{request.output}/*"


def _form(request: GenerationRequest, offer: Offer) -> dict[str, Any]:
    """Return the fields of the form; text goes as parts without a file name, for it is multipart in any case."""
    if len(request.sources) < offer.needed or len(request.sources) > len(offer.files):
        wanted = f"{offer.needed} to {len(offer.files)}" if offer.files else "no"
        raise ProviderError(
            f"stability/{request.model} takes {wanted} sources ({', '.join(offer.files)}), not {len(request.sources)}",
            kind="invalid",
        )
    values: dict[str, Any] = {**request.settings, **offer.fixed}
    if offer.prompt and request.prompt:
        values[offer.prompt] = request.prompt
    if request.model != "remove-background" and not request.model.startswith("upscale-fast"):
        values["seed"] = request.seed % 4294967295
    if "image" in offer.files and not offer.needed:  # with and without an image
        if request.sources:
            values.pop("aspect_ratio", None)
            if offer.path.endswith("/sd3"):
                values["mode"] = "image-to-image"
        else:
            values.pop("strength", None)
    form: dict[str, Any] = {name: (None, _written(value)) for name, value in values.items()}
    for number, content in enumerate(request.sources):
        kind = media_type(content, request.source_types[number] if number < len(request.source_types) else "")
        form[offer.files[number]] = (f"source{ending(kind)}", content, kind)
    return form


def _written(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _refusal(answer: Answer) -> ProviderError | None:
    """Return the error of an answer: `id`, `name` and `errors`."""
    told = answer.told()
    name = str(told.get("name", "")) if isinstance(told, dict) else ""
    errors = told.get("errors") if isinstance(told, dict) else None
    text = "; ".join(map(str, errors))[:300] if isinstance(errors, list) and errors else said(answer)
    if name == "content_moderation" or (answer.status == 403 and "moderation" in text.lower()):
        return ProviderError(f"Stability holds it back: {text}", kind="filtered")
    error = by_status(answer, f"{name}: {text}" if name else text)
    if answer.status == 429 and error.retry_after < 0:
        error.retry_after = _PENALTY
    return error
