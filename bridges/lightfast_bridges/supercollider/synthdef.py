"""Synth definition files (SCgf, versions 1 and 2), read to the end before the server sees them.

The server trusts what it is sent: a file that is cut short, or refers to what is not there, crashes it.
"""

from __future__ import annotations

import struct

MAX_COUNT = 65_536
"""The most constants, controls, units or inputs of one definition."""


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, layout: str) -> int | float:
        size = struct.calcsize(layout)
        if self.at + size > len(self.data):
            raise ValueError(f"the synth definition is cut short after {len(self.data)} bytes")
        (found,) = struct.unpack_from(layout, self.data, self.at)
        self.at += size
        return found  # type: ignore[no-any-return]

    def count(self, layout: str, what: str, most: int = MAX_COUNT) -> int:
        found = int(self.take(layout))
        if not 0 <= found <= most:
            raise ValueError(f"the synth definition claims {found} {what}")
        return found

    def text(self) -> str:
        size = int(self.take(">B"))
        if self.at + size > len(self.data):
            raise ValueError(f"the synth definition is cut short after {len(self.data)} bytes")
        self.at += size
        return self.data[self.at - size : self.at].decode("latin-1")

    def skip(self, size: int) -> None:
        if self.at + size > len(self.data):
            raise ValueError(f"the synth definition is cut short after {len(self.data)} bytes")
        self.at += size


def names_of(data: bytes) -> list[str]:
    """Return the names of the definitions in a file; raise `ValueError` that says what is wrong with it."""
    reader = _Reader(data)
    if data[:4] != b"SCgf":
        raise ValueError("this is no synth definition: it must begin with SCgf (in sclang, SynthDef.asBytes gives it)")
    reader.skip(4)
    version = int(reader.take(">i"))
    if version not in {1, 2}:
        raise ValueError(f"the synth definition has version {version}, and 1 and 2 are known")
    number = ">h" if version == 1 else ">i"
    names = [_definition(reader, number) for _ in range(reader.count(">h", "definitions", 1024))]
    if not names:
        raise ValueError("the file holds no synth definition")
    if reader.at != len(data):
        raise ValueError(f"{len(data) - reader.at} bytes follow the synth definition")
    return names


def _definition(reader: _Reader, number: str) -> str:
    name = reader.text()
    if not name:
        raise ValueError("a synth definition has no name")
    constants = reader.count(number, "constants")
    reader.skip(4 * constants)
    controls = reader.count(number, "controls")
    reader.skip(4 * controls)
    for _ in range(reader.count(number, "names of controls")):
        control = reader.text()
        if not 0 <= int(reader.take(number)) < controls:
            raise ValueError(f"{name}: the control {control!r} has no value")
    outputs: list[int] = []
    for _ in range(reader.count(number, "units")):
        outputs.append(_unit(reader, number, name, constants, outputs))
    for _ in range(reader.count(">h", "variants")):
        reader.text()
        reader.skip(4 * controls)
    return name


def _unit(reader: _Reader, number: str, name: str, constants: int, before: list[int]) -> int:
    """Read one unit and return how many outputs it has; its inputs come from units *before* it, or constants."""
    unit = reader.text()
    rate = int(reader.take(">b"))
    if not unit or not 0 <= rate <= 3:
        raise ValueError(f"{name}: the unit {unit!r} has the rate {rate}")
    inputs, outputs = reader.count(number, "inputs"), reader.count(number, "outputs")
    reader.skip(2)
    for _ in range(inputs):
        source, index = int(reader.take(number)), int(reader.take(number))
        limit = constants if source == -1 else before[source] if 0 <= source < len(before) else 0
        if not 0 <= index < limit:
            raise ValueError(
                f"{name}: an input of {unit} comes from output {index} of unit {source}, which is not there"
            )
    for _ in range(outputs):
        if not 0 <= int(reader.take(">b")) <= 3:
            raise ValueError(f"{name}: an output of {unit} has no rate")
    return outputs
