"""What the commands of our bridges say of themselves: what nothing takes back is never called reversible."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest

from lightfast.sdk import Command
from lightfast_bridges.ableton.commands import commands as ableton
from lightfast_bridges.ardour.commands import commands as ardour
from lightfast_bridges.blender.surface import commands as blender
from lightfast_bridges.hydrogen.tables import VERBS as HYDROGEN
from lightfast_bridges.midi.surface import commands as midi
from lightfast_bridges.obs.commands import COMMANDS as OBS
from lightfast_bridges.puredata.parameter import BANG
from lightfast_bridges.reaper.commands import COMMANDS as REAPER
from lightfast_bridges.supercollider.commands import COMMANDS as SUPERCOLLIDER
from lightfast_bridges.touchdesigner.inside import commands as touchdesigner

BRIDGES: Mapping[str, Callable[[], Sequence[Command]]] = {
    "ableton": ableton,
    "ardour": ardour,
    "blender": blender,
    "hydrogen": lambda: [verb.command for verb in HYDROGEN.values()],
    "midi": midi,
    "obs": lambda: OBS,
    "puredata": lambda: [BANG],
    "reaper": lambda: REAPER,
    "supercollider": lambda: SUPERCOLLIDER,
    "touchdesigner": touchdesigner,
}
MOMENTARY: Mapping[str, str] = {
    "ableton": """
        song.start_playing song.continue_playing song.stop_playing song.stop_all_clips song.jump_by
        song.jump_to_next_cue song.jump_to_prev_cue song.tap_tempo song.force_link_beat_time song.re_enable_automation
        song.jump_to_cue track.stop_all_clips clip_slot.fire clip_slot.stop clip.fire clip.stop clips.filter
        clips.unfilter device.set_parameters scene.fire scene.fire_as_selected scene.fire_selected api.show_message
    """,
    "ardour": """
        transport_play transport_stop toggle_roll rewind ffwd goto_start goto_end locate jump_bars jump_seconds
        goto_marker next_marker prev_marker toggle_all_rec_enables cancel_all_solos midi_panic recall_mixer_scene
        trigger_cue_row
    """,
    "blender": "set_property frame_set",
    "hydrogen": """
        play stop pause record_ready next_bar previous_bar relocate tap_tempo beatcounter select_only_next_pattern
        select_and_play_pattern select_instrument toggle_metronome song_mode_activation loop_mode_activation
        timeline_activation jack_transport_activation jack_timebase_master_activation
    """,
    "midi": "all_notes_off panic",
    "obs": """
        StopReplayBuffer SetCurrentProgramScene SetCurrentPreviewScene TriggerStudioModeTransition
        SetCurrentSceneTransition TriggerMediaInputAction
    """,
    "puredata": "bang",
    "reaper": "play stop pause solo_reset goto_marker goto_region",
    "supercollider": "n_set n_map n_run c_set",
    "touchdesigner": "cook",
}
"""What needs no command to take it back: it sets values that the application reports, or leaves nothing in the document
(what plays, where the playhead is). One that is added here was looked at for that."""


@pytest.mark.parametrize("bridge", BRIDGES)
def test_what_is_called_reversible_can_be_taken_back_or_leaves_nothing(bridge: str) -> None:
    commands = BRIDGES[bridge]()
    names = {command.name for command in commands}
    bare = {command.name for command in commands if command.effect == "reversible" and command.undo is None}
    assert bare == set(MOMENTARY[bridge].split())
    for command in commands:
        assert command.effect in {"read", "reversible", "destructive", "code"}
        if command.undo is not None:
            assert command.effect == "reversible", command.name
            assert command.undo.command in names, command.name


def test_what_changes_a_document_for_good_waits_for_an_approval() -> None:
    for bridge, name in (
        *(("blender", each) for each in ("set_keyframe", "save", "save_as", "undo", "redo")),
        *(("ableton", each) for each in ("clip.add_notes", "clip.duplicate_loop", "song.undo", "midimap.map_cc")),
        *(("obs", each) for each in ("StopRecord", "TriggerHotkeyByName", "SetCurrentSceneCollection")),
        *(("ardour", each) for each in ("add_marker", "save_state", "undo")),
        *(("touchdesigner", each) for each in ("set_text", "connect", "disconnect", "undo")),
        *(("reaper", each) for each in ("record", "save", "undo")),
        *(("hydrogen", "save_song"), ("midi", "send"), ("supercollider", "d_recv")),
    ):
        (command,) = [each for each in BRIDGES[bridge]() if each.name == name]
        assert command.effect == "destructive", (bridge, name)
