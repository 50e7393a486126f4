"""The room where sound is played from words."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from random import Random
from typing import TYPE_CHECKING, Any

from lightfast.sdk import Artifact, GenerationRequest, Model, Progress, ProviderError, Step, Workbench
from lightfast_providers.studio.common import GENERATOR, file_name, real, whole
from lightfast_providers.studio.music import KEYS, SCALES

if TYPE_CHECKING:
    from lightfast_providers.studio.voices import Band

AUDIO: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "duration": {
            "type": "number",
            "minimum": 0.5,
            "maximum": 60.0,
            "default": 8.0,
            "description": "In seconds; left out where bars are given.",
        },
        "bars": {
            "type": "integer",
            "minimum": 0,
            "maximum": 32,
            "default": 0,
            "description": "The length in bars of four beats, for a loop without a seam; 0 means by duration.",
        },
        "tempo": {
            "type": "number",
            "minimum": 0.0,
            "maximum": 220.0,
            "default": 0.0,
            "description": "In beats a minute, 40 to 220; 0 goes by the prompt.",
        },
        "key": {"type": "string", "enum": ["auto", *KEYS], "default": "auto", "description": "The root note."},
        "scale": {
            "type": "string",
            "enum": ["auto", *SCALES],
            "default": "auto",
            "description": "The scale; auto goes by the mood of the prompt.",
        },
    },
}


MODELS = (
    Model(
        "audio",
        outputs=("audio",),
        description=(
            "Plays a short stereo WAV by rule (procedural, no learned model): pad, pluck, bass, drone,"
            " arpeggio, bells, organ, lead, noise and drums; the same seed gives the same sound."
        ),
        settings=AUDIO,
        procedural=True,
        capabilities=("seed",),
        free=True,
    ),
)


async def make(request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
    """Play what the words say; all work is done on the bench."""
    from lightfast_providers.studio.music import plan
    from lightfast_providers.studio.voices import Band

    settings = request.settings
    tempo = checked_tempo(real(settings, "tempo"))
    chance = chance_of(request)
    score = plan(request.prompt, chance, key=str(settings["key"]), scale=str(settings["scale"]), tempo=tempo)
    bars = whole(settings, "bars")
    seconds = bars * 240 / score.tempo if bars else real(settings, "duration")
    check_length(bars, score.tempo, seconds)
    band = await bench.run(lambda: Band(score, seconds, chance, loop=bool(bars)))
    async for progress in perform(band, bench):
        yield progress
    yield Progress(0.94, "writing the WAV")
    yield await recorded(band, request, bench)


def chance_of(request: GenerationRequest) -> Random:
    """Return what decides where the words do not: the same for the same seed and words."""
    return Random(f"{request.seed}/{' '.join(request.prompt.lower().split())}")  # noqa: S311 — chance, not secrecy


def checked_tempo(tempo: float) -> float:
    """Return *tempo*, 0 for that of the prompt; raise `ProviderError` below 40."""
    if 0 < tempo < 40:
        raise ProviderError(
            f"the tempo is {tempo:g}: use 40 to 220 beats a minute, or 0 for the prompt's", kind="invalid"
        )
    return tempo


def check_length(bars: int, tempo: float, seconds: float) -> None:
    """Raise `ProviderError` for what is too long to be played here."""
    if seconds > 120:
        raise ProviderError(
            f"{bars} bars at {tempo:g} beats a minute are {seconds:.0f} s: the most is 120", kind="invalid"
        )


async def perform(band: Band, bench: Workbench) -> AsyncIterator[Progress]:
    """Play all voices of *band*, and the room."""
    from lightfast_providers.studio.voices import PLAYERS

    score = band.plan
    yield Progress(0.0, f"{score.key}, {score.tempo:g} beats a minute: {', '.join(score.voices)}")
    ordered = [voice for voice in PLAYERS if voice in score.voices]
    for index, voice in enumerate(ordered):
        yield Progress(0.05 + 0.7 * index / len(ordered), f"playing the {voice}")
        await bench.run(band.play, voice)
    yield Progress(0.78, "adding the room")
    await bench.run(band.room)


async def recorded(band: Band, request: GenerationRequest, bench: Workbench) -> Artifact:
    """Return what *band* has played as a WAV file."""
    score = band.plan
    said = f"{GENERATOR}; {score.key}, {score.tempo:g} bpm, seed {request.seed}: {request.prompt}"
    await bench.run(band.finish)
    return Artifact("audio/wav", await bench.run(band.mix.wav, said), f"{file_name(request)}.wav", played(band))


def played(band: Band) -> dict[str, Any]:
    """Return what there is to say about what was played."""
    return {
        "generator": GENERATOR,
        "played_key": band.plan.key,
        "played_tempo": band.plan.tempo,
        "voices": list(band.plan.voices),
        "seconds": round(band.seconds, 3),
        "loops": band.loop,
    }
