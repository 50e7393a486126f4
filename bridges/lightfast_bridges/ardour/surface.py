"""The mirror of one session: what Ardour tells becomes changes, by the strips' names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from lightfast.sdk import AppSession, Change, OscMessage, Value
from lightfast_bridges.ardour import law
from lightfast_bridges.ardour.asking import MARK
from lightfast_bridges.ardour.details import read_parameter, read_plugins, read_sends
from lightfast_bridges.ardour.leaves import LEAVES, MONITOR, TRANSPORTS, TYPES, Follow, from_osc
from lightfast_bridges.ardour.strips import Strip, compare, placed, read_strip
from lightfast_bridges.ardour.wishes import Wishes

_TOLD = {
    "/rec_enable_toggle": "record_enable",
    "/record_tally": "recording",
    "/loop_toggle": "loop",
    "/toggle_click": "click",
    "/click/level": "click_level",
    "/toggle_punch_in": "punch_in",
    "/toggle_punch_out": "punch_out",
    "/marker": "marker",
    "/position/smpte": "timecode",
    "/position/bbt": "bbt",
}
_MONITOR = {f"/monitor/{leaf.name}": leaf for leaf in (*MONITOR, LEAVES["mute"])}
COARSE = 0.06
"""How far off Ardour may be when it is asked for a level in dB; what it tells by itself is exact."""
MAX_STAGED = 100_000
"""The most values kept back while the strips are counted anew; more would be a session of thousands of strips."""


class Surface:
    """What is known of the session; *stale* is set when the strips must be counted anew."""

    def __init__(self, *, parameters: int) -> None:
        """Take at most *parameters* parameters of each plugin."""
        self.session: AppSession | None = None
        self.wishes: Wishes | None = None
        self.by_base: dict[str, Strip] = {}
        self.held: dict[str, Value] = {}
        self.top = law.TOP
        self.stale = asyncio.Event()
        self.session_name = ""
        self.unread: set[str] = set()
        """Bases of strips of which only the list has told so far."""
        self.alarms = 0
        """Counts the signs that the list of strips is out of date."""
        self._parameters = parameters
        self._by_ssid: dict[int, Strip] = {}
        self._staged: dict[tuple[int, str], Any] = {}
        self._changes: list[Change] = []
        self._full = False

    # ------------------------------------------------------------------ hearing

    def hear(self, messages: Sequence[OscMessage]) -> None:
        """Take the messages of one wake-up and report what they change."""
        for address, _, args in messages:
            self._hear(address, tuple(args))
        self.flush()

    def alarm(self) -> None:
        """Take note that the strips must be counted anew; what is told of them meanwhile is kept back."""
        self.alarms += 1
        self.stale.set()

    def flush(self) -> None:
        """Report what was gathered."""
        changes, self._changes = self._changes, []
        if changes and self.session is not None:
            self.session.report(changes)

    def _hear(self, address: str, args: tuple[Any, ...]) -> None:
        if address.startswith(MARK):
            if self.wishes is not None:
                self.wishes.marked(address)
        elif address.startswith("/strip/"):
            self._hear_strip(address[7:], args)
        elif address == "/strip":
            self._hear_listed(args)
        elif len(args) == 1:
            self._hear_rest(address, args[0])
        elif address == "/group/list":
            self.news("session/groups", [str(name) for name in args[1:]])

    def _hear_rest(self, address: str, raw: Any) -> None:
        if (name := _TOLD.get(address)) is not None:
            self._maybe(f"transport/{name}", from_osc(TRANSPORTS[name], raw))
        elif address == "/position/samples" and isinstance(raw, str) and raw.lstrip("-").isdigit():
            self.news("transport/position", int(raw))
        elif address == "/transport_frame" and isinstance(raw, int):
            self.news("transport/position", raw, asked=True)
        elif address == "/transport_stop" and isinstance(raw, float):
            self.news("transport/playing", raw == 0.0)
        elif address == "/transport_speed" and isinstance(raw, float):
            self.news("transport/playing", raw != 0.0, asked=True)
            self.news("transport/speed", raw, asked=True)
        elif address == "/record_enabled" and isinstance(raw, int):
            self.news("transport/record_enable", raw != 0, asked=True)
        elif address == "/session_name" and isinstance(raw, str):
            self.session_name = raw
            self.news("session/name", raw)
        elif address == "/group/list":
            self.news("session/groups", [])
        elif (leaf := _MONITOR.get(address)) is not None:
            asked = isinstance(raw, int)  # what it tells by itself are floats
            self._maybe(f"monitor/{leaf.name}", from_osc(leaf, raw), asked=asked)

    def _hear_strip(self, rest: str, args: tuple[Any, ...]) -> None:
        first, _, second = rest.partition("/")
        if not second:
            self._hear_told(first, args)
        elif first.isdigit():
            self._hear_asked(int(first), second, args)
        elif second.isdigit() and first in LEAVES:
            strip = self._by_ssid.get(int(second))
            if strip is not None and self.wishes is not None:
                self.wishes.refused(f"{strip.base}/{first}")
        elif rest == "plugin/list":
            self._hear_plugins(args)
        elif rest == "plugin/descriptor":
            self._hear_parameter(args)

    def _hear_listed(self, args: tuple[Any, ...]) -> None:
        """Take one line of the list, asked for to see what a strip is called."""
        listed = read_strip(args)
        if listed is None or self.stale.is_set():
            return
        strip = self._by_ssid.get(listed.ssid)
        if strip is None or strip.name != listed.name:
            self.alarm()
        else:
            self.news(f"{strip.base}/name", strip.name, asked=True)

    def _hear_told(self, name: str, args: tuple[Any, ...]) -> None:
        if name == "list" and not args:
            self.alarm()  # strips have come, gone or moved, or something was selected
        elif name == "sends":
            self._hear_sends(args)
        elif len(args) == 2 and isinstance(args[0], int) and name in LEAVES:
            ssid, raw = args
            strip = self._by_ssid.get(ssid)
            if name == "name" and (strip is None or raw != strip.name):
                self.alarm()
            if self.stale.is_set():  # which strip has this number now, the new list will say
                if len(self._staged) < MAX_STAGED:
                    self._staged[ssid, name] = raw
            elif strip is not None:
                self._told(strip, name, raw)

    def _told(self, strip: Strip, name: str, raw: Any) -> None:
        leaf = LEAVES[name]
        if leaf.follow is Follow.LIST or (strip.base == "monitor" and name == "mute"):
            return
        value = from_osc(leaf, raw)
        if name == "group" and isinstance(value, str):
            value = value.strip()
        elif name == "meter" and isinstance(value, float):
            value = round(value * 100 - 94, 3)  # with faders told as positions, meters are, too
        elif name == "gain" and isinstance(value, float):
            position = self.held.get(f"{strip.base}/fader")
            if isinstance(position, float) and (top := law.top_of(position, value)) is not None and 1.9 < top < 11:
                self.top = top
            value = max(law.SILENCE, value)
        self._maybe(f"{strip.base}/{name}", value)

    def _hear_asked(self, ssid: int, name: str, args: tuple[Any, ...]) -> None:
        strip, leaf = self._by_ssid.get(ssid), LEAVES.get(name)
        if strip is None or self.stale.is_set():
            return
        if name == "vca":
            self.news(f"{strip.base}/vcas", [str(one) for one in args])
        if leaf is None or (strip.base == "monitor" and name == "mute"):
            return
        path = f"{strip.base}/{name}"
        if not args:
            if self.wishes is not None:
                self.wishes.refused(path)
            return
        value = from_osc(leaf, args[0])
        held = self.held.get(path)
        if name == "group":
            value = "" if value == "none" else value
        elif name == "trimdB" and isinstance(value, float) and isinstance(held, float) and abs(value - held) < COARSE:
            value = held
        if name == "fader" and isinstance(value, float):
            self.pair(strip.base, value)
        else:
            self._maybe(path, value, asked=True)

    def pair(self, base: str, fader: float) -> None:
        """Take a fader that was asked for, and the gain with it."""
        gain = self.held.get(f"{base}/gain")
        if gain is None or self.held.get(f"{base}/fader") != fader:
            gain = law.decibels(fader, self.top)
        self.news(f"{base}/fader", fader, asked=True)
        self.news(f"{base}/gain", gain, asked=True)

    # ------------------------------------------------------------------ sends and plugins

    def _hear_sends(self, args: tuple[Any, ...]) -> None:
        strip = self._strip_of(args)
        if strip is None:
            return
        found = read_sends(args[1:])
        self._forget(f"{strip.base}/sends", {str(send.number) for send in found})
        for send in found:
            base = f"{strip.base}/sends/{send.number}"
            self.news(f"{base}/name", send.name)
            self.news(f"{base}/enable", send.enabled, asked=True)
            self.pair(base, send.fader)

    def _hear_plugins(self, args: tuple[Any, ...]) -> None:
        strip = self._strip_of(args)
        if strip is None:
            return
        found = read_plugins(args[1:])
        keep = {str(one.number) for one in found if self._same(f"{strip.base}/plugins/{one.number}/name", one.name)}
        self._forget(f"{strip.base}/plugins", keep)
        for plugin in found:
            base = f"{strip.base}/plugins/{plugin.number}"
            self.news(f"{base}/name", plugin.name)
            self.news(f"{base}/active", plugin.active, asked=True)

    def _hear_parameter(self, args: tuple[Any, ...]) -> None:
        strip = self._strip_of(args)
        found = read_parameter(args)
        if strip is None or found is None or found.hidden or found.number > self._parameters:
            return
        base = f"{strip.base}/plugins/{found.plugin}/parameters/{found.number}"
        self.news(f"{base}/name", found.name)
        self.news(f"{base}/min", found.low)
        self.news(f"{base}/max", found.high)
        self.news(f"{base}/value", found.value, asked=True)

    def _strip_of(self, args: tuple[Any, ...]) -> Strip | None:
        if not args or not isinstance(args[0], int) or self.stale.is_set():
            return None
        return self._by_ssid.get(args[0])

    def _same(self, path: str, value: Value) -> bool:
        return self.held.get(path, value) == value

    def _forget(self, base: str, keep: set[str]) -> None:
        """Report as gone what lies below *base* and is not in *keep*."""
        inside = {path[len(base) + 1 :].partition("/")[0] for path in self.held if path.startswith(base + "/")}
        for name in sorted(inside - keep):
            self._gone(f"{base}/{name}")

    def _gone(self, base: str) -> None:
        for path in [path for path in self.held if path == base or path.startswith(base + "/")]:
            del self.held[path]
        if self.wishes is not None:
            self.wishes.gone(base)
        self._changes.append(Change(base, None))

    # ------------------------------------------------------------------ news

    def _maybe(self, path: str, value: Value | None, *, asked: bool = False) -> None:
        if value is not None:
            self.news(path, value, asked=asked)

    def news(self, path: str, value: Value, *, asked: bool = False) -> None:
        """Take one value; what is new is reported, unless it settles a wish, which reports it, too."""
        known = not self._full and path in self.held and self.held[path] == value
        self.held[path] = value
        if self.wishes is not None and self.wishes.hear(path, value, asked=asked):
            # What was told of it before, in the same wake-up, would be reported after it.
            self._changes = [one for one in self._changes if one.path != path or one.moved_from]
            return
        if not known:
            self._changes.append(Change(path, value))

    def full(self) -> None:
        """Report all that is held."""
        self._full = True
        for path, value in list(self.held.items()):
            self.news(path, value)
        self._full = False
        self.flush()

    def adopt(self, listed: Iterable[Sequence[Any]]) -> None:
        """Take the new list of strips, and then what was told of them since it was out of date."""
        # Somebody may have asked at the same time: then each strip is told twice, and the last word counts.
        read = {strip.ssid: strip for args in listed if (strip := read_strip(args)) is not None}
        found = placed(read.values(), self.by_base.values())
        difference = compare(list(self.by_base.values()), found)
        self.by_base = {strip.base: strip for strip in found}
        self._by_ssid = {strip.ssid: strip for strip in found}
        for base in difference.gone:
            self._gone(base)
        for source, target in difference.renamed:
            self._renamed(source, target)
        self.unread |= set(difference.new)
        self.unread &= set(self.by_base)
        for strip in found:
            self.news(f"{strip.base}/name", strip.name, asked=True)
            self.news(f"{strip.base}/type", TYPES.get(strip.code, strip.code))
            self.news(f"{strip.base}/inputs", strip.inputs)
            self.news(f"{strip.base}/outputs", strip.outputs)
        staged, self._staged = self._staged, {}
        for (ssid, name), raw in staged.items():
            if (strip_now := self._by_ssid.get(ssid)) is not None:
                self._told(strip_now, name, raw)
        self.flush()

    def _renamed(self, source: str, target: str) -> None:
        for path in [path for path in self.held if path.startswith(source + "/")]:
            self.held[target + path[len(source) :]] = self.held.pop(path)
        if source in self.unread:
            self.unread.add(target)
        self._changes.append(Change(target, None, moved_from=source))
        self.flush()  # before the wishes that it answers
        if self.wishes is not None:
            self.wishes.moved(source, target)

    def strips(self, fits: Callable[[Strip], bool] = lambda _: True) -> list[Strip]:
        """Return the strips that fit, by number."""
        return [strip for strip in self.by_base.values() if fits(strip)]
