"""The provider ElevenLabs."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

from lightfast.sdk import (
    Artifact,
    Condition,
    Finish,
    GenerationRequest,
    Limit,
    Limits,
    Model,
    Preview,
    Progress,
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
from lightfast_providers._common.limits import number, retry_after
from lightfast_providers._common.media import ending, media_type, sniffed
from lightfast_providers._common.offloop import loaded
from lightfast_providers._common.rest import MOST_BYTES, hidden
from lightfast_providers.elevenlabs.offers import (
    EFFECTS,
    FORMATS,
    MODELS,
    MUSIC,
    SPEECH,
    TIERS,
    VOICE_SETTINGS,
    finished,
)

if TYPE_CHECKING:
    from elevenlabs.client import AsyncElevenLabs

API = "https://api.elevenlabs.io"
INSTALL = "pip install 'lightfast[elevenlabs]'"
_VOICE_ID = re.compile(r"[A-Za-z0-9]{20}")
_PREVIEW_FROM, _PREVIEW_BYTES = 32 * 1024, 256 * 1024
_KINDS = {
    400: "invalid", 401: "auth", 402: "limit", 403: "denied", 404: "not_found", 408: "timeout", 409: "failed",
    413: "invalid", 422: "invalid", 425: "overloaded", 429: "limit", 503: "overloaded", 504: "timeout",
}  # fmt: skip
_CODES = {
    "invalid_api_key": "auth",
    "needs_authorization": "auth",
    "missing_permissions": "denied",
    "detected_unusual_activity": "denied",
    "model_access_denied": "denied",
    "model_not_found": "not_found",
    "voice_not_found": "invalid",
    "text_too_long": "context",
    "max_character_limit_exceeded": "context",
    "too_many_concurrent_requests": "limit",
    "concurrent_limit_exceeded": "limit",
    "rate_limit_exceeded": "limit",
    "system_busy": "overloaded",
}
"""`detail.status` of an error (https://elevenlabs.io/docs/eleven-api/resources/errors); else its HTTP status."""
_SPENT = ("quota_exceeded", "insufficient_credits", "payment_required", "character_limit_exceeded")
_FILTERED = ("policy", "moderation", "bad_prompt", "flagged", "terms_of_service")


class ElevenLabs(Provider):
    """Speech, effects, music, and what was said."""

    name = "elevenlabs"
    description = "Speech, sound effects, music and transcription, at elevenlabs.io."
    needs_key = True
    key_names = ("ELEVENLABS_API_KEY",)
    tiers = TIERS

    def __init__(self) -> None:
        self._clients: Clients[AsyncElevenLabs] = Clients(self._made, _ended)
        self.most_bytes = MOST_BYTES

    def models(self) -> Sequence[Model]:
        """Return what is on offer."""
        return MODELS

    async def discover(self, session: Session) -> Sequence[Model]:
        """Return the models, with the names of the voices that the account has."""
        names = ", ".join(sorted(await self._voices(session)))
        about = f"The id or the name of a voice: {names}"[:4000]
        return [_with_voices(model, about) if model in SPEECH else model for model in MODELS]

    async def probe(self, session: Session) -> Condition:
        """Ask for the subscription: its plan and the characters that are left."""
        async with self._client(session) as client:
            found: Any = await client.user.subscription.get(request_options=_options(15.0))
        left = getattr(found, "character_limit", None), getattr(found, "character_count", None)
        if not all(isinstance(each, int | float) for each in left):
            raise ProviderError("ElevenLabs told of the subscription what cannot be read", kind="malformed")
        balance = float(left[0] or 0) - float(left[1] or 0)
        return Condition(f"plan {getattr(found, 'tier', '?')}", Limits((), balance, "credits"))

    async def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        """Speak, sound, play, or write down."""
        if request.output == "text":
            async for step in self._transcribed(request):
                yield step
            return
        voice = ""
        if request.model not in (EFFECTS.name, MUSIC.name):
            voice = await self._voice(request.session, str(request.settings["voice"]))
        output_format = str(request.settings.get("output_format") or FORMATS[0])
        parts: list[bytes] = []
        size, told, shown = 0, 0, False
        async with self._client(request.session) as client, self._sound(client, request, voice) as response:
            headers = response.headers
            if (limits := _limits(headers)) is not None:
                yield limits
            kind = headers.get("content-type", "")
            if kind.partition("/")[0] in ("text", "application") and "octet-stream" not in kind:
                raise ProviderError(f"ElevenLabs answered with {kind} instead of sound", kind="malformed")
            async for part in response.data:
                parts.append(part)
                size += len(part)
                if size - told >= _PREVIEW_FROM or not told:
                    told = size
                    yield Progress(-1.0, f"{size / 1024:.0f} KiB of sound")
                if not shown and _PREVIEW_FROM <= size <= _PREVIEW_BYTES and output_format.startswith("mp3"):
                    shown = True
                    yield Preview("audio/mpeg", b"".join(parts))
        content = b"".join(parts)
        if not content:
            raise ProviderError("ElevenLabs answered without any sound", kind="malformed")
        kind, content = finished(content, output_format)
        spent = number(headers.get("character-cost"))
        about = {"voice": voice, "request": headers.get("request-id", "")}
        yield Artifact(
            kind, content, f"{request.model}{ending(kind)}", {key: each for key, each in about.items() if each}
        )
        yield Usage(
            characters=len(request.prompt) if voice else 0,
            seconds=float(str(request.settings.get("duration") or 0)) if request.model == MUSIC.name else 0.0,
            credits=max(spent, 0.0),
            requests=1,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._clients.close()

    # -- within

    def _made(self, session: Session) -> AsyncElevenLabs:
        import httpx
        from elevenlabs.client import AsyncElevenLabs

        return AsyncElevenLabs(
            api_key=session.key.reveal(),
            base_url=session.base_url or API,
            httpx_client=bounded.client(httpx, "ElevenLabs", lambda: self.most_bytes),
        )

    @asynccontextmanager
    async def _client(self, session: Session) -> AsyncIterator[AsyncElevenLabs]:
        """Lend a client; what goes wrong with it is a `ProviderError`."""
        await loaded("elevenlabs.client", "elevenlabs.types")
        import httpx
        from elevenlabs.core.api_error import ApiError

        await self._clients.tidy()
        try:
            with self._clients.lend(session) as client:
                yield client
        except ApiError as error:
            raise _refusal(error, session) from None
        except httpx.TimeoutException:
            raise ProviderError("ElevenLabs did not answer in time", kind="timeout") from None
        except (httpx.HTTPError, httpx.StreamError) as error:
            if (found := bounded.found_in(error)) is not None:
                raise found from None
            said = hidden(" ".join(str(error).split())[:200], session.key)
            raise ProviderError(
                f"the connection to ElevenLabs broke: {said or type(error).__name__}", kind="unavailable"
            ) from None
        except ValueError as error:
            said = hidden(" ".join(str(error).split())[:200], session.key)
            raise ProviderError(f"ElevenLabs answered what cannot be read: {said}", kind="malformed") from None

    def _sound(
        self, client: AsyncElevenLabs, request: GenerationRequest, voice: str
    ) -> AbstractAsyncContextManager[Any]:
        """Return the answer that streams; nothing is sent before it is entered."""
        settings = dict(request.settings)
        settings.pop("voice", None)
        options = _options(request.timeout)
        asked: Any
        if request.model == EFFECTS.name:
            duration = settings.pop("duration", None)
            if duration is not None:
                settings["duration_seconds"] = duration
            asked = client.text_to_sound_effects.with_raw_response.convert
            return asked(text=request.prompt, model_id=request.model, request_options=options, **settings)  # type: ignore[no-any-return]
        seed = request.seed % 2**32
        if request.model == MUSIC.name:
            length = round(float(str(settings.pop("duration"))) * 1000)
            asked = client.music.with_raw_response.stream
            return asked(  # type: ignore[no-any-return]
                prompt=request.prompt,
                model_id=request.model,
                music_length_ms=length,
                force_instrumental=settings.pop("instrumental"),
                request_options=options,
                **settings,
            )
        own = {name: settings.pop(name) for name in VOICE_SETTINGS if name in settings}
        if own:
            from elevenlabs.types import VoiceSettings

            settings["voice_settings"] = VoiceSettings(**own)  # type: ignore[arg-type,assignment]  # checked by the schema
        asked = client.text_to_speech.with_raw_response.stream
        return asked(voice, text=request.prompt, model_id=request.model, seed=seed, request_options=options, **settings)  # type: ignore[no-any-return]

    async def _transcribed(self, request: GenerationRequest) -> AsyncIterator[Step]:
        if len(request.sources) != 1:
            raise ProviderError(f"elevenlabs/{request.model} takes one source of sound", kind="invalid")
        content = request.sources[0]
        kind = media_type(content, request.source_types[0] if request.source_types else sniffed(content))
        values: dict[str, Any] = {**request.settings, "seed": request.seed % 2**31}
        async with self._client(request.session) as client:
            answer = await client.speech_to_text.with_raw_response.convert(
                model_id=request.model,
                file=(f"source{ending(kind)}", content, kind),
                request_options=_options(request.timeout),
                **values,
            )
        if (limits := _limits(answer.headers)) is not None:
            yield limits
        text, seconds = getattr(answer.data, "text", None), getattr(answer.data, "audio_duration_secs", None)
        if not isinstance(text, str):
            raise ProviderError("ElevenLabs answered without a transcript", kind="malformed")
        if text:
            yield TextDelta(text)
        spent = max(number(answer.headers.get("character-cost")), 0.0)
        yield Usage(seconds=float(seconds) if isinstance(seconds, int | float) else 0.0, credits=spent, requests=1)
        yield Finish("stop")

    async def _voice(self, session: Session, wanted: str) -> str:
        if _VOICE_ID.fullmatch(wanted):
            return wanted
        voices = await self._voices(session)
        for name, voice in voices.items():
            if wanted.casefold() in (name.casefold(), name.partition(" - ")[0].casefold()):
                return voice
        raise ProviderError(
            f"the account has no voice {wanted!r:.60}: it has {', '.join(sorted(voices))[:600] or 'none'}",
            kind="invalid",
        )

    async def _voices(self, session: Session) -> dict[str, str]:
        """Return the ids of the account's voices by name, the first hundred."""
        async with self._client(session) as client:
            found: Any = await client.voices.search(page_size=100, request_options=_options(15.0))
        voices = getattr(found, "voices", None)
        if not isinstance(voices, list):
            raise ProviderError("ElevenLabs told no list of voices", kind="malformed")
        return {str(each.name): str(each.voice_id) for each in voices if getattr(each, "name", None)}


def _with_voices(model: Model, about: str) -> Model:
    properties = {**model.settings["properties"]}
    properties["voice"] = {**properties["voice"], "description": about}
    return dataclasses.replace(model, settings={**model.settings, "properties": properties})


async def _ended(client: AsyncElevenLabs) -> None:
    await client._client_wrapper.httpx_client.httpx_client.aclose()  # noqa: SLF001 — it has no close of its own


def _options(seconds: float) -> Any:
    """Return the options of one request: its timeout, and no retries, for each would be billed again."""
    return {"timeout_in_seconds": max(seconds, 0.05), "max_retries": 0}


def _limits(headers: Mapping[str, str]) -> Limits | None:
    """Return how many requests run at once, as the headers tell it (docs: models, concurrency and priority)."""
    most, now = number(headers.get("maximum-concurrent-requests")), number(headers.get("current-concurrent-requests"))
    if most < 0:
        return None
    return Limits((Limit("concurrency", 0.0, most, max(most - now, 0.0) if now >= 0 else -1.0),))


def _refusal(error: Any, session: Session) -> ProviderError:
    """Return the error of an answer: `detail` with `status` and `message`, or a list of what is wrong."""
    if (found := bounded.found_in(error)) is not None:
        return found
    status = int(error.status_code or 0)
    headers = {str(name).lower(): str(value) for name, value in (error.headers or {}).items()}
    body = error.body if isinstance(error.body, dict) else {}
    detail = body.get("detail")
    code, text = "", ""
    if isinstance(detail, dict):
        code, text = str(detail.get("status") or detail.get("code") or ""), str(detail.get("message") or "")
    elif isinstance(detail, list):
        wrong = [each for each in detail if isinstance(each, dict)]
        text = "; ".join(f"{'.'.join(map(str, each.get('loc', ())))}: {each.get('msg', '')}" for each in wrong)
    elif isinstance(detail, str):
        text = detail
    if status < 400:
        return ProviderError("ElevenLabs answered what cannot be read", kind="malformed")
    text = hidden(" ".join(text.split())[:300] or "it says nothing more", session.key)
    spent = code in _SPENT
    if any(word in code for word in _FILTERED):
        kind = "filtered"
    elif spent:
        kind = "limit"
    else:
        kind = _CODES.get(code) or _KINDS.get(status, "unavailable" if status >= 500 else "failed")
    limits = _limits(headers)
    if limits is None and code in ("too_many_concurrent_requests", "concurrent_limit_exceeded"):
        limits = Limits((Limit("concurrency", 0.0, remaining=0.0),))
    return ProviderError(
        f"ElevenLabs refused with status {status}{f' ({code})' if code else ''}: {text}",
        kind=kind,
        terminal=spent or status == 402,
        retry_after=retry_after(headers),
        limits=limits,
    )
