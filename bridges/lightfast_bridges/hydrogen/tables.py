"""What Hydrogen lets an OSC client see and set.

Hydrogen tells the mixer: master volume and mute, and volume, pan, mute and solo of each strip. The rest (tempo,
transport, patterns) it takes, and says nothing of: what is written there is said to be written, not to be so.
Everything goes as a float; an int would be taken for the bits of one.
"""

from __future__ import annotations

from dataclasses import dataclass

from lightfast.sdk import Argument, Command, Parameter, Value

VOLUME_MAX = 1.5
TOLERANCE = 1e-5
"""Hydrogen tells six digits of a number: of 1.171875 it says 1.17188."""
TEMPO = (10.0, 400.0)
"""Hydrogen clamps a tempo to this, in bpm."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One property; *address* is where it is set, `{}` standing for the strip's number."""

    name: str
    kind: str
    address: str
    minimum: float | None = None
    maximum: float | None = None
    unit: str = ""
    access: str = "rw"
    description: str = ""
    toggles: bool = False
    """Its address turns it over instead of setting it."""
    off: str = ""
    """The address that clears it, where another one sets it."""

    def declared(self, base: str) -> Parameter:
        """Return what is declared of it below *base*."""
        return Parameter(
            f"{base}/{self.name}",
            kind=self.kind,
            minimum=self.minimum,
            maximum=self.maximum,
            unit=self.unit,
            access=self.access,
            description=self.description,
            tolerance=TOLERANCE if self.kind == "double" else 0.0,
        )


STRIP = (
    Leaf("volume", "double", "/Hydrogen/STRIP_VOLUME_ABSOLUTE/{}", 0, VOLUME_MAX, "gain.linear", description="Volume."),
    Leaf("pan", "double", "/Hydrogen/PAN_ABSOLUTE_SYM/{}", -1, 1, description="Pan: -1 is left, 1 is right."),
    Leaf("mute", "bool", "/Hydrogen/STRIP_MUTE_TOGGLE/{}", description="The instrument is muted.", toggles=True),
    Leaf("solo", "bool", "/Hydrogen/STRIP_SOLO_TOGGLE/{}", description="The instrument is soloed.", toggles=True),
)
MASTER = (
    Leaf("volume", "double", "/Hydrogen/MASTER_VOLUME_ABSOLUTE", 0, VOLUME_MAX, "gain.linear",
         description="Master volume."),
    Leaf("mute", "bool", "/Hydrogen/MUTE", off="/Hydrogen/UNMUTE", description="Everything is muted."),
)  # fmt: skip
TRANSPORT = (
    Leaf("playing", "bool", "/Hydrogen/PLAY", off="/Hydrogen/STOP", access="w",
         description="Plays or stops. Hydrogen does not tell whether it plays."),
    Leaf("tempo", "double", "/Hydrogen/BPM", *TEMPO, "time.bpm", access="w",
         description="Tempo. Hydrogen does not tell its tempo; with tempo markers in use it takes none."),
)  # fmt: skip
PATTERN = Leaf(
    "pattern", "int", "/Hydrogen/SELECT_NEXT_PATTERN", 0, 9999, access="w",
    description="The pattern that is selected, from 0. Hydrogen does not tell it.",
)  # fmt: skip
LEAVES = {
    **{f"strips/*/{leaf.name}": leaf for leaf in STRIP},
    **{f"master/{leaf.name}": leaf for leaf in MASTER},
    **{f"transport/{leaf.name}": leaf for leaf in TRANSPORT},
    "song/pattern": PATTERN,
}


def declarations() -> list[Parameter]:
    """Return what is known of every song's paths."""
    return [
        *(leaf.declared("strips/*") for leaf in STRIP),
        *(leaf.declared("master") for leaf in MASTER),
        *(leaf.declared("transport") for leaf in TRANSPORT),
        PATTERN.declared("song"),
    ]


_SETTLED = frozenset((
    *("play", "stop", "pause", "relocate", "select_instrument", "song_mode_activation", "loop_mode_activation"),
    *("timeline_activation", "timeline_add_marker", "timeline_delete_marker", "jack_transport_activation"),
    *("jack_timebase_master_activation", "save_song"),
))  # fmt: skip
"""Verbs that set a state: doing one again leaves all as it is."""


@dataclass(frozen=True, slots=True)
class Verb:
    """One command; *told* says that Hydrogen tells the whole mixer when it has carried it out."""

    name: str
    address: str
    description: str
    arguments: tuple[Argument, ...] = ()
    effect: str = "reversible"
    told: bool = False

    @property
    def command(self) -> Command:
        """The command as clients see it."""
        return Command(self.name, self.description, self.arguments, self.effect, idempotent=self.name in _SETTLED)


_PATH = Argument("path", "string", True, "The file, with its whole path on Hydrogen's machine.")
_ON = Argument("on", "bool", True, "On or off.")
_NUMBER = Argument("pattern", "int", True, "Number of the pattern, from 0.")
_BAR = Argument("bar", "int", True, "Number of the bar, from 0.")


def _verb(name: str, description: str, *arguments: Argument, effect: str = "reversible", told: bool = False) -> Verb:
    return Verb(name, f"/Hydrogen/{name.upper()}", description, arguments, effect, told)


_ROWS = (
    _verb("play", "Play."),
    _verb("stop", "Stop, and go back to the start."),
    _verb("pause", "Stop here."),
    _verb("record_ready", "Arm recording, or disarm it."),
    _verb("next_bar", "Go to the next bar."),
    _verb("previous_bar", "Go to the bar before."),
    _verb("relocate", "Go to a bar.", _BAR),
    _verb("tap_tempo", "Tap the tempo."),
    _verb("beatcounter", "Count one beat for the tempo."),
    _verb("select_only_next_pattern", "Let nothing but this pattern play next.", _NUMBER),
    _verb("select_and_play_pattern", "Select a pattern and play.", _NUMBER),
    _verb("select_instrument", "Select an instrument.", Argument("instrument", "int", True, "Its number, from 0.")),
    _verb("toggle_metronome", "Turn the metronome on or off. Hydrogen does not tell which."),
    _verb("song_mode_activation", "Play the song, or one pattern.", _ON),
    _verb("loop_mode_activation", "Play the song in a loop, or once.", _ON),
    _verb("timeline_activation", "Follow the tempo markers, or the one tempo.", _ON),
    _verb(
        "timeline_add_marker",
        "Set the tempo from a bar on.",
        _BAR,
        Argument("tempo", "double", True, "In bpm."),
        effect="destructive",
    ),
    _verb("timeline_delete_marker", "Delete the tempo marker of a bar.", _BAR, effect="destructive"),
    _verb("jack_transport_activation", "Follow JACK's transport, or do not.", _ON),
    _verb("jack_timebase_master_activation", "Lead JACK's transport, or do not.", _ON),
    _verb("undo_action", "Undo the last step in Hydrogen, whoever made it.", effect="destructive"),
    _verb("redo_action", "Redo what was undone in Hydrogen.", effect="destructive"),
    _verb("save_song", "Save the song.", effect="destructive"),
    _verb("save_song_as", "Save the song to a file.", _PATH, effect="destructive"),
    _verb("new_song", "Begin an empty song; what was not saved is lost.", _PATH, effect="destructive", told=True),
    _verb("open_song", "Open a song; what was not saved is lost.", _PATH, effect="destructive", told=True),
    _verb("quit", "Quit Hydrogen; what was not saved is lost.", effect="destructive"),
)
VERBS = {verb.name: verb for verb in _ROWS}


def pack(verb: Verb, arguments: dict[str, Value]) -> list[float | str]:
    """Return the OSC arguments of a call, or raise `ValueError` that says which argument is wrong."""
    known = [argument.name for argument in verb.arguments]
    if unknown := [name for name in arguments if name not in known]:
        raise ValueError(f"{verb.name} takes no {unknown[0]}: it takes {', '.join(known) or 'no arguments'}")
    out: list[float | str] = []
    for argument in verb.arguments:
        if argument.name not in arguments:
            raise ValueError(f"{verb.name} needs {argument.name}: {argument.description}")
        value = arguments[argument.name]
        if argument.kind == "string":
            if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
                raise ValueError(f"{argument.name} wants a whole path, not {value!r:.60}")
            out.append(value)
        elif isinstance(value, bool) != (argument.kind == "bool") or not isinstance(value, (bool, int, float)):
            raise ValueError(f"{argument.name} wants a {argument.kind}, not {value!r:.60}")
        else:
            out.append(float(value))
    return out
