"""What is known of the paths of one set: the ranges of its parameters, the names of its sends, its routings."""

from __future__ import annotations

from collections.abc import Callable

from lightfast.sdk import Parameter, Value
from lightfast_bridges.ableton.layout import Layout
from lightfast_bridges.ableton.names import NESTED, PARAMETERS
from lightfast_bridges.ableton.paths import declarations, place

MAX_DECLARED = 4000
"""The most paths that get a declaration of their own; the others keep the one of their kind."""
ROUTINGS = tuple(f"{side}_routing_{part}" for side in ("input", "output") for part in ("type", "channel"))


def declared(layout: Layout, held: Callable[[str], Value | None]) -> list[Parameter]:
    """Return the declarations of every set, and those of this one; *held* gives the value at a path."""
    own = [*_sends(layout), *_routings(layout, held), *_parameters(layout)]
    return [*declarations(), *own[:MAX_DECLARED]]


def _sends(layout: Layout) -> list[Parameter]:
    return [
        Parameter(f"tracks/*/sends/{number}", "double", 0, 1, description=f"Amount sent to {name}.")
        for number, name in enumerate(layout.send_names)
    ]


def _routings(layout: Layout, held: Callable[[str], Value | None]) -> list[Parameter]:
    found = []
    for number, _ in layout.every():
        for verb in ROUTINGS:
            path = f"{place('tracks/*', (number,))}/{verb}"
            choices = held(path.replace(verb, f"available_{verb}s"))
            if isinstance(choices, list) and choices:
                names = tuple(str(choice) for choice in choices)
                found.append(Parameter(path, "string", choices=names, description="By its name in Live."))
    return found


def _parameters(layout: Layout) -> list[Parameter]:
    found = []
    for stem, ids, device in layout.devices():
        pattern = PARAMETERS if stem == "device" else NESTED
        for number, (low, high) in enumerate(device.ranges):
            if not low <= high:
                continue
            steps = number < len(device.quantized) and device.quantized[number]
            name = device.names[number] if number < len(device.names) else "Parameter"
            text = f"{device.name}: {name}" + (", in whole steps." if steps else ".")
            path = f"{place(pattern, (*ids, number))}/value"
            found.append(Parameter(path, "double", low, high, description=text))
    return found
