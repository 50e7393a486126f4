"""How a kind of application says what others say, too: its names, units and axes for shared concepts."""

from __future__ import annotations

from dataclasses import dataclass

CONCEPTS: dict[str, str] = {
    "object.location": "point",
    "object.rotation": "euler",
    "object.scale": "scale",
    "object.visible": "scalar",
    "camera.lens": "scalar",
    "light.color": "vector",
    "light.energy": "scalar",
    "track.name": "name",
    "track.volume": "scalar",
    "track.pan": "scalar",
    "track.mute": "scalar",
    "track.solo": "scalar",
    "master.volume": "scalar",
    "tempo": "scalar",
    "playing": "scalar",
    "frame_rate": "scalar",
    "sample_rate": "scalar",
    "position": "scalar",
}
"""The shared concepts, and what each is to a change of axes. `track.name` is how tracks are told apart;
`tempo`, `frame_rate` and `sample_rate` are what beats, frames and samples of the same application last. What its
`Timeline` says of the last six need not be said again."""


@dataclass(frozen=True, slots=True)
class Term:
    """One concept in the words of one application.

    *paths* are relative to the mount: one, or where it keeps the components apart, one for each. `{}` stands for the
    object or track it belongs to, `**` before it for whatever that lies in. *unit* is given where no parameter declares
    it, or declares none that converts. *opposite* says that the application holds the contrary (hidden for visible).
    *scale* says between which (low, high) it holds what the concept holds from -1 to 1.
    """

    concept: str
    paths: tuple[str, ...]
    unit: str = ""
    opposite: bool = False
    scale: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Dialect:
    """The words of one kind of application.

    *up* is the axis that points up, `y` or `z`, empty where it has no space; *home* what an object that is not there
    yet would lie in, for paths with `**`.
    """

    terms: tuple[Term, ...]
    up: str = ""
    home: str = ""
