"""What values are said as, and how they become what a path holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightfast.core.colours import colours_between, decode
from lightfast.core.measures import between
from lightfast.engine.planner.grammar.words import Word

COLOURS: dict[str, tuple[float, float, float]] = {
    name: (red / 255.0, green / 255.0, blue / 255.0)
    for name, (red, green, blue) in {
        "red": (255, 0, 0),
        "green": (0, 128, 0),
        "lime": (0, 255, 0),
        "blue": (0, 0, 255),
        "yellow": (255, 255, 0),
        "cyan": (0, 255, 255),
        "magenta": (255, 0, 255),
        "white": (255, 255, 255),
        "black": (0, 0, 0),
        "grey": (128, 128, 128),
        "gray": (128, 128, 128),
        "orange": (255, 165, 0),
        "purple": (128, 0, 128),
        "violet": (238, 130, 238),
        "pink": (255, 192, 203),
        "brown": (165, 42, 42),
        "gold": (255, 215, 0),
        "silver": (192, 192, 192),
        "teal": (0, 128, 128),
        "navy": (0, 0, 128),
        "turquoise": (64, 224, 208),
        "warm": (255, 197, 143),
        "cool": (201, 226, 255),
    }.items()
}
"""Names of colours as CSS (Color Module Level 4) has them, encoded as sRGB; warm and cool are lamps of 2,900 K and
8,000 K."""
UNITS: dict[str, str] = {
    **dict.fromkeys(("db", "decibel", "decibels"), "gain.db"),
    **dict.fromkeys(("degree", "degrees", "deg", "°"), "angle.degree"),
    **dict.fromkeys(("radian", "radians", "rad"), "angle.radian"),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), "distance.m"),
    **dict.fromkeys(("cm", "centimeter", "centimeters"), "distance.cm"),
    **dict.fromkeys(("mm", "millimeter", "millimeters"), "distance.mm"),
    **dict.fromkeys(("km", "kilometers"), "distance.km"),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "time.second"),
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), "time.ms"),
    **dict.fromkeys(("bpm",), "time.bpm"),
    **dict.fromkeys(("hz", "hertz"), "time.freq"),
    **dict.fromkeys(("%", "percent"), "percent"),
    **dict.fromkeys(("px", "pixel", "pixels"), "length.px"),
    **dict.fromkeys(("w", "watt", "watts"), "power.W"),
    **dict.fromkeys(("fps",), "frequency.Hz"),
}
_SAME = {"length.mm": "distance.mm", "frequency.Hz": "time.freq"}
"""Labels of applications that name a unit Lightfast converts."""
SWITCHES = {
    **dict.fromkeys(("on", "true", "yes", "enabled", "visible"), True),
    **dict.fromkeys(("off", "false", "no", "disabled", "invisible"), False),
}


class Unfit(Exception):
    """A value that the path cannot hold; the message says why."""


@dataclass(frozen=True, slots=True)
class Said:
    """A value as it was said: *numbers* with a *unit*, or a *switch*, a *colour* (encoded sRGB) or a *text*."""

    numbers: tuple[float, ...] = ()
    whole: bool = False
    unit: str = ""
    switch: bool | None = None
    colour: tuple[float, ...] = ()
    text: str | None = None
    quoted: bool = False


_BETWEEN = frozenset({",", "(", ")", "and", "x", "by", "×"})
"""What stands between numbers, as in 2 x 3, unless it is quoted."""


def read(words: Sequence[Word]) -> Said | None:
    """Return what *words* say, or `None` where they are no value."""
    words = [word for word in words if word.kind == "quoted" or word.low not in _BETWEEN]
    if not words:
        return None
    if len(words) == 1:
        word = words[0]
        if word.kind in {"quoted", "path"}:
            return Said(text=word.text, quoted=True)
        if word.kind == "hex":
            code = bytes.fromhex(word.text[1:])
            return Said(colour=tuple(part / 255.0 for part in code), text=word.text)
        if word.low in SWITCHES:
            return Said(switch=SWITCHES[word.low], text=word.text)
        if word.low in COLOURS:
            return Said(colour=COLOURS[word.low], text=word.text)
        if word.kind == "word":
            return Said(text=word.text)
    unit = ""
    if words[-1].kind == "word" and words[-1].low in UNITS:
        unit, words = UNITS[words[-1].low], words[:-1]
    if words and all(word.kind == "number" for word in words):
        whole = all(word.number.is_integer() and "." not in word.text for word in words)
        return Said(tuple(word.number for word in words), whole, unit)
    if not unit and all(word.kind in {"word", "number"} for word in words) and len(words) <= 8:
        return Said(text=" ".join(word.text for word in words))
    return None


def fit(said: Said, current: Any, declared: Any, unit: str = "", text: bool = False) -> Any:
    """Return *said* as the path holds it, from its *current* value, its declaration and its *unit*; raises `Unfit`."""
    kind = (getattr(declared, "kind", "") or "") if declared is not None else ""
    unit = unit or (getattr(declared, "unit", "") if declared is not None else "")
    if said.colour and (isinstance(current, (tuple, list)) or kind == "vector" or unit.startswith("color.")):
        return _colour(said.colour, current, unit)
    if isinstance(current, bool) or kind == "bool":
        return _switch(said)
    if said.numbers:
        return _numbers(said, current, declared, kind, unit)
    if said.switch is not None and (kind in {"int", "double"} or isinstance(current, (int, float))):
        return int(said.switch)
    if kind in {"int", "double", "vector"} or isinstance(current, (int, float, tuple)):
        raise Unfit(f"it takes {_wanted(kind, current)}, not {said.text!r}")
    choices = tuple(getattr(declared, "choices", ()) or ())
    if choices:
        for choice in choices:
            if str(choice).lower().replace("_", " ") == (said.text or "").lower().replace("_", " "):
                return choice
        raise Unfit(f"it takes one of {', '.join(map(str, choices))}, not {said.text!r}")
    if current is None and not kind and said.switch is not None and not text:
        return said.switch
    if isinstance(current, str) and current.isupper() and said.text is not None and not said.quoted:
        return said.text.upper().replace(" ", "_")  # an identifier, such as CYCLES
    return said.text


def _wanted(kind: str, current: Any) -> str:
    if kind == "vector" or isinstance(current, tuple):
        return f"{len(current)} numbers" if isinstance(current, tuple) else "some numbers"
    return "a number"


def _switch(said: Said) -> bool:
    if said.switch is not None:
        return said.switch
    if len(said.numbers) == 1 and said.numbers[0] in {0.0, 1.0}:
        return bool(said.numbers[0])
    raise Unfit("it is on or off")


def _colour(colour: tuple[float, ...], current: Any, unit: str) -> Any:
    size = len(current) if isinstance(current, (tuple, list)) else 3
    rgba = (*colour, 1.0)[: max(size, 3)] if len(colour) == 3 else colour[: max(size, 3)]
    if unit.startswith("color."):
        ways = colours_between("color.rgb", unit)
        return _plain(ways[0](tuple(rgba)) if ways is not None else rgba)
    return [round(decode(part), 6) for part in rgba[:3]] + [round(part, 6) for part in rgba[3:]]


def _plain(value: Any) -> Any:
    return [round(part, 6) for part in value] if isinstance(value, (tuple, list)) else value


def converted(number: float, source: str, target: str, declared: Any) -> float:
    """Return *number* of unit *source* in *target*; raises `Unfit` where it has no way there."""
    if not source:
        return number
    if source == "percent":
        low, high = getattr(declared, "minimum", None), getattr(declared, "maximum", None)
        if target == "ratio.percent":
            return number
        if low is None or high is None:
            return number / 100.0
        return float(low + (high - low) * number / 100.0)
    target = _SAME.get(target, target)
    source = _SAME.get(source, source)
    if source == target or not target:
        return number
    ways = between(source, target)
    if ways is None:
        raise Unfit(f"it is measured in {target}, which {source} does not convert to")
    try:
        return ways[0](number)
    except (ValueError, OverflowError, ZeroDivisionError) as error:
        raise Unfit(str(error)) from None


def _numbers(said: Said, current: Any, declared: Any, kind: str, unit: str) -> Any:
    numbers = [converted(number, said.unit, unit, declared) for number in said.numbers]
    low, high = getattr(declared, "minimum", None), getattr(declared, "maximum", None)
    for number in numbers:
        if (low is not None and number < low) or (high is not None and number > high):
            raise Unfit(f"{number:g} is outside {_edge(low)} to {_edge(high)}")
    size = len(current) if isinstance(current, (tuple, list)) else 0
    if size or kind == "vector":
        if len(numbers) == 1 and size > 1:
            raise Unfit(f"it takes {size} numbers, not one")
        if size and len(numbers) != size:
            raise Unfit(f"it takes {size} numbers, not {len(numbers)}")
        return [_rounded(number) for number in numbers]
    if len(numbers) > 1:
        if current is None and not kind:
            return [_rounded(number) for number in numbers]
        raise Unfit(f"it takes one number, not {len(numbers)}")
    number = numbers[0]
    if kind == "int" or (not kind and isinstance(current, int)):
        if not float(number).is_integer():
            raise Unfit(f"it takes a whole number, not {number:g}")
        return int(number)
    if kind == "string" or isinstance(current, str):
        return f"{number:g}"
    if current is None and not kind and said.whole and not said.unit:
        return int(number)
    return _rounded(number)


def _rounded(number: float) -> float:
    return float(f"{number:.9g}")


def _edge(limit: float | None) -> str:
    return "anything" if limit is None else f"{limit:g}"
