"""The words the studio understands in a prompt for a picture.

Color words name a color. Mood words name five colors, from dark to light, and the time of day
where they have one. Subject words name what is drawn, style words how the ground is laid.
Everything else is not understood, and only steers chance, as the seed does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

COLORS: dict[str, str] = {
    "red": "d92b2b", "crimson": "b3123b", "scarlet": "e5331f", "maroon": "6e1423", "coral": "f2715c",
    "orange": "f07f1e", "amber": "f5a623", "gold": "d9a520", "golden": "d9a520", "yellow": "f4d23c",
    "lemon": "f6e64f", "lime": "a3d936", "green": "3a9d4a", "emerald": "1f9e6e", "mint": "8fdcbb",
    "olive": "7d8036", "teal": "15807f", "turquoise": "2fc2b8", "cyan": "27b9d6", "aqua": "4fd1dd",
    "sky": "7ebfe8", "azure": "3d8fe0", "blue": "2a62d1", "navy": "152a5e", "indigo": "42319e",
    "violet": "7a3fc4", "purple": "7d2fa8", "lavender": "b7a3e6", "magenta": "d12a9f", "pink": "ee7fb0",
    "rose": "e0577f", "peach": "f7b48d", "brown": "7a4a2b", "copper": "b5683a", "bronze": "9a6a35",
    "beige": "dcc9a5", "cream": "f3e8cd", "ivory": "f5f0df", "white": "f2f3f5", "silver": "b4bcc6",
    "gray": "80868e", "grey": "80868e", "charcoal": "363c44", "black": "15171c",
}  # fmt: skip

MOODS: dict[str, str] = {
    "warm": "3b1220 8c2f2b d9602f f5a94d fde3b0",
    "cold": "0d1b34 1f4068 3f7ea6 8cc3db e6f3f8",
    "cool": "0d1b34 1f4068 3f7ea6 8cc3db e6f3f8",
    "sunset": "1d1339 5c1f5b c23b5e f5834d fdd58a",
    "dusk": "161a3a 3d2f66 86507f d98a86 f5cfae",
    "dawn": "22304f 5a6390 b08aa6 f0b6a2 fdeccd",
    "sunrise": "2a2350 7a3f74 d9677a f8a978 fdeec1",
    "night": "060a1c 0f1b3d 1f3566 47689c c3d5ee",
    "midnight": "04060f 0b1230 1b2553 3c4c8a aab8e6",
    "day": "1c4a63 2d7fa8 5fb4d6 a9dcea f3f8ee",
    "neon": "0a0618 3a0ca3 b5179e f72585 4cf0e8",
    "cyberpunk": "0b0420 2b0a57 8a1fbf ff2e97 19e6f0",
    "pastel": "8a87b5 b5b0dc e6bcd6 f8d8cc fbf3e2",
    "autumn": "2a130c 6e2a12 b8541b e09a35 f6dca0",
    "fall": "2a130c 6e2a12 b8541b e09a35 f6dca0",
    "spring": "1d4a33 4f9950 9fd06a f3b6cc fdf6e3",
    "summer": "0b4f6c 1797ad 58c9b9 f9d65c fff5d6",
    "winter": "1b2b44 4a6b8c 8fb0c9 c8dde9 f7fbfd",
    "ocean": "031d33 08466b 137fa0 4fc0c4 d8f3e9",
    "forest": "0b1f14 1d4227 3f7438 87a952 e3e6ad",
    "desert": "4a1f12 96482a d08a4c e9bf83 faeacb",
    "fire": "1a0505 6b0f0b c92c0e fa7f15 fde06c",
    "ice": "0e2a47 2e6f9e 74b9dd bde6f2 f4fcff",
    "storm": "10141c 29323f 505e6e 8795a3 cfd6db",
    "stormy": "10141c 29323f 505e6e 8795a3 cfd6db",
    "candy": "5b1a5e b53389 f56fa8 f9b3c8 fff0d4",
    "vintage": "2f2a26 6b4f3a ab7a4e d3b483 f0e4c6",
    "retro": "27313f 35747a e0a03e dd5f3a f6e7c8",
    "calm": "20384a 4a7587 86aeb3 c2d5cc f4f1e4",
    "serene": "20384a 4a7587 86aeb3 c2d5cc f4f1e4",
    "happy": "3a2a6b e0447c f9884a fcd24f fff6d8",
    "sad": "141c2b 2d3d55 54687f 8b9cad c9d2d9",
    "melancholy": "1a1d30 3a3f5e 666a8a 9d9bb0 d6d0d6",
    "dark": "07080d 14171f 2b2f3a 555a68 a8aab3",
    "gloomy": "0c1013 20282c 414c50 717c7c b3b9b4",
    "bright": "26408f 1f9ed6 47d3a8 ffd94a fffbe8",
    "vivid": "2b0f6b c81e8e ff5a36 ffc21f e8fff4",
    "dreamy": "2a1f5c 6d4aa8 b57fd0 f0b7d8 fdeef0",
    "mystic": "120a2e 33205e 6a3f97 a97fc7 e9d8ee",
    "magic": "120a2e 33205e 7a2fb0 d05fd6 f5d9f7",
    "monochrome": "0e0f11 36393d 717579 b2b5b8 f3f4f4",
    "minimal": "2b2f33 6f7479 b7babb e0dfda f6f4ee",
    "earth": "231a12 55402a 8c6a43 bfa06e e9dcbc",
    "royal": "140a33 3a1a78 6c35b8 c9a13b f5e6b4",
    "tropical": "06323a 0f7f79 22b573 f9b233 ff6f61",
    "space": "04040d 14103a 3b1f6b 8a3f94 e9b7d9",
    "cosmic": "04040d 14103a 3b1f6b 8a3f94 e9b7d9",
    "moody": "0c0f16 1f2933 45525c 8a7f78 d6c5b2",
    "cozy": "2b140d 6b341d ad6a37 dda766 f6e2bf",
}

DARK_SKIES = frozenset(("night", "midnight", "space", "cosmic", "neon", "cyberpunk", "dark"))
LOW_SUNS = frozenset(("sunset", "sunrise", "dawn", "dusk", "warm"))

SUBJECTS: dict[str, str] = {
    "sun": "sun", "moon": "moon", "star": "stars", "sky full of stars": "stars", "starry": "stars",
    "galaxy": "stars", "constellation": "stars", "cloud": "clouds", "cloudy": "clouds", "fog": "mist",
    "foggy": "mist", "mist": "mist", "misty": "mist", "rain": "rain", "rainy": "rain", "snow": "snow",
    "snowy": "snow", "snowfall": "snow", "aurora": "aurora", "mountain": "mountains", "peak": "mountains",
    "alps": "mountains", "hill": "hills", "meadow": "hills", "field": "hills", "valley": "hills",
    "dune": "dunes", "desert": "dunes", "wave": "waves", "sea": "waves", "ocean": "waves", "water": "water",
    "lake": "water", "beach": "waves", "river": "water", "city": "city", "skyline": "city", "town": "city",
    "skyscraper": "city", "building": "city", "forest": "forest", "tree": "forest", "wood": "forest",
    "pine": "forest", "jungle": "forest", "bird": "birds", "planet": "planet", "space": "stars",
    "circle": "circle", "disc": "circle", "dot": "dots", "square": "square", "rectangle": "square",
    "triangle": "triangle", "pyramid": "triangle", "ring": "ring", "sphere": "sphere", "ball": "sphere",
    "orb": "sphere", "bubble": "sphere", "cube": "cube", "box": "cube", "hexagon": "hexagon",
    "diamond": "diamond", "spiral": "spiral", "line": "lines", "flower": "flower", "petal": "flower",
    "heart": "heart", "cross": "cross",
}  # fmt: skip

LANDSCAPE = frozenset(
    (
        "sun", "moon", "stars", "clouds", "mist", "rain", "snow", "aurora", "mountains", "hills", "dunes",
        "water", "waves", "city", "forest", "birds",
    )
)  # fmt: skip

STYLES: dict[str, str] = {
    "gradient": "gradient", "smooth": "gradient", "soft": "gradient", "blur": "gradient",
    "geometric": "geometric", "bauhaus": "geometric", "tile": "geometric", "mosaic": "geometric",
    "pattern": "geometric", "field": "field", "noise": "field", "marble": "field", "smoke": "field",
    "liquid": "field", "fluid": "field", "texture": "field", "abstract": "field", "organic": "field",
    "stripe": "stripes", "striped": "stripes", "band": "stripes", "radial": "radial",
    "sunburst": "radial", "burst": "radial", "ray": "radial", "mandala": "radial", "concentric": "radial",
}  # fmt: skip

COUNTS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7,
          "eight": 8, "nine": 9, "ten": 10, "many": 12, "several": 5, "few": 3, "some": 4}  # fmt: skip

_GROUND_AFTER = frozenset(("on", "over", "against", "above"))
_GROUND_BEFORE = frozenset(("background", "ground", "backdrop"))
_JOINING = frozenset(
    ("and", "or", "dark", "light", "bright", "pale", "deep", "soft", "small", "large", "big", "glossy")
)

_WORD = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Reading:
    """What was understood of a prompt, each in the order of the words.

    *counts* are by subject; *bound* are the colors said right before a subject (`red circle`), by
    subject; *ground* are those said after `on` or before `background`.
    """

    colors: tuple[str, ...] = ()
    moods: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()
    counts: tuple[tuple[str, int], ...] = ()
    bound: tuple[tuple[str, str], ...] = ()
    ground: tuple[str, ...] = ()

    def count(self, subject: str, usual: int = 1) -> int:
        """Return how many of *subject* are asked for."""
        return dict(self.counts).get(subject, usual)

    def colors_of(self, subject: str) -> tuple[str, ...]:
        """Return the colors that were said of *subject*."""
        return tuple(color for name, color in self.bound if name == subject)

    @property
    def dark(self) -> bool:
        """It plays at night, or in the dark."""
        return bool(set(self.moods) & DARK_SKIES)


def read(prompt: str) -> Reading:
    """Read a prompt; plurals are understood.

    >>> read("Three red circles over a stormy sea").subjects
    ('circle', 'waves')
    """
    reader = _Reader()
    for word in _WORD.findall(prompt.lower()):
        reader.take(word)
    return reader.reading()


class _Reader:
    """Reads word by word; a color waits for the subject it may belong to."""

    def __init__(self) -> None:
        self.lists: dict[str, list[str]] = {"colors": [], "moods": [], "subjects": [], "styles": [], "ground": []}
        self.counts: dict[str, int] = {}
        self.bound: list[tuple[str, str]] = []
        self._count = 0
        self._waiting: list[str] = []
        self._on = False

    def take(self, word: str) -> None:
        """Take the next word."""
        forms = _forms(word)
        color = next((form for form in forms if form in COLORS), "")
        subject = next((SUBJECTS[form] for form in forms if form in SUBJECTS), "")
        if number := _number(word):
            self._count = number if word not in ("a", "an") else self._count
        self.lists["moods"] += [form for form in forms if form in MOODS][:1]
        self.lists["styles"] += [STYLES[form] for form in forms if form in STYLES][:1]
        if word in _GROUND_AFTER:
            self._on, self._waiting = True, []
        elif word in _GROUND_BEFORE:
            self.lists["ground"] += self._waiting
        elif color and not subject:
            self.lists["colors"].append(color)
            self._waiting.append(color)
            if self._on:
                self.lists["ground"].append(color)
        elif subject:
            self._subject(subject, plural=forms[0] not in SUBJECTS)
        elif word not in _JOINING and not number:
            self._waiting = []

    def _subject(self, subject: str, *, plural: bool) -> None:
        self.lists["subjects"].append(subject)
        if self._count:
            self.counts[subject] = self._count
        elif plural:
            self.counts.setdefault(subject, 5)
        self.bound += [(subject, color) for color in self._waiting]
        self._count, self._waiting, self._on = 0, [], False

    def reading(self) -> Reading:
        """Return what was understood."""
        unique = {name: tuple(dict.fromkeys(words)) for name, words in self.lists.items()}
        return Reading(**unique, counts=tuple(self.counts.items()), bound=tuple(dict.fromkeys(self.bound)))


def _forms(word: str) -> list[str]:
    forms = [word]
    if word.endswith("ies"):
        forms.append(word[:-3] + "y")
    elif word.endswith("es"):
        forms += [word[:-1], word[:-2]]
    elif word.endswith("s") and len(word) > 3:
        forms.append(word[:-1])
    return forms


def _number(word: str) -> int:
    return min(40, int(word)) if word.isdigit() and len(word) < 4 else COUNTS.get(word, 0)
