"""OSC maps: what a device says and understands over OSC, in one YAML file.

`read` turns the text of a map into an `OscMap`, or raises `MapError` with every mistake and its place; `learning`
writes a first map from traffic that was overheard.
"""

from lightfast.sdk.oscmap.document import MapError, Problem
from lightfast.sdk.oscmap.model import Alive, KeepAlive, Layout, MapCommand, MapParameter, Message, OscMap, Refusal
from lightfast.sdk.oscmap.reading import MAX_BYTES, read, read_file

__all__ = [
    "MAX_BYTES",
    "Alive",
    "KeepAlive",
    "Layout",
    "MapCommand",
    "MapError",
    "MapParameter",
    "Message",
    "OscMap",
    "Problem",
    "Refusal",
    "read",
    "read_file",
]
