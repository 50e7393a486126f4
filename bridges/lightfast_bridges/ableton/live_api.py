"""AbletonOSC's other addresses over the simulator's set: methods, lists, notes, sends, parameters."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from lightfast_bridges.ableton.live_more import forked, lists
from lightfast_bridges.ableton.live_set import Clip, Knob, LiveSet
from lightfast_bridges.ableton.live_tables import LiveTables, Params, Say, at, ids_of

GREETING = "Lightfast Live simulator"


class LiveApi(LiveTables):
    """All handlers by address."""

    def __init__(self, live: LiveSet, say: Say, *, fork: bool = False) -> None:
        """*say* sends a message to whoever spoke last."""
        super().__init__(live, say, fork=fork)
        self._application()
        self._song()
        self._track()
        self._clip()
        self._scene()
        self._device()
        lists(self)
        if fork:
            forked(self)

    def _application(self) -> None:
        add = self.handlers
        add["/live/test"] = lambda _: ("ok",)
        add["/live/simulator"] = lambda _: (GREETING,)
        add["/live/application/get/version"] = lambda _: (12, 0)
        add["/live/application/get/average_process_usage"] = lambda _: (0.05,)
        add["/live/api/get/log_level"] = lambda _: ("info",)
        for ignored in ("api/set/log_level", "api/show_message"):
            self._method(ignored, lambda _: None)
        self._method("api/reload", lambda _: self.forget_listeners())
        self._method("midimap/map_cc", self._map_cc)

    def _song(self) -> None:
        live, song, add = self.live, self.live.song, self.handlers
        self._method("song/start_playing", lambda _: self._play(0.0))
        self._method("song/continue_playing", lambda _: self._play(song["current_song_time"]))
        self._method("song/stop_playing", lambda _: song.__setitem__("is_playing", False))
        self._method("song/stop_all_clips", lambda _: list(map(live.stop, live.tracks)))
        self._method("song/jump_by", lambda p: self._jump(song["current_song_time"] + p[0]))
        self._method("song/jump_to_next_cue", lambda _: self._jump_cue(1))
        self._method("song/jump_to_prev_cue", lambda _: self._jump_cue(-1))
        self._method("song/create_midi_track", lambda p: live.add_track(int(p[0]), midi=True))
        self._method("song/create_audio_track", lambda p: live.add_track(int(p[0]), midi=False))
        self._method("song/create_scene", lambda p: live.add_scene(int(p[0])))
        self._method("song/delete_track", lambda p: live.tracks.remove(at(live.tracks, p[0])))
        self._method("song/delete_scene", self._delete_scene)
        self._method("song/create_return_track", lambda _: live.add_return())
        self._method("song/delete_return_track", lambda p: live.delete_return(int(p[0])))
        self._method("song/duplicate_track", lambda p: live.duplicate_track(int(p[0])))
        self._method("song/duplicate_scene", lambda p: live.duplicate_scene(int(p[0])))
        self._method("song/set_or_delete_cue", lambda _: live.set_or_delete_cue())
        self._method("song/cue_point/add_or_delete", lambda _: live.set_or_delete_cue())
        self._method("song/cue_point/set/name", self._name_cue)
        for ignored in (
            "capture_and_insert_scene", "capture_midi", "force_link_beat_time", "redo", "re_enable_automation",
            "tap_tempo", "trigger_session_record", "undo",
        ):  # fmt: skip
            self._method(f"song/{ignored}", lambda _: None)
        add["/live/song/get/num_tracks"] = lambda p: (len(live.tracks), *p)
        add["/live/song/get/num_scenes"] = lambda p: (len(live.scenes), *p)
        add["/live/song/get/track_names"] = lambda p: _named(live.tracks, p)
        add["/live/song/get/scenes/name"] = lambda p: _named(live.scenes, p)
        add["/live/song/get/cue_points"] = lambda _: tuple(part for cue in live.cues for part in cue)
        add["/live/song/get/track_data"] = self._track_data
        add["/live/song/cue_point/jump"] = self._jump_to_cue
        self._listening(
            "/live/song/{}_listen/beat", lambda _: live.beats, "beat", lambda _, value: self._tell_beat(value)
        )

    def _map_cc(self, params: Params) -> None:
        self._knob(params)
        at([*range(16)], params[3])
        at([*range(128)], params[4])

    def _tell_beat(self, beat: int) -> None:
        if self.live.song["is_playing"]:
            self._say("/live/song/get/beat", beat)

    def _play(self, time: float) -> None:
        self.live.song["current_song_time"] = time
        self.live.song["is_playing"] = True

    def _jump(self, time: float) -> None:
        self.live.song["current_song_time"] = max(0.0, float(time))

    def _jump_cue(self, step: int) -> None:
        now = self.live.song["current_song_time"]
        later = [time for _, time in self.live.cues if (time > now if step > 0 else time < now)]
        if later:
            self._jump(min(later) if step > 0 else max(later))

    def _jump_to_cue(self, params: Params) -> None:
        names = [name for name, _ in self.live.cues]
        if isinstance(params[0], str) and params[0] not in names:
            return  # without a word, as AbletonOSC does
        index = names.index(params[0]) if isinstance(params[0], str) else int(params[0])
        self._jump(at(self.live.cues, index)[1])

    def _name_cue(self, params: Params) -> None:
        _, time = at(self.live.cues, params[0])
        self.live.cues[int(params[0])] = (str(params[1]), time)

    def _delete_scene(self, params: Params) -> None:
        scene = at(self.live.scenes, params[0])
        if len(self.live.scenes) == 1:
            raise RuntimeError("The last scene cannot be deleted")
        self.live.scenes.remove(scene)
        for track in self.live.tracks:
            del track.slots[int(params[0])]

    def _track_data(self, params: Params) -> Params:
        first, last, *wanted = params
        count = len(self.live.tracks)
        last = count if int(last) == -1 else int(last)
        out: list[Any] = []
        for index in range(int(first), last):
            track = at(self.live.tracks, index)
            for name in wanted:
                kind, _, prop = name.partition(".")
                if kind == "track":
                    out.append(track[prop])
                elif kind == "clip_slot":
                    out += [slot[prop] for slot in track.slots]
                elif kind == "clip":
                    out += [slot.clip[prop] if slot.clip else None for slot in track.slots]
                elif kind == "device":
                    out += [device[prop] for device in track.devices]
                else:
                    raise ValueError(f"Unknown object identifier in get/track_data: {kind}")
        return tuple(out)

    def _track(self) -> None:
        live, add = self.live, self.handlers
        self._method("track/stop_all_clips", lambda p: live.stop(self.track(p)))
        self._method("track/delete_device", lambda p: self.track(p).devices.remove(self.device(p)))
        self._method("track/delete_clip", self._delete_clip)
        add["/live/track/get/send"] = lambda p: (*ids_of(p, 2), at(self.track(p).sends, p[1]))
        add["/live/track/set/send"] = self._set_send
        add["/live/track/get/num_devices"] = lambda p: (*ids_of(p, 1), len(self.track(p).devices))
        for name in ("name", "length", "color"):
            add[f"/live/track/get/clips/{name}"] = partial(self._of_clips, name)
        for name in ("name", "type", "class_name", "can_have_chains"):
            add[f"/live/track/get/devices/{name}"] = partial(self._of_devices, name)

    def _of_clips(self, name: str, params: Params) -> Params:
        slots = self.track(params).slots
        return (*ids_of(params, 1), *(slot.clip[name] if slot.clip else None for slot in slots))

    def _of_devices(self, name: str, params: Params) -> Params:
        return (*ids_of(params, 1), *(device[name] for device in self.track(params).devices))

    def _set_send(self, params: Params) -> None:
        track = self.track(params)
        at(track.sends, params[1])
        if not 0 <= params[2] <= 1:
            raise ValueError(f"Invalid value {params[2]:g} for send")
        track.sends[int(params[1])] = float(params[2])

    def _delete_clip(self, params: Params) -> None:
        self.clip(params)
        self._slot(params).fill(None)

    def _clip(self) -> None:
        for stem in ("clip_slot", "clip"):
            self._method(f"{stem}/fire", partial(self._fire, stem))
            self._method(f"{stem}/stop", partial(self._stop, stem))
        self._method("clip_slot/create_clip", self._create_clip)
        self._method("clip_slot/delete_clip", self._delete_clip)
        self._method("clip_slot/duplicate_clip_to", self._duplicate_clip)
        self._method("clip/duplicate_loop", self._duplicate_loop)
        self.handlers["/live/clip/get/notes"] = self._get_notes
        self._method("clip/add/notes", self._add_notes)
        self._method("clip/remove/notes", self._remove_notes)

    def _fire(self, stem: str, params: Params) -> None:
        self._find(stem, params)
        self.live.fire(self.track(params), int(params[1]))

    def _stop(self, stem: str, params: Params) -> None:
        self._find(stem, params)
        self.live.stop(self.track(params))

    def _create_clip(self, params: Params) -> None:
        slot = self._slot(params)
        if slot.clip is not None or not self.track(params).midi:
            raise RuntimeError("Clip creation needs an empty slot of a MIDI track")
        slot.fill(Clip("", float(params[2])))

    def _duplicate_clip(self, params: Params) -> None:
        source = self.clip(params)
        self._slot(params[2:4]).fill(source.copy())

    def _duplicate_loop(self, params: Params) -> None:
        clip = self.clip(params)
        length = clip["length"]
        clip.notes += [(note[0], note[1] + length, *note[2:]) for note in clip.notes]
        clip["length"] = length * 2
        clip["loop_end"] = clip["loop_start"] + length * 2

    def _midi(self, params: Params) -> Clip:
        clip = self.clip(params)
        if not clip["is_midi_clip"]:
            raise RuntimeError("The clip is not a MIDI clip")
        return clip

    def _get_notes(self, params: Params) -> Params:
        clip = self._midi(params)
        hit = _range(params[2:])
        found = sorted((note for note in clip.notes if hit(note)), key=lambda note: (note[1], note[0]))
        return (*ids_of(params, 2), *(part for note in found for part in note))

    def _add_notes(self, params: Params) -> None:
        clip = self._midi(params)
        rest = params[2:]
        if len(rest) % 5:
            raise ValueError("Notes come as pitch, start, duration, velocity, mute")
        for index in range(0, len(rest), 5):
            pitch, start, duration, velocity, mute = rest[index : index + 5]
            clip.notes.append((int(pitch), float(start), float(duration), float(velocity), bool(mute)))

    def _remove_notes(self, params: Params) -> None:
        clip = self._midi(params)
        hit = _range(params[2:])
        clip.notes = [note for note in clip.notes if not hit(note)]

    def _scene(self) -> None:
        live = self.live

        def fire(params: Params) -> None:
            at(live.scenes, params[0])
            for track in live.tracks:
                live.fire(track, int(params[0]))

        def fire_selected(_: Params) -> None:
            index = live.view["selected_scene"]
            fire((index,))
            live.view["selected_scene"] = min(index + 1, len(live.scenes) - 1)

        def fire_as_selected(params: Params) -> None:
            fire(params)
            live.view["selected_scene"] = int(params[0])

        self._method("scene/fire", fire)
        self._method("scene/fire_selected", fire_selected)
        self._method("scene/fire_as_selected", fire_as_selected)

    def _device(self) -> None:
        add = self.handlers
        add["/live/device/get/num_parameters"] = lambda p: (*ids_of(p, 2), len(self.device(p).knobs))
        for name in ("name", "value", "min", "max", "is_quantized"):
            add[f"/live/device/get/parameters/{name}"] = partial(self._of_knobs, name)
        add["/live/device/get/parameter/value"] = lambda p: (*ids_of(p, 3), self._knob(p)["value"])
        add["/live/device/get/parameter/value_string"] = lambda p: (*ids_of(p, 3), self._knob(p).text)
        add["/live/device/get/parameter/name"] = lambda p: (*ids_of(p, 3), self._knob(p)["name"])
        self._method("device/set/parameter/value", lambda p: self._knob(p).put("value", p[3]))
        self._method("device/set/parameters/value", self._set_parameters)
        self._listening(
            "/live/device/{}_listen/parameter/value", self._knob, "value", self._tell_parameter, sticks=True
        )

    def _of_knobs(self, name: str, params: Params) -> Params:
        return (*ids_of(params, 2), *(knob[name] for knob in self.device(params).knobs))

    def _knob(self, params: Params) -> Knob:
        found: Knob = at(self.device(params).knobs, params[2])
        return found

    def _set_parameters(self, params: Params) -> None:
        for knob, value in zip(self.device(params).knobs, params[2:], strict=False):
            knob.put("value", value)

    def _tell_parameter(self, params: Params, value: float) -> None:
        self._say("/live/device/get/parameter/value", *ids_of(params, 3), value)
        self._say("/live/device/get/parameter/value_string", *ids_of(params, 3), self._knob(params).text)


def _named(items: list[Any], params: Params) -> Params:
    first, last = (int(params[0]), int(params[1])) if params else (0, -1)
    return tuple(item["name"] for item in items[first : None if last == -1 else last])


def _range(params: Params) -> Callable[[tuple[int, float, float, float, bool]], bool]:
    """Return what says whether a note lies in pitch, pitch span, time, time span; none given: all do."""
    if not params:
        return lambda _: True
    pitch, pitch_span, time, time_span = params
    return lambda note: pitch <= note[0] < pitch + pitch_span and time <= note[1] < time + time_span
