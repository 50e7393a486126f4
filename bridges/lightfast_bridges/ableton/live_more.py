"""More of AbletonOSC's addresses over the simulator's set: routings, lists, files; and what its forks add."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightfast_bridges.ableton.live_set import Chain, Device, Knob
from lightfast_bridges.ableton.live_tables import Params, at, ids_of
from lightfast_bridges.ableton.names import CHAIN

if TYPE_CHECKING:
    from lightfast_bridges.ableton.live_api import LiveApi

ROUTINGS: dict[tuple[str, str], dict[bool, tuple[str, ...]]] = {
    ("input", "type"): {
        True: ("All Ins", "Computer Keyboard", "No Input"),
        False: ("Ext. In", "Resampling", "No Input"),
    },
    ("input", "channel"): {True: ("All Channels", "Ch. 1", "Ch. 2"), False: ("1", "2", "1/2")},
    ("output", "type"): {True: ("Main", "Ext. Out", "Sends Only"), False: ("Main", "Ext. Out", "Sends Only")},
    ("output", "channel"): {True: ("Track In",), False: ("Track In",)},
}
NOTES = {"C": 0, "C#": 1, "Db": 1, "D": 2, "D#": 3, "Eb": 3, "E": 4, "F": 5, "F#": 6, "Gb": 6, "G": 7, "G#": 8,
         "Ab": 8, "A": 9, "A#": 10, "Bb": 10, "B": 11}  # fmt: skip


def lists(api: LiveApi) -> None:
    """Add what takes or gives more than one value."""
    add = api.handlers
    for (side, part), choices in ROUTINGS.items():
        name = f"{side}_routing_{part}"
        add[f"/live/track/get/available_{name}s"] = partial(_choices, api, choices)
        add[f"/live/track/get/{name}"] = partial(_routing, api, name)
        add[f"/live/track/set/{name}"] = partial(_route, api, name, choices)
    for column, name in enumerate(("name", "length", "start_time")):
        add[f"/live/track/get/arrangement_clips/{name}"] = partial(_arrangement, api, column)
    view = api.live.view
    view.values.update(device=(0, 0))
    add["/live/view/get/selected_clip"] = lambda _: (view["selected_track"], view["selected_scene"])
    add["/live/view/set/selected_clip"] = partial(_select_clip, api)
    add["/live/view/get/selected_device"] = lambda _: tuple(view["device"])
    add["/live/view/set/selected_device"] = partial(_select_device, api)
    add["/live/clips/filter"] = partial(_filter, api)
    add["/live/clips/unfilter"] = partial(_unfilter, api)
    add["/live/clip/remove_notes_by_id"] = partial(_remove_by_id, api)
    add["/live/song/export/structure"] = partial(_export, api)


def _choices(api: LiveApi, choices: dict[bool, tuple[str, ...]], params: Params) -> Params:
    return (*ids_of(params, 1), *choices[api.track(params).midi])


def _routing(api: LiveApi, name: str, params: Params) -> Params:
    return (*ids_of(params, 1), api.track(params)[name])


def _route(api: LiveApi, name: str, choices: dict[bool, tuple[str, ...]], params: Params) -> None:
    track = api.track(params)
    if str(params[1]) in choices[track.midi]:  # another one is only noted in AbletonOSC's log
        track[name] = str(params[1])


def _arrangement(api: LiveApi, column: int, params: Params) -> Params:
    return (*ids_of(params, 1), *(clip[column] for clip in api.track(params).arrangement))


def _select_clip(api: LiveApi, params: Params) -> None:
    at(api.live.tracks, params[0])
    at(api.live.scenes, params[1])
    api.live.view["selected_track"] = int(params[0])
    api.live.view["selected_scene"] = int(params[1])


def _select_device(api: LiveApi, params: Params) -> None:
    api.device(params)
    api.live.view["device"] = (int(params[0]), int(params[1]))


def _filter(api: LiveApi, params: Params) -> None:
    """Mute the clips whose names end in `_` or `-` and notes, unless all of these are among those wanted."""
    wanted = {NOTES.get(str(name)) for name in params}
    for track in api.live.tracks:
        for clip in (slot.clip for slot in track.slots if slot.clip is not None):
            if found := re.search(r"[_-]([A-G][A-G#b1-9-]*)$", clip["name"]):
                notes = re.sub("[1-9]", "", found[1]).split("-")
                clip["muted"] = not wanted.issuperset(NOTES.get(note) for note in notes)


def _unfilter(api: LiveApi, params: Params) -> None:
    first, end = (int(params[0]), int(params[1])) if len(params) > 1 else (0, len(api.live.tracks))
    for track in api.live.tracks[first:end]:
        for clip in (slot.clip for slot in track.slots if slot.clip is not None):
            clip["muted"] = False


def _remove_by_id(api: LiveApi, params: Params) -> None:
    """Remove notes by their ids, which are here their numbers from 1."""
    clip = api.clip(params)
    gone = {int(one) for one in params[2:]}
    clip.notes = [note for number, note in enumerate(clip.notes, 1) if number not in gone]


def _export(api: LiveApi, _: Params) -> Params:
    """Write the structure as the real one does."""
    tracks = [
        {
            "index": index,
            "name": track["name"],
            "is_foldable": track["is_foldable"],
            "group_track": None,
            "clips": [
                {"index": at, "name": slot.clip["name"], "length": slot.clip["length"]}
                for at, slot in enumerate(track.slots)
                if slot.clip is not None
            ],
            "devices": [_described(device) for device in track.devices],
        }
        for index, track in enumerate(api.live.tracks)
    ]
    path = Path(tempfile.gettempdir()) / "abletonosc-song-structure.json"
    path.write_text(json.dumps({"tracks": tracks}), encoding="utf-8")
    return (1,)


def _described(device: Device) -> dict[str, Any]:
    columns = ("name", "value", "min", "max", "is_quantized")
    return {
        **{name: device[name] for name in ("class_name", "type", "name")},
        "parameters": [{name: knob[name] for name in columns} for knob in device.knobs],
    }


def forked(api: LiveApi) -> None:
    """Add what pull requests #197 (return tracks and the main track) and #199 (chains of racks) add."""
    live, add = api.live, api.handlers
    add["/live/song/get/num_return_tracks"] = lambda _: (len(live.return_tracks),)
    add["/live/song/get/return_track_names"] = lambda _: tuple(track["name"] for track in live.return_tracks)
    add["/live/song/get/master_track_name"] = lambda _: (live.main["name"],)
    add["/live/device/get/num_chains"] = lambda p: (*ids_of(p, 2), len(api.device(p).chains))
    for prop in CHAIN:
        add[f"/live/chain/get/{prop.name}"] = partial(_chain_get, api, prop.name)
        add[f"/live/chain/set/{prop.name}"] = partial(_chain_set, api, prop.name)
    add["/live/chain/get/num_devices"] = lambda p: (*ids_of(p, 3), len(_chain(api, p).devices))
    for name in ("name", "type", "class_name", "can_have_chains"):
        add[f"/live/chain/device/get/devices/{name}"] = partial(_chain_devices, api, name)
    inner = "/live/chain/device"
    add[f"{inner}/get/num_parameters"] = lambda p: (*ids_of(p, 4), len(_inner(api, p).knobs))
    for name in ("name", "value", "min", "max", "is_quantized"):
        add[f"{inner}/get/parameters/{name}"] = partial(_inner_knobs, api, name)
    for name, tell in (("value", _value), ("name", _name), ("value_string", _text)):
        add[f"{inner}/get/parameter/{name}"] = partial(_inner_get, api, tell)
    add[f"{inner}/set/parameter/value"] = lambda p: _inner_knob(api, p).put("value", p[5])


def _chain(api: LiveApi, params: Params) -> Chain:
    device = api.device(params)
    if not device.chains:
        raise ValueError(f"Device {params[1]} on track {params[0]} is not a rack")
    found: Chain = at(device.chains, params[2])
    return found


def _chain_get(api: LiveApi, name: str, params: Params) -> Params:
    return (*ids_of(params, 3), _chain(api, params)[name])


def _chain_set(api: LiveApi, name: str, params: Params) -> None:
    _chain(api, params).put(name, params[3])


def _chain_devices(api: LiveApi, name: str, params: Params) -> Params:
    return (*ids_of(params, 3), *(device[name] for device in _chain(api, params).devices))


def _inner(api: LiveApi, params: Params) -> Device:
    found: Device = at(_chain(api, params).devices, params[3])
    return found


def _inner_knobs(api: LiveApi, name: str, params: Params) -> Params:
    return (*ids_of(params, 4), *(knob[name] for knob in _inner(api, params).knobs))


def _inner_knob(api: LiveApi, params: Params) -> Knob:
    found: Knob = at(_inner(api, params).knobs, params[4])
    return found


def _inner_get(api: LiveApi, tell: Callable[[Knob], Any], params: Params) -> Params:
    return (*ids_of(params, 5), tell(_inner_knob(api, params)))


def _value(knob: Knob) -> Any:
    return knob["value"]


def _name(knob: Knob) -> Any:
    return knob["name"]


def _text(knob: Knob) -> Any:
    return knob.text
