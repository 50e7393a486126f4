"""What is played: the words of a prompt for sound, a key, chords, and who plays which notes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

SCALES: dict[str, tuple[int, ...]] = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "pentatonic": (0, 2, 4, 7, 9),
}

KEYS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")

VOICES: dict[str, str] = {
    "pad": "pad", "pads": "pad", "strings": "pad", "choir": "pad", "ambient": "pad", "atmosphere": "pad",
    "pluck": "pluck", "plucked": "pluck", "guitar": "pluck", "harp": "pluck", "string": "pluck", "koto": "pluck",
    "bass": "bass", "sub": "bass", "drone": "drone", "hum": "drone", "arp": "arpeggio",
    "arpeggio": "arpeggio", "arpeggiated": "arpeggio", "sequence": "arpeggio", "synth": "arpeggio",
    "drum": "drums", "drums": "drums", "beat": "drums", "beats": "drums", "percussion": "drums",
    "rhythm": "drums", "techno": "drums", "house": "drums", "loop": "drums", "bell": "bells", "bells": "bells",
    "chime": "bells", "chimes": "bells", "glass": "bells", "organ": "organ", "lead": "lead", "melody": "lead",
    "flute": "lead", "whistle": "lead", "noise": "noise", "wind": "noise", "sea": "noise", "ocean": "noise",
    "rain": "noise", "wave": "noise", "waves": "noise",
}  # fmt: skip
"""Words that name a voice."""

WAVES: dict[str, str] = {
    "sine": "sine", "soft": "sine", "pure": "sine", "triangle": "triangle", "mellow": "triangle",
    "warm": "triangle", "saw": "saw", "sawtooth": "saw", "bright": "saw", "sharp": "saw", "square": "square",
    "chiptune": "square", "8bit": "square", "retro": "square", "hollow": "square",
}  # fmt: skip
"""Words that name a wave."""

MODES: dict[str, str] = {
    "happy": "major", "bright": "major", "major": "major", "joyful": "major", "sunny": "major",
    "sad": "minor", "minor": "minor", "dark": "phrygian", "gloomy": "phrygian", "tense": "phrygian",
    "melancholy": "minor", "dreamy": "lydian", "magic": "lydian", "space": "lydian", "cool": "dorian",
    "jazzy": "dorian", "calm": "pentatonic", "zen": "pentatonic", "peaceful": "pentatonic",
}  # fmt: skip
"""Words that name a scale."""

PACES: dict[str, float] = {
    "slow": 68, "calm": 72, "ambient": 66, "peaceful": 70, "sad": 72, "gentle": 76, "fast": 142,
    "energetic": 136, "quick": 138, "techno": 130, "house": 124, "chiptune": 140, "dance": 124,
}  # fmt: skip
"""Words that name a tempo, in beats a minute."""

CHORDS: dict[str, tuple[tuple[int, ...], ...]] = {
    "major": ((0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 0, 4)),
    "minor": ((0, 5, 2, 6), (0, 3, 5, 4), (0, 6, 5, 6)),
    "dorian": ((0, 3, 0, 3), (0, 3, 6, 0)),
    "lydian": ((0, 1, 0, 1), (0, 1, 4, 0)),
    "phrygian": ((0, 1, 0, 1), (0, 1, 6, 0)),
    "pentatonic": ((0, 3, 2, 4), (0, 2, 3, 0)),
}

_WORD = re.compile(r"[a-z0-9#]+")
_KEY = re.compile(r"\b(?:in|key of) ([A-Ga-g])([#b]?)\b(?: (major|minor))?")
_TEMPO = re.compile(r"\b(\d{2,3}) ?bpm\b")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be played: *root* in half tones above C, *tempo* in beats a minute."""

    voices: tuple[str, ...]
    wave: str
    scale: str
    root: int
    tempo: float
    chords: tuple[int, ...]

    @property
    def key(self) -> str:
        """The key, for a person."""
        return f"{KEYS[self.root]} {self.scale}"

    def pitch(self, degree: int, octave: int) -> float:
        """Return the frequency in hertz of a degree of the scale (0 is the root), in an octave (4 has A = 440)."""
        steps = SCALES[self.scale]
        over, inside = divmod(degree, len(steps))
        half_tones = self.root + steps[inside] + 12 * (octave + over) - 57
        return float(440 * 2 ** (half_tones / 12))

    def chord(self, bar: int) -> tuple[int, int, int]:
        """Return the degrees of the chord of a bar."""
        start = self.chords[bar % len(self.chords)]
        return start, start + 2, start + 4


def plan(
    prompt: str,
    chance: Random,
    *,
    key: str = "auto",
    scale: str = "auto",
    tempo: float = 0.0,
    voices: tuple[str, ...] = (),
    usual: tuple[str, float, str] = ("", 0.0, ""),
) -> Plan:
    """Read a prompt; settings win over words, and chance decides what neither says.

    *voices* play besides those of the words; *usual* is the scale, the tempo and the wave where neither settings nor
    words name one.
    """
    words = _WORD.findall(prompt.lower())
    named_voices = [VOICES[word] for word in words if word in VOICES]
    voices = tuple(dict.fromkeys((*voices, *named_voices)))
    if not voices:
        voices = chance.choice((("pad", "pluck"), ("pad", "bells"), ("arpeggio", "bass"), ("pluck", "bass", "pad")))
    named = _KEY.search(prompt)
    mode = scale if scale != "auto" else next((MODES[word] for word in words if word in MODES), "")
    if not mode and named and named.group(3):
        mode = named.group(3)
    mode = mode or usual[0] or chance.choice(("major", "minor", "dorian", "lydian", "pentatonic"))
    root = KEYS.index(key) if key != "auto" else _root(named, chance)
    said = _TEMPO.search(prompt.lower())
    pace = tempo or (float(said.group(1)) if said else next((PACES[word] for word in words if word in PACES), 0.0))
    pace = min(220.0, max(40.0, pace or usual[1] or chance.choice((84.0, 92.0, 100.0, 108.0))))
    wave = next((WAVES[word] for word in words if word in WAVES), "") or usual[2] or chance.choice(("triangle", "saw"))
    return Plan(voices, wave, mode, root, pace, chance.choice(CHORDS[mode]))


def _root(named: re.Match[str] | None, chance: Random) -> int:
    if named is None:
        return chance.choice((0, 2, 4, 5, 7, 9))
    shift = {"#": 1, "b": -1}.get(named.group(2), 0)
    return (KEYS.index(named.group(1).upper()) + shift) % 12
