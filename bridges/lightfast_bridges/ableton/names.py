"""The names of AbletonOSC: its properties, as tables.

A property `tempo` of the song is read at `/live/song/get/tempo`, written at
`/live/song/set/tempo`, listened to at `/live/song/start_listen/tempo`, and lies at `song/tempo`
under the mount. Everything in Live is named by its index.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Follow(Enum):
    """How the bridge keeps up with a property."""

    LISTEN = "listen"
    """Live is asked to tell each change."""
    POLL = "poll"
    """It is read again and again: Live has no listener for it."""
    ASKED = "asked"
    """It is listened to while a client wants it (command `start_listen`)."""
    READ = "read"
    """It is read when a client asks for it (command `read`): too long, or an error where it does not apply."""


@dataclass(frozen=True, slots=True)
class Property:
    """One property. *kind* is a kind of value, *unit* as OSCQuery names it.

    *methods* set a flag that has no setter: the method for true, and the one for false. *shape* says what all the
    arguments of the answer are, where it is not one value: `list`, `cues` (name and time), `notes` (five each),
    `ids` (indices, which are set one by one, too) or `version`.
    """

    name: str
    kind: str
    access: str = "rw"
    minimum: float | None = None
    maximum: float | None = None
    unit: str = ""
    description: str = ""
    follow: Follow = Follow.LISTEN
    signal: bool = False
    methods: tuple[str, str] | None = None
    shape: str = ""

    @property
    def settable(self) -> bool:
        """Say whether AbletonOSC has a setter for it."""
        return self.access == "rw" and self.methods is None


BEATS = "time.beats"
_FLAG = "bool"


def _color(what: str) -> tuple[Property, Property]:
    return (
        Property("color", "int", minimum=0, maximum=0xFFFFFF, description=f"Color of {what}, 0xRRGGBB."),
        Property("color_index", "int", minimum=0, maximum=69, follow=Follow.ASKED, description="Palette color."),
    )


def _routing(side: str) -> tuple[Property, ...]:
    return tuple(
        one
        for part in ("type", "channel")
        for one in (
            Property(f"{side}_routing_{part}", "string", follow=Follow.POLL, description=f"{side.title()} {part}."),
            Property(f"available_{side}_routing_{part}s", "list", "r", follow=Follow.POLL, shape="list",
                     description=f"What {side}_routing_{part} can be."),
        )
    )  # fmt: skip


APPLICATION = (
    Property("version", "string", "r", follow=Follow.POLL, shape="version", description="Version of Live."),
    Property("average_process_usage", "double", "r", minimum=0, follow=Follow.POLL, signal=True,
             description="Load of Live."),
)  # fmt: skip

SONG = (
    Property("tempo", "double", minimum=20, maximum=999, unit="time.bpm", description="Tempo of the song."),
    Property("is_playing", _FLAG, methods=("continue_playing", "stop_playing"),
             description="The transport runs. True plays from where it is, false stops; see start_playing, too."),
    Property("current_song_time", "double", minimum=0, unit=BEATS, signal=True, description="Song position."),
    Property("song_length", "double", "r", unit=BEATS, description="Length of the arrangement."),
    Property("signature_numerator", "int", minimum=1, maximum=99, description="Beats in a bar."),
    Property("signature_denominator", "int", minimum=1, maximum=16, description="What counts as a beat."),
    Property("loop", _FLAG, description="The arrangement loop is on."),
    Property("loop_start", "double", minimum=0, unit=BEATS, description="Where the loop starts."),
    Property("loop_length", "double", minimum=0, unit=BEATS, description="How long the loop is."),
    Property("metronome", _FLAG, description="The metronome is heard."),
    Property("record_mode", _FLAG, description="Arrangement recording is on."),
    Property("session_record", _FLAG, description="Session recording is on."),
    Property("session_record_status", "int", "r", description="State of session recording."),
    Property("arrangement_overdub", _FLAG, description="MIDI arrangement overdub is on."),
    Property("back_to_arranger", _FLAG, description="Clips differ from the arrangement."),
    Property("punch_in", _FLAG, description="Punch-in is on."),
    Property("punch_out", _FLAG, description="Punch-out is on."),
    Property("clip_trigger_quantization", "int", minimum=0, maximum=13, description="Launch quantization."),
    Property("midi_recording_quantization", "int", minimum=0, maximum=8, description="Record quantization."),
    Property("groove_amount", "double", minimum=0, description="Amount of the global groove."),
    Property("root_note", "int", minimum=0, maximum=11, description="Root of the scale, 0 is C."),
    Property("scale_name", "string", description="Name of the scale."),
    Property("is_ableton_link_enabled", _FLAG, description="Ableton Link is on."),
    Property("nudge_down", _FLAG, follow=Follow.ASKED, description="The tempo is held back."),
    Property("nudge_up", _FLAG, follow=Follow.ASKED, description="The tempo is pushed."),
    Property("can_redo", _FLAG, "r", follow=Follow.POLL, description="There is something to redo."),
    Property("can_undo", _FLAG, "r", follow=Follow.POLL, description="There is something to undo."),
    Property("cue_points", "list", "r", follow=Follow.POLL, shape="cues", description="Names and times of the cues."),
)  # fmt: skip

TRACK = (
    Property("name", "string", description="Name of the track."),
    Property("volume", "double", minimum=0, maximum=1, description="Fader, 0.85 is 0 dB."),
    Property("panning", "double", minimum=-1, maximum=1, description="Pan, from left to right."),
    Property("mute", _FLAG, description="The track is muted."),
    Property("solo", _FLAG, description="The track is soloed."),
    Property("arm", _FLAG, description="The track is armed; only where can_be_armed."),
    *_color("the track"),
    Property("playing_slot_index", "int", "r", description="Slot that plays, -1 none, -2 stopped."),
    Property("fired_slot_index", "int", "r", description="Slot that is about to play."),
    Property("can_be_armed", _FLAG, "r", follow=Follow.POLL, description="The track records."),
    Property("is_foldable", _FLAG, "r", follow=Follow.POLL, description="The track is a group."),
    Property("fold_state", _FLAG, follow=Follow.ASKED, description="The group is folded."),
    Property("current_monitoring_state", "int", minimum=0, maximum=2, follow=Follow.ASKED,
             description="Monitoring: in, auto, off."),
    *_routing("input"),
    *_routing("output"),
    *(Property(f"arrangement_clips/{name}", "list", "r", follow=Follow.POLL, shape="list", description=text)
      for name, text in (("name", "Names of the clips in the arrangement."), ("length", "Their lengths in beats."),
                         ("start_time", "Where they start, in beats."))),
    Property("is_grouped", _FLAG, "r", follow=Follow.ASKED, description="The track lies in a group."),
    Property("is_visible", _FLAG, "r", follow=Follow.ASKED, description="The track is not hidden in a group."),
    Property("has_audio_input", _FLAG, "r", follow=Follow.ASKED, description="It takes audio."),
    Property("has_audio_output", _FLAG, "r", follow=Follow.ASKED, description="It gives audio."),
    Property("has_midi_input", _FLAG, "r", follow=Follow.ASKED, description="It takes MIDI."),
    Property("has_midi_output", _FLAG, "r", follow=Follow.ASKED, description="It gives MIDI."),
    Property("output_meter_level", "double", "r", 0, 1, follow=Follow.ASKED, signal=True,
             description="Meter, the louder side."),
    Property("output_meter_left", "double", "r", 0, 1, follow=Follow.ASKED, signal=True, description="Meter."),
    Property("output_meter_right", "double", "r", 0, 1, follow=Follow.ASKED, signal=True, description="Meter."),
)  # fmt: skip

CLIP_SLOT = (
    Property("has_clip", _FLAG, "r", description="There is a clip in the slot."),
    Property("is_triggered", _FLAG, "r", follow=Follow.ASKED, description="The slot is about to play."),
    Property("is_playing", _FLAG, "r", follow=Follow.ASKED, description="The slot plays."),
    Property("is_group_slot", _FLAG, "r", follow=Follow.ASKED, description="The slot is one of a group track."),
    Property("controls_other_clips", _FLAG, "r", follow=Follow.ASKED, description="It fires clips of a group."),
    Property("playing_status", "int", "r", follow=Follow.ASKED, description="State of the slot."),
    Property("will_record_on_start", _FLAG, "r", follow=Follow.ASKED, description="Firing it records."),
    Property("has_stop_button", _FLAG, follow=Follow.ASKED, description="The slot has a stop button."),
)

CLIP = (
    Property("name", "string", description="Name of the clip."),
    *_color("the clip"),
    Property("is_playing", _FLAG, "r", description="The clip plays."),
    Property("is_triggered", _FLAG, "r", description="The clip is about to play."),
    Property("length", "double", "r", unit=BEATS, follow=Follow.POLL, description="Length of the clip."),
    Property("looping", _FLAG, description="The clip loops."),
    Property("loop_start", "double", unit=BEATS, description="Where its loop starts."),
    Property("loop_end", "double", unit=BEATS, description="Where its loop ends."),
    Property("muted", _FLAG, description="The clip is deactivated."),
    Property("is_midi_clip", _FLAG, "r", follow=Follow.POLL, description="It holds notes."),
    Property("playing_position", "double", "r", unit=BEATS, follow=Follow.ASKED, signal=True,
             description="Where the clip plays."),
    Property("is_audio_clip", _FLAG, "r", follow=Follow.ASKED, description="It holds audio."),
    Property("is_recording", _FLAG, "r", follow=Follow.ASKED, description="It records."),
    Property("is_overdubbing", _FLAG, "r", follow=Follow.ASKED, description="It overdubs."),
    Property("has_groove", _FLAG, "r", follow=Follow.ASKED, description="It has a groove."),
    Property("will_record_on_start", _FLAG, "r", follow=Follow.ASKED, description="Firing it records."),
    Property("start_time", "double", "r", unit=BEATS, follow=Follow.ASKED, description="Where it starts."),
    Property("end_time", "double", "r", unit=BEATS, follow=Follow.ASKED, description="Where it ends."),
    Property("sample_length", "int", "r", follow=Follow.ASKED, description="Samples of an audio clip."),
    Property("file_path", "string", "r", follow=Follow.ASKED, description="File of an audio clip."),
    Property("gain_display_string", "string", "r", follow=Follow.ASKED, description="Gain as Live shows it."),
    Property("gain", "double", minimum=0, maximum=1, follow=Follow.ASKED, description="Gain of an audio clip."),
    Property("start_marker", "double", unit=BEATS, follow=Follow.ASKED, description="Start marker."),
    Property("end_marker", "double", unit=BEATS, follow=Follow.ASKED, description="End marker."),
    Property("position", "double", unit=BEATS, follow=Follow.ASKED, description="Loop position."),
    Property("launch_mode", "int", minimum=0, maximum=3, follow=Follow.ASKED, description="Launch mode."),
    Property("launch_quantization", "int", minimum=0, maximum=14, follow=Follow.ASKED, description="Quantization."),
    Property("legato", _FLAG, follow=Follow.ASKED, description="Legato is on."),
    Property("pitch_coarse", "int", minimum=-48, maximum=48, follow=Follow.ASKED, description="Semitones."),
    Property("pitch_fine", "double", minimum=-500, maximum=500, follow=Follow.ASKED, description="Cents."),
    Property("ram_mode", _FLAG, follow=Follow.ASKED, description="RAM mode is on."),
    Property("velocity_amount", "double", minimum=0, maximum=1, follow=Follow.ASKED, description="Velocity."),
    Property("warp_mode", "int", minimum=0, maximum=6, follow=Follow.ASKED, description="Warp mode."),
    Property("warping", _FLAG, follow=Follow.ASKED, description="Warping is on."),
    Property("notes", "list", "r", follow=Follow.READ, shape="notes", description="The notes of a MIDI clip."),
)  # fmt: skip

SCENE = (
    Property("name", "string", description="Name of the scene."),
    *_color("the scene"),
    Property("is_triggered", _FLAG, "r", description="The scene is about to play."),
    Property("is_empty", _FLAG, "r", follow=Follow.POLL, description="The scene has no clips."),
    Property("tempo", "double", follow=Follow.ASKED, unit="time.bpm", description="Tempo it sets."),
    Property("tempo_enabled", _FLAG, follow=Follow.ASKED, description="It sets a tempo."),
    Property("time_signature_numerator", "int", follow=Follow.ASKED, description="Signature it sets."),
    Property("time_signature_denominator", "int", follow=Follow.ASKED, description="Signature it sets."),
    Property("time_signature_enabled", _FLAG, follow=Follow.ASKED, description="It sets a signature."),
)

DEVICE = (
    Property("name", "string", "r", follow=Follow.POLL, description="Name of the device."),
    Property("class_name", "string", "r", follow=Follow.POLL, description="What device it is."),
    Property("type", "int", "r", follow=Follow.POLL, description="1 audio effect, 2 instrument, 4 MIDI effect."),
)

VIEW = (
    Property("selected_scene", "int", minimum=0, description="The selected scene."),
    Property("selected_track", "int", minimum=0, description="The selected track."),
    Property("selected_clip", "list", follow=Follow.READ, shape="ids", description="Track and scene."),
    Property("selected_device", "list", follow=Follow.READ, shape="ids", description="Track and device."),
)

PARAMETER = (
    Property("value", "double", description="Value of the parameter; its range is in min and max."),
    Property("value_string", "string", "r", description="The value as Live shows it."),
    Property("name", "string", "r", follow=Follow.POLL, description="Name of the parameter."),
    Property("min", "double", "r", follow=Follow.POLL, description="The least value."),
    Property("max", "double", "r", follow=Follow.POLL, description="The greatest value."),
    Property("is_quantized", _FLAG, "r", follow=Follow.POLL, description="It has steps."),
)

SEND = Property("send", "double", "rw", 0, 1, follow=Follow.POLL, description="Amount sent to a return track.")
BEAT = Property("beat", "int", "r", signal=True, description="The beat that has just begun.")
"""Has no getter: Live sends it once per beat."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object: its name in addresses, its place under the mount, its properties by name."""

    name: str
    place: str
    properties: dict[str, Property]

    @property
    def ids(self) -> int:
        """How many indices name one."""
        return self.place.count("*")


def _kind(name: str, place: str, properties: tuple[Property, ...]) -> Kind:
    return Kind(name, place, {one.name: one for one in properties})


CHAIN = (
    Property("name", "string", follow=Follow.POLL, description="Name of the chain."),
    Property("volume", "double", minimum=0, maximum=1, follow=Follow.POLL, description="Fader of the chain."),
    Property("panning", "double", minimum=-1, maximum=1, follow=Follow.POLL, description="Pan of the chain."),
    Property("mute", _FLAG, follow=Follow.POLL, description="The chain is muted."),
    Property("solo", _FLAG, follow=Follow.POLL, description="The chain is soloed."),
    Property("color", "int", minimum=0, maximum=0xFFFFFF, follow=Follow.POLL, description="Color, 0xRRGGBB."),
)
"""Only where AbletonOSC has `/live/chain/…`, as its pull request #199 adds it; it has no listeners."""

NOT_OF_EXTRAS = frozenset({
    "arm", "can_be_armed", "current_monitoring_state", "fired_slot_index", "fold_state", "is_foldable", "is_grouped",
    "is_visible", "playing_slot_index", "has_audio_input", "has_midi_input", "has_midi_output",
    *(one.name for one in TRACK if "input_routing" in one.name or one.name.startswith("arrangement_clips")),
})  # fmt: skip
"""What return tracks and the main track have not, or AbletonOSC cannot tell of them."""
NOT_OF_MAIN = frozenset({"mute", "solo"})
"""What the main track has not, besides."""
MAIN = "master"
"""How AbletonOSC's forks name the main track; they name return tracks `return_0` and so on."""

KINDS = {
    kind.name: kind
    for kind in (
        _kind("application", "application", APPLICATION),
        _kind("song", "song", SONG),
        _kind("track", "tracks/*", TRACK),
        _kind("clip_slot", "tracks/*/clip_slots/*", CLIP_SLOT),
        _kind("clip", "tracks/*/clips/*", CLIP),
        _kind("scene", "scenes/*", SCENE),
        _kind("device", "tracks/*/devices/*", DEVICE),
        _kind("chain", "tracks/*/devices/*/chains/*", CHAIN),
        _kind("view", "view", VIEW),
    )
}
SENDS = "tracks/*/sends/*"
PARAMETERS = "tracks/*/devices/*/parameters/*"
NESTED = "tracks/*/devices/*/chains/*/devices/*/parameters/*"
"""Parameters of a device in a chain of a rack; AbletonOSC's `/live/chain/device/…`, in pull request #199."""
