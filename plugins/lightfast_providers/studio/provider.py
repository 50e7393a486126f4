"""The provider itself: two models, and the steps of their work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from random import Random
from typing import Any

from lightfast.sdk import (
    Artifact,
    GenerationRequest,
    MissingDependency,
    Model,
    Preview,
    Progress,
    Provider,
    ProviderError,
    Step,
    Usage,
    Workbench,
)
from lightfast_providers.studio.music import KEYS, SCALES

GENERATOR = "studio (procedural, no learned model)"

IMAGE: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "width": {"type": "integer", "minimum": 64, "maximum": 2048, "default": 1024, "description": "In pixels."},
        "height": {"type": "integer", "minimum": 64, "maximum": 2048, "default": 1024, "description": "In pixels."},
        "style": {
            "type": "string",
            "enum": ["auto", "gradient", "geometric", "field", "stripes", "radial"],
            "default": "auto",
            "description": "How the ground is laid; auto goes by the words of the prompt.",
        },
        "grain": {
            "type": "number",
            "minimum": 0.0,
            "maximum": 1.0,
            "default": 0.4,
            "description": "How much film grain lies over it.",
        },
    },
}

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
            "description": "The length in bars of four beats, for a loop; 0 means by duration.",
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


class Studio(Provider):
    """Makes pictures and sounds by rule."""

    name = "studio"
    description = (
        "Makes pictures and short sounds by rule, on this machine: procedural, with no learned model,"
        " no key and no network. It understands words for colors, moods, shapes, landscapes and instruments."
    )
    local = True

    def models(self) -> Sequence[Model]:
        """Return the two models."""
        return (
            Model(
                "image",
                outputs=("image",),
                description=(
                    "Paints a PNG by rule (procedural, no learned model): palettes from color and mood words,"
                    " landscapes and shapes from nouns, five styles; the same seed gives the same picture."
                ),
                settings=IMAGE,
                procedural=True,
            ),
            Model(
                "audio",
                outputs=("audio",),
                description=(
                    "Plays a short stereo WAV by rule (procedural, no learned model): pad, pluck, bass, drone,"
                    " arpeggio, bells, organ, lead, noise and drums; the same seed gives the same sound."
                ),
                settings=AUDIO,
                procedural=True,
            ),
        )

    async def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        """Paint or play; all work is done on the bench."""
        steps = self._paint(request, bench) if request.model == "image" else self._play(request, bench)
        async for step in steps:
            yield step
        yield Usage()

    async def _paint(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        yield Progress(0.0, "reading the prompt")
        try:
            from lightfast_providers.studio.picture import Order, Painter
        except ModuleNotFoundError as error:
            if error.name != "PIL":
                raise
            raise MissingDependency("Pillow", "pip install pillow") from None
        settings = request.settings
        order = Order(
            request.prompt,
            request.seed,
            _whole(settings, "width"),
            _whole(settings, "height"),
            str(settings["style"]),
            _real(settings, "grain"),
        )
        painter = await bench.run(Painter, order)
        yield Progress(0.05, f"laying the ground ({painter.style})")
        await bench.run(painter.ground)
        yield Preview("image/jpeg", await bench.run(painter.preview))
        yield Progress(0.4, "drawing " + (", ".join(painter.reading.subjects) or "nothing more"))
        await bench.run(painter.subjects)
        yield Preview("image/jpeg", await bench.run(painter.preview))
        yield Progress(0.75, "finishing")
        await bench.run(painter.finish)
        yield Progress(0.85, "writing the PNG")
        content = await bench.run(painter.png)
        yield Artifact(
            "image/png", content, f"{_file_name(request)}.png", {"generator": GENERATOR, "painted_style": painter.style}
        )

    async def _play(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        from lightfast_providers.studio.music import plan
        from lightfast_providers.studio.voices import PLAYERS, Band

        settings = request.settings
        tempo = _real(settings, "tempo")
        if 0 < tempo < 40:
            raise ProviderError(f"the tempo is {tempo:g}: use 40 to 220 beats a minute, or 0 for the prompt's")
        chance = Random(f"{request.seed}/{' '.join(request.prompt.lower().split())}")  # noqa: S311 — chance, not secrecy
        score = plan(request.prompt, chance, key=str(settings["key"]), scale=str(settings["scale"]), tempo=tempo)
        bars = _whole(settings, "bars")
        seconds = bars * 240 / score.tempo if bars else _real(settings, "duration")
        if seconds > 120:
            raise ProviderError(f"{bars} bars at {score.tempo:g} beats a minute are {seconds:.0f} s: the most is 120")
        yield Progress(0.0, f"{score.key}, {score.tempo:g} beats a minute: {', '.join(score.voices)}")
        band = await bench.run(Band, score, seconds, chance)
        ordered = [voice for voice in PLAYERS if voice in score.voices]
        for index, voice in enumerate(ordered):
            yield Progress(0.05 + 0.7 * index / len(ordered), f"playing the {voice}")
            await bench.run(band.play, voice)
        yield Progress(0.78, "adding the room")
        await bench.run(band.room)
        yield Progress(0.94, "writing the WAV")
        said = f"{GENERATOR}; {score.key}, {score.tempo:g} bpm, seed {request.seed}: {request.prompt}"
        await bench.run(band.finish)
        content = await bench.run(band.mix.wav, said)
        yield Artifact(
            "audio/wav",
            content,
            f"{_file_name(request)}.wav",
            {
                "generator": GENERATOR,
                "played_key": score.key,
                "played_tempo": score.tempo,
                "voices": list(score.voices),
                "seconds": round(seconds, 3),
            },
        )


def _whole(settings: Mapping[str, Any], name: str) -> int:
    return int(settings[name])


def _real(settings: Mapping[str, Any], name: str) -> float:
    return float(settings[name])


def _file_name(request: GenerationRequest) -> str:
    words = [
        word for word in "".join(c if c.isalnum() else " " for c in request.prompt.lower()).split() if word.isascii()
    ]
    return "-".join(words[:6])[:48] or "untitled"
