"""Commands: Ardour's verbs, by the names of its OSC addresses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightfast.sdk import Argument, Call, Command, Value
from lightfast_bridges.ardour.asking import Asker, Send
from lightfast_bridges.ardour.strips import Strip

_NAME = Argument("name", "string", True, "Its name.")
_STRIP = Argument("strip", "string", True, "The strip, by its name or path (strips/Drums, master).")
_PLUGIN = Argument("plugin", "int", True, "Number of the plugin on its strip, from 1.")
_SETTLED = frozenset((
    *("transport_play", "transport_stop", "goto_start", "goto_end", "locate", "goto_marker", "cancel_all_solos"),
    *("midi_panic", "save_state", "set_loop_range", "set_punch_range", "set_session_range", "store_mixer_scene"),
    *("recall_mixer_scene", "plugin_reset"),
))  # fmt: skip
"""Verbs that set a state: doing one again leaves all as it is."""


@dataclass(frozen=True, slots=True)
class Verb:
    """One command; its arguments go into the message in their order. *fixed* go after them."""

    name: str
    description: str
    arguments: tuple[Argument, ...] = ()
    effect: str = "reversible"
    address: str = ""
    fixed: tuple[Any, ...] = ()

    @property
    def command(self) -> Command:
        """The command as clients see it."""
        return Command(self.name, self.description, self.arguments, self.effect, idempotent=self.name in _SETTLED)


_ROWS = (
    Verb("transport_play", "Play."),
    Verb("transport_stop", "Stop."),
    Verb("toggle_roll", "Play or stop."),
    Verb("stop_forget", "Stop and throw away what was just recorded.", effect="destructive"),
    Verb("rewind", "Play backward, faster with each call."),
    Verb("ffwd", "Play forward, faster with each call."),
    Verb("goto_start", "Go to the session's start."),
    Verb("goto_end", "Go to the session's end."),
    Verb("locate", "Go to a position.",
         (Argument("position", "int", True, "In samples, at most 2147483647."),
          Argument("roll", "bool", True, "Roll from there on."))),
    Verb("jump_bars", "Move the playhead.", (Argument("bars", "double", True, "How far, in bars."),)),
    Verb("jump_seconds", "Move the playhead.", (Argument("seconds", "double", True, "How far, in seconds."),)),
    Verb("add_marker", "Add a marker at the playhead.", (Argument("name", "string", False, "Its name."),),
         "destructive"),
    Verb("remove_marker", "Remove the marker at the playhead.", effect="destructive"),
    Verb("goto_marker", "Go to a marker and stop there.",
         (Argument("marker", "", True, "Its name, or its number from 1 by position."),), address="/marker"),
    Verb("next_marker", "Go to the next marker."),
    Verb("prev_marker", "Go to the marker before."),
    Verb("set_loop_range", "Make the selected range the loop range.", effect="destructive"),
    Verb("set_punch_range", "Make the selected range the punch range.", effect="destructive"),
    Verb("set_session_range", "Make the selected range the session's.", effect="destructive"),
    Verb("toggle_all_rec_enables", "Arm all tracks, or none."),
    Verb("cancel_all_solos", "Cancel all solos.", fixed=(1.0,)),
    Verb("midi_panic", "Silence all MIDI notes."),
    Verb("undo", "Undo the last step in Ardour, whoever made it.", effect="destructive"),
    Verb("redo", "Redo what was undone in Ardour.", effect="destructive"),
    Verb("save_state", "Save the session.", effect="destructive"),
    Verb("quick_snapshot_stay", "Save a snapshot and go on in this session.", effect="destructive"),
    Verb("quick_snapshot_switch", "Save a snapshot and go on in it.", effect="destructive"),
    Verb("rename_session", "Rename the session, with its folder; it is another document from then on.", (_NAME,),
         effect="destructive", address="/session_name"),
    Verb("store_mixer_scene", "Store the mixer in a scene.",
         (Argument("scene", "int", True, "Its number, from 0."),), effect="destructive"),
    Verb("recall_mixer_scene", "Set the mixer as a scene holds it.",
         (Argument("scene", "int", True, "Its number, from 0."),)),
    Verb("trigger_cue_row", "Fire a row of cues.", (Argument("row", "int", True, "Its number, from 0."),)),
    Verb("plugin_reset", "Set all parameters of a plugin to their defaults.", (_STRIP, _PLUGIN), effect="destructive",
         address="/strip/plugin/reset"),
    Verb("access_action", "Run an action of Ardour's menus by its name (Editor/undo). Some cannot be undone, and "
         "without windows there are none; Ardour says nothing of what became of it.",
         (Argument("action", "string", True, "Its name, as Ardour's list of key bindings gives it."),),
         effect="destructive"),
)  # fmt: skip
VERBS = {verb.name: verb for verb in _ROWS}


def commands() -> list[Command]:
    """Return all commands."""
    return [verb.command for verb in VERBS.values()]


def pack(verb: Verb, arguments: Mapping[str, Value], strips: Mapping[str, Strip]) -> list[Any]:
    """Return the OSC arguments of a call, or raise `ValueError` that says which argument is wrong."""
    known = [argument.name for argument in verb.arguments]
    if unknown := [name for name in arguments if name not in known]:
        raise ValueError(f"{verb.name} takes no {unknown[0]}: it takes {', '.join(known) or 'no arguments'}")
    out: list[Any] = []
    for argument in verb.arguments:
        if argument.name in arguments:
            out.append(_argument(argument, arguments[argument.name], strips))
        elif argument.required:
            raise ValueError(f"{verb.name} needs {argument.name}: {argument.description}")
    return [*out, *verb.fixed]


def _argument(argument: Argument, value: Value, strips: Mapping[str, Strip]) -> Any:
    if argument is _STRIP and isinstance(value, str):
        return _ssid(value, strips)
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    if argument.kind == "bool" and isinstance(value, bool):
        return int(value)
    if argument.kind in {"int", ""} and number is not None and float(number).is_integer() and 0 <= number < 1 << 31:
        return int(number)
    if argument.kind == "double" and number is not None:
        return float(number)
    if argument.kind in {"string", ""} and isinstance(value, str) and value and "\0" not in value:
        return value
    raise ValueError(f"{argument.name} wants a {argument.kind or 'number or name'}, not {value!r:.60}")


def _ssid(name: str, strips: Mapping[str, Strip]) -> int:
    for strip in strips.values():
        if name.strip("/") in {strip.base, strip.name}:
            return strip.ssid
    raise ValueError(f"there is no strip {name!r}: there are {', '.join(strip.name for strip in strips.values())}")


async def run(asker: Asker, send: Send, verb: Verb, call: Call, strips: Mapping[str, Strip]) -> None:
    """Run one command; it has been worked off when this returns.

    Raises `ValueError` for wrong arguments, `NoAnswerError` for silence; Ardour says nothing of what became of it.
    """
    packed = pack(verb, call.arguments, strips)
    send(verb.address or f"/{verb.name}", *packed)
    await worked_off(asker, call.timeout)


async def worked_off(asker: Asker, timeout: float) -> None:
    """Return when Ardour has worked off what was sent; raise `NoAnswerError` for silence, within *timeout*."""
    await asker.mark(timeout=max(0.1, min(timeout, 10.0) / 3), tries=2)
