"""What the simulated REAPER tells its OSC device, and when: what has changed since it was told last.

As in REAPER a value is told on every pattern of its action whose number of wildcards and flag fit; not on the address
that has just set it, switches excepted; and only once, until it changes, or until a message comes on that address.
"""

from __future__ import annotations

from collections import deque

from lightfast_bridges.reaper.patterns import PatternFile
from lightfast_bridges.reaper.project import SILENCE, Fx, Project, to_db

PAN_MODE = "Balance"
QUEUE = 500_000
"""The most messages that wait to be sent; on top of that the oldest is dropped."""
VOLUME_TOP = 12.0

Told = tuple[str, float | str]


def fader(volume: float) -> float:
    """Return where the fader stands, 0 to 1. REAPER's own law depends on a preference; this is another one."""
    decibels = to_db(volume)
    return max(0.0, 10 ** ((decibels - VOLUME_TOP) / 80)) if decibels > SILENCE else 0.0


def from_fader(position: float) -> float:
    """Return the volume in dB for a fader's position."""
    import math

    return VOLUME_TOP + 80 * math.log10(position) if position > 0.01 else SILENCE


def volume_text(volume: float) -> str:
    """Return a volume as REAPER writes it."""
    return f"{to_db(volume):+.2f}dB" if to_db(volume) > SILENCE else "-inf dB"


def pan_text(pan: float) -> str:
    """Return a pan as REAPER writes it."""
    return "C" if abs(pan) < 0.005 else f"{abs(pan) * 100:.0f}%{'L' if pan < 0 else 'R'}"


class Telling:
    """The device's side of a project: its counts, its selected track, and what it was told."""

    def __init__(self, project: Project, patterns: PatternFile) -> None:
        self.project = project
        self.patterns = patterns
        self.tracks = patterns.count("DEVICE_TRACK_COUNT", 8)
        self.sends = patterns.count("DEVICE_SEND_COUNT", 4)
        self.fx = patterns.count("DEVICE_FX_COUNT", 8)
        self.parameters = patterns.count("DEVICE_FX_PARAM_COUNT", 16)
        self.marks = {
            "MARKER": patterns.count("DEVICE_MARKER_COUNT", 0),
            "REGION": patterns.count("DEVICE_REGION_COUNT", 0),
        }
        self.first = 0
        """How many tracks lie before the bank."""
        self.current = 0
        """The track that is selected in the device."""
        self.current_fx = 0
        self.queue: deque[Told] = deque(maxlen=QUEUE)
        self.editing = ("", "")
        """Address and flag of the message that is being worked off."""
        self._told: dict[str, float | str] = {}
        self._position = 0.0

    # ------------------------------------------------------------------ one value

    def tell(
        self,
        action: str,
        numbers: tuple[int, ...] = (),
        *,
        raw: float | None = None,
        normal: float | None = None,
        text: str | None = None,
    ) -> None:
        """Tell one action's value on all its patterns that take *numbers*."""
        for pattern in self.patterns.by_action.get(action, ()):
            flag = pattern.flag
            value: float | str | None
            if flag in "nbt":
                value = None if normal is None else float(normal)
            else:
                value = raw if flag == "f" else text if flag == "s" else None
            if value is None or pattern.wildcards != len(numbers):
                continue
            address = pattern.filled(numbers)
            if self.editing == (address, flag) and flag not in "tb":
                continue
            if self._told.get(address) != value:
                self._told[address] = value
                self.queue.append((address, value))

    def forget(self, address: str) -> None:
        """Take note that a message came on *address*: what was told there is told again."""
        self._told.pop(address, None)

    def _tell_track(
        self,
        action: str,
        track: int,
        *,
        raw: float | None = None,
        normal: float | None = None,
        text: str | None = None,
    ) -> None:
        if track == self.current:
            self.tell(action, raw=raw, normal=normal, text=text)
        if self.first < track <= self.first + self.tracks:
            self.tell(action, (track - self.first,), raw=raw, normal=normal, text=text)

    # ------------------------------------------------------------------ a track

    def volume(self, index: int) -> None:
        """Tell a track's volume."""
        track = self.project.track(index)
        volume = track.volume if track else 0.0
        decibels, stands, text = to_db(volume), fader(volume), volume_text(volume)
        if index == 0:
            self.tell("MASTER_VOLUME", raw=decibels, normal=stands, text=text)
        self._tell_track("TRACK_VOLUME", index, raw=decibels, normal=stands, text=text)

    def pan(self, index: int) -> None:
        """Tell a track's pan and width."""
        track = self.project.track(index)
        pan, width = (track.pan, track.width) if track else (0.0, 0.0)
        if index == 0:
            self.tell("MASTER_PAN", normal=(pan + 1) / 2, text=pan_text(pan))
        else:
            self._tell_track("TRACK_PAN_MODE", index, text=PAN_MODE)
            self._tell_track("TRACK_PAN2", index, normal=(width + 1) / 2, text=f"{width * 100:.0f}W")
        self._tell_track("TRACK_PAN", index, normal=(pan + 1) / 2, text=pan_text(pan))

    def name(self, index: int) -> None:
        """Tell a track's name: one without a name, and one that is not there, is told by its number."""
        track = self.project.track(index)
        name = track.name if track else ""
        if name in {"", str(index)}:
            name = "MASTER" if index == 0 else f"Track {index}"
        self._tell_track("TRACK_NAME", index, text=name)

    def switches(self, index: int) -> None:
        """Tell a track's switches."""
        track = self.project.track(index)
        self._tell_track("TRACK_SELECT", index, normal=bool(track and track.selected))
        self._tell_track("TRACK_MUTE", index, normal=bool(track and track.mute))
        self._tell_track("TRACK_SOLO", index, normal=bool(track and track.solo))
        if index:
            self._tell_track("TRACK_REC_ARM", index, normal=bool(track and track.recarm))
            self._tell_track("TRACK_MONITOR", index, normal=track.monitor if track else 0)

    def send(self, index: int, number: int) -> None:
        """Tell one send, counted from 1; one that is not there has no volume."""
        track = self.project.track(index)
        send = track.sends[number - 1] if track and number <= len(track.sends) else None
        name = send.name if send else f"{'Send' if index else 'Aux'} {number}"
        volume, pan = (send.volume, send.pan) if send else (0.0, 0.0)
        for prefix, numbers in self._forms(index, number):
            self.tell(f"{prefix}_SEND_NAME", numbers, text=name)
            self.tell(f"{prefix}_SEND_VOLUME", numbers, normal=fader(volume), text=volume_text(volume))
            self.tell(f"{prefix}_SEND_PAN", numbers, normal=(pan + 1) / 2, text=pan_text(pan))

    def _forms(self, index: int, number: int) -> list[tuple[str, tuple[int, ...]]]:
        forms: list[tuple[str, tuple[int, ...]]] = [("MASTER", (number,))] if index == 0 else []
        if index == self.current:
            forms.append(("TRACK", (number,)))
        if self.first < index <= self.first + self.tracks:
            forms.append(("TRACK", (index - self.first, number)))
        return forms

    def track(self, index: int) -> None:
        """Tell all of one track."""
        self.name(index)
        self._tell_track("TRACK_NUMBER", index, text=str(index))
        self.volume(index)
        self.pan(index)
        self.switches(index)
        for number in range(1, self.sends + 1):
            self.send(index, number)
        for number in range(1, self.fx + 1):
            self._one_fx(index, number)

    def _fx(self, index: int, number: int) -> Fx | None:
        track = self.project.track(index)
        return track.fx[number - 1] if track and number <= len(track.fx) else None

    def _one_fx(self, index: int, number: int) -> None:
        fx = self._fx(index, number)
        places: list[tuple[int, ...]] = []
        if index == self.current:
            places += [(), (number,)] if number - 1 == self.current_fx else [(number,)]
        if self.first < index <= self.first + self.tracks:
            places.append((index - self.first, number))
        for numbers in places:
            self.tell("FX_NAME", numbers, text=fx.name if fx else "")
            self.tell("FX_NUMBER", numbers, text=str(number) if fx else "")
            self.tell("FX_PRESET", numbers, text=fx.preset if fx else "")
            self.tell("FX_BYPASS", numbers, normal=bool(fx and fx.enabled))
            self.tell("FX_OPEN_UI", numbers, normal=bool(fx and fx.open))
            self._parameters(fx, numbers)

    def _parameters(self, fx: Fx | None, numbers: tuple[int, ...]) -> None:
        for number in range(1, self.parameters + 1):
            one = fx.parameters[number - 1] if fx and number <= len(fx.parameters) else None
            self.tell("FX_PARAM_NAME", (*numbers, number), text=one.name if one else "")
            value, text = (one.value, one.text) if one else (0.0, "")
            self.tell("FX_PARAM_VALUE", (*numbers, number), normal=value, text=text)

    def fx_switch(self, index: int, number: int) -> None:
        """Tell that an FX was switched; outside the first bank REAPER gives the wrong track's number."""
        fx = self._fx(index, number)
        places: list[tuple[int, ...]] = [(number,)] if index == self.current else []
        if 0 < index <= self.tracks:
            places.append((index, number))
        for numbers in places:
            self.tell("FX_BYPASS", numbers, normal=bool(fx and fx.enabled))
            self.tell("FX_OPEN_UI", numbers, normal=bool(fx and fx.open))

    def parameter(self, index: int, number: int, parameter: int) -> None:
        """Tell that a parameter has changed."""
        fx = self._fx(index, number)
        if fx is None or not 0 < parameter <= min(self.parameters, len(fx.parameters)):
            return
        one = fx.parameters[parameter - 1]
        if index == self.current and number - 1 == self.current_fx:
            self.tell("FX_PARAM_VALUE", (parameter,), normal=one.value, text=one.text)
        if self.first < index <= self.first + self.tracks:
            self.tell("FX_PARAM_VALUE", (index - self.first, number, parameter), normal=one.value, text=one.text)

    # ------------------------------------------------------------------ the project

    def list_changed(self) -> None:
        """Tell all tracks of the bank: the list has changed, or the bank."""
        for place in range(self.tracks + 1):
            self.track(self.first + place if place else 0)

    def current_changed(self) -> None:
        """Tell the track that is selected in the device."""
        for place in range(1, self.tracks + 1):
            self.tell("DEVICE_TRACK_SELECT", (place,), normal=self.first + place == self.current)
        self.track(self.current)
        self._parameters(self._fx(self.current, self.current_fx + 1), ())

    def transport(self) -> None:
        """Tell what the transport does."""
        project = self.project
        self.tell("RECORD", normal=project.playing and project.recording)
        self.tell("STOP", normal=not project.playing)
        self.tell("PAUSE", normal=project.paused)
        self.tell("PLAY", normal=project.playing)

    def clock(self) -> None:
        """Tell tempo and play rate."""
        project = self.project
        self.tell("TEMPO", raw=project.tempo, normal=(project.tempo - 40) / 256, text=f"{project.tempo:g}")
        rate = project.play_rate
        self.tell("PLAY_RATE", raw=rate, normal=min(1.0, rate / 4), text=f"{rate:g}")

    def buttons(self) -> None:
        """Tell whether repeat and metronome are on."""
        self.tell("REPEAT", normal=self.project.repeat)
        self.tell("METRONOME", normal=self.project.metronome)

    def marks_changed(self, which: str) -> None:
        """Tell the `MARKER`s or the `REGION`s."""
        marks = self.project.in_time(which)
        for number in range(1, self.marks[which] + 1):
            one = marks[number - 1] if number <= len(marks) else None
            self.tell(f"{which}_NAME", (number,), text=one.name if one else "")
            self.tell(f"{which}_NUMBER", (number,), text=str(one.number) if one else "")
            if one is not None:
                self.tell(f"{which}_TIME", (number,), raw=one.time)
                self.tell(f"{which}_LENGTH", (number,), raw=one.length)

    def everything(self) -> None:
        """Tell everything anew, as when the device is made."""
        self._told.clear()
        self._position = 0.0
        self.transport()
        self.clock()
        self.buttons()
        self.current_changed()
        for which in self.marks:
            self.marks_changed(which)
        self.list_changed()

    def refresh(self) -> None:
        """Tell what REAPER looks after some fifteen times a second: position, loop, meters."""
        project = self.project
        if project.position != self._position:
            self._position = project.position
            seconds = project.position
            self.tell("TIME", raw=seconds, text=f"{int(seconds // 60)}:{seconds % 60:06.3f}")
            beats = seconds * project.tempo / 60
            self.tell("BEAT", text=f"{int(beats // 4) + 1}.{int(beats % 4) + 1}.{int(beats % 1 * 100):02d}")
            self.tell("SAMPLES", raw=seconds * 48_000, text=f"{seconds * 48_000:.0f}")
        self.tell("LOOP_START_TIME", raw=project.loop[0])
        self.tell("LOOP_END_TIME", raw=project.loop[1])
        self.tell("MASTER_VU", normal=project.master.level)
        for place in range(1, self.tracks + 1):
            track = project.track(self.first + place)
            self.tell("TRACK_VU", (place,), normal=track.level if track else 0.0)
