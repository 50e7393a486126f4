"""What a patch says of its parameters, as values and declarations."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lightfast.sdk import Argument, Command, Parameter, Value
from lightfast_link.path import check_path, encode_segment

KINDS = {"float": "double", "symbol": "string", "bang": ""}
UNITS = {
    "hz": "time.freq",
    "db": "gain.db",
    "ms": "time.ms",
    "s": "time.second",
    "bpm": "time.bpm",
    "deg": "angle.degree",
    "midi": "time.midinote",
}
"""What people write, and the unit that links know to convert; any other word is a label."""
BANG = Command(
    "bang",
    "Send a bang to a [lightfast-bang] object of the patch.",
    (Argument("name", "string", True, "Its name."),),
)
_FLOAT32_MAX = 3.4028234e38


@dataclass(frozen=True, slots=True)
class Shape:
    """One parameter without its value: *minimum* and *maximum* are None where it has no range."""

    name: str
    kind: str
    minimum: float | None = None
    maximum: float | None = None
    unit: str = ""

    @property
    def path(self) -> str:
        """Where it lies below the mount: its name, of which `/` parts the segments."""
        return "/".join(encode_segment(part) for part in self.name.split("/") if part)

    def declaration(self) -> Parameter:
        """Return what the context is told of it."""
        return Parameter(
            self.path,
            KINDS[self.kind],
            self.minimum,
            self.maximum,
            self.unit,
            description=f"[lightfast-{'param' if self.kind == 'float' else 'symbol'} {self.name}] in the patch.",
        )


def read(arguments: Sequence[Any]) -> tuple[Shape, Value | None]:
    """Return what `/lightfast/param` says: a shape and its value, None for a bang; raise `ValueError`."""
    name, kind = as_name(arguments[0] if arguments else ""), arguments[1] if len(arguments) > 1 else ""
    if kind not in KINDS:
        raise ValueError(f"{name} is of the unknown kind {kind!r:.40}: write the abstractions anew")
    if kind == "bang":
        return Shape(name, "bang"), None
    if len(arguments) < 3:
        raise ValueError(f"{name} came without a value")
    value = as_value(kind, arguments[2])
    if kind == "symbol":
        return Shape(name, kind), value
    low, high, unit = (*arguments[3:6], 0.0, 0.0, "")[:3] if len(arguments) < 6 else arguments[3:6]
    ranged = is_number(low) and is_number(high) and low < high
    return Shape(
        name,
        kind,
        float(low) if ranged else None,
        float(high) if ranged else None,
        UNITS.get(unit.lower(), unit) if isinstance(unit, str) else "",
    ), value


def as_name(argument: Any) -> str:
    """Return the name of a parameter; raise `ValueError` where it cannot be a path."""
    if is_number(argument):  # Pd reads it as a number, and no route leads to a number
        raise ValueError(f"a parameter is named {argument:g}: give it a name with a letter in it")
    if not isinstance(argument, str) or not argument.strip("/"):
        raise ValueError(f"{argument!r:.40} is no name for a parameter")
    check_path("/puredata/" + Shape(argument, "float").path)
    return argument


def as_value(kind: str, argument: Any) -> Value:
    """Return a value that Pd said, of the kind its parameter has; raise `ValueError`."""
    if kind == "float" and is_number(argument):
        return float(argument)
    if kind == "symbol" and (isinstance(argument, str) or is_number(argument)):
        return argument if isinstance(argument, str) else f"{argument:g}"
    raise ValueError(f"{argument!r:.40} is no {kind}")


def as_argument(shape: Shape, value: Value | None) -> float | str:
    """Return what is sent for a wished value; raise `ValueError` that says why Pd cannot hold it."""
    if value is None:
        raise ValueError(f"{shape.name} cannot be removed from here: delete its object in the patch")
    if shape.kind == "symbol":
        if not isinstance(value, str) or "\0" in value:
            raise ValueError(f"{shape.name} holds a word, not {value!r:.40}")
        return value
    if not is_number(value):
        raise ValueError(f"{shape.name} holds a number, not {value!r:.40}")
    number = float(value)  # type: ignore[arg-type]  # it is a number
    if not math.isfinite(number) or abs(number) > _FLOAT32_MAX:
        raise ValueError(f"{number:g} is no number that Pd can hold: it has 32-bit floats")
    return number


def same(kind: str, held: Value, wanted: float | str) -> bool:
    """Say whether Pd holds what was sent: floats are compared as the 32-bit floats that it has."""
    if kind == "symbol" or not isinstance(held, float) or not isinstance(wanted, float):
        return held == wanted
    return math.isclose(held, struct.unpack("f", struct.pack("f", wanted))[0], rel_tol=1e-6, abs_tol=1e-30)


def commands(shapes: Iterable[Shape]) -> tuple[Command, ...]:
    """Return `bang`, and one command for each bang whose name can be one."""
    found = [BANG]
    for shape in shapes:
        plain = shape.name.replace("_", "").replace(".", "").replace("/", "")
        if shape.kind == "bang" and plain.isalnum() and shape.name != BANG.name:
            found.append(Command(shape.name, f"The bang {shape.name} of the patch."))
    return tuple(found)


def is_number(value: Any) -> bool:
    """Say whether *value* is an int or a float, and no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)
