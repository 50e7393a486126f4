"""The records of a recall: what is asked, and the steps it tells."""

from __future__ import annotations

import math

import msgspec

from lightfast.context.scenes.records import Difference
from lightfast.core.curves import Curve, Function
from lightfast.core.errors import InvalidArgument
from lightfast_link.value import Value

MAX_MORPH = 3600.0
MAX_VERIFY = 600.0
VERIFY = 10.0
"""Seconds: the longest morph, and how long applications have to report at most and by default."""


class Asked(msgspec.Struct, frozen=True):
    """A recall that is asked for; *morph* and *verify* are in seconds, *version* 0 is the newest.

    During a morph numbers, vectors of one length and colours move along *curve*; everything else (switches, texts,
    choices, lists) flips at its end, together with the last value of what moves.
    """

    name: str
    version: int = 0
    patterns: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    validate_only: bool = False
    morph: float = 0.0
    curve: str = ""
    verify: float = VERIFY
    group: str = ""
    """What its writes belong to; empty: a group of their own."""

    def check(self) -> Function:
        """Return the curve, or raise `InvalidArgument` for what is malformed."""
        if not 0 <= self.morph <= MAX_MORPH:
            raise InvalidArgument(f"a morph takes 0 to {MAX_MORPH:g} s, not {self.morph:g}", field="morph")
        if not 0 <= self.verify <= MAX_VERIFY:
            raise InvalidArgument(
                f"applications have 0 to {MAX_VERIFY:g} s to report, not {self.verify:g}", field="verify"
            )
        name = self.curve or "linear"
        curve = Curve(name)
        if not curve.shaped:
            curve = Curve(name, points=((0.0, 0.0), (1.0, 1.0)))
        try:
            curve.check()
        except ValueError as error:
            raise InvalidArgument(str(error), field="curve") from None
        return curve.functions()[0]


class Problem(msgspec.Struct, frozen=True):
    """A value of the scene that is not where it should be, and why; *queued* says that it waits as a wish."""

    path: str
    wished: Value | None
    found: Value | None
    reason: str
    queued: bool = False


class Planned(msgspec.Struct, frozen=True):
    """A part of what changes, or would, and of what cannot be recalled."""

    changes: tuple[Difference, ...] = ()
    problems: tuple[Problem, ...] = ()
    group: str = ""


class Morphing(msgspec.Struct, frozen=True):
    """How far the morph is, from 0 to 1, as time goes; the curve says where the values are."""

    progress: float
    group: str


class Applied(msgspec.Struct, frozen=True):
    """Everything is written; *group* takes it back, and is empty where nothing had to change."""

    revision: int
    group: str


class Verified(msgspec.Struct, frozen=True):
    """What became of it: how many values applications report as wished, and each that is not."""

    revision: int
    group: str
    settled: int
    problems: tuple[Problem, ...] = ()


Step = Planned | Morphing | Applied | Verified


def finite(seconds: float) -> float:
    """Return *seconds* where it is a number, else something no check lets through."""
    return seconds if math.isfinite(seconds) else -1.0
