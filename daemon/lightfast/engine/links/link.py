"""A link as it is asked for, kept and shown, and what makes one malformed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from lightfast.core.clocked import CLOCKED
from lightfast.core.colours import FORMS
from lightfast.core.curves import Curve
from lightfast.core.errors import InvalidArgument
from lightfast.core.measures import UNITS
from lightfast.core.scaling import NORMAL
from lightfast.engine.links.formula import FUNCTIONS
from lightfast_link.path import check_path

MAX_INPUTS = 16
"""The most inputs of one link, beside its source."""
MAX_SMOOTH_S = 3600.0
RATES = ("tempo", "frame_rate", "sample_rate")
"""The rates that a link may need for its units; each a number or a path."""
SCALES = ("", "linear", "log")

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_TAKEN = frozenset({"x", "pi", "and", "or", "not", "if", "else", "in", "is", "lambda", "true", "false", *FUNCTIONS})


@dataclass(frozen=True, slots=True)
class Link:
    """One live mapping; see `links.proto`. The last four are told by the daemon, the others asked for."""

    source: str
    target: str
    link_id: str = ""
    two_way: bool = False
    expression: str = ""
    tolerance: float = 0.0
    disabled: bool = False
    carried: int = 0
    last_error: str = ""
    max_rate_hz: float = 0.0
    raw_units: bool = False
    inputs: tuple[tuple[str, str], ...] = ()
    condition: str = ""
    bypass: bool = False
    smooth_s: float = 0.0
    curve: Curve | None = None
    from_unit: str = ""
    to_unit: str = ""
    scale: str = ""
    tempo: str = ""
    frame_rate: str = ""
    sample_rate: str = ""
    waiting: str = ""
    rate_hz: float = 0.0

    @property
    def sources(self) -> tuple[str, ...]:
        """Return the paths it carries from, each once."""
        return tuple(dict.fromkeys((self.source, *(path for _, path in self.inputs))))

    @property
    def depends(self) -> frozenset[str]:
        """Return the paths that its value depends on: its sources, and the rates that are paths."""
        rates = (getattr(self, name) for name in RATES)
        return frozenset((*self.sources, *(text for text in rates if text.startswith("/"))))


class Body(msgspec.Struct, omit_defaults=True):
    """What is kept of a link. Fields come, and none goes: what an older daemon kept is still read."""

    source: str
    target: str
    two_way: bool = False
    expression: str = ""
    tolerance: float = 0.0
    disabled: bool = False
    max_rate_hz: float = 0.0
    raw_units: bool = False
    inputs: tuple[tuple[str, str], ...] = ()
    condition: str = ""
    bypass: bool = False
    smooth_s: float = 0.0
    curve: Curve | None = None
    from_unit: str = ""
    to_unit: str = ""
    scale: str = ""
    tempo: str = ""
    frame_rate: str = ""
    sample_rate: str = ""


SETTINGS = Body.__struct_fields__
"""The fields of a link that are settings."""


def encode(link: Link) -> str:
    """Return *link* as it is kept."""
    return msgspec.json.encode(Body(**{name: getattr(link, name) for name in SETTINGS})).decode()


def decode(link_id: str, text: str) -> Link:
    """Return the link that was kept; raise `msgspec.MsgspecError` where it cannot be read."""
    body = msgspec.json.decode(text, type=Body)
    return Link(link_id=link_id, **{name: getattr(body, name) for name in SETTINGS})


def check(link: Link) -> None:
    """Raise `InvalidArgument` that names the field that is wrong; what the formulas say is looked at elsewhere."""
    for where, path in _paths(link):
        try:
            check_path(path)
        except ValueError as error:
            raise _wrong(where, str(error), "PATH_MALFORMED") from None
    if not (math.isfinite(link.tolerance) and link.tolerance >= 0):
        raise _wrong("tolerance", f"tolerance is {link.tolerance}: it must be 0 or more")
    if not (math.isfinite(link.max_rate_hz) and link.max_rate_hz >= 0):
        raise _wrong("max_rate_hz", f"max_rate_hz is {link.max_rate_hz}: it must be 0 (no limit) or more")
    if not 0 <= link.smooth_s <= MAX_SMOOTH_S:
        raise _wrong("smooth_s", f"smooth_s is {link.smooth_s}: it must be 0 (none) to {MAX_SMOOTH_S:g} seconds")
    _check_inputs(link)
    _check_units(link)
    if link.curve is not None:
        try:
            link.curve.check()
        except ValueError as error:
            raise _wrong("curve", str(error)) from None


def _paths(link: Link) -> Iterator[tuple[str, str]]:
    yield "source", link.source
    yield "target", link.target
    for name, path in link.inputs:
        yield "inputs", path
        if path == link.target:
            raise _wrong("inputs", f"the input {name} is the target {path} itself", "LINK_CYCLE")
    for name in RATES:
        path = getattr(link, name)
        if path == link.target or (link.two_way and path == link.source):
            raise _wrong(name, f"the {name} is {path}, which the link itself writes", "LINK_CYCLE")
        if path.startswith("/"):
            yield name, path


def _check_inputs(link: Link) -> None:
    if not link.inputs:
        return
    if len(link.inputs) > MAX_INPUTS:
        raise _wrong("inputs", f"there are {len(link.inputs)} inputs: the most is {MAX_INPUTS}")
    names = [name for name, _ in link.inputs]
    for name in names:
        if not _NAME.fullmatch(name) or name in _TAKEN:
            raise _wrong("inputs", f"{name!r} is no name for an input: use small letters, digits and _, as in 'low_2'")
        if names.count(name) > 1:
            raise _wrong("inputs", f"two inputs are called {name!r}")
    if not link.expression.strip():
        raise _wrong("expression", f"a link with inputs needs an expression of them, for example max({names[0]}, x)")
    if link.two_way:
        raise _wrong("two_way", "a link with inputs goes one way: its target cannot be taken apart again")


def _check_units(link: Link) -> None:
    for field in ("from_unit", "to_unit"):
        unit = getattr(link, field)
        if unit and unit not in known_units():
            raise _wrong(field, f"there is no unit {unit!r}: use one of {', '.join(sorted(known_units()))}")
        if unit and (link.expression.strip() or link.raw_units):
            other = "an expression takes the place of the units" if link.expression.strip() else "raw_units is set"
            raise _wrong(field, f"{field} says {unit}, but {other}: leave one out")
    if link.scale not in SCALES:
        raise _wrong("scale", f"there is no scale {link.scale!r}: use linear or log")
    if link.scale and (link.expression.strip() or link.raw_units):
        raise _wrong("scale", "a scale maps one range onto the other: leave out the expression and raw_units")
    for name in RATES:
        text = getattr(link, name)
        if text and not text.startswith("/") and not _positive(text):
            raise _wrong(name, f"{name} is {text!r}: use a number above 0, or the path that holds it")


def known_units() -> set[str]:
    """Return the names of all units that convert."""
    return {*UNITS, *CLOCKED, *FORMS, *NORMAL}


def _positive(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False


def _wrong(field: str, message: str, reason: str | None = None) -> InvalidArgument:
    return InvalidArgument(message, field=f"link.{field}", reason=reason)
