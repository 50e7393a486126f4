"""Commands: Live's verbs, by AbletonOSC's names (`song.start_playing`, `clip.fire`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lightfast.sdk import Argument, Call, Command, Undo, Value
from lightfast_bridges.ableton.asking import Asker
from lightfast_bridges.ableton.values import told_cues, told_notes

_TRACK = Argument("track", "int", True, "Index of the track, from 0.")
_SCENE = Argument("scene", "int", True, "Index of the scene, from 0.")
_DEVICE = Argument("device", "int", True, "Index of the device, from 0.")
_AT = Argument("index", "int", True, "Index of the new one; -1 puts it at the end.")
_SETTLED = frozenset((
    *("song.start_playing", "song.continue_playing", "song.stop_playing", "song.stop_all_clips", "song.jump_to_cue"),
    *("song.force_link_beat_time", "song.re_enable_automation", "song.set_cue_name", "track.stop_all_clips"),
    *("clip_slot.stop", "clip.stop", "clip.remove_notes", "clips.filter", "clips.unfilter", "device.set_parameters"),
    *("midimap.map_cc", "api.show_message"),
))  # fmt: skip
"""Verbs that set a state: doing one again leaves all as it is."""
_UNDO = {
    "song.create_audio_track": Undo("song.delete_track", {"track": "$arguments.index"}),
    "song.create_midi_track": Undo("song.delete_track", {"track": "$arguments.index"}),
    "song.create_scene": Undo("song.delete_scene", {"scene": "$arguments.index"}),
    "song.duplicate_track": Undo("song.delete_track", {"track": "$arguments.track+1"}),
    "song.duplicate_scene": Undo("song.delete_scene", {"scene": "$arguments.scene+1"}),
    "clip_slot.create_clip": Undo(
        "clip_slot.delete_clip", {"track": "$arguments.track", "scene": "$arguments.scene"}
    ),
    "clip_slot.duplicate_clip_to": Undo(
        "clip_slot.delete_clip", {"track": "$arguments.to_track", "scene": "$arguments.to_scene"}
    ),
}  # fmt: skip
"""What takes a verb back."""


@dataclass(frozen=True, slots=True)
class Verb:
    """One command: its address and arguments. *structural*: tracks, scenes, clips or devices come or go."""

    name: str
    description: str
    arguments: tuple[Argument, ...] = ()
    effect: str = "reversible"
    structural: bool = False
    answer: Callable[[tuple[Any, ...]], Value] | None = None
    """Turns what Live answers (all arguments) into the result; None where it answers nothing."""
    pack: Callable[[Mapping[str, Value]], list[Any]] | None = None
    """Turns the arguments into OSC ones, where they do not go one by one."""
    address: str = ""

    @property
    def to(self) -> str:
        """The OSC address."""
        return self.address or "/live/" + self.name.replace(".", "/")

    @property
    def command(self) -> Command:
        """The command as clients see it."""
        return Command(
            self.name,
            self.description,
            self.arguments,
            self.effect,
            idempotent=self.name in _SETTLED,
            undo=_UNDO.get(self.name),
        )


def _number(value: Value, where: str) -> float:
    if type(value) in (int, float):
        return value  # type: ignore[return-value]
    raise ValueError(f"{where} is {value!r:.40}: a note has pitch, start, duration, velocity (and mute)")


def _notes(arguments: Mapping[str, Value]) -> list[Any]:
    """Return track, scene and five OSC arguments per note: pitch, start, duration, velocity, mute."""
    out: list[Any] = [int(arguments["track"]), int(arguments["scene"])]  # type: ignore[arg-type]
    notes = arguments["notes"]
    if not isinstance(notes, list) or not notes:
        raise ValueError("notes must be a list with at least one note")
    for index, note in enumerate(notes):
        where = f"notes[{index}]"
        if isinstance(note, dict):
            note = [note.get(name) for name in ("pitch", "start", "duration")] + [  # noqa: PLW2901
                note.get("velocity", 100.0), note.get("mute", False)]  # fmt: skip
        if not isinstance(note, (list, tuple)) or len(note) not in (4, 5):
            raise ValueError(f"{where}: a note has pitch, start, duration, velocity (and mute)")
        pitch, start, duration, velocity = (_number(item, where) for item in note[:4])
        if not 0 <= pitch <= 127 or not 0 < velocity <= 127 or duration <= 0:
            raise ValueError(f"{where}: pitch is 0 to 127, velocity above 0 to 127, duration above 0")
        mute = int(bool(note[4])) if len(note) == 5 else 0
        out += [int(pitch), float(start), float(duration), float(velocity), mute]
    return out


def _notes_of(args: tuple[Any, ...]) -> Value:
    return told_notes(args[2:])


def _values(arguments: Mapping[str, Value]) -> list[Any]:
    """Return track, device and the values of its first parameters."""
    values = arguments["values"]
    if not isinstance(values, (list, tuple)) or not values or not all(type(one) in (int, float) for one in values):
        raise ValueError("values must be a list of numbers, one for each parameter from the first on")
    return [arguments["track"], arguments["device"], *(float(one) for one in values)]


def _names(arguments: Mapping[str, Value]) -> list[Any]:
    """Return names of notes, or ids."""
    names = arguments.get("names", arguments.get("ids"))
    if not isinstance(names, list) or not names:
        raise ValueError("it takes a list with at least one in it")
    given = [arguments[name] for name in ("track", "scene") if name in arguments]
    return [*given, *names]


def _song(name: str, description: str, *arguments: Argument, effect: str = "reversible") -> Verb:
    structural = name.startswith(("create_", "delete_", "duplicate_", "undo", "redo", "capture_"))
    return Verb(f"song.{name}", description, arguments, effect, structural)


_ROWS = (
    _song("start_playing", "Start the transport at the start marker."),
    _song("continue_playing", "Start the transport where it stopped."),
    _song("stop_playing", "Stop the transport."),
    _song("stop_all_clips", "Stop all clips."),
    _song("jump_by", "Move the song position.", Argument("beats", "double", True, "How far, in beats.")),
    _song("jump_to_next_cue", "Go to the next cue point."),
    _song("jump_to_prev_cue", "Go to the cue point before."),
    _song("set_or_delete_cue", "Set a cue point here, or delete the one that is here.", effect="destructive"),
    _song("tap_tempo", "Tap the tempo."),
    _song("force_link_beat_time", "Make the Link session follow this song's beat time."),
    _song("re_enable_automation", "Give overridden parameters back to their automation."),
    _song("trigger_session_record", "Start or stop session recording.", effect="destructive"),
    _song("capture_midi", "Make a clip of what was just played.", effect="destructive"),
    _song("capture_and_insert_scene", "Make a scene of what plays.", effect="destructive"),
    _song("create_audio_track", "Create an audio track.", _AT),
    _song("create_midi_track", "Create a MIDI track.", _AT),
    _song("create_return_track", "Create a return track.", effect="destructive"),
    _song("create_scene", "Create a scene.", _AT),
    _song("duplicate_track", "Duplicate a track.", _TRACK),
    _song("duplicate_scene", "Duplicate a scene.", _SCENE),
    _song("delete_track", "Delete a track.", _TRACK, effect="destructive"),
    _song("delete_return_track", "Delete a return track.", _TRACK, effect="destructive"),
    _song("delete_scene", "Delete a scene.", _SCENE, effect="destructive"),
    _song("undo", "Undo the last step in Live, whoever made it.", effect="destructive"),
    _song("redo", "Redo what was undone in Live.", effect="destructive"),
    Verb("song.get_cue_points", "Return the cue points.", effect="read", answer=told_cues,
         address="/live/song/get/cue_points"),
    Verb("song.jump_to_cue", "Go to a cue point.", (Argument("cue", "", True, "Its number or name."),),
         address="/live/song/cue_point/jump"),
    Verb("song.add_or_delete_cue", "Set a cue point here, or delete the one that is here.",
         effect="destructive", address="/live/song/cue_point/add_or_delete"),
    Verb("song.set_cue_name", "Rename a cue point.",
         (Argument("cue", "int", True, "Its number."), Argument("name", "string", True, "Its new name.")),
         effect="destructive", address="/live/song/cue_point/set/name"),
    Verb("song.export_structure", "Write the set's structure as JSON into the temporary folder of Live's machine.",
         effect="read", answer=bool, address="/live/song/export/structure"),
    Verb("track.stop_all_clips", "Stop the clips of a track.", (_TRACK,)),
    Verb("track.delete_device", "Delete a device.", (_TRACK, _DEVICE), "destructive", structural=True),
    Verb("track.delete_clip", "Delete a clip.", (_TRACK, _SCENE), "destructive", structural=True),
    Verb("clip_slot.fire", "Fire a slot: play its clip, record, or stop.", (_TRACK, _SCENE)),
    Verb("clip_slot.stop", "Stop a slot.", (_TRACK, _SCENE)),
    Verb("clip_slot.create_clip", "Create an empty MIDI clip.",
         (_TRACK, _SCENE, Argument("length", "double", True, "In beats.")), structural=True),
    Verb("clip_slot.delete_clip", "Delete the clip of a slot.", (_TRACK, _SCENE), "destructive", structural=True),
    Verb("clip_slot.duplicate_clip_to", "Copy a clip to another slot.",
         (_TRACK, _SCENE, Argument("to_track", "int", True, "Track of the copy."),
          Argument("to_scene", "int", True, "Scene of the copy.")), structural=True),
    Verb("clip.fire", "Play a clip.", (_TRACK, _SCENE)),
    Verb("clip.stop", "Stop a clip.", (_TRACK, _SCENE)),
    Verb("clip.duplicate_loop", "Double the loop of a clip with its notes.", (_TRACK, _SCENE), "destructive"),
    Verb("clip.get_notes", "Return the notes of a MIDI clip.", (_TRACK, _SCENE), "read",
         answer=_notes_of, address="/live/clip/get/notes"),
    Verb("clip.add_notes", "Add notes to a MIDI clip.",
         (_TRACK, _SCENE, Argument("notes", "list", True, "Maps or lists: pitch, start and duration in beats, "
                                   "velocity, mute.")), "destructive", pack=_notes, address="/live/clip/add/notes"),
    Verb("clip.remove_notes", "Remove notes from a MIDI clip: all, or those in a range.",
         (_TRACK, _SCENE, Argument("pitch", "int", False, "Lowest pitch."),
          Argument("pitch_span", "int", False, "How many pitches."),
          Argument("time", "double", False, "From here, in beats."),
          Argument("time_span", "double", False, "So many beats.")), "destructive",
         address="/live/clip/remove/notes"),
    Verb("clip.remove_notes_by_id", "Remove notes from a MIDI clip by Live's ids of them.",
         (_TRACK, _SCENE, Argument("ids", "list", True, "The ids.")), "destructive", pack=_names),
    Verb("clips.filter", "Mute the clips whose names end in notes that are not among these.",
         (Argument("names", "list", True, "Names of notes, for example C, F#."),), pack=_names),
    Verb("clips.unfilter", "Unmute all clips, or those of some tracks.",
         (Argument("first", "int", False, "The first track."), Argument("end", "int", False, "The track after."))),
    Verb("device.set_parameters", "Set the first parameters of a device at once.",
         (_TRACK, _DEVICE, Argument("values", "list", True, "One number for each.")), pack=_values,
         address="/live/device/set/parameters/value"),
    Verb("midimap.map_cc", "Map a MIDI controller to a parameter.",
         (_TRACK, _DEVICE, Argument("parameter", "int", True, "Index of the parameter, from 0."),
          Argument("channel", "int", True, "MIDI channel, from 0."), Argument("cc", "int", True, "Controller.")),
         "destructive"),
    Verb("scene.fire", "Play a scene.", (_SCENE,)),
    Verb("scene.fire_as_selected", "Play a scene and select the next one.", (_SCENE,)),
    Verb("scene.fire_selected", "Play the selected scene and select the next one."),
    Verb("api.show_message", "Show a message in Live's status bar.",
         (Argument("message", "string", True, "The message."),)),
)  # fmt: skip
VERBS = {verb.name: verb for verb in _ROWS}
_PATH = Argument("path", "string", True, "Under the mount, for example tracks/0/output_meter_level.")
NOTES = frozenset({"clip.add_notes", "clip.remove_notes", "clip.remove_notes_by_id", "clip.duplicate_loop"})
"""What changes the notes of a clip."""
LISTEN = (
    Command("start_listen", "Follow a property that is not followed by itself (meters, positions).", (_PATH,), "read"),
    Command("stop_listen", "Give one start_listen up; the last one stops it.", (_PATH,), "read"),
    Command("read", "Read one property and return it; notes, selected clip and device are only read so.",
            (_PATH,), "read"),
)  # fmt: skip


def commands() -> list[Command]:
    """Return all commands."""
    return [*(verb.command for verb in VERBS.values()), *LISTEN]


def _as_osc(argument: Argument, value: Value) -> Any:
    """Return one argument as OSC wants it, or raise `ValueError`."""
    if argument.kind == "int" and isinstance(value, (int, float)) and not isinstance(value, bool):
        if float(value).is_integer():
            return int(value)
    elif argument.kind == "double" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    elif (argument.kind == "string" and isinstance(value, str)) or (
        not argument.kind and isinstance(value, (int, str)) and not isinstance(value, bool)
    ):
        return value
    raise ValueError(f"{argument.name} wants a {argument.kind or 'number or name'}, not {value!r:.60}")


def pack(verb: Verb, arguments: Mapping[str, Value]) -> list[Any]:
    """Return the OSC arguments of a call, or raise `ValueError` that says which argument is wrong."""
    known = [argument.name for argument in verb.arguments]
    unknown = [name for name in arguments if name not in known]
    if unknown:
        raise ValueError(f"{verb.name} takes no {unknown[0]}: it takes {', '.join(known) or 'no arguments'}")
    out: list[Any] = []
    skipped = ""
    for argument in verb.arguments:
        if argument.name not in arguments:
            if argument.required:
                raise ValueError(f"{verb.name} needs {argument.name}: {argument.description}")
            skipped = skipped or argument.name
        elif skipped:
            raise ValueError(f"{argument.name} needs {skipped}, too: give all of them or none")
        elif argument.kind != "list":
            out.append(_as_osc(argument, arguments[argument.name]))
    if skipped and len(out) > sum(argument.required for argument in verb.arguments):
        raise ValueError(f"{skipped} is missing: give all of them or none")
    return verb.pack(arguments) if verb.pack else out


async def run(asker: Asker, verb: Verb, call: Call) -> Value | None:
    """Run one command and return its result.

    Raises `ValueError` for wrong arguments and for what Live refused, `NoAnswerError` for silence.
    """
    packed = pack(verb, call.arguments)
    span = await asker.between(verb.to, *packed, timeout=min(call.timeout, 10.0))
    if span.errors:
        raise ValueError(f"Live refused {verb.name}: {span.errors[0]}")
    if verb.answer is None:
        return None
    if span.answer is None:
        raise ValueError(f"Live did not answer {verb.name}")
    return verb.answer(span.answer)
