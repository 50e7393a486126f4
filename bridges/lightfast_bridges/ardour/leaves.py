"""What Ardour lets a control surface see and set, as tables, and what is declared of it.

A strip's property `fader` is set by `/strip/fader/SSID value`, asked for by `/strip/SSID/fader`, and told by
`/strip/fader SSID value`. The three forms are kept for the three purposes, for Ardour answers a message it cannot
use with the same address and a value of zero: on the first form that is a refusal, never news.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from lightfast.sdk import Parameter, Value
from lightfast_bridges.ardour.law import SILENCE

FADER = "gain.fader.ardour"
"""The unit of a fader's travel."""
MAX_TEXT = 1000
"""The longest name or comment that is sent."""


class Follow(Enum):
    """How the bridge keeps up with a property."""

    TOLD = "told"
    """Ardour tells each change."""
    POLL = "poll"
    """It is asked for again and again."""
    LIST = "list"
    """It is in the list of strips."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One property of a strip or of the transport."""

    name: str
    kind: str
    access: str = "rw"
    minimum: float | None = None
    maximum: float | None = None
    unit: str = ""
    description: str = ""
    tolerance: float = 0.0
    follow: Follow = Follow.TOLD
    signal: bool = False
    choices: tuple[str, ...] = ()

    @property
    def asked(self) -> bool:
        """Ardour tells each change of it, and can be asked for it, too."""
        return self.follow is Follow.TOLD and not self.signal and self.name not in {"gain", "pan_type"}

    def declared(self, base: str, maximum: float | None = None) -> Parameter:
        """Return what is declared of it below *base*."""
        return Parameter(
            f"{base}/{self.name}",
            kind=self.kind,
            minimum=self.minimum,
            maximum=self.maximum if maximum is None else maximum,
            unit=self.unit,
            access=self.access,
            description=self.description,
            signal=self.signal,
            choices=self.choices,
            tolerance=self.tolerance,
        )


TYPES = {
    "AT": "audio_track",
    "MT": "midi_track",
    "B": "audio_bus",
    "MB": "midi_bus",
    "V": "vca",
    "MA": "master",
    "MO": "monitor",
    "FB": "foldback",
}
ROUTES = frozenset(TYPES) - {"V"}
"""The kinds of strips that have processors: plugins and sends."""

STRIP = (
    Leaf("gain", "double", minimum=SILENCE, maximum=6.03, unit="gain.db", tolerance=0.01,
         description="Gain in dB; -200 is silence. The same thing as fader: writing one reports the other."),
    Leaf("fader", "double", minimum=0, maximum=1, unit=FADER, tolerance=1e-5,
         description="Where the fader stands, by Ardour's law. The same thing as gain."),
    Leaf("mute", "bool", description="The strip is muted."),
    Leaf("solo", "bool", description="The strip is soloed."),
    Leaf("solo_iso", "bool", description="Solo isolate: others' solos do not silence it."),
    Leaf("solo_safe", "bool", description="Its solo cannot be changed."),
    Leaf("recenable", "bool", description="The track is armed for recording."),
    Leaf("record_safe", "bool", description="The track cannot be armed."),
    Leaf("monitor_input", "bool", description="The track's input is heard."),
    Leaf("monitor_disk", "bool", description="What the track plays back is heard."),
    Leaf("trimdB", "double", minimum=-20, maximum=20, unit="gain.db", tolerance=0.01, description="Input trim."),
    Leaf("pan_stereo_position", "double", minimum=0, maximum=1, tolerance=1e-5,
         description="Pan position, as Ardour counts it: 0.5 is the center."),
    Leaf("pan_stereo_width", "double", minimum=-1, maximum=1, tolerance=1e-5, description="Pan width."),
    Leaf("pan_type", "string", "r", description="The panner, `none` where there is none."),
    Leaf("hide", "bool", description="The strip is hidden in Ardour's windows."),
    Leaf("group", "string", "r", description="Its route group; empty where it is in none."),
    Leaf("polarity", "bool", follow=Follow.POLL, description="The polarity of all its channels is inverted."),
    Leaf("comment", "string", follow=Follow.POLL, description="The comment in its notes."),
    Leaf("name", "string", follow=Follow.LIST,
         description="Its name. Writing it renames the strip, and its path with it."),
    Leaf("type", "string", "r", follow=Follow.LIST, choices=tuple(TYPES.values()), description="The kind of strip."),
    Leaf("inputs", "int", "r", follow=Follow.LIST, description="How many audio inputs it has."),
    Leaf("outputs", "int", "r", follow=Follow.LIST, description="How many audio outputs it has."),
    Leaf("vcas", "list", "r", follow=Follow.POLL, description="The VCAs that control it, by name."),
    Leaf("meter", "double", "r", minimum=-193, unit="gain.db", signal=True,
         description="Its level; only with the setting `meters`."),
)  # fmt: skip
LEAVES = {leaf.name: leaf for leaf in STRIP}

SEND = (
    Leaf("name", "string", "r", description="Where it goes, by name."),
    Leaf("fader", "double", minimum=0, maximum=1, unit=FADER, tolerance=1e-5, description="Its level."),
    Leaf("gain", "double", minimum=SILENCE, maximum=6.03, unit="gain.db", tolerance=0.01,
         description="Its level in dB; the same thing as its fader."),
    Leaf("enable", "bool", description="It is on."),
)  # fmt: skip
SENDS = {leaf.name: leaf for leaf in SEND}
PLUGIN = (
    Leaf("name", "string", "r", description="The plugin."),
    Leaf("active", "bool", description="It is not bypassed."),
)
PLUGINS = {leaf.name: leaf for leaf in PLUGIN}
PARAMETER = (
    Leaf("name", "string", "r", description="The plugin's parameter."),
    Leaf("value", "double", description="Its value, between min and max.", tolerance=1e-5),
    Leaf("min", "double", "r", description="Lowest value."),
    Leaf("max", "double", "r", description="Highest value."),
)
MONITOR = (
    Leaf("dim", "bool", description="The monitor section is dimmed."),
    Leaf("mono", "bool", description="The monitor section is mono."),
)

TRANSPORT = (
    Leaf("playing", "bool", description="The transport rolls; writing it plays or stops."),
    Leaf("position", "int", minimum=0, unit="samples", signal=True,
         description="Where the playhead is; writing it locates. At most 2147483647 over OSC."),
    Leaf("timecode", "string", "r", signal=True, description="The playhead as timecode."),
    Leaf("bbt", "string", "r", signal=True, description="The playhead in bars, beats and ticks."),
    Leaf("speed", "double", minimum=-8, maximum=8, tolerance=1e-4, follow=Follow.POLL,
         description="1 is forward at normal speed, 0 stands."),
    Leaf("record_enable", "bool", description="The session is armed for recording."),
    Leaf("recording", "bool", "r", description="Ardour records, or would if it rolled."),
    Leaf("loop", "bool", description="Loop play is on; needs a loop range."),
    Leaf("click", "bool", description="The metronome is heard."),
    Leaf("click_level", "double", minimum=0, maximum=1, unit=FADER, tolerance=1e-5,
         description="Level of the metronome."),
    Leaf("punch_in", "bool", description="Recording begins at the punch range."),
    Leaf("punch_out", "bool", description="Recording ends with the punch range."),
    Leaf("marker", "string", "r", description="The marker at or before the playhead."),
)  # fmt: skip
TRANSPORTS = {leaf.name: leaf for leaf in TRANSPORT}
SESSION = (
    Leaf("name", "string", "r", description="The session's name; see the command rename_session."),
    Leaf("sample_rate", "int", "r", unit="time.freq", description="Samples in a second."),
    Leaf("end", "int", "r", unit="samples", description="Where the session ends."),
    Leaf("groups", "list", "r", description="The route groups, by name."),
)
BASES = ("strips/*", "master", "monitor")


def declarations(top_db: float | None = None, known: Sequence[Parameter] = ()) -> list[Parameter]:
    """Return what is known of every session's paths; *top_db* is where the faders end, *known* comes first."""
    found = list(known)
    for base in BASES:
        found += [leaf.declared(base, top_db if leaf.name == "gain" else None) for leaf in STRIP]
        found += [leaf.declared(f"{base}/sends/*", top_db if leaf.name == "gain" else None) for leaf in SEND]
        found += [leaf.declared(f"{base}/plugins/*") for leaf in PLUGIN]
        found += [leaf.declared(f"{base}/plugins/*/parameters/*") for leaf in PARAMETER]
    found += [leaf.declared("monitor") for leaf in MONITOR]
    found += [leaf.declared("transport") for leaf in TRANSPORT]
    found += [leaf.declared("session") for leaf in SESSION]
    return found


def from_osc(leaf: Leaf, raw: object) -> Value | None:
    """Return what *raw* means as a value of *leaf*; None where it means nothing."""
    if leaf.kind == "string":
        return raw if isinstance(raw, str) else None
    if isinstance(raw, bool) or not isinstance(raw, (int, float)):
        return None
    if leaf.kind == "bool":
        return raw != 0
    return int(raw) if leaf.kind == "int" else float(raw)


def check(leaf: Leaf, value: Value | None, path: str) -> Value:
    """Return *value* as *leaf* holds it; raise `ValueError` that says why it cannot."""
    if value is None:
        raise ValueError(f"{path} cannot be removed")
    if leaf.access == "r":
        raise ValueError(f"{path} can only be read")
    good: Value | None = None
    if isinstance(value, (bool, str)):
        fits = isinstance(value, bool) or ("\0" not in value and len(value) <= MAX_TEXT)
        good = value if fits and leaf.kind == ("bool" if isinstance(value, bool) else "string") else None
    elif leaf.kind in {"double", "int"} and isinstance(value, (int, float)):
        good = float(value) if leaf.kind == "double" else int(value)
    if good is None or good != good:  # noqa: PLR0124 - not a number is not equal to itself
        raise ValueError(f"{path} wants a {leaf.kind}, not {value!r:.60}")
    return good
