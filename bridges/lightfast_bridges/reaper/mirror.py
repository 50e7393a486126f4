"""The mirror of one project: what REAPER tells becomes changes, by the tracks' names.

REAPER speaks of tracks by number. What is told is kept by number; where it is reported is decided by the layout. From
the first sign that tracks have come, gone or moved until they have been counted anew, nothing of tracks is reported:
the numbers may mean other tracks already.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence

from lightfast.sdk import AppSession, Change, OscMessage, Value
from lightfast_bridges.reaper.layout import Place, lay_out
from lightfast_bridges.reaper.leaves import HEARD, SILENCE, Leaf, Read
from lightfast_bridges.reaper.wishes import Wishes

_NUMBERS = re.compile(r"(?<=/)\d+(?=/|$)")
MAX_ADDRESSES = 200_000
"""The most addresses whose meaning is remembered."""
_TRACKS = frozenset({"track", "send", "fx", "parameter"})
_Known = tuple[str, Leaf, Read, tuple[int, ...]]


class Mirror:
    """What is known of the project; *stale* is set when the tracks must be counted anew."""

    def __init__(self, *, tracks: int) -> None:
        """Follow at most *tracks* tracks."""
        self.session: AppSession | None = None
        self.wishes: Wishes | None = None
        self.places: dict[int, Place] = {}
        self.by_base: dict[str, Place] = {}
        self.held: dict[str, Value] = {}
        self.slots: dict[int, dict[str, Value]] = {}
        self.marks: dict[str, dict[int, dict[str, Value]]] = {"marker": {}, "region": {}}
        self.stale = asyncio.Event()
        self.stale.set()
        self.alarms = 0
        """Counts the signs that the tracks are not where they were."""
        self.heard = 0
        """Counts what was told."""
        self.crowded = asyncio.Event()
        """The last place that REAPER tells of is in use: there may be more."""
        self.bounds = {"sends": 1, "fx": 1, "parameters": 0, "marker": 0, "region": 0}
        """How many places of each kind REAPER is asked to tell of."""
        self._limit = tracks
        self._parameters = 100_000
        """How many parameters of each FX are taken; until that is settled, all."""
        self._touched: set[tuple[int, str]] = set()
        self._touched_marks: set[tuple[str, int]] = set()
        self._changes: list[Change] = []
        self._known: dict[str, _Known | None] = {}

    # ------------------------------------------------------------------ hearing

    def hear(self, messages: Sequence[OscMessage]) -> None:
        """Take the messages of one wake-up and report what they change."""
        for address, _, args in messages:
            known = self._known.get(address, False)
            if known is False:
                known = self._learn(address)
            if known is None or not args:
                continue
            scope, leaf, read, numbers = known  # type: ignore[misc]  # it is not False
            value = read(args[0])
            if value is not None:
                self.heard += not leaf.signal
                self._hear(scope, leaf, numbers, value)
            elif scope in self.marks and leaf.name == "number" and args[0] == "":
                self.marks[scope].pop(numbers[0], None)  # there is none at this place
                self._touched_marks.add((scope, numbers[0]))
        self.flush()

    def _learn(self, address: str) -> _Known | None:
        if len(self._known) >= MAX_ADDRESSES:
            self._known.clear()
        found = HEARD.get(_NUMBERS.sub("@", address)) if "@" not in address else None
        numbers = tuple(int(number) for number in _NUMBERS.findall(address)[:3])
        known = None if found is None or any(number > 100_000 for number in numbers) else (*found, numbers)
        self._known[address] = known
        return known

    def _hear(self, scope: str, leaf: Leaf, numbers: tuple[int, ...], value: Value) -> None:
        if scope in _TRACKS:
            if scope == "parameter" and numbers[2] > self._parameters:
                return
            if 0 < numbers[0] <= self._limit + 1:
                self._hear_track(leaf, numbers[0], _relative(scope, leaf.name, numbers), value)
        elif scope in self.marks:
            self._hear_mark(scope, leaf, numbers[0], value)
        else:
            self.news(f"{scope}/{leaf.name}", value)

    def _hear_track(self, leaf: Leaf, index: int, relative: str, value: Value) -> None:
        slot = self.slots.setdefault(index, {})
        before = slot.get(relative)
        slot[relative] = value
        changed = before is not None and before != value
        if changed and (index > len(self.places) or relative == "name"):
            self.alarm()
        elif changed and relative == "volume" and isinstance(value, float) and value <= SILENCE:
            self.alarm()  # it is silent, or gone
        self._touched.add((index, relative))
        last = relative.startswith((f"fx/{self.bounds['fx']}/", f"sends/{self.bounds['sends']}/"))
        full = relative.endswith(f"/parameters/{self.bounds['parameters']}/name") and bool(value)
        if changed and (full or (last and shown(slot, _whole(relative)))):
            self.crowded.set()

    def _hear_mark(self, which: str, leaf: Leaf, place: int, value: Value) -> None:
        self.marks[which].setdefault(place, {})[leaf.name] = value
        self._touched_marks.add((which, place))
        if place == self.bounds[which] and leaf.name == "number":
            self.crowded.set()

    def alarm(self) -> None:
        """Take note that the tracks must be counted anew; what is told of them meanwhile is kept back."""
        self.alarms += 1
        self.stale.set()

    def full_kinds(self) -> list[str]:
        """Return the kinds of `bounds` of which the last place that REAPER tells of is in use."""
        found = [which for which, told in self.marks.items() if "number" in told.get(self.bounds[which], {})]
        for kind, leaf in (("sends", "name"), ("fx", "name")):
            last = f"{kind}/{self.bounds[kind]}/{leaf}"
            if any(last in slot and shown(slot, last) for slot in self.slots.values()):
                found.append(kind)
        last = f"/parameters/{self.bounds['parameters']}/name"
        if any(value for slot in self.slots.values() for one, value in slot.items() if one.endswith(last)):
            found.append("parameters")
        return found

    def widen(self, parameters: int) -> None:
        """Take the first *parameters* parameters of each FX from now on."""
        self._parameters = max(self._parameters, parameters)

    def trim(self, parameters: int) -> None:
        """Leave parameters beyond the first *parameters* out: REAPER does not tell of their changes."""
        self._parameters = parameters
        for slot in self.slots.values():
            for one in [one for one in slot if "/parameters/" in one and int(one.split("/")[3]) > parameters]:
                del slot[one]

    # ------------------------------------------------------------------ reporting

    def flush(self) -> None:
        """Report what was gathered."""
        if not self.stale.is_set() and self._touched:
            touched, self._touched = self._touched, set()
            for index, relative in sorted(touched):
                self._show(index, relative)
        self._show_marks()
        changes, self._changes = self._changes, []
        if changes and self.session is not None:
            self.session.report(changes)

    def _show(self, index: int, relative: str) -> None:
        place, slot = self.places.get(index), self.slots.get(index, {})
        if place is None:
            return
        group = _group(relative)
        for one in [each for each in slot if each.startswith(group)] if group else [relative]:
            path = f"{place.base}/{one}"
            if shown(slot, one):
                self.news(path, slot[one], place.guid)
            else:
                self._gone(path)

    def _show_marks(self) -> None:
        touched, self._touched_marks = self._touched_marks, set()
        for which in {which for which, _ in touched}:
            told, places = self.marks[which], self.mark_places(which)
            wanted = {f"{base}/{name}": value for base, place in places.items() for name, value in told[place].items()}
            for path in [one for one in self.held if one.startswith(f"{which}s/") and one not in wanted]:
                self._gone(path)
            heard = {base for base, place in places.items() if (which, place) in touched}
            for path, value in wanted.items():
                if self.held.get(path) != value or path.rpartition("/")[0] in heard:
                    self.news(path, value)

    def mark_places(self, which: str) -> dict[str, int]:
        """Return the place in time of each `marker` or `region`, by base; of two of one number the first counts."""
        found: dict[str, int] = {}
        for place, mark in sorted(self.marks[which].items()):
            if "number" in mark:
                found.setdefault(f"{which}s/{mark['number']!r}", place)
        return found

    def news(self, path: str, value: Value, guid: str = "") -> None:
        """Take what REAPER holds at *path*; report it where that is new."""
        if self.wishes is not None and self.wishes.hear(path, value):
            self.held[path] = value
            # What REAPER told of it before, in the same wake-up, would be reported after what it holds now.
            self._changes = [one for one in self._changes if one.path != path or one.moved_from]
        elif self.held.get(path) != value:
            self.held[path] = value
            self._changes.append(Change(path, value, object_id=guid))

    def _gone(self, path: str) -> None:
        if self.held.pop(path, None) is not None:
            self._changes.append(Change(path, None))
            if self.wishes is not None:
                self.wishes.gone(path)

    # ------------------------------------------------------------------ the tracks

    def names(self, count: int) -> list[str]:
        """Return the names of the first *count* tracks, as REAPER tells them."""
        return [str(self.slots.get(index, {}).get("name", f"Track {index}")) for index in range(1, count + 1)]

    def adopt(self, count: int, guids: Sequence[str] | None) -> None:
        """Take a new count of the tracks, and *guids* where they are known; report what that changes."""
        names, before = self.names(count), tuple(self.places.values())
        renamed = self.wishes.renamed(names, self.places) if self.wishes is not None else {}
        layout = lay_out(names, guids, before, renamed)
        known = {one.guid for one in before}
        self.places = {place.index: place for place in layout.places}
        self.by_base = {place.base: place for place in layout.places}
        for base in layout.gone:
            for path in [path for path in self.held if path.startswith(base + "/")]:
                self._gone(path)
        ids = {place.base: place.guid for place in layout.places}
        for source, target in layout.moves:
            self._move(source, target, ids.get(target, ""))
        for index in [index for index in self.slots if index > count + 1]:
            del self.slots[index]
        self.stale.clear()
        self._touched.clear()
        for place in layout.places:
            identified = bool(place.guid) and place.guid not in known
            self._show_track(place, anew=identified)
        self.news("surface/tracks", count)
        self.flush()

    def _move(self, source: str, target: str, guid: str) -> None:
        for path in [path for path in self.held if path.startswith(source + "/")]:
            self.held[target + path[len(source) :]] = self.held.pop(path)
        if self.wishes is not None:
            self.wishes.moved(source, target)
        self._changes.append(Change(target, None, object_id=guid, moved_from=source))

    def _show_track(self, place: Place, *, anew: bool) -> None:
        slot = self.slots.setdefault(place.index, {})
        wanted = {f"{place.base}/{one}": value for one, value in slot.items() if shown(slot, one)}
        wanted[f"{place.base}/number"] = place.index
        for path in [path for path in self.held if path.startswith(place.base + "/") and path not in wanted]:
            self._gone(path)
        for path, value in wanted.items():
            if anew:  # its identity is news, too
                self.held.pop(path, None)
            self.news(path, value, place.guid)

    def full(self) -> None:
        """Report everything that is known, whether it is new or not."""
        if self.session is not None:
            ids = {f"{place.base}/": place.guid for place in self.places.values()}
            self.session.report([Change(path, value, object_id=_owner(path, ids)) for path, value in self.held.items()])


def shown(slot: Mapping[str, Value], relative: str) -> bool:
    """Say whether *relative* is something that is there: REAPER tells of places without a send or FX, too."""
    parts = relative.split("/")
    if parts[0] == "sends":
        base = f"sends/{parts[1]}"
        silent = slot.get(f"{base}/volume", SILENCE) == SILENCE
        return f"{base}/name" in slot and not (silent and slot[f"{base}/name"] == f"Send {parts[1]}")
    if parts[0] == "fx":
        if slot.get(f"fx/{parts[1]}/present") is not True or parts[-1] == "present":
            return False
        return parts[2] != "parameters" or bool(slot.get(f"fx/{parts[1]}/parameters/{parts[3]}/name"))
    return True


def _relative(scope: str, name: str, numbers: tuple[int, ...]) -> str:
    match scope:
        case "send":
            return f"sends/{numbers[1]}/{name}"
        case "fx":
            return f"fx/{numbers[1]}/{name}"
        case "parameter":
            return f"fx/{numbers[1]}/parameters/{numbers[2]}/{name}"
    return name


def _whole(relative: str) -> str:
    """Return the name of the send or FX that *relative* belongs to."""
    return "/".join([*relative.split("/")[:2], "name"])


def _group(relative: str) -> str:
    """Return what appears or goes with *relative*: the place that it says to be there, or empty."""
    parts = relative.split("/")
    if parts[0] == "sends" and parts[-1] in {"name", "volume"}:
        return f"sends/{parts[1]}/"
    if parts[0] == "fx" and parts[-1] == "present":
        return f"fx/{parts[1]}/"
    if len(parts) == 5 and parts[-1] == "name":
        return relative[: -len("name")]
    return ""


def _owner(path: str, ids: Mapping[str, str]) -> str:
    parts = path.split("/", 2)
    return ids.get(f"{parts[0]}/{parts[1]}/", "") if len(parts) == 3 else ""
