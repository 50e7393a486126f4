"""The simulator's Live set: objects with properties that can be watched, and a running transport."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightfast_bridges.ableton.names import CHAIN, CLIP, CLIP_SLOT, SCENE, SONG, TRACK, VIEW, Property

_EMPTY: dict[str, Any] = {"bool": False, "int": 0, "double": 0.0, "string": "", "list": ()}

MAX_RETURNS = 12
Watcher = Callable[[Any], None]


class Node:
    """One object of the set. Setting a property to the value it has tells nobody, as in Live."""

    def __init__(self, properties: tuple[Property, ...], **values: Any) -> None:
        self.properties = {one.name: one for one in properties}
        self.values: dict[str, Any] = {one.name: _EMPTY[one.kind] for one in properties}
        self.values.update(values)
        self._watchers: dict[str, list[Watcher]] = {}

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if name in self.values and self.values[name] == value:
            return
        self.values[name] = value
        for watcher in list(self._watchers.get(name, ())):
            watcher(value)

    def watch(self, name: str, watcher: Watcher) -> Callable[[], None]:
        """Call *watcher* with each new value; return what ends that."""
        watchers = self._watchers.setdefault(name, [])
        watchers.append(watcher)

        def stop() -> None:
            if watcher in watchers:
                watchers.remove(watcher)

        return stop

    def put(self, name: str, value: Any) -> None:
        """Set a property as a client does; raises `ValueError` or `TypeError` for what it cannot hold."""
        self[name] = checked(self.properties[name], value)


def checked(prop: Property, value: Any) -> Any:
    """Return *value* as the property holds it; the messages are Live's own in kind, not in wording."""
    if prop.kind == "string":
        if not isinstance(value, str):
            raise TypeError(f"{prop.name} takes a string")
        return value
    if not isinstance(value, (bool, int, float)):
        raise TypeError(f"{prop.name} takes a number")
    if prop.kind == "bool":
        return bool(value)
    if prop.kind == "int" and isinstance(value, float):
        raise TypeError(f"{prop.name} takes an int, not a float")
    if (prop.minimum is not None and value < prop.minimum) or (prop.maximum is not None and value > prop.maximum):
        raise ValueError(f"Invalid value {value:g} for {prop.name}")
    return value if prop.kind == "int" else float(value)


class Knob(Node):
    """One parameter of a device."""

    def __init__(self, name: str, low: float, high: float, value: float, *, steps: bool = False) -> None:
        range_of = Property("value", "double", "rw", low, high)
        super().__init__(
            (range_of,), value=float(value), name=name, min=float(low), max=float(high), is_quantized=steps
        )

    @property
    def text(self) -> str:
        """The value as Live would show it."""
        return f"{self['value']:.2f}"


class Device(Node):
    """One device."""

    def __init__(self, name: str, class_name: str, kind: int, knobs: list[Knob]) -> None:
        super().__init__((), name=name, class_name=class_name, type=kind, can_have_chains="Group" in class_name)
        self.chains: list[Chain] = []
        self.knobs = [Knob("Device On", 0, 1, 1, steps=True), *knobs]

    def copy(self) -> Device:
        """Return a copy, without what nobody watches."""
        knobs = [
            Knob(one["name"], one["min"], one["max"], one["value"], steps=one["is_quantized"]) for one in self.knobs[1:]
        ]
        return Device(self["name"], self["class_name"], self["type"], knobs)


class Chain(Node):
    """One chain of a rack."""

    def __init__(self, name: str, devices: list[Device]) -> None:
        super().__init__(CHAIN, name=name, volume=0.85)
        self.devices = devices


class Clip(Node):
    """One clip; a note is pitch, start, duration, velocity, mute."""

    def __init__(self, name: str, length: float, *, midi: bool = True, color: int = 0x3C7DD9) -> None:
        super().__init__(
            CLIP, name=name, length=length, loop_end=length, end_marker=length, end_time=length, color=color,
            is_midi_clip=midi, is_audio_clip=not midi, looping=True, warping=True, gain=0.4,
        )  # fmt: skip
        self.notes: list[tuple[int, float, float, float, bool]] = []

    def copy(self) -> Clip:
        """Return a copy that does not play."""
        copy = Clip(self["name"], self["length"], midi=self["is_midi_clip"])
        copy.values.update(self.values, is_playing=False)
        copy.notes = list(self.notes)
        return copy


class Slot(Node):
    """One clip slot."""

    def __init__(self, clip: Clip | None = None) -> None:
        super().__init__(CLIP_SLOT, has_clip=clip is not None, has_stop_button=True)
        self.clip = clip

    def fill(self, clip: Clip | None) -> None:
        """Put a clip in, or take it out."""
        self.clip = clip
        self["has_clip"] = clip is not None


class Track(Node):
    """One track."""

    def __init__(self, name: str, *, midi: bool, scenes: int, returns: int, color: int = 0x808080) -> None:
        super().__init__(
            TRACK, name=name, volume=0.85, color=color, can_be_armed=True, is_visible=True,
            has_midi_input=midi, has_audio_input=not midi, has_audio_output=True,
            playing_slot_index=-1, fired_slot_index=-1, current_monitoring_state=1,
            input_routing_type="All Ins" if midi else "Ext. In", input_routing_channel="All Channels" if midi else "1",
            output_routing_type="Main", output_routing_channel="Track In",
        )  # fmt: skip
        self.midi = midi
        self.slots = [Slot() for _ in range(scenes)]
        self.devices: list[Device] = []
        self.sends = [0.0] * returns
        self.arrangement: list[tuple[str, float, float]] = []
        """Name, length and start of each clip in the arrangement."""


class LiveSet:
    """A set with its transport. `beat` watchers are called with each beat that begins."""

    def __init__(self) -> None:
        self.song = Node(
            SONG, tempo=120.0, signature_numerator=4, signature_denominator=4, loop_length=16.0,
            song_length=64.0, clip_trigger_quantization=4, groove_amount=1.0, scale_name="Major",
        )  # fmt: skip
        self.view = Node(VIEW)
        self.tracks: list[Track] = []
        self.scenes: list[Node] = []
        self.return_tracks = [self._own(name) for name in ("A-Reverb", "B-Delay")]
        self.main = self._own("Main")
        self.cues: list[tuple[str, float]] = [("Intro", 0.0), ("Drop", 32.0)]
        self.beats = Node((Property("beat", "int"),), beat=-1)

    @staticmethod
    def _own(name: str) -> Track:
        track = Track(name, midi=False, scenes=0, returns=0)
        track["can_be_armed"] = False
        return track

    @property
    def returns(self) -> int:
        """How many return tracks there are."""
        return len(self.return_tracks)

    def add_return(self) -> None:
        """Add a return track at the end, and a send to it everywhere."""
        if self.returns >= MAX_RETURNS:
            raise RuntimeError("There are as many return tracks as Live has")
        self.return_tracks.append(self._own(f"{chr(ord('A') + self.returns)}-Return"))
        for track in self.tracks:
            track.sends.append(0.0)

    def delete_return(self, index: int) -> None:
        """Delete a return track and the sends to it."""
        _within(index, self.returns)
        del self.return_tracks[index]
        for track in self.tracks:
            del track.sends[index]

    def duplicate_track(self, index: int) -> None:
        """Put a copy of a track behind it."""
        _within(index, len(self.tracks))
        source = self.tracks[index]
        copy = self.add_track(index + 1, midi=source.midi, name=source["name"])
        copy.values.update(source.values, playing_slot_index=-1)
        copy.sends = list(source.sends)
        copy.devices = [device.copy() for device in source.devices]
        for mine, other in zip(copy.slots, source.slots, strict=True):
            mine.fill(other.clip.copy() if other.clip is not None else None)

    def duplicate_scene(self, index: int) -> None:
        """Put a copy of a scene behind it."""
        _within(index, len(self.scenes))
        self.add_scene(index + 1, self.scenes[index]["name"])
        self.scenes[index + 1].values.update(self.scenes[index].values)
        for track in self.tracks:
            clip = track.slots[index].clip
            track.slots[index + 1].fill(clip.copy() if clip is not None else None)

    def set_or_delete_cue(self) -> None:
        """Delete the cue point that is here, or set one."""
        now = self.song["current_song_time"]
        left = [cue for cue in self.cues if cue[1] != now]
        self.cues = left if len(left) < len(self.cues) else sorted([*left, ("", now)], key=lambda cue: cue[1])

    def add_scene(self, index: int, name: str = "") -> None:
        """Insert a scene; -1 is the end."""
        at = len(self.scenes) if index == -1 else index
        _within(at, len(self.scenes) + 1)
        self.scenes.insert(at, Node(SCENE, name=name, is_empty=True, tempo=-1.0))
        for track in self.tracks:
            track.slots.insert(at, Slot())

    def add_track(self, index: int, *, midi: bool, name: str = "") -> Track:
        """Insert a track; -1 is the end."""
        at = len(self.tracks) if index == -1 else index
        _within(at, len(self.tracks) + 1)
        given = name or f"{at + 1}-{'MIDI' if midi else 'Audio'}"
        track = Track(given, midi=midi, scenes=len(self.scenes), returns=self.returns)
        self.tracks.insert(at, track)
        return track

    def fire(self, track: Track, index: int) -> None:
        """Fire a slot: its clip plays in place of the track's other one; an empty slot stops the track."""
        slot = track.slots[index]
        self.stop(track)
        if slot.clip is None:
            return
        slot.clip["is_playing"] = True
        slot["is_playing"] = True
        track["playing_slot_index"] = index
        self.song["is_playing"] = True

    def stop(self, track: Track) -> None:
        """Stop what plays on a track."""
        for slot in track.slots:
            slot["is_playing"] = False
            if slot.clip is not None:
                slot.clip["is_playing"] = False
        track["playing_slot_index"] = -1 if track["playing_slot_index"] == -1 else -2

    def advance(self, seconds: float) -> None:
        """Let the transport run on."""
        song = self.song
        if not song["is_playing"]:
            return
        before = song["current_song_time"]
        now = before + seconds * song["tempo"] / 60
        if song["loop"] and song["loop_length"] > 0 and before < (end := song["loop_start"] + song["loop_length"]):
            now = now if now < end else song["loop_start"] + (now - end) % song["loop_length"]
        song["current_song_time"] = now
        self.beats["beat"] = int(now)
        for track in self.tracks:
            playing = track["playing_slot_index"]
            clip = track.slots[playing].clip if 0 <= playing < len(track.slots) else None
            level = track["volume"] * (0 if track["mute"] else 0.6) if clip is not None else 0.0
            for meter in ("output_meter_level", "output_meter_left", "output_meter_right"):
                track[meter] = level
            if clip is not None:
                clip["playing_position"] = now % clip["length"]


def _within(index: int, count: int) -> None:
    if not 0 <= index < count:
        raise IndexError("Index out of range")


def demo_set() -> LiveSet:
    """Return the set the simulator opens with: four tracks, four scenes, some clips and devices."""
    live = LiveSet()
    for name in ("Intro", "Verse", "Chorus", "Outro"):
        live.add_scene(-1, name)
    rows = (
        ("Drums", True, 0xE0533A, Device("Drum Rack", "DrumGroupDevice", 2, [Knob("Swing", 0, 1, 0.1)])),
        ("Bass", True, 0x3C7DD9, Device("Operator", "Operator", 2, [
            Knob("Filter Freq", 0, 1, 0.6), Knob("Filter Res", 0, 1, 0.2), Knob("Volume", 0, 1, 0.8)])),
        ("Keys", True, 0x4DB36B, Device("Wavetable", "InstrumentVector", 2, [Knob("Osc 1 Pos", 0, 1, 0.3)])),
        ("Vocals", False, 0xD9A53C, Device("Auto Filter", "AutoFilter", 1, [
            Knob("Frequency", 20, 135, 90), Knob("Resonance", 0, 1.25, 0.4),
            Knob("Filter Type", 0, 9, 0, steps=True)])),
    )  # fmt: skip
    for name, midi, color, device in rows:
        track = live.add_track(-1, midi=midi, name=name)
        track["color"] = color
        track.devices.append(device)
        for scene in (1, 2):
            track.slots[scene].fill(Clip(f"{name} {live.scenes[scene]['name']}", 4.0 * scene, midi=midi, color=color))
            live.scenes[scene]["is_empty"] = False
    keys = Device("Instrument Rack", "InstrumentGroupDevice", 2, [Knob("Macro 1", 0, 127, 0)])
    keys.chains = [Chain("Pad", [Device("Analog", "UltraAnalog", 2, [Knob("Cutoff", 0, 1, 0.5)])])]
    live.tracks[2].devices.append(keys)
    live.tracks[0].arrangement = [("Intro beat", 16.0, 0.0), ("Drop beat", 32.0, 32.0)]
    bass = live.tracks[1].slots[1].clip
    if bass is not None:
        bass.notes = [(36, 0.0, 0.5, 100.0, False), (43, 2.0, 0.5, 90.0, False)]
    return live
