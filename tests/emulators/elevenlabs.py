"""ElevenLabs: speech, effects and music as streams of sound, transcripts, voices; as its SDK 2 reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import web
from tests.emulators.base import Call, Emulator, call_of

SOUND = b"ID3\x04" + bytes(range(256)) * 400
VOICES = {"George - warm": "JBFqnCBsd6RMkjVDRZzb", "Rachel": "21m00Tcm4TlvDq8ikWAM"}


class ElevenLabs(Emulator):
    """*sound* is what is said, *at_once* how many requests the plan allows."""

    service = "elevenlabs"
    offers = frozenset(
        (
            *("401", "403", "404", "429", "429-terminal", "busy", "500", "503", "filtered", "context", "invalid"),
            "no-voice",
        )
    )

    def __init__(self) -> None:
        super().__init__()
        self.sound = SOUND
        self.at_once = 5
        self.text = "The sea is wide."

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the endpoints that are used."""
        return [
            web.post("/v1/text-to-speech/{voice}/stream", self.speak),
            web.post("/v1/sound-generation", self.speak),
            web.post("/v1/music/stream", self.speak),
            web.post("/v1/speech-to-text", self.write),
            web.get("/v2/voices", self.voices),
            web.get("/v1/user/subscription", self.subscription),
        ]

    def authorized(self, call: Call) -> bool:
        """Look for the key."""
        return call.headers.get("xi-api-key") == self.key

    def refusal(self, fault: str, call: Call) -> web.Response | None:
        """Answer as ElevenLabs does."""
        words = {
            "401": (401, "invalid_api_key", f"Invalid API key {self.key}"),
            "403": (403, "model_access_denied", "Your plan does not include this model."),
            "404": (404, "model_not_found", "A model with this id does not exist."),
            "429": (429, "too_many_concurrent_requests", "Too many concurrent requests. Your plan allows 5."),
            "429-terminal": (401, "quota_exceeded", "This request exceeds your quota of 10000. You have 12 credits remaining."),
            "busy": (429, "system_busy", "The system is busy."),
            "500": (500, "internal_error", "Something went wrong."),
            "503": (503, "service_unavailable", "Try again later."),
            "filtered": (400, "content_against_policy", "This text is against our policies."),
            "context": (400, "text_too_long", "The text is longer than the model takes."),
            "no-voice": (404, "voice_not_found", "A voice with this id was not found."),
        }  # fmt: skip
        if fault == "invalid":
            detail: Any = [{"loc": ["body", "voice_settings", "speed"], "msg": "too fast", "type": "value_error"}]
            return self.failure(422, {"detail": detail})
        status, code, message = words[fault]
        headers = {"retry-after": f"{self.retry_after:g}"} if fault == "429" and self.retry_after >= 0 else {}
        return self.failure(status, {"detail": {"status": code, "message": message}}, headers)

    def _headers(self, cost: int) -> dict[str, str]:
        return {
            "character-cost": str(cost), "request-id": "r-1", "current-concurrent-requests": "2",
            "maximum-concurrent-requests": str(self.at_once),
        }  # fmt: skip

    async def speak(self, request: web.Request) -> Any:
        """Send sound, in pieces."""
        call = call_of(request)
        kind = "audio/mpeg" if call.query["output_format"].startswith("mp3") else "application/octet-stream"
        text = call.json.get("text") or call.json.get("prompt") or ""
        return self.content(request, self.sound, kind, headers=self._headers(len(text)))

    async def write(self, request: web.Request) -> Any:
        """Write down what is said."""
        assert call_of(request).form["file"][0][2], "no sound"
        words = [{"text": "The", "start": 0.1, "end": 0.3, "type": "word", "logprob": -0.1}]
        told = {
            "language_code": "eng", "language_probability": 0.98, "text": self.text, "words": words,
            "audio_duration_secs": 12.5, "transcription_id": "t-1",
        }  # fmt: skip
        return self.answer(request, told, headers=self._headers(30))

    async def voices(self, request: web.Request) -> Any:
        """Tell the voices."""
        voices = [{"voice_id": voice, "name": name, "category": "premade"} for name, voice in VOICES.items()]
        return self.answer(request, {"voices": voices, "has_more": False, "total_count": 2, "next_page_token": None})

    async def subscription(self, request: web.Request) -> Any:
        """Tell the plan."""
        return self.answer(
            request, {"tier": "creator", "character_count": 1200, "character_limit": 100_000, "status": "active"}
        )
