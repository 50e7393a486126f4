"""What the simulated REAPER does with the messages that come in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lightfast_bridges.reaper.patterns import Pattern
from lightfast_bridges.reaper.project import Marker, Track, to_volume
from lightfast_bridges.reaper.telling import Telling, from_fader

REFRESH = 41743
"""The action *Control surface: Refresh all surfaces*."""
_SWITCHES = {"TRACK_MUTE": "mute", "TRACK_SOLO": "solo", "TRACK_REC_ARM": "recarm"}


class Arguments:
    """The arguments of one message, taken one after the other by its targets."""

    def __init__(self, values: Sequence[Any]) -> None:
        self._values = [value for value in values if isinstance(value, (int, float, str))]

    def number(self) -> float | None:
        """Take a number, if the next argument is one."""
        if self._values and not isinstance(self._values[0], str):
            return float(self._values.pop(0))
        return None

    def text(self) -> str | None:
        """Take a text, if the next argument is one."""
        if self._values and isinstance(self._values[0], str):
            return str(self._values.pop(0))
        return None

    def pressed(self, flag: str) -> int:
        """Return 1 for on, -1 for off or backward, 0 for nothing."""
        value = self.number() if flag in "ntbr" else None
        if flag == "b":
            return {0.0: -1, 1.0: 1}.get(value, 0) if value is not None else 0
        if flag == "t":
            return 1 if value is None or value == 1.0 else 0
        return 0 if flag != "r" or not value else (1 if value > 0 else -1)


class Taking:
    """Works messages off, as REAPER's OSC surface does."""

    def __init__(self, telling: Telling) -> None:
        self.telling = telling
        self.project = telling.project

    def take(self, address: str, values: Sequence[Any]) -> bool:
        """Work one message off; False where no pattern matches it."""
        matched = self.telling.patterns.match(address)
        if matched is None:
            return False
        pattern, targets = matched
        self.telling.forget(address)
        self.telling.editing = (address, pattern.flag)
        arguments = Arguments(values)
        try:
            for numbers in targets:
                self._one(pattern, numbers, arguments)
        finally:
            self.telling.editing = ("", "")
        return True

    def _one(self, pattern: Pattern, numbers: tuple[int, ...], arguments: Arguments) -> None:
        action = pattern.action
        steps: tuple[tuple[tuple[str, ...], Callable[[Pattern, tuple[int, ...], Arguments], None]], ...] = (
            (("DEVICE_", "REAPER_"), self._device),
            (("TRACK_SEND_", "MASTER_SEND_"), self._send),
            (("TRACK_", "MASTER_"), self._track),
            (("FX_",), self._fx),
            (("MARKERID_", "REGIONID_", "MARKER_", "REGION_"), self._mark),
            (("GOTO_",), self._go_to),
            (("ACTION",), self._action),
        )
        for beginnings, step in steps:
            if action.startswith(beginnings):
                step(pattern, numbers, arguments)
                return
        self._transport(pattern, arguments)

    # ------------------------------------------------------------------ the device

    def _device(self, pattern: Pattern, numbers: tuple[int, ...], arguments: Arguments) -> None:
        telling, action = self.telling, pattern.action
        if numbers:
            value = numbers[0] if arguments.pressed(pattern.flag) > 0 else -1
        else:
            given = arguments.number()
            value = -1 if given is None else int(given)
        if value < 0:
            return
        match action:
            case "DEVICE_TRACK_COUNT" | "DEVICE_SEND_COUNT" | "DEVICE_FX_COUNT":
                name = {"DEVICE_TRACK_COUNT": "tracks", "DEVICE_SEND_COUNT": "sends"}.get(action, "fx")
                setattr(telling, name, value)
                telling.list_changed()
            case "DEVICE_FX_PARAM_COUNT":
                telling.parameters = value
                telling.current_changed()
            case "DEVICE_MARKER_COUNT" | "DEVICE_REGION_COUNT":
                which = action[7:13]
                telling.marks[which] = value
                telling.marks_changed(which)
            case "DEVICE_TRACK_SELECT":
                telling.current = min(telling.first + value, len(self.project.tracks))
                telling.current_changed()
            case "DEVICE_TRACK_BANK_SELECT":
                first = max(0, min((value - 1) * telling.tracks, len(self.project.tracks) - 2))
                telling.first = first - first % telling.tracks if telling.tracks else 0
                telling.list_changed()
            case "DEVICE_FX_SELECT":
                telling.current_fx = max(0, value - 1)
                telling.current_changed()

    # ------------------------------------------------------------------ tracks

    def _track(self, pattern: Pattern, numbers: tuple[int, ...], arguments: Arguments) -> None:
        telling, action = self.telling, pattern.action
        index = telling.first + numbers[0] if numbers else telling.current
        if action.startswith("MASTER_"):
            index = 0
        track = self.project.track(index)
        if track is None:
            return
        if action == "TRACK_NAME":
            if (name := arguments.text()) is not None:
                track.name = name
                telling.name(index)
        elif action.endswith(("_VOLUME", "_PAN", "_PAN2")):
            value = arguments.number()
            if value is not None:
                self._slide(action, pattern.flag, track, value)
        elif action == "TRACK_MONITOR":
            value = arguments.number()
            if value is not None and int(value) in {0, 1, 2}:
                track.monitor = int(value)
                telling.switches(index)
        elif action == "TRACK_SELECT":
            self._press(pattern.flag, [track], "selected", arguments)
        elif action in _SWITCHES and (index or action != "TRACK_REC_ARM"):
            self._press(pattern.flag, self._gang(track), _SWITCHES[action], arguments)

    def _gang(self, track: Track) -> list[Track]:
        """Return the tracks that move together: those that are selected, if this one is."""
        others = [one for one in self.project.tracks if one.selected] if track.selected else []
        return [track, *(one for one in others if one is not track)]

    def _indices(self, tracks: list[Track]) -> list[int]:
        places = {id(one): at for at, one in enumerate(self.project.tracks, 1)}
        return [places.get(id(one), 0) for one in tracks]

    def _slide(self, action: str, flag: str, track: Track, value: float) -> None:
        gang = self._gang(track)
        for one in gang:
            if action.endswith("_VOLUME"):
                one.volume = to_volume(value if flag in "fis" else from_fader(value))
            elif action.endswith("_PAN2"):
                one.width = min(1.0, max(-1.0, value if flag in "fis" else value * 2 - 1))
            else:
                one.pan = min(1.0, max(-1.0, value if flag in "fis" else value * 2 - 1))
        for index in self._indices(gang):
            self.telling.volume(index)
            self.telling.pan(index)

    def _press(self, flag: str, tracks: list[Track], name: str, arguments: Arguments) -> None:
        pressed = arguments.pressed(flag)
        on = bool(getattr(tracks[0], name))
        if not pressed or (flag != "t" and on == (pressed > 0)):
            return  # REAPER does nothing, and tells nothing
        for one in tracks:
            setattr(one, name, not on)
        for index in self._indices(tracks):
            self.telling.switches(index)

    def _send(self, pattern: Pattern, numbers: tuple[int, ...], arguments: Arguments) -> None:
        if not numbers:
            return
        index = self.telling.first + numbers[0] if len(numbers) > 1 else self.telling.current
        if pattern.action.startswith("MASTER_"):
            index = 0
        track, number, value = self.project.track(index), numbers[-1], arguments.number()
        if track is None or value is None or not 0 < number <= len(track.sends):
            return
        send = track.sends[number - 1]
        if pattern.action.endswith("_VOLUME"):
            send.volume = to_volume(value if pattern.flag in "fis" else from_fader(value))
        elif pattern.action.endswith("_PAN"):
            send.pan = min(1.0, max(-1.0, value if pattern.flag in "fis" else value * 2 - 1))
        self.telling.send(index, number)

    def _fx(self, pattern: Pattern, numbers: tuple[int, ...], arguments: Arguments) -> None:
        telling = self.telling
        wanted = 3 if pattern.action == "FX_PARAM_VALUE" else 2
        default = (telling.current - telling.first, telling.current_fx + 1, 1)
        place = (*default[: wanted - len(numbers)], *numbers)
        track = self.project.track(telling.first + place[0])
        if track is None or not 0 < place[1] <= len(track.fx):
            return
        index, fx = telling.first + place[0], track.fx[place[1] - 1]
        match pattern.action:
            case "FX_PARAM_VALUE":
                value = arguments.number()
                if value is not None and 0 < place[2] <= len(fx.parameters):
                    fx.parameters[place[2] - 1].value = min(1.0, max(0.0, value))
                    telling.parameter(index, place[1], place[2])
            case "FX_BYPASS" | "FX_OPEN_UI":
                name = "enabled" if pattern.action == "FX_BYPASS" else "open"
                pressed = arguments.pressed(pattern.flag)
                on = bool(getattr(fx, name))
                if pressed and (pattern.flag == "t" or on != (pressed > 0)):
                    setattr(fx, name, not on)
                    telling.fx_switch(index, place[1])
            case "FX_PRESET":
                if preset := arguments.text():
                    fx.preset = preset

    # ------------------------------------------------------------------ markers, transport, actions

    def _mark(self, pattern: Pattern, numbers: tuple[int, ...], arguments: Arguments) -> None:
        if not numbers:
            return
        action, which = pattern.action, pattern.action[:6]
        marks = self.project.in_time(which)
        if action.startswith(("MARKERID_", "REGIONID_")):
            found = next((one for one in marks if one.number == numbers[0]), None)
            if found is None:  # REAPER makes one
                found = Marker(numbers[0], "", 0.0, 1.0 if which == "REGION" else 0.0)
                (self.project.markers if which == "MARKER" else self.project.regions).append(found)
        else:
            found = marks[numbers[0] - 1] if 0 < numbers[0] <= len(marks) else None
        if found is None:
            return
        if action.endswith("_NAME"):
            text = arguments.text()
            found.name = found.name if text is None else text
        elif (value := arguments.number()) is not None:
            name = {"TIME": "time", "LENGTH": "length", "NUMBER": "number"}[action.partition("_")[2]]
            setattr(found, name, int(value) if name == "number" else value)
        self.telling.marks_changed(which)

    def _go_to(self, pattern: Pattern, numbers: tuple[int, ...], arguments: Arguments) -> None:
        given = float(numbers[0]) if numbers else arguments.number()
        marks = self.project.in_time(pattern.action[5:])
        if given is not None and 0 < given <= len(marks):
            self.project.position = marks[int(given) - 1].time

    def _action(self, pattern: Pattern, numbers: tuple[int, ...], arguments: Arguments) -> None:
        wanted: list[str] = [str(numbers[0])] if numbers and arguments.pressed(pattern.flag) > 0 else []
        while not numbers:
            number = arguments.number()
            text = None if number is not None else arguments.text()
            if number is None and text is None:
                break
            wanted.append(str(int(number)) if number is not None else str(text))
        for action in wanted:
            if action == str(REFRESH):
                self.telling.everything()
            else:
                self.project.actions.append(action)

    def _transport(self, pattern: Pattern, arguments: Arguments) -> None:
        project, action, flag = self.project, pattern.action, pattern.flag
        if action in {"PLAY", "STOP", "PAUSE", "RECORD"}:
            if arguments.pressed(flag):
                self._roll(action)
                self.telling.transport()
        elif action in {"REPEAT", "METRONOME"}:
            name, pressed = action.lower(), arguments.pressed(flag)
            on = bool(getattr(project, name))
            if pressed and (flag == "t" or on != (pressed > 0)):
                setattr(project, name, not on)
                self.telling.buttons()
        elif action == "SOLO_RESET":
            if arguments.pressed(flag) > 0:
                for index, track in enumerate(project.tracks, 1):
                    track.solo = False
                    self.telling.switches(index)
        elif flag in "nf" and (value := arguments.number()) is not None:
            match action:
                case "TIME":
                    project.position = max(0.0, value)
                case "TEMPO":
                    project.tempo = min(960.0, max(2.0, value if flag == "f" else 40 + 256 * value))
                case "PLAY_RATE":
                    project.play_rate = min(4.0, max(0.25, value if flag == "f" else 4 * value))
                case "LOOP_START_TIME":
                    project.loop = (value, project.loop[1])
                case "LOOP_END_TIME":
                    project.loop = (project.loop[0], value)
            self.telling.clock()

    def _roll(self, action: str) -> None:
        project = self.project
        match action:
            case "PLAY":
                project.playing, project.paused = True, False
            case "STOP":
                project.playing = project.paused = project.recording = False
            case "PAUSE":
                project.playing, project.paused = project.paused, not project.paused
            case "RECORD":
                project.recording = not project.recording
                project.playing, project.paused = True, False
