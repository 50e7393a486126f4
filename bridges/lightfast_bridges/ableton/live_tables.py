"""AbletonOSC's tables over the simulator's set: getters, setters and listeners of every property.

A handler takes the arguments of a message and returns those of the reply, or `None` for none. An
exception becomes the text of a `/live/error`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from lightfast_bridges.ableton.live_set import Clip, Device, LiveSet, Node, Slot, Track
from lightfast_bridges.ableton.names import KINDS, MAIN

Params = tuple[Any, ...]
Handler = Callable[[Params], Params | None]
Say = Callable[..., None]


def at(items: list[Any], index: Any) -> Any:
    """Return one item by an index, which may come as a float."""
    if not 0 <= int(index) < len(items):
        raise IndexError("Index out of range")
    return items[int(index)]


def ids_of(params: Params, count: int) -> Params:
    """Return the first *count* arguments as indices; `*` stays as it is."""
    return tuple(one if isinstance(one, str) else int(one) for one in params[:count])


class LiveTables:
    """Getters, setters and listeners by address; *say* sends a message to whoever spoke last."""

    def __init__(self, live: LiveSet, say: Say, *, fork: bool = False) -> None:
        """*fork* adds what pull requests #197 (return tracks, main track) and #199 (chains) of AbletonOSC add."""
        self.live = live
        self.fork = fork
        self._say = say
        self._listeners: dict[tuple[str, str], tuple[Node, Callable[[], None]]] = {}  # 0 and 0.0 are two keys
        self.handlers: dict[str, Handler] = {}
        for stem in KINDS:
            if stem not in ("application", "chain"):
                self._properties(stem)

    # ------------------------------------------------------------------ tables

    def _find(self, stem: str, params: Params) -> Node:
        """Return the object that the first arguments name."""
        live = self.live
        if stem == "song":
            return live.song
        if stem == "view":
            return live.view
        if stem == "scene":
            found: Node = at(live.scenes, params[0])
            return found
        track = self.track(params)
        if stem == "track":
            return track
        if stem == "device":
            return self.device(params)
        slot = self._slot(params)
        return slot if stem == "clip_slot" else self.clip(params)

    def track(self, params: Params) -> Track:
        """Return the track that the first argument names."""
        # "*" should mean all tracks; what AbletonOSC returns is the first
        if self.fork and isinstance(params[0], str) and params[0] != "*":
            return self._own_track(params[0])
        found: Track = at(self.live.tracks, 0 if params[0] == "*" else params[0])
        return found

    def _own_track(self, name: str) -> Track:
        """Return the track that a fork knows by *name*; raise `ValueError` for one it does not."""
        if name == MAIN:
            return self.live.main
        number = name.removeprefix("return_")
        if number == name or not number.isdigit():
            raise ValueError(f"Cannot resolve track: {name}")
        found: Track = at(self.live.return_tracks, int(number))
        return found

    def _slot(self, params: Params) -> Slot:
        found: Slot = at(self.track(params).slots, params[1])
        return found

    def clip(self, params: Params) -> Clip:
        """Return the clip that the first two arguments name."""
        clip = self._slot(params).clip
        if clip is None:
            raise AttributeError("'NoneType' object has no attribute 'clip'")
        return clip

    def device(self, params: Params) -> Device:
        """Return the device that the first two arguments name."""
        found: Device = at(self.track(params).devices, params[1])
        return found

    def _properties(self, stem: str) -> None:
        """Add getters, setters and listeners of one kind of object."""
        kind = KINDS[stem]
        count = kind.ids
        for name, prop in kind.properties.items():
            if prop.shape or "_routing_" in name:
                continue  # not as one value, see `live_api`
            self.handlers[f"/live/{stem}/get/{name}"] = self._getter(stem, name, count)
            if prop.settable:
                self.handlers[f"/live/{stem}/set/{name}"] = self._setter(stem, name, count)
            if stem != "device" and not name.startswith("can_"):
                address = f"/live/{stem}/get/{name}"
                self._listening(
                    f"/live/{stem}/{{}}_listen/{name}",
                    partial(self._find, stem),
                    name,
                    partial(self._tell, address, count),
                    sticks=name in ("volume", "panning"),
                )

    def _tell(self, address: str, count: int, params: Params, value: Any) -> None:
        self._say(address, *ids_of(params, count), value)

    def _getter(self, stem: str, name: str, count: int) -> Handler:
        def get(params: Params) -> Params:
            node = self._find(stem, params)
            if name == "arm" and not node["can_be_armed"]:
                raise RuntimeError("Main and Return Tracks have no 'Arm' state!")
            if count:
                return (*ids_of(params, count), node[name])
            return (node[name], *params)  # getters of the song repeat what else was sent

        return get

    def _setter(self, stem: str, name: str, count: int) -> Handler:
        def set_(params: Params) -> None:
            self._find(stem, params).put(name, params[count])

        return set_

    def _listening(
        self,
        pattern: str,
        find: Callable[[Params], Node],
        name: str,
        tell: Callable[[Params, Any], None],
        *,
        sticks: bool = False,
    ) -> None:
        """Add `start_listen` and `stop_listen`.

        A listener stays with its object when indices move, and goes on to say the old index. AbletonOSC looks it up
        by the index to stop it, so it cannot be stopped then; one that *sticks* cannot be started anew, either.
        """

        def start(params: Params) -> None:
            node = find(params)
            drop(params, node)
            self._listeners[pattern, repr(params)] = node, node.watch(name, lambda value: tell(params, value))
            tell(params, node[name])

        def stop(params: Params) -> None:
            drop(params, find(params))

        def drop(params: Params, node: Node) -> None:
            known = self._listeners.get((pattern, repr(params)))
            if known is None:
                return
            if known[0] is node:
                known[1]()
            elif sticks:
                raise RuntimeError("Observer not connected")
            del self._listeners[pattern, repr(params)]

        self.handlers[pattern.format("start")] = start
        self.handlers[pattern.format("stop")] = stop

    def forget_listeners(self) -> None:
        """Drop all listeners, as loading AbletonOSC anew does."""
        for _, stop in self._listeners.values():
            stop()
        self._listeners.clear()

    @property
    def listeners(self) -> int:
        """How many listeners there are."""
        return len(self._listeners)

    def _method(self, address: str, run: Callable[[Params], Any]) -> None:
        def call(params: Params) -> None:
            run(params)

        self.handlers[f"/live/{address}"] = call
