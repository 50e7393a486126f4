"""The room where music is composed: a loop as WAV, and its score as MIDI."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from lightfast.sdk import Artifact, GenerationRequest, Model, Progress, Step, Workbench
from lightfast_providers.studio.common import file_name, real, whole
from lightfast_providers.studio.music import KEYS, SCALES
from lightfast_providers.studio.playing import chance_of, check_length, checked_tempo, perform, played, recorded


@dataclass(frozen=True, slots=True)
class Style:
    """Who plays, how fast (beats a minute), in which scale and with which wave, where the prompt does not say."""

    voices: tuple[str, ...]
    tempo: float
    scale: str
    wave: str


STYLES: Mapping[str, Style] = {
    "ambient": Style(("pad", "bells", "drone"), 66, "lydian", "sine"),
    "techno": Style(("drums", "bass", "arpeggio"), 130, "phrygian", "saw"),
    "house": Style(("drums", "bass", "organ"), 124, "dorian", "saw"),
    "downtempo": Style(("drums", "bass", "pad", "pluck"), 84, "minor", "triangle"),
    "chiptune": Style(("drums", "bass", "lead", "arpeggio"), 140, "major", "square"),
    "folk": Style(("pluck", "bass", "lead"), 96, "major", "triangle"),
    "cinematic": Style(("pad", "drone", "bells", "bass"), 76, "minor", "saw"),
    "jazz": Style(("organ", "bass", "lead"), 108, "dorian", "sine"),
}

MUSIC: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "style": {
            "type": "string",
            "enum": ["auto", *STYLES],
            "default": "auto",
            "description": "Who plays and how; auto goes by the words of the prompt.",
        },
        "bars": {
            "type": "integer",
            "minimum": 1,
            "maximum": 32,
            "default": 8,
            "description": "The length in bars of four beats.",
        },
        "tempo": {
            "type": "number",
            "minimum": 0.0,
            "maximum": 220.0,
            "default": 0.0,
            "description": "In beats a minute, 40 to 220; 0 goes by the prompt and the style.",
        },
        "key": {"type": "string", "enum": ["auto", *KEYS], "default": "auto", "description": "The root note."},
        "scale": {
            "type": "string",
            "enum": ["auto", *SCALES],
            "default": "auto",
            "description": "The scale; auto goes by the mood of the prompt and the style.",
        },
    },
}

MODELS = (
    Model(
        "music",
        outputs=("audio",),
        description=(
            "Composes by rule (procedural, no learned model): tempo, key, bars and style make a stereo WAV that loops"
            " without a seam, and its score as a MIDI file; the same seed gives the same piece."
        ),
        settings=MUSIC,
        procedural=True,
        capabilities=("seed",),
        free=True,
        tags=("music",),
    ),
)


async def make(request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
    """Compose and play; all work is done on the bench."""
    from lightfast_providers.studio.score import midi
    from lightfast_providers.studio.voices import Band

    settings = request.settings
    words = request.prompt.lower().split()
    named = str(settings["style"])
    if named == "auto":
        named = next((name for name in STYLES if name in words), "")
    chance = chance_of(request)
    score = plan_of(request, STYLES.get(named), chance, checked_tempo(real(settings, "tempo")))
    bars = whole(settings, "bars")
    seconds = bars * 240 / score.tempo
    check_length(bars, score.tempo, seconds)
    band = await bench.run(lambda: Band(score, seconds, chance, loop=True))
    async for progress in perform(band, bench):
        yield progress
    yield Progress(0.9, "writing the score")
    minor = SCALES[score.scale][2] == 3
    title = request.prompt.strip() or "untitled"
    content = await bench.run(
        lambda: midi(band.notes, score.tempo, bars, title=title, minor=minor, root=KEYS[score.root])
    )
    yield Progress(0.94, "writing the WAV")
    yield await recorded(band, request, bench)
    yield Artifact("audio/midi", content, f"{file_name(request)}.mid", {**played(band), "bars": bars})


def plan_of(request: GenerationRequest, style: Style | None, chance: Any, tempo: float) -> Any:
    """Return what is to be played: settings win over words, words over the style, and chance decides the rest."""
    from lightfast_providers.studio.music import plan

    settings = request.settings
    prompt = request.prompt
    if style is None:
        return plan(prompt, chance, key=str(settings["key"]), scale=str(settings["scale"]), tempo=tempo)
    return plan(
        prompt,
        chance,
        key=str(settings["key"]),
        scale=str(settings["scale"]),
        tempo=tempo,
        voices=style.voices,
        usual=(style.scale, style.tempo, style.wave),
    )
