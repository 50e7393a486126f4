"""The models of ElevenLabs with their settings, and its plans with their limits."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk import Model

TIERS: Mapping[str, Sequence[tuple[str, float, float]]] = {
    name: (("concurrency", 0.0, float(number)),)
    for name, number in (("free", 2), ("starter", 3), ("creator", 5), ("pro", 10), ("scale", 15), ("business", 15))
}
"""Requests at once by plan (help.elevenlabs.io, article 19571824571921, read 2026-11-20); there is none by minute."""
VOICE = "JBFqnCBsd6RMkjVDRZzb"
"""George, one of the voices that everybody has."""
_MP3 = ["mp3_44100_128", "mp3_22050_32", "mp3_44100_32", "mp3_44100_64", "mp3_44100_96", "mp3_44100_192"]
FORMATS = [
    *_MP3,
    *("pcm_16000", "pcm_22050", "pcm_24000", "pcm_44100", "pcm_48000"),
    *("opus_48000_32", "opus_48000_64", "opus_48000_96", "opus_48000_128", "opus_48000_192"),
]


def _schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


_FORMAT = {"type": "string", "enum": FORMATS, "default": FORMATS[0]}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_SPEECH = _schema(
    voice={"type": "string", "default": VOICE, "description": "The id or the name of a voice."},
    output_format=_FORMAT,
    stability=_SHARE,
    similarity_boost=_SHARE,
    style=_SHARE,
    use_speaker_boost={"type": "boolean"},
    speed={"type": "number", "minimum": 0.7, "maximum": 1.2},
    language_code={"type": "string", "description": "ISO 639-1, such as de."},
    previous_text={"type": "string", "description": "What was said before."},
    next_text={"type": "string", "description": "What is said after."},
)
VOICE_SETTINGS = ("stability", "similarity_boost", "style", "use_speaker_boost", "speed")


def _speech(name: str, text: str, tags: tuple[str, ...] = ()) -> Model:
    return Model(
        name, ("audio",), ("text",), text, _SPEECH, capabilities=("stream", "seed", "preview"), tags=("speech", *tags)
    )


SPEECH = (
    _speech("eleven_multilingual_v2", "Speech in 29 languages, steady over long texts.", ("best",)),
    _speech("eleven_v3", "Speech with feeling; takes notes such as [whispers]."),
    _speech("eleven_flash_v2_5", "Speech in 32 languages within 75 ms, at half the price.", ("fast", "cheap")),
)
EFFECTS = Model(
    "eleven_text_to_sound_v2",
    ("audio",),
    ("text",),
    "A sound effect from a text.",
    _schema(
        output_format=_FORMAT,
        duration={"type": "number", "minimum": 0.5, "maximum": 30, "description": "In seconds; left out: by the text."},
        prompt_influence={**_SHARE, "default": 0.3},
        loop={"type": "boolean", "default": False},
    ),
    capabilities=("stream",),
)
MUSIC = Model(
    "music_v1",
    ("audio",),
    ("text",),
    "Music from a text, up to ten minutes.",
    _schema(
        output_format=_FORMAT,
        duration={"type": "number", "minimum": 3, "maximum": 600, "default": 30, "description": "In seconds."},
        instrumental={"type": "boolean", "default": False, "description": "Whether nobody sings."},
    ),
    capabilities=("stream",),
    tags=("music",),
)
SCRIBE = tuple(
    Model(
        name,
        ("text",),
        ("audio", "video"),
        text,
        _schema(
            language_code={"type": "string", "description": "ISO 639; left out: heard from the sound."},
            diarize={"type": "boolean", "default": False, "description": "Whether it says who speaks."},
            tag_audio_events={
                "type": "boolean",
                "default": True,
                "description": "Whether it notes (laughter) and the like.",
            },
            num_speakers={"type": "integer", "minimum": 1, "maximum": 32},
        ),
        capabilities=("transcribe",),
        needs_sources=1,
    )
    for name, text in (
        ("scribe_v2", "Writes down what is said."),
        ("scribe_v1", "Writes down what is said; before v2."),
    )
)
MODELS = (*SPEECH, EFFECTS, MUSIC, *SCRIBE)


def finished(content: bytes, output_format: str) -> tuple[str, bytes]:
    """Return the media type and the file of what came in *output_format*; bare samples get a RIFF header.

    PCM is 16 bits, little-endian, one channel.
    """
    codec, _, rest = output_format.partition("_")
    if codec == "mp3":
        return "audio/mpeg", content
    if codec == "opus":
        return "audio/ogg", content
    rate = int(rest)
    shape = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, rate * 2, 2, 16)
    body = struct.pack("<4sI", b"data", len(content)) + content
    return "audio/wav", struct.pack("<4sI4s", b"RIFF", 4 + len(shape) + len(body), b"WAVE") + shape + body
