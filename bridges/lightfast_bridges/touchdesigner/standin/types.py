"""The types of operators that the stand-in has, with a few of the built-in parameters of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Row = tuple[str, str, Any, Any]
"""Name, style, default, and the menu's names or the slider's ends."""

_TRANSFORM: tuple[Row, ...] = (
    *((f"t{axis}", "Float", 0.0, (-1.0, 1.0)) for axis in "xyz"),
    *((f"r{axis}", "Float", 0.0, (0.0, 360.0)) for axis in "xyz"),
    *((f"s{axis}", "Float", 1.0, (0.0, 1.0)) for axis in "xyz"),
)
_EXTENSION: tuple[Row, ...] = (
    ("ext0object", "Str", "", None),
    ("ext0promote", "Toggle", False, None),
    ("reinitextensions", "Pulse", None, None),
)
_NOISE = ["sparse", "hermite", "harmonic", "random", "alligator"]


@dataclass(frozen=True, slots=True)
class OpType:
    """One type of operator."""

    name: str
    inputs: int = 0
    outputs: int = 1
    pars: tuple[Row, ...] = ()

    @property
    def family(self) -> str:
        """The family: the capitals at the end."""
        return next(family for family in ("COMP", "CHOP", "TOP", "SOP", "DAT", "MAT") if self.name.endswith(family))


_EXECUTE: tuple[Row, ...] = tuple(
    (name, "Toggle", name == "active", None)
    for name in ("active", "start", "create", "exit", "framestart", "frameend", "projectpresave", "projectpostsave")
)
_WATCH: tuple[Row, ...] = (
    ("active", "Toggle", True, None),
    ("op", "Str", "", None),
    ("pars", "Str", "*", None),
    ("custom", "Toggle", True, None),
    ("builtin", "Toggle", False, None),
    ("valuechange", "Toggle", True, None),
    ("onpulse", "Toggle", False, None),
)
_LANGUAGE: tuple[Row, ...] = (("language", "Menu", "text", ["text", "python", "glsl", "json"]),)

TYPES = {
    kind.name: kind
    for kind in (
        OpType("baseCOMP", 0, 0, _EXTENSION),
        OpType("containerCOMP", 0, 0, (*_EXTENSION, ("w", "Int", 400, (0, 1920)), ("h", "Int", 300, (0, 1080)))),
        OpType("geometryCOMP", 1, 1, (*_EXTENSION, *_TRANSFORM, ("material", "OP", "", None))),
        OpType("cameraCOMP", 1, 1, (*_EXTENSION, *_TRANSFORM, ("fov", "Float", 45.0, (1.0, 120.0)))),
        OpType("timeCOMP", 0, 0),
        OpType(
            "constantTOP",
            1,
            1,
            tuple(
                (name, "Float", value, (0.0, 1.0))
                for name, value in (("colorr", 1.0), ("colorg", 1.0), ("colorb", 1.0), ("alpha", 1.0))
            ),
        ),
        OpType(
            "noiseTOP",
            1,
            1,
            (
                ("type", "Menu", "sparse", _NOISE),
                ("seed", "Float", 1.0, (0.0, 10.0)),
                ("period", "Float", 1.0, (0.0, 10.0)),
                ("harmon", "Int", 2, (0, 10)),
                ("mono", "Toggle", True, None),
            ),
        ),
        OpType("levelTOP", 1, 1, (("opacity", "Float", 1.0, (0.0, 1.0)), ("gamma1", "Float", 1.0, (0.0, 2.0)))),
        OpType("nullTOP", 1, 1),
        OpType(
            "constantCHOP", 1, 1, (("const0name", "Str", "chan1", None), ("const0value", "Float", 0.0, (-1.0, 1.0)))
        ),
        OpType(
            "lfoCHOP",
            0,
            1,
            (
                ("frequency", "Float", 1.0, (0.0, 10.0)),
                ("amp", "Float", 1.0, (0.0, 1.0)),
                ("resetpulse", "Pulse", None, None),
            ),
        ),
        OpType("timerCHOP", 0, 1, (("length", "Float", 10.0, (0.0, 60.0)), ("start", "Pulse", None, None))),
        OpType("nullCHOP", 1, 1),
        OpType("textDAT", 0, 1, _LANGUAGE),
        OpType("tableDAT", 0, 1),
        OpType("oscinDAT", 0, 1, (("port", "Int", 7000, (0, 65535)), ("callbacks", "DAT", "", None))),
        OpType("executeDAT", 0, 0, (*_EXECUTE, *_LANGUAGE)),
        OpType("parameterexecuteDAT", 0, 0, (*_WATCH, *_LANGUAGE)),
    )
}
