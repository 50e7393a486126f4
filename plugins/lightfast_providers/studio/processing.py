"""The room where sounds are worked on: equalizer, dynamics, time, pitch, room."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

from lightfast.sdk import Artifact, GenerationRequest, Model, Progress, ProviderError, Step, Workbench
from lightfast_providers.studio.common import GENERATOR, file_name, number_rule

EFFECTS: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "low_db": number_rule(-24, 24, 0.0, "A shelf below 200 Hz, in dB."),
        "mid_db": number_rule(-24, 24, 0.0, "A bell around 1 kHz, in dB."),
        "high_db": number_rule(-24, 24, 0.0, "A shelf above 4 kHz, in dB."),
        "highpass": number_rule(0, 20_000, 0.0, "What is below is taken away, in Hz; 0: nothing."),
        "lowpass": number_rule(0, 20_000, 0.0, "What is above is taken away, in Hz; 0: nothing."),
        "threshold_db": number_rule(-60, 0, 0.0, "Above this level the sound is compressed, in dB; 0: it is not."),
        "ratio": number_rule(1, 20, 4.0, "By how much it is compressed."),
        "attack_ms": number_rule(0.1, 1000, 10.0, "How fast the compressor takes hold, in milliseconds."),
        "release_ms": number_rule(1, 5000, 150.0, "How fast it lets go, in milliseconds."),
        "stretch": number_rule(0.25, 4, 1.0, "How many times as long it lasts, at the same pitch."),
        "pitch": number_rule(-24, 24, 0.0, "By how many half tones it is shifted, at the same length."),
        "reverb": number_rule(0, 1, 0.0, "How much of a room is heard."),
        "room_s": number_rule(0.2, 8, 1.5, "How long the room rings, in seconds to -60 dB."),
        "gain_db": number_rule(-60, 24, 0.0, "Louder or softer, in dB."),
        "fade_in": number_rule(0, 60, 0.0, "In seconds."),
        "fade_out": number_rule(0, 60, 0.0, "In seconds."),
        "reverse": {"type": "boolean", "default": False, "description": "Played backwards."},
        "normalize": {"type": "boolean", "default": False, "description": "Brought to 1 dB below full scale."},
    },
}

WORDS: Mapping[str, Mapping[str, Any]] = {
    "brighter": {"high_db": 6.0},
    "darker": {"high_db": -9.0},
    "warmer": {"low_db": 4.0, "high_db": -3.0},
    "thinner": {"low_db": -9.0},
    "deeper": {"pitch": -5.0},
    "higher": {"pitch": 5.0},
    "lower": {"pitch": -5.0},
    "slower": {"stretch": 1.25},
    "faster": {"stretch": 0.8},
    "louder": {"gain_db": 6.0},
    "softer": {"gain_db": -6.0},
    "quieter": {"gain_db": -6.0},
    "room": {"reverb": 0.3, "room_s": 0.8},
    "hall": {"reverb": 0.5, "room_s": 2.5},
    "cathedral": {"reverb": 0.7, "room_s": 5.0},
    "punchier": {"threshold_db": -24.0, "ratio": 4.0},
    "compressed": {"threshold_db": -24.0, "ratio": 4.0},
    "telephone": {"highpass": 400.0, "lowpass": 3200.0},
    "radio": {"highpass": 300.0, "lowpass": 4500.0},
    "backwards": {"reverse": True},
    "reversed": {"reverse": True},
}
"""Words of a prompt, and what they stand for where a setting is left as it is."""

MODELS = (
    Model(
        "effects",
        outputs=("audio",),
        inputs=("text", "audio"),
        description=(
            "Works on a sound (procedural, no learned model): equalizer, compressor, time stretch, pitch shift, reverb,"
            " gain, fades. Takes settings, and words such as brighter, slower, deeper, hall, telephone."
        ),
        settings=EFFECTS,
        procedural=True,
        capabilities=("edit",),
        free=True,
        needs_sources=1,
    ),
)


def read_words(prompt: str, settings: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return *settings* with what the words of *prompt* stand for, and the words that were understood."""
    found = dict(settings)
    usual = {name: rule["default"] for name, rule in EFFECTS["properties"].items()}
    words = [word for word in re.findall(r"[a-z]+", prompt.lower()) if word in WORDS]
    for word in words:
        meant = WORDS[word].items()
        found |= {name: value for name, value in meant if settings[name] == usual[name]}  # what was set stays
    return found, words


async def make(request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
    """Work on the one source; all work is done on the bench."""
    if len(request.sources) != 1:
        raise ProviderError(
            f"effects need one sound to work on, {len(request.sources)} were given: name one as a source",
            kind="invalid",
        )
    from lightfast_providers.studio import effects
    from lightfast_providers.studio.hearing import read
    from lightfast_providers.studio.sound import RATE

    settings, words = read_words(request.prompt, request.settings)
    asked = [name for name, rule in EFFECTS["properties"].items() if settings[name] != rule["default"]]
    if not asked:
        raise ProviderError(f"nothing was asked for: use settings, or of the words {', '.join(WORDS)}", kind="invalid")
    yield Progress(0.0, "reading the sound")
    channels = await bench.run(read, request.sources[0])
    seconds = channels.shape[1] / RATE
    found = effects.stages(settings)
    for index, stage in enumerate(found):
        yield Progress(0.2 + 0.5 * index / len(found), stage.name)
        channels = await bench.run(effects.run, channels, stage)
    if settings["reverb"] > 0:
        yield Progress(0.75, "adding the room")
        channels = await bench.run(effects.echo_of_room, channels, settings["room_s"], settings["reverb"])
    yield Progress(0.9, "writing the WAV")
    channels = await bench.run(effects.finished, channels, settings)
    said = f"{GENERATOR}; " + ", ".join(f"{name} {settings[name]}" for name in asked)
    content = await bench.run(effects.wav, channels, said)
    told = {"generator": GENERATOR, "words": words, "seconds_before": round(seconds, 3)}
    told |= {name: settings[name] for name in asked}
    yield Artifact("audio/wav", content, f"{file_name(request)}.wav", told)
